"""What Xero itself has written: a recorded fragment, and the examples and schemas of its OpenAPI file."""

import json
import re
from decimal import Decimal

import pytest
import yaml

from app.billing.records import InvoiceRecord, Resource
from app.connector import PageRequest
from app.xero import wire
from app.xero.pages import read_page
from tests.support.paths import XERO_OPENAPI
from tests.support.xero_samples import CONTACT_ID, answer

OPENAPI = XERO_OPENAPI / "xero_accounting.yaml"
needs_openapi = pytest.mark.skipif(not OPENAPI.exists(), reason="Xero's OpenAPI file is not beside the checkout")

# The money of an invoice settled by a payment and a credit note, byte for byte as recorded from a demo company.
RECORDED = rb"""{
  "Id": "12b9c7bc-4c28-4920-a54c-136e7014eaa2",
  "Status": "OK",
  "ProviderName": "python-sdk",
  "DateTimeUTC": "\/Date(1588633397422)\/",
  "Invoices": [{"Type":"ACCREC","InvoiceID":"cb0053c3-0000-4000-8000-000000000001","Status":"PAID","Total":269.95,
"Payments":[{"PaymentID":"cb0053c3-0000-4000-8000-000000000002","Date":"\/Date(1584748800000+0000)\/","Amount":250.00,
"Reference":"0033-Full","CurrencyRate":1.000000,"HasAccount":false,"HasValidationErrors":false}],
"CreditNotes":[{"CreditNoteID":"a4ce5f29-0000-4000-8000-000000000003","CreditNoteNumber":"CN-0034",
"ID":"a4ce5f29-0000-4000-8000-000000000003","HasErrors":false,"AppliedAmount":19.95,
"DateString":"2020-03-25T00:00:00","Date":"\/Date(1585094400000+0000)\/","LineItems":[],"Total":19.95}],
"AmountDue":0.00,"AmountPaid":250.00,"AmountCredited":19.95,"CurrencyCode":"NZD","CurrencyRate":1.000000,
"Contact":{"ContactID":"a3675fc4-f8dd-4f03-ba5b-f1870566bcd7","Name":"Ridgeway University"},
"UpdatedDateUTC":"\/Date(1585094400123+0000)\/"}]
}""".replace(b"\n", b"\r\n")


def test_a_recorded_invoice_keeps_its_money_to_the_last_digit():
    (record,) = read_page(PageRequest(Resource.INVOICES), answer(RECORDED)).batch.invoices
    assert isinstance(record, InvoiceRecord)
    assert [
        str(part) for part in (record.total, record.balance, record.paid, record.credited, record.exchange_rate)
    ] == [
        "269.95",
        "0.00",
        "250.00",
        "19.95",
        "1.000000",
    ]
    assert record.total == record.balance + record.paid + record.credited
    assert record.applied_credits == ()
    assert record.contact.external_id == CONTACT_ID


class Loader(yaml.SafeLoader):
    """Leaves dates as text, as they are in JSON."""


Loader.yaml_implicit_resolvers = {
    letter: [(tag, shape) for tag, shape in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def section(indent, name):
    """Return one part of the file; the whole of it takes a minute to parse."""
    pad = " " * indent
    found = re.search(rf"^{pad}{re.escape(name)}:\n(?:{pad}  .*\n|\n)+", OPENAPI.read_text(), re.MULTILINE)
    assert found, f"{name} is not in the file"
    return yaml.load(found[0], Loader)[name]  # noqa: S506 - a SafeLoader with fewer resolvers


def example(path):
    content = section(2, f"/{path}")["get"]["responses"]["200"]["content"]["application/json"]
    return json.dumps(content["example"]).encode()


@needs_openapi
@pytest.mark.parametrize(
    ("resource", "path", "delivered", "kept"),
    [
        (Resource.CONTACTS, "Contacts", 2, 2),
        (Resource.INVOICES, "Invoices", 3, 3),
        (Resource.CREDIT_MEMOS, "CreditNotes", 2, 1),
        (Resource.PAYMENTS, "Payments", 2, 1),
    ],
)
def test_xeros_own_examples_are_read_whole(resource, path, delivered, kept):
    page = read_page(PageRequest(resource), answer(example(path)))
    assert page.rejected == []
    assert (page.row_count, len(page.keys)) == (delivered, delivered)
    assert len(getattr(page.batch, resource.value)) == kept
    assert page.is_last


@needs_openapi
def test_the_refund_in_xeros_example_settles_no_invoice():
    page = read_page(PageRequest(Resource.PAYMENTS), answer(example("Payments")))
    (record,) = page.batch.payments
    assert (record.amount, record.invoice_external_id) == (Decimal(46), "046d8a6d-1ae1-4b4d-9340-5601bdf41b87")


@needs_openapi
@pytest.mark.parametrize(
    ("ours", "theirs", "undocumented"),
    [
        (wire.Contact, "Contact", set()),
        (wire.ContactBalances, "Balances", set()),
        # The companions of dates are recorded, and in the examples, but not in the schemas.
        (wire.Invoice, "Invoice", {"DateString", "DueDateString"}),
        (wire.CreditNote, "CreditNote", {"DateString"}),
        (wire.Payment, "Payment", set()),
        (wire.Allocation, "Allocation", set()),
        (wire.AppliedOverpayment, "Overpayment", {"DateString"}),
        (wire.AppliedPrepayment, "Prepayment", {"DateString"}),
        (wire.Pagination, "Pagination", set()),
    ],
)
def test_every_field_we_read_is_spelled_as_xero_spells_it(ours, theirs, undocumented):
    documented = section(4, theirs)["properties"]
    assert set(ours.__struct_fields__) - set(documented) == undocumented
