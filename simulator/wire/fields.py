"""The fields that `where` and `order` may name, and which of them Xero serves from an index."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator.books.model import Resource
from simulator.books.organisation import Organisation
from simulator.wire.encoding import money

Getter = Callable[[Organisation, Any], object]


@dataclass(slots=True, frozen=True)
class Field:
    """How to read a field, and the operators for which a filter on it is optimised."""

    get: Getter
    optimised: frozenset[str] = frozenset()


_EQUAL = frozenset(("==",))
_RANGE = frozenset(("==", ">", ">=", "<", "<="))


def _own(attribute: str, optimised: frozenset[str] = frozenset()) -> Field:
    return Field(lambda _books, row: getattr(row, attribute), optimised)


def _money(attribute: str, optimised: frozenset[str] = frozenset()) -> Field:
    return Field(lambda _books, row: money(getattr(row, attribute)), optimised)


def _of_contact(attribute: str) -> Field:
    return Field(lambda books, row: getattr(books.contacts.rows[row.contact_id], attribute), _EQUAL)


_DOCUMENT = {
    "type": _own("type", _EQUAL),
    "status": _own("status", _EQUAL),
    "reference": _own("reference", _EQUAL),
    "date": _own("issued", _RANGE),
    "currencycode": _own("currency"),
    "total": _money("total"),
    "updateddateutc": _own("updated"),
    "contact.contactid": _own("contact_id", _EQUAL),
    "contact.name": _of_contact("name"),
    "contact.contactnumber": Field(lambda _books, _row: "", _EQUAL),
}
_CREDIT = _DOCUMENT | {"remainingcredit": _money("remaining")}

FIELDS: dict[Resource, dict[str, Field]] = {
    "Contacts": {
        "contactid": _own("id", _EQUAL),
        "name": _own("name", _EQUAL),
        "emailaddress": _own("email", _EQUAL),
        "accountnumber": _own("account_number", _EQUAL),
        "contactstatus": _own("status"),
        "iscustomer": _own("is_customer"),
        "issupplier": _own("is_supplier"),
        "updateddateutc": _own("updated"),
    },
    "Invoices": _DOCUMENT
    | {
        "invoiceid": _own("id", _EQUAL),
        "invoicenumber": _own("number", _EQUAL),
        "duedate": _own("due", _RANGE),
        "amountdue": _money("amount_due", _RANGE),
        "amountpaid": _money("paid", _EQUAL),
        "amountcredited": _money("credited"),
    },
    "Payments": {
        "paymentid": _own("id", _EQUAL),
        "paymenttype": _own("type", _EQUAL),
        "status": _own("status"),
        "date": _own("on"),
        "amount": _money("amount"),
        "reference": _own("reference"),
        "isreconciled": _own("is_reconciled"),
        "updateddateutc": _own("updated"),
        "invoice.invoiceid": Field(lambda _books, row: row.document[1]),
    },
    "CreditNotes": _CREDIT | {"creditnoteid": _own("id", _EQUAL), "creditnotenumber": _own("number")},
    "Overpayments": _CREDIT | {"overpaymentid": _own("id", _EQUAL)},
    "Prepayments": _CREDIT | {"prepaymentid": _own("id", _EQUAL)},
}
ID_FIELDS: dict[Resource, str] = {
    "Contacts": "contactid",
    "Invoices": "invoiceid",
    "Payments": "paymentid",
    "CreditNotes": "creditnoteid",
    "Overpayments": "overpaymentid",
    "Prepayments": "prepaymentid",
}
