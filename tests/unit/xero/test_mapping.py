"""Xero's rows become records, exactly, or are refused with a reason."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import pytest

from app.billing.records import (
    AllocationRecord,
    ContactRecord,
    CreditKind,
    DocumentStatus,
    InvoiceRecord,
    PaymentRecord,
    PaymentStatus,
)
from app.xero import mapping, wire
from app.xero.parsing import Unreadable
from tests.support.xero_samples import (
    CONTACT_ID,
    CREDIT_NOTE_ID,
    INVOICE_ID,
    OTHER_ID,
    PAYMENT_ID,
    contact,
    credit_note,
    invoice,
    payment,
    without,
)


def to_contact(row):
    return mapping.contact_record(msgspec.json.decode(json.dumps(row), type=wire.Contact))


def to_invoice(row):
    return mapping.invoice_record(msgspec.json.decode(json.dumps(row), type=wire.Invoice))


def to_memo(row):
    return mapping.credit_memo_record(msgspec.json.decode(json.dumps(row), type=wire.CreditNote))


def to_payment(row):
    return mapping.payment_record(msgspec.json.decode(json.dumps(row), type=wire.Payment))


def test_an_invoice_keeps_everything_a_user_sees():
    assert to_invoice(invoice()) == InvoiceRecord(
        external_id=INVOICE_ID,
        contact=ContactRecord(external_id=CONTACT_ID, name="Barney Rubble-83203"),
        number="INV-0002",
        reference="Red Fish, Blue Fish",
        status=DocumentStatus.PAID,
        vendor_status="PAID",
        currency="NZD",
        exchange_rate=Decimal("1.0"),
        subtotal=Decimal("40.0"),
        tax=Decimal("6.0"),
        total=Decimal("46.0"),
        paid=Decimal("46.0"),
        credited=Decimal("0.0"),
        balance=Decimal("0.0"),
        issued_on=date(2018, 10, 20),
        due_on=date(2018, 12, 30),
        paid_on=date(2018, 11, 29),
        vendor_url=f"https://go.xero.com/AccountsReceivable/View.aspx?InvoiceID={INVOICE_ID}",
        vendor_updated_at=datetime(2018, 11, 2, 16, 36, 32, 690000, tzinfo=UTC),
        applied_credits=(),
    )


@pytest.mark.parametrize(
    ("vendors", "ours"),
    [
        ("DRAFT", "draft"),
        ("SUBMITTED", "draft"),
        ("AUTHORISED", "open"),
        ("PAID", "paid"),
        ("VOIDED", "void"),
        ("DELETED", "deleted"),
    ],
)
def test_each_status_of_a_document_has_one_meaning(vendors, ours):
    document, memo = to_invoice(invoice(Status=vendors)), to_memo(credit_note(Status=vendors))
    assert (document.status, document.vendor_status) == (ours, vendors)
    assert (memo.status, memo.vendor_status) == (ours, vendors)


@pytest.mark.parametrize("status", ["VOIDED", "DELETED"])
def test_a_voided_or_deleted_document_has_no_open_amount(status):
    assert to_invoice(invoice(Status=status, AmountDue=46.0)).balance == 0
    assert to_invoice(without(invoice(Status=status), "AmountDue")).balance == 0
    assert to_memo(credit_note(Status=status, RemainingCredit=14.55)).remaining == 0


def test_bills_supplier_credits_and_payments_that_settle_no_sales_invoice_are_not_kept():
    assert to_invoice(invoice(Type="ACCPAY")) is None
    assert to_memo(credit_note(Type="ACCPAYCREDIT")) is None
    others = set(mapping.PAYMENT_TYPES) - {"ACCRECPAYMENT"}
    assert {to_payment(payment(PaymentType=kind)) for kind in others} == {None}
    assert len(others) == 7


@pytest.mark.parametrize("kind", ["ACCRECCREDIT", "ACCPAY", "AROVERPAYMENT"])
def test_a_payment_of_something_other_than_a_sales_invoice_is_not_kept_whatever_it_calls_itself(kind):
    assert to_payment(payment(Invoice=payment()["Invoice"] | {"Type": kind})) is None


def test_a_payment_keeps_the_invoice_and_the_currency_of_what_it_settles():
    assert to_payment(payment()) == PaymentRecord(
        external_id=PAYMENT_ID,
        contact=ContactRecord(external_id=CONTACT_ID, name="Barney Rubble-83203"),
        invoice_external_id=INVOICE_ID,
        amount=Decimal("46.0"),
        currency="NZD",
        exchange_rate=Decimal("1.0"),
        paid_on=date(2018, 11, 29),
        reference=None,
        status=PaymentStatus.ACTIVE,
        vendor_updated_at=datetime(2018, 11, 2, 16, 36, 32, 690000, tzinfo=UTC),
    )
    assert to_payment(payment(Status="DELETED")).status == "deleted"
    nested = payment()["Invoice"]
    assert to_payment(payment(Invoice=without(nested, "Type", "Contact"))).contact is None


@pytest.mark.parametrize("nothing", [{}, {"CurrencyCode": None}, {"CurrencyCode": ""}])
def test_a_payment_whose_invoice_lacks_its_currency_leaves_it_open(nothing):
    nested = without(payment()["Invoice"], "CurrencyCode") | nothing
    assert to_payment(payment(Invoice=nested)).currency is None
    with pytest.raises(Unreadable, match="'dollars' is not a currency"):
        to_payment(payment(Invoice=nested | {"CurrencyCode": "dollars"}))


@pytest.mark.parametrize("least", ["/Date(-62135596800000+0000)/", "0001-01-01T00:00:00"])
def test_the_least_date_of_dotnet_is_none(least):
    record = to_invoice(without(invoice(DueDate=least, FullyPaidOnDate=least, DateString=least), "DueDateString"))
    assert (record.issued_on, record.due_on, record.paid_on) == (None, None, None)


def test_a_credit_memo_lists_what_it_was_applied_to():
    memo = to_memo(credit_note())
    assert memo.remaining == Decimal("14.55")
    assert (
        memo.vendor_url == f"https://go.xero.com/AccountsReceivable/ViewCreditNote.aspx?creditNoteID={CREDIT_NOTE_ID}"
    )
    assert memo.allocations == (
        AllocationRecord(
            credit_external_id=CREDIT_NOTE_ID,
            invoice_external_id=INVOICE_ID,
            amount=Decimal("19.95"),
            applied_on=date(2020, 3, 25),
            external_id=OTHER_ID,
        ),
    )


def test_an_allocation_marked_deleted_is_no_longer_applied():
    gone = [credit_note()["Allocations"][0] | {"IsDeleted": True}]
    assert to_memo(credit_note(Allocations=gone)).allocations == ()


def test_a_missing_list_of_allocations_is_not_read_as_an_empty_one():
    assert to_memo(without(credit_note(), "Allocations")).allocations is None
    assert to_memo(credit_note(Allocations=[])).allocations == ()
    assert to_memo(without(credit_note(RemainingCredit=34.50), "Allocations")).allocations == ()
    assert to_memo(without(credit_note(Status="VOIDED"), "Allocations")).allocations == ()


def credits_on(**changes):
    return to_invoice(invoice(**changes)).applied_credits


def test_overpayments_and_prepayments_are_seen_from_the_invoice():
    overpaid = {"OverpaymentID": OTHER_ID, "AppliedAmount": 10.00, "Date": "/Date(1585094400000+0000)/"}
    prepaid = {"PrepaymentID": CREDIT_NOTE_ID, "AppliedAmount": 5.00, "DateString": "2020-03-26T00:00:00"}
    note = {"CreditNoteID": CREDIT_NOTE_ID, "AppliedAmount": 4.95, "Total": 19.95}
    assert credits_on(AmountCredited=19.95, Overpayments=[overpaid], Prepayments=[prepaid], CreditNotes=[note]) == (
        AllocationRecord(
            kind=CreditKind.OVERPAYMENT,
            credit_external_id=OTHER_ID,
            invoice_external_id=INVOICE_ID,
            amount=Decimal("10.0"),
            applied_on=date(2020, 3, 25),
        ),
        AllocationRecord(
            kind=CreditKind.PREPAYMENT,
            credit_external_id=CREDIT_NOTE_ID,
            invoice_external_id=INVOICE_ID,
            amount=Decimal("5.0"),
            applied_on=date(2020, 3, 26),
        ),
    )


def test_credit_notes_alone_leave_no_other_credit_on_the_invoice():
    note = {"CreditNoteID": CREDIT_NOTE_ID, "AppliedAmount": 19.95}
    assert credits_on(AmountCredited=19.95, CreditNotes=[note]) == ()


@pytest.mark.parametrize("kept", [{}, {"CreditNotes": []}, {"CreditNotes": [{"AppliedAmount": 9.95}]}])
def test_applied_credits_are_unknown_where_the_answer_does_not_account_for_all_that_was_credited(kept):
    row = without(invoice(AmountCredited=19.95), "CreditNotes", "Overpayments", "Prepayments")
    assert to_invoice(row | kept).applied_credits is None


def test_a_contact_keeps_what_xero_says_of_it():
    assert to_contact(contact()) == ContactRecord(
        external_id=CONTACT_ID,
        name="Barney Rubble-83203",
        email="barney@example.test",
        is_customer=True,
        is_archived=False,
        merged_into=None,
        receivable=Decimal("760.0"),
        vendor_updated_at=datetime(2017, 8, 21, 20, 49, 4, 227000, tzinfo=UTC),
    )


def test_a_contact_without_balances_says_nothing_about_what_it_owes():
    assert to_contact(without(contact(), "Balances", "IsCustomer")).receivable is None
    assert to_contact(without(contact(), "IsCustomer")).is_customer is None
    assert to_contact(contact(Balances={"AccountsPayable": {"Outstanding": 1}})).receivable is None


@pytest.mark.parametrize(("status", "is_archived"), [("ACTIVE", False), ("ARCHIVED", True), ("GDPRREQUEST", True)])
def test_archived_and_erased_contacts_are_marked(status, is_archived):
    assert to_contact(contact(ContactStatus=status)).is_archived is is_archived


def test_a_merged_contact_points_to_the_one_that_stays():
    assert to_contact(contact(MergedToContactID=OTHER_ID.upper())).merged_into == OTHER_ID


def test_contacts_without_a_name_do_not_share_one():
    assert to_contact(contact(Name="")).name == "Contact a3675fc4"
    assert to_contact(contact(Name="\0", ContactID=OTHER_ID)).name == "Contact cb0053c3"


def test_ids_are_compared_in_lower_case():
    record = to_invoice(invoice(InvoiceID=INVOICE_ID.upper(), Contact={"ContactID": CONTACT_ID.upper()}))
    assert (record.external_id, record.contact.external_id) == (INVOICE_ID, CONTACT_ID)


def test_texts_reach_the_database_without_nul():
    record = to_invoice(invoice(InvoiceNumber="INV\0-1", Reference="\0"))
    assert (record.number, record.reference) == ("INV-1", None)


def test_dates_are_calendar_dates_of_the_organisation_in_either_form():
    assert to_invoice(without(invoice(), "DateString")).issued_on == date(2018, 10, 20)
    assert to_invoice(invoice(DateString="2018-10-21 00:00:00")).issued_on == date(2018, 10, 21)
    assert to_invoice(without(invoice(), "DueDate")).due_on == date(2018, 12, 30)
    assert to_invoice(without(invoice(), "DueDateString")).due_on == date(2018, 12, 30)
    assert to_invoice(without(invoice(), "DueDate", "DueDateString")).due_on is None


@pytest.mark.parametrize(
    "text", ["0.1", "1234567890123.4567", "123456789012345678901234567.89", "100.00", "-5.10", "1E+3"]
)
@pytest.mark.parametrize("form", ["{}", '"{}"'])
def test_money_keeps_its_last_digit_as_a_number_or_as_a_string(text, form):
    row = json.dumps(invoice(Total="TOTAL")).replace('"TOTAL"', form.format(text))
    record = mapping.invoice_record(msgspec.json.decode(row, type=wire.Invoice))
    assert record is not None
    assert str(record.total) == text


def test_a_rate_is_kept_as_it_comes_and_one_that_cannot_divide_is_none():
    assert to_invoice(invoice(CurrencyRate=0.937053)).exchange_rate == Decimal("0.937053")
    assert to_invoice(invoice(CurrencyRate=0)).exchange_rate is None
    assert to_invoice(without(invoice(), "CurrencyRate")).exchange_rate is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Type": "ACCNEW"}, "Type 'ACCNEW' is unknown"),
        ({"Status": "ARCHIVED"}, "Status 'ARCHIVED' is unknown"),
        ({"InvoiceID": "../Contacts"}, "InvoiceID is not a UUID"),
        ({"Contact": None}, "Contact is missing"),
        ({"CurrencyCode": None}, "CurrencyCode is missing"),
        ({"CurrencyCode": "dollars"}, "CurrencyCode 'dollars' is not a currency"),
        ({"Total": None}, "Total is missing"),
        ({"AmountDue": None}, "AmountDue is missing"),
        ({"Total": "NaN"}, "Total is not an amount"),
        ({"AmountPaid": "-Infinity"}, "AmountPaid is not an amount"),
        ({"TotalTax": "1E+99999"}, "TotalTax is not an amount"),
        ({"UpdatedDateUTC": "yesterday"}, "'yesterday' is no date"),
        ({"UpdatedDateUTC": "/Date(99999999999999999)/"}, "is no date"),
        ({"UpdatedDateUTC": "/Date(9999999999999999)/"}, "is no date"),
        ({"DateString": "2018-13-40T00:00:00"}, "is no date"),
    ],
)
def test_an_invoice_that_cannot_be_read_says_why(changes, reason):
    with pytest.raises(Unreadable, match=reason):
        to_invoice(invoice(**changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PaymentType": "CRYPTO"}, "PaymentType 'CRYPTO' is unknown"),
        ({"Status": "PAID"}, "Status 'PAID' is unknown"),
        ({"Invoice": None}, "Invoice is missing"),
        ({"Amount": None}, "Amount is missing"),
    ],
)
def test_a_payment_that_cannot_be_read_says_why(changes, reason):
    with pytest.raises(Unreadable, match=reason):
        to_payment(payment(**changes))


def test_an_unknown_status_of_a_contact_is_rejected():
    with pytest.raises(Unreadable, match="ContactStatus 'FROZEN' is unknown"):
        to_contact(contact(ContactStatus="FROZEN"))
