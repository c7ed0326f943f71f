"""Responses validated against Xero's published OpenAPI documents, except where these are known to be wrong."""

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_schema_validator import OAS30Validator
from referencing import Registry
from referencing.jsonschema import DRAFT4, DRAFT202012

from tests.support.paths import XERO_OPENAPI

pytestmark = pytest.mark.skipif(
    not XERO_OPENAPI.is_dir(), reason="Xero's OpenAPI documents are not beside this repository"
)

RESOURCES = ("Contacts", "Invoices", "Payments", "CreditNotes", "Overpayments", "Prepayments")
# Xero sends these fields, as recorded traffic shows; the document lacks them.
UNDOCUMENTED = {"DateString", "DueDateString", "HasErrors", "ID"}


def load(name: str) -> Any:
    return yaml.load((XERO_OPENAPI / name).read_text(), Loader=yaml.CSafeLoader)


@pytest.fixture(scope="module")
def accounting():
    return load("xero_accounting.yaml")


def errors_of(document: Any, schema: str, instance: object) -> list[str]:
    registry = Registry().with_resource("urn:xero", DRAFT4.create_resource(document))
    validator = OAS30Validator({"$ref": f"urn:xero#/components/schemas/{schema}"}, registry=registry)
    found = ((list(error.absolute_path), error.message) for error in validator.iter_errors(instance))
    # The schema says number and boolean; its own example, and Xero, have strings.
    return [
        f"{path}: {message}"
        for path, message in found
        if not (path[-2:-1] == ["BatchPayment"] and path[-1] in ("TotalAmount", "IsReconciled"))
    ]


def unknown_fields(document: Any, schema: str, row: Any) -> set[str]:
    """Return the names in a row, at any depth, that the schema lacks."""
    properties = document["components"]["schemas"][schema].get("properties", {})
    found: set[str] = set()
    for name, value in row.items():
        if name not in properties:
            found.add(f"{schema}.{name}")
            continue
        shape = properties[name].get("items", properties[name])
        inner = shape.get("$ref", "").rpartition("/")[2]
        for part in value if isinstance(value, list) else [value]:
            if inner and isinstance(part, dict):
                found |= unknown_fields(document, inner, part)
    return found


@pytest.mark.parametrize("resource", RESOURCES)
async def test_lists_fit_the_accounting_document(xero, accounting, resource, contact_id):
    for kind in ("create_overpayment", "create_prepayment"):
        await xero.edit(kind, contact_id=contact_id)
    response = (await xero.get(resource, page=1, pageSize=1000, includeArchived="true")).json()
    assert response[resource]
    assert errors_of(accounting, resource, response) == []
    unknown = set().union(*(unknown_fields(accounting, resource.removesuffix("s"), row) for row in response[resource]))
    assert {name.rpartition(".")[2] for name in unknown} <= UNDOCUMENTED, unknown


async def test_the_validation_finds_an_invalid_row(accounting):
    assert errors_of(accounting, "Invoices", {"Invoices": [{"Type": "ACCRECEIVABLE"}]})
    assert unknown_fields(accounting, "Invoice", {"Colour": 1, "Contact": {"Shoe": 2}}) == {
        "Invoice.Colour",
        "Contact.Shoe",
    }


async def test_the_organisation_fits(anonymous, accounting):
    await anonymous.sign_in("accounting.settings.read")
    assert errors_of(accounting, "Organisations", (await anonymous.get("Organisation")).json()) == []


async def test_connections_fit_the_identity_document(xero):
    document = load("xero-identity.yaml")
    for row in await xero.connections():
        assert errors_of(document, "Connection", row) == []
        assert set(row) == set(document["components"]["schemas"]["Connection"]["properties"])


async def test_events_fit_the_webhook_document(xero, contact_id):
    document = load("xero-webhooks.yaml")
    registry = Registry().with_resource("urn:xero", DRAFT202012.create_resource(document))
    for schema, edit in (("WebhookEvent", "create_invoice"), ("CreditNoteWebhookEvent", "create_credit_note")):
        await xero.edit(edit, contact_id=contact_id, webhook=True)
        delivery = xero.state.webhooks.deliveries[-1]
        first, last = delivery.sequences
        payload = {"events": delivery.events, "firstEventSequence": first, "lastEventSequence": last, "entropy": "X"}
        validator = Draft202012Validator({"$ref": f"urn:xero#/components/schemas/{schema}"}, registry=registry)
        assert [error.message for error in validator.iter_errors(payload)] == []
