"""The selection of tenants: what may be selected, and that an invalid selection changes nothing."""

from tests.support.service import CARD, open_world


async def listed(world, **params):
    return (await world.read(f"{CARD}/tenants", **params))["items"]


async def test_an_empty_selection_is_refused_and_changes_nothing(world):
    tenant_ids = await world.connect()
    await world.pick(tenant_ids[0])

    response = await world.call("PUT", f"{CARD}/tenants", json={"tenant_ids": []})

    assert (response.status_code, response.json()["code"]) == (422, "no_tenant_selected")
    assert [row["selected"] for row in await listed(world)].count(True) == 1


async def test_an_unknown_organisation_is_refused_and_changes_nothing(world):
    tenant_ids = await world.connect()
    await world.pick(tenant_ids[0])

    body = {"tenant_ids": [tenant_ids[1], "00000000-0000-4000-8000-000000000000"]}
    response = await world.call("PUT", f"{CARD}/tenants", json=body)

    assert (response.status_code, response.json()["code"]) == (422, "unknown_tenant")
    assert [row["tenant_id"] for row in await listed(world) if row["selected"]] == [tenant_ids[0]]


async def test_nothing_syncs_until_an_organisation_is_selected(world):
    await world.connect()
    response = await world.call("POST", f"{CARD}/sync")
    assert (response.status_code, response.json()["code"]) == (409, "no_tenant_selected")
    assert "pick an organisation" in response.json()["detail"]

    assert await world.engine.tick() is None
    await world.work()
    assert await world.ledger() == []


async def test_sync_now_without_an_active_grant_says_to_connect_again(world):
    await world.ready()
    await world.execute("UPDATE grants SET state = 'reconnect_required'")
    for path in ("sync", "reconcile"):
        response = await world.call("POST", f"{CARD}/{path}")
        assert (response.status_code, response.json()["code"]) == (409, "no_tenant_selected")
        assert "connect again" in response.json()["detail"]


async def test_the_selection_is_the_whole_selection(world):
    tenant_ids = await world.connect()
    await world.pick(*tenant_ids[:2])
    await world.pick(tenant_ids[2])
    assert [row["tenant_id"] for row in await listed(world) if row["selected"]] == [tenant_ids[2]]


async def test_a_selected_organisation_begins_to_sync_at_once_and_has_a_health(world):
    tenant_ids = await world.connect()
    await world.pick(tenant_ids[0])
    before = {row["tenant_id"]: row for row in await listed(world)}
    assert before[tenant_ids[0]]["health"] == "first_sync"
    assert before[tenant_ids[1]]["health"] == "not_selected"

    await world.work()

    after = {row["tenant_id"]: row for row in await listed(world)}[tenant_ids[0]]
    assert after["health"] == "healthy"
    assert after["calls_today"] == 4
    assert after["daily_cap"] == 5000
    assert after["bytes_this_month"] > 0
    assert after["data_as_of"] is not None
    assert after["first_sync_progress"] is None


async def test_a_hundred_organisations_are_paged_and_searched(dsn):
    sizes = {"organisations": 101, "contacts": 1, "invoices": 1, "payments": 0, "credit_notes": 0}
    async with open_world(dsn, options=sizes) as world:
        await world.connect()
        first = await world.read(f"{CARD}/tenants")
        assert len(first["items"]) == 50
        names = [row["name"] for row in first["items"]]
        cursor = first["next_cursor"]
        while cursor:
            page = await world.read(f"{CARD}/tenants", cursor=cursor)
            names += [row["name"] for row in page["items"]]
            cursor = page["next_cursor"]
        assert len(names) == 101
        assert names == sorted(names, key=str.lower)
        wanted = names[7][:6].upper()
        found = await listed(world, search=wanted, limit="200")
        assert {row["name"] for row in found} == {name for name in names if wanted.lower() in name.lower()}


async def test_pages_miss_no_tenant_whose_name_python_and_postgresql_lower_differently(world):
    await world.connect()
    await world.execute("UPDATE tenants SET name = 'ΟΔΟΣ'")
    [first, *others] = [
        row["tenant_id"] for row in await world.rows("SELECT tenant_id FROM tenants ORDER BY tenant_id")
    ]

    page = await world.read(f"{CARD}/tenants", limit=1)
    rest = await world.read(f"{CARD}/tenants", limit=50, cursor=page["next_cursor"])

    assert [tenant["tenant_id"] for tenant in page["items"]] == [first]
    assert [tenant["tenant_id"] for tenant in rest["items"]] == others


async def test_only_an_admin_may_change_the_set_up(world):
    for role in ("viewer", "analyst", "service"):
        for method, path in (("PUT", "/tenants"), ("POST", "/connect"), ("POST", "/sync"), ("POST", "/disconnect")):
            response = await world.call(method, f"{CARD}{path}", role=role, json={})
            assert response.status_code == 403, (role, path)
        assert (await world.call("GET", CARD, role=role)).status_code == 200


async def test_the_pre_flight_check_says_what_is_wrong_and_how_to_fix_it(world):
    before = (await world.call("POST", f"{CARD}/check")).json()
    assert before["ok"] is False
    assert [check["name"] for check in before["checks"] if not check["ok"]] == ["connection", "organisations"]
    assert all(check["fix"] for check in before["checks"] if not check["ok"])

    await world.ready()
    after = (await world.call("POST", f"{CARD}/check")).json()
    assert after["ok"] is True
    assert after["summary"] == "Connected to Xero: 3 organisations visible."
