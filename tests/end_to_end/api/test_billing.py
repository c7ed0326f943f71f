"""The billing API of the whole service: figures must equal the vendor's books, and no route may be open to all."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator

from app.main import describe
from tests.support.service import INTEGRATION

UNKNOWN_ID = "8c0f4a5e-0000-4000-8000-000000000000"
PUBLIC_OPERATIONS = {("GET", f"{INTEGRATION}/callback"), ("POST", "/api/webhooks/xero")}
EVERYONE = {"admin", "analyst", "viewer", "service"}
# Roles by path; every other GET is for everyone, and every other method for administrators alone.
ROLES_BY_PATH = {
    f"{INTEGRATION}/audit-log": {"admin"},
    "/api/billing/summaries": EVERYONE,
    "/api/alerts/{alert_id}/acknowledge": {"analyst", "admin"},
    "/api/alerts/{alert_id}/resolve": {"analyst", "admin"},
    "/api/alerts/{alert_id}/mute": {"analyst", "admin"},
    "/api/matches/{link_id}": {"analyst", "admin"},
    "/api/matches/bulk": {"analyst", "admin"},
    "/api/psa/customers": {"service", "admin"},
    "/api/psa/services": {"service", "admin"},
    "/api/psa/timeline-events": {"service", "admin"},
}
LISTS = ["customers", "invoices", "payments", "credit-memos", "alerts", "matches"]


def operations(harness):
    for path, methods in harness.app.openapi()["paths"].items():
        if path.startswith("/api/"):
            for method, operation in methods.items():
                yield method.upper(), path, operation


def with_unknown_ids(path):
    for name in ("customer_id", "invoice_id", "alert_id", "link_id", "run_id", "event_id"):
        path = path.replace(f"{{{name}}}", UNKNOWN_ID)
    return path


async def test_no_operation_answers_without_a_valid_token(harness):
    protected = [(method, path) for method, path, _ in operations(harness) if (method, path) not in PUBLIC_OPERATIONS]
    assert len(protected) > 30
    for method, path in protected:
        for header in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}):
            refused = await harness.client.request(method, with_unknown_ids(path), json={}, headers=header)
            assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated"), (method, path)


async def test_every_operation_is_open_to_its_roles_alone(harness):
    for method, path, _ in operations(harness):
        # The stream of progress events never ends; the same dependency checks its roles.
        if (method, path) in PUBLIC_OPERATIONS or path == f"{INTEGRATION}/progress":
            continue
        allowed = ROLES_BY_PATH.get(path, EVERYONE if method == "GET" else {"admin"})
        for role in EVERYONE - allowed:
            refused = await harness.call(method, with_unknown_ids(path), role=role, json={"wrong": 1})
            assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed"), (method, path, role)
        for role in allowed - {"admin"}:
            answer = await harness.call(method, with_unknown_ids(path), role=role, json={"wrong": 1})
            assert answer.status_code not in {401, 403}, (method, path, role)


async def test_every_operation_refuses_an_unknown_parameter(harness):
    for method, path, operation in operations(harness):
        if method == "GET" and (method, path) not in PUBLIC_OPERATIONS:
            refused = await harness.call(method, f"{with_unknown_ids(path)}?no_such_parameter=1")
            assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/query/no_such_parameter")
            assert "422" in operation["responses"]


async def expected_figures(harness, tenant_id, today):
    """Compute what is invoiced this month, outstanding, overdue and how many are, by contact and currency."""
    figures: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(lambda: [*[Decimal(0)] * 3, 0]))
    for row in await harness.xero_rows(tenant_id, "Invoices"):
        if row["type"] != "ACCREC" or row["status"] not in {"AUTHORISED", "PAID"}:
            continue
        totals = figures[row["contact_id"]][row["currency"]]
        due = Decimal(row["amount_due"]) if row["status"] == "AUTHORISED" else Decimal(0)
        if row["issued_on"][:7] == f"{today:%Y-%m}":
            totals[0] += Decimal(row["total"])
        totals[1] += due
        if due > 0 and str(row["due_on"]) < str(today):
            totals[2] += due
            totals[3] += 1
    return figures


async def test_the_billing_summaries_equal_the_vendor_s_books(harness):
    [tenant_id] = await harness.connect_and_sync()
    expected = await expected_figures(harness, tenant_id, datetime.now(UTC).date())
    customers = (await harness.read("/api/customers", limit=200))["items"]
    assert len(customers) > 3
    for customer in customers:
        [link] = customer["links"]
        summary = await harness.read(f"/api/customers/{customer['id']}/billing")
        shown = {
            item["currency"]: [
                *(Decimal(item[name]) for name in ("invoiced_this_month", "outstanding", "overdue")),
                item["overdue_count"],
            ]
            for item in summary["currencies"]
        }
        expected_of_contact = expected[link["external_id"]]
        assert {name: shown[name] for name in expected_of_contact} == expected_of_contact
        assert (summary["connected"], summary["has_data"]) == (True, bool(summary["recent_invoices"] or shown))
        assert summary["data_as_of"]
    bulk = await harness.call(
        "POST", "/api/billing/summaries", json={"customer_ids": [item["id"] for item in customers]}
    )
    assert [item["customer_id"] for item in bulk.json()["items"]] == [item["id"] for item in customers]


async def test_after_a_disconnect_the_figures_stay_and_are_marked(harness):
    await harness.connect_and_sync()
    customer = (await harness.read("/api/invoices"))["items"][0]["customer_id"]
    before = await harness.read(f"/api/customers/{customer}/billing")
    await harness.call("POST", f"{INTEGRATION}/disconnect")
    after = await harness.read(f"/api/customers/{customer}/billing")
    no_longer_synced = [{**source, "is_synced": False} for source in before["source_details"]]
    assert after == {**before, "connected": False, "source_details": no_longer_synced}


async def test_another_vendor_s_rows_are_listed_beside_and_in_the_same_form(harness):
    await harness.connect_and_sync()
    invoice = (await harness.read("/api/invoices", status="open"))["items"][0]
    await harness.execute(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, number, status, currency,"
        " total, paid, credited, balance, issued_on, due_on)"
        " VALUES ('quickbooks', 'realm-1', 'q-1', CAST(:customer AS uuid), 'Q-1', 'open', :currency, 5, 0, 0, 5,"
        " current_date, current_date)",
        customer=invoice["customer_id"],
        currency=invoice["currency"],
    )
    summary = await harness.read(f"/api/customers/{invoice['customer_id']}/billing")
    assert summary["sources"] == ["quickbooks", "xero"]
    assert {item["source"] for item in summary["recent_invoices"]} == {"quickbooks", "xero"}
    [other] = (await harness.read("/api/invoices", source="quickbooks"))["items"]
    assert other.keys() == invoice.keys()


async def test_every_response_is_what_the_schema_promises(harness):
    await harness.connect_and_sync()
    schema = harness.app.openapi()
    customer = (await harness.read("/api/invoices"))["items"][0]["customer_id"]
    invoice = (await harness.read("/api/payments"))["items"][0]["invoice_id"]
    paths = {f"/api/{name}": f"/api/{name}" for name in LISTS}
    paths |= {"/api/invoices/{invoice_id}": f"/api/invoices/{invoice}"}
    for path in ("", "/billing", "/billing/months", "/billing/aging", "/timeline"):
        paths["/api/customers/{customer_id}" + path] = f"/api/customers/{customer}{path}"
    paths |= {path: path for path in ("/api/billing/aging", "/api/alerts/counts", "/api/matches/counts")}
    for path, url in paths.items():
        answer = await harness.read(url)
        promised = schema["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        OAS31Validator({**promised, "components": schema["components"]}).validate(answer)


def test_every_error_the_schema_promises_is_a_problem():
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    schema = json.loads(describe())
    answers = [
        (method, path, status, answer)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    ]
    assert len(answers) > 300
    assert [(*operation, answer) for *operation, answer in answers if answer["content"] != problem] == []


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    name=st.sampled_from(LISTS),
    # One service for all examples is enough: reading changes nothing that the next one could find.
    params=st.dictionaries(
        st.sampled_from(
            ["search", "status", "overdue", "currency", "customer_id", "issued_from", "limit", "cursor", "state"]
        ),
        st.text()
        | st.sampled_from(["%", "_", "\\", "'", "\0", "9999-12-31", "0001-01-01", UNKNOWN_ID, "open", "x" * 10_000]),
        max_size=3,
    ),
)
async def test_no_parameter_breaks_a_list(harness, name, params):
    answer = await harness.call("GET", f"/api/{name}", params=params)
    assert answer.status_code in {200, 400, 422}, answer.text
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
