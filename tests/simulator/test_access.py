"""Authorization of the accounting API: tokens, tenants, scopes, and the body of each error."""

from uuid import UUID

import pytest

from tests.simulator.client import BROAD, GRANULAR, RESOURCES


def problem(response) -> tuple[int, str, str]:
    body = response.json()
    assert set(body) == {"Type", "Title", "Status", "Detail", "Instance", "Extensions"}
    assert (body["Type"], body["Extensions"], body["Status"]) == (None, {}, response.status_code)
    assert str(UUID(body["Instance"])) == body["Instance"]
    return response.status_code, body["Title"], body["Detail"]


@pytest.mark.parametrize("authorization", ["Bearer nonsense", "Bearer", "", "Basic eDp5"])
async def test_an_invalid_token_is_a_401(xero, authorization):
    response = await xero.get("Invoices", headers={"Authorization": authorization})
    assert problem(response) == (401, "Unauthorized", "AuthenticationUnsuccessful")


@pytest.mark.parametrize("tenant", ["", "not-a-tenant", "00000000-0000-0000-0000-000000000000"])
async def test_a_tenant_that_is_not_connected_is_forbidden(xero, tenant):
    xero.tenant = tenant
    assert problem(await xero.get("Invoices")) == (403, "Forbidden", "AuthenticationUnsuccessful")


async def test_a_missing_tenant_header_is_forbidden(xero):
    headers = xero.headers()
    del headers["xero-tenant-id"]
    response = await xero.http.get("/api.xro/2.0/Invoices", headers=headers)
    assert problem(response) == (403, "Forbidden", "AuthenticationUnsuccessful")


async def test_a_practice_is_connected_but_its_accounting_is_forbidden(xero):
    xero.tenant = next(row["tenantId"] for row in await xero.connections() if row["tenantType"] == "PRACTICE")
    assert problem(await xero.get("Invoices"))[0] == 403


async def test_a_second_practice_is_a_practice_manager(xero):
    await xero.control("POST", "/reset", practices=2, organisations=1)
    await xero.sign_in()
    assert [row["tenantType"] for row in await xero.connections()] == ["ORGANISATION", "PRACTICE", "PRACTICEMANAGER"]


@pytest.mark.parametrize("scope", [BROAD, GRANULAR])
async def test_both_scope_sets_read_all_four_resources_but_not_the_organisation(anonymous, scope):
    await anonymous.sign_in(scope)
    for resource in (*RESOURCES, "Overpayments", "Prepayments"):
        assert (await anonymous.get(resource, page=1)).status_code == 200, resource
    response = await anonymous.get("Organisation")
    assert problem(response) == (401, "Unauthorized", "AuthorizationUnsuccessful")
    assert response.headers["www-authenticate"] == "insufficient_scope"


@pytest.mark.parametrize(
    ("scope", "readable"),
    [
        ("accounting.contacts.read", {"Contacts"}),
        ("accounting.invoices.read", {"Invoices", "CreditNotes"}),
        ("accounting.payments.read", {"Payments"}),
        ("accounting.transactions.read", {"Invoices", "CreditNotes", "Payments"}),
        ("openid profile email offline_access", set()),
    ],
)
async def test_each_scope_allows_only_its_own_resources(anonymous, scope, readable):
    await anonymous.sign_in(scope)
    assert {name for name in RESOURCES if (await anonymous.get(name, page=1)).status_code == 200} == readable


async def test_a_write_is_not_implemented(xero):
    response = await xero.http.post("/api.xro/2.0/Invoices", json={}, headers=xero.headers())
    assert response.status_code == 501
    assert "<ErrorNumber>20</ErrorNumber>" in response.text


async def test_an_offline_organisation_does_not_affect_the_others(xero):
    await xero.control("PATCH", f"/tenants/{xero.tenant}", is_offline=True)
    response = await xero.get("Invoices", page=1)
    assert (response.status_code, response.text) == (503, "The Organisation is offline")
    xero.tenant = list(xero.state.organisations)[1]
    assert (await xero.get("Invoices", page=1)).status_code == 200


async def test_letter_case_of_the_resource_does_not_matter(xero):
    assert (await xero.get("invoices", page=1)).json()["Invoices"]
