"""GET and DELETE of connections: their owners, their dates, and what a consent changes."""

import re

from tests.simulator.client import BROAD


async def test_a_connection_has_the_recorded_fields_and_dates_without_zone(xero):
    rows = await xero.connections()
    assert [row["tenantType"] for row in rows] == ["ORGANISATION", "ORGANISATION", "PRACTICE"]
    assert set(rows[0]) == {
        "id", "authEventId", "tenantId", "tenantType", "tenantName", "createdDateUtc", "updatedDateUtc",
    }  # fmt: skip
    for row in rows:
        assert re.fullmatch(r"2026-11-22T10:00:00\.\d{7}", row["createdDateUtc"])


async def test_the_path_may_be_written_in_any_case_and_carries_no_limit_headers(xero):
    response = await xero.http.get("/Connections", headers=xero.headers())
    assert response.status_code == 200
    assert not [name for name in response.headers if "limit" in name]
    assert "xero-correlation-id" in response.headers


async def test_a_tenant_id_header_is_not_needed(xero):
    headers = xero.headers()
    del headers["xero-tenant-id"]
    assert (await xero.http.get("/connections", headers=headers)).status_code == 200


async def test_each_consent_has_its_own_event_and_the_filter_finds_it(xero, clock):
    before = await xero.connections()
    clock.advance(60)
    await xero.control("PUT", "/consent", tenants=[xero.tenant])
    await xero.sign_in()
    after = {row["tenantId"]: row for row in await xero.connections()}
    mine = after[xero.tenant]
    assert mine["id"] == before[0]["id"]
    assert mine["createdDateUtc"] == before[0]["createdDateUtc"]
    assert mine["updatedDateUtc"] > before[0]["updatedDateUtc"]
    assert mine["authEventId"] != before[0]["authEventId"]
    assert [row["tenantId"] for row in await xero.connections(authEventId=mine["authEventId"])] == [xero.tenant]
    assert len(await xero.connections(authEventId=before[0]["authEventId"])) == 2


async def test_deleting_a_connection_removes_only_that_tenant_and_keeps_the_tokens(xero):
    first, *others = await xero.connections()
    response = await xero.http.delete(f"/connections/{first['id']}", headers=xero.headers())
    assert (response.status_code, response.content) == (204, b"")
    assert await xero.connections() == others
    assert (await xero.get("Invoices", page=1)).status_code == 403
    xero.tenant = others[0]["tenantId"]
    assert (await xero.get("Invoices", page=1)).status_code == 200
    assert (await xero.refresh()).status_code == 200


async def test_the_tenant_id_is_not_a_connection_id(xero):
    response = await xero.http.delete(f"/connections/{xero.tenant}", headers=xero.headers())
    assert response.status_code == 404
    assert len(await xero.connections()) == 3


async def test_a_connection_of_another_user_is_not_found(xero):
    mine = (await xero.connections())[0]["id"]
    await xero.control("PUT", "/user", id=list(xero.state.users)[1])
    await xero.sign_in(BROAD)
    assert (await xero.http.delete(f"/connections/{mine}", headers=xero.headers())).status_code == 404


async def test_a_reconnected_tenant_keeps_its_creation_date(xero, clock):
    first = (await xero.connections())[0]
    await xero.http.delete(f"/connections/{first['id']}", headers=xero.headers())
    clock.advance(3600)
    await xero.sign_in()
    again = (await xero.connections())[0]
    assert again["createdDateUtc"] == first["createdDateUtc"]
    assert again["updatedDateUtc"] == "2026-11-22T11:00:00.2500000"


async def test_an_administrator_can_remove_the_app_within_xero(xero):
    await xero.control("DELETE", f"/tenants/{xero.tenant}/connections")
    assert xero.tenant not in {row["tenantId"] for row in await xero.connections()}
    assert (await xero.get("Invoices", page=1)).status_code == 403


async def test_connections_need_a_valid_token(xero, clock):
    clock.advance(1800)
    response = await xero.http.get("/connections", headers=xero.headers())
    assert (response.status_code, response.json()["Title"]) == (401, "Unauthorized")


async def test_writing_to_connections_is_not_offered(xero):
    assert (await xero.http.post("/connections", headers=xero.headers())).status_code == 404
