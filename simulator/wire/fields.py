"""The fields that `where` and `order` may name, and which of them Xero has indexed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator.books.model import Resource
from simulator.books.organisation import Organisation
from simulator.wire.encoding import money

Getter = Callable[[Organisation, Any], object]


@dataclass(slots=True, frozen=True)
class Field:
    """How to read a field, and the operators for which Xero documents a filter on it as optimised."""

    get: Getter
    optimised_operators: frozenset[str] = frozenset()


_EQUAL = frozenset(("==",))
_RANGE = frozenset(("==", ">", ">=", "<", "<="))


def _attribute(attribute: str, optimised_operators: frozenset[str] = frozenset()) -> Field:
    return Field(lambda _books, row: getattr(row, attribute), optimised_operators)


def _money(attribute: str, optimised_operators: frozenset[str] = frozenset()) -> Field:
    return Field(lambda _books, row: money(getattr(row, attribute)), optimised_operators)


def _contact_attribute(attribute: str) -> Field:
    return Field(lambda books, row: getattr(books.contacts.by_id[row.contact_id], attribute), _EQUAL)


_DOCUMENT_FIELDS = {
    "type": _attribute("type", _EQUAL),
    "status": _attribute("status", _EQUAL),
    "reference": _attribute("reference", _EQUAL),
    "date": _attribute("issued_on", _RANGE),
    "currencycode": _attribute("currency"),
    "total": _money("total"),
    "updateddateutc": _attribute("updated_at"),
    "contact.contactid": _attribute("contact_id", _EQUAL),
    "contact.name": _contact_attribute("name"),
    "contact.contactnumber": Field(lambda _books, _row: "", _EQUAL),
}
_CREDIT_FIELDS = _DOCUMENT_FIELDS | {"remainingcredit": _money("remaining")}

FIELDS: dict[Resource, dict[str, Field]] = {
    "Contacts": {
        "contactid": _attribute("id", _EQUAL),
        "name": _attribute("name", _EQUAL),
        "emailaddress": _attribute("email", _EQUAL),
        "accountnumber": _attribute("account_number", _EQUAL),
        "contactstatus": _attribute("status"),
        "iscustomer": _attribute("is_customer"),
        "issupplier": _attribute("is_supplier"),
        "updateddateutc": _attribute("updated_at"),
    },
    "Invoices": _DOCUMENT_FIELDS
    | {
        "invoiceid": _attribute("id", _EQUAL),
        "invoicenumber": _attribute("number", _EQUAL),
        "duedate": _attribute("due_on", _RANGE),
        "amountdue": _money("amount_due", _RANGE),
        "amountpaid": _money("paid", _EQUAL),
        "amountcredited": _money("credited"),
    },
    "Payments": {
        "paymentid": _attribute("id", _EQUAL),
        "paymenttype": _attribute("type", _EQUAL),
        "status": _attribute("status"),
        "date": _attribute("paid_on"),
        "amount": _money("amount"),
        "reference": _attribute("reference"),
        "isreconciled": _attribute("is_reconciled"),
        "updateddateutc": _attribute("updated_at"),
        "invoice.invoiceid": Field(lambda _books, row: row.document[1]),
    },
    "CreditNotes": _CREDIT_FIELDS
    | {"creditnoteid": _attribute("id", _EQUAL), "creditnotenumber": _attribute("number")},
    "Overpayments": _CREDIT_FIELDS | {"overpaymentid": _attribute("id", _EQUAL)},
    "Prepayments": _CREDIT_FIELDS | {"prepaymentid": _attribute("id", _EQUAL)},
}
ID_FIELDS: dict[Resource, str] = {
    "Contacts": "contactid",
    "Invoices": "invoiceid",
    "Payments": "paymentid",
    "CreditNotes": "creditnoteid",
    "Overpayments": "overpaymentid",
    "Prepayments": "prepaymentid",
}
