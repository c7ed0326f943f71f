"""The selection of tenants: what may be selected, and that an invalid selection changes nothing."""

from tests.support.service import INTEGRATION, open_harness


async def listed(harness, **params):
    return (await harness.read(f"{INTEGRATION}/tenants", **params))["items"]


async def test_an_empty_selection_is_refused_and_changes_nothing(harness):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])

    response = await harness.call("PUT", f"{INTEGRATION}/tenants", json={"tenant_ids": []})

    assert (response.status_code, response.json()["code"]) == (422, "no_tenant_selected")
    assert [row["selected"] for row in await listed(harness)].count(True) == 1


async def test_an_unknown_organisation_is_refused_and_changes_nothing(harness):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])

    body = {"tenant_ids": [tenant_ids[1], "00000000-0000-4000-8000-000000000000"]}
    response = await harness.call("PUT", f"{INTEGRATION}/tenants", json=body)

    assert (response.status_code, response.json()["code"]) == (422, "unknown_tenant")
    assert [row["tenant_id"] for row in await listed(harness) if row["selected"]] == [tenant_ids[0]]


async def test_nothing_syncs_until_an_organisation_is_selected(harness):
    await harness.connect()
    response = await harness.call("POST", f"{INTEGRATION}/sync")
    assert (response.status_code, response.json()["code"]) == (409, "no_tenant_selected")
    assert "pick an organisation" in response.json()["detail"]

    assert await harness.engine.tick() is None
    await harness.run_until_idle()
    assert await harness.xero_calls() == []


async def test_sync_now_without_an_active_grant_says_to_connect_again(harness):
    await harness.connect_and_sync()
    for state in ("reconnect_required", "disconnected"):
        await harness.execute("UPDATE grants SET state = :state", state=state)
        for path in ("sync", "reconcile"):
            response = await harness.call("POST", f"{INTEGRATION}/{path}")
            assert (response.status_code, response.json()["code"]) == (409, "reconnect_required")
            assert "Connect again" in response.json()["detail"]
    assert len((await harness.read(f"{INTEGRATION}/runs"))["items"]) == 1


async def test_sync_now_without_an_organisation_that_still_exists_says_to_pick_others(harness):
    await harness.connect_and_sync()
    await harness.execute("UPDATE tenants SET removed_at = now()")
    response = await harness.call("POST", f"{INTEGRATION}/sync")
    assert (response.status_code, response.json()["code"]) == (409, "no_tenant_selected")
    assert "pick others" in response.json()["detail"]


async def test_the_selection_is_the_whole_selection(harness):
    tenant_ids = await harness.connect()
    await harness.select_tenants(*tenant_ids[:2])
    await harness.select_tenants(tenant_ids[2])
    assert [row["tenant_id"] for row in await listed(harness) if row["selected"]] == [tenant_ids[2]]


async def test_a_selected_organisation_begins_to_sync_at_once_and_has_a_health(harness):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])
    before = {row["tenant_id"]: row for row in await listed(harness)}
    assert before[tenant_ids[0]]["health"] == "first_sync"
    assert before[tenant_ids[1]]["health"] == "not_selected"

    await harness.run_until_idle()

    after = {row["tenant_id"]: row for row in await listed(harness)}[tenant_ids[0]]
    assert after["health"] == "healthy"
    assert after["calls_today"] == 4
    assert after["daily_cap"] == 5000
    assert after["bytes_this_month"] > 0
    assert after["data_as_of"] is not None
    assert after["first_sync_progress"] is None


async def test_a_hundred_organisations_are_paged_and_searched(dsn):
    sizes = {"organisations": 101, "contacts": 1, "invoices": 1, "payments": 0, "credit_notes": 0}
    async with open_harness(dsn, options=sizes) as harness:
        await harness.connect()
        first = await harness.read(f"{INTEGRATION}/tenants")
        assert len(first["items"]) == 50
        names = [row["name"] for row in first["items"]]
        cursor = first["next_cursor"]
        while cursor:
            page = await harness.read(f"{INTEGRATION}/tenants", cursor=cursor)
            names += [row["name"] for row in page["items"]]
            cursor = page["next_cursor"]
        assert len(names) == 101
        assert names == sorted(names, key=str.lower)
        wanted = names[7][:6].upper()
        found = await listed(harness, search=wanted, limit="200")
        assert {row["name"] for row in found} == {name for name in names if wanted.lower() in name.lower()}


async def test_pages_miss_no_tenant_whose_name_python_and_postgresql_lower_differently(harness):
    await harness.connect()
    await harness.execute("UPDATE tenants SET name = 'ΟΔΟΣ'")
    [first, *others] = [
        row["tenant_id"] for row in await harness.query("SELECT tenant_id FROM tenants ORDER BY tenant_id")
    ]

    page = await harness.read(f"{INTEGRATION}/tenants", limit=1)
    rest = await harness.read(f"{INTEGRATION}/tenants", limit=50, cursor=page["next_cursor"])

    assert [tenant["tenant_id"] for tenant in page["items"]] == [first]
    assert [tenant["tenant_id"] for tenant in rest["items"]] == others


async def test_only_an_admin_may_change_the_set_up(harness):
    for role in ("viewer", "analyst", "service"):
        for method, path in (("PUT", "/tenants"), ("POST", "/connect"), ("POST", "/sync"), ("POST", "/disconnect")):
            response = await harness.call(method, f"{INTEGRATION}{path}", role=role, json={})
            assert response.status_code == 403, (role, path)
        assert (await harness.call("GET", INTEGRATION, role=role)).status_code == 200
