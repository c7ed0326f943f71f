"""Every answer of Xero's has one meaning: for the run, the organisation, the card, the others, and the next tick."""

import pytest

from tests.support.oracle import assert_mirror_equals
from tests.support.service import CARD, open_world

UNAVAILABLE = ("failing", "xero_unavailable", "xero_unavailable")
FORBIDDEN = ("forbidden", "tenant_forbidden", "tenant_forbidden")
REMOVED = ("removed", "tenant_removed", "tenant_removed")
# What the organisation's health, its reason and its banner are while Xero answers every list of invoices like this.
LASTING = {
    "bad_token": UNAVAILABLE,
    "token_expired": UNAVAILABLE,
    "forbidden": FORBIDDEN,
    "not_found": REMOVED,
    "query_error": UNAVAILABLE,
    "validation_error": UNAVAILABLE,
    "server_error": UNAVAILABLE,
    "not_implemented": UNAVAILABLE,
    "maintenance": UNAVAILABLE,
    "unavailable": UNAVAILABLE,
    "organisation_offline": UNAVAILABLE,
    "html": UNAVAILABLE,
    "empty": UNAVAILABLE,
    "no_content": UNAVAILABLE,
    "truncated": UNAVAILABLE,
    "bad_gzip": UNAVAILABLE,
    "reset": UNAVAILABLE,
    "lost_answer": UNAVAILABLE,
    "refused": UNAVAILABLE,
}
PASSING = (
    "token_expired",
    "bad_token",
    "server_error",
    "maintenance",
    "unavailable",
    "html",
    "empty",
    "no_content",
    "truncated",
    "wrong_type",
    "bad_gzip",
    "reset",
    "lost_answer",
    "refused",
    "high_volume",
)


@pytest.fixture
async def world(dsn):
    """A world in which the pretend Xero's own limits do not mix in."""
    async with open_world(dsn, options={"limits_enabled": False}) as opened:
        yield opened


async def tenants(world):
    return {one["tenant_id"]: one for one in (await world.read(f"{CARD}/tenants"))["items"] if one["selected"]}


async def banners(world):
    return {(banner["code"], banner["tenant_id"]) for banner in (await world.card())["banners"]}


def statuses(run):
    return {(row["tenant_id"], row["resource"]): row["status"] for row in run["resources"]}


async def change_something(world, tenant_id):
    await world.edit(tenant_id, edit="bulk_edit", resource="Invoices", count=5)


@pytest.mark.parametrize("kinds", [list(LASTING)[start::3] for start in range(3)])
async def test_a_lasting_answer_troubles_one_resource_of_one_organisation_and_passes(world, kinds):
    bad, good = await world.ready(organisations=2)
    for kind in kinds:
        health, reason, banner = LASTING[kind]
        await change_something(world, bad)
        await change_something(world, good)
        await world.fault(kind, tenant_id=bad, resource="Invoices", times=None)

        run = await world.sync()

        assert (kind, run["status"]) == (kind, "partial")
        assert [key for key, status in statuses(run).items() if status != "succeeded"] == [(bad, "invoices")]
        now = await tenants(world)
        assert (kind, now[bad]["health"], now[bad]["reason"]["code"]) == (kind, health, reason)
        assert (now[good]["health"], now[good]["reason"]) == ("healthy", None)
        assert await banners(world) == {(banner, bad)}
        assert (await world.card())["state"] == "connected"
        await assert_mirror_equals(world, good)

        await world.control("DELETE", "/faults")
        assert (await world.sync())["status"] == "succeeded"
        assert (await tenants(world))[bad]["health"] == "healthy"
        assert await banners(world) == set()
        await assert_mirror_equals(world, bad)


async def test_a_passing_answer_is_asked_again_and_leaves_no_trace(world):
    [tenant_id] = await world.ready()
    for kind in PASSING:
        await change_something(world, tenant_id)
        await world.fault(kind, tenant_id=tenant_id, resource="Invoices", times=1)
        run = await world.sync()
        assert (kind, run["status"]) == (kind, "succeeded")
        assert all(order["struck"] for order in await world.control("GET", "/faults")), kind
        await world.control("DELETE", "/faults")
    await assert_mirror_equals(world, tenant_id)


async def test_an_organisation_that_is_offline_is_not_pressed(world):
    bad, good = await world.ready(organisations=2)
    await world.control("PATCH", f"/tenants/{bad}", {"is_offline": True})
    await world.control("DELETE", "/ledger")
    await world.sync()
    calls = [call["tenant_id"] for call in await world.ledger()]
    assert (calls.count(bad), calls.count(good)) == (4, 4)
    now = await tenants(world)
    assert (now[bad]["health"], now[good]["health"]) == ("failing", "healthy")
    await world.control("PATCH", f"/tenants/{bad}", {"is_offline": False})
    await world.sync()
    assert (await tenants(world))[bad]["health"] == "healthy"


async def test_a_missing_scope_is_named_on_the_card(world):
    [tenant_id] = await world.ready()
    await world.fault("scope_missing", tenant_id=tenant_id, resource="Contacts", times=None)
    run = await world.sync()
    assert statuses(run)[tenant_id, "contacts"] == "failed"
    assert statuses(run)[tenant_id, "invoices"] == "succeeded"
    card = await world.card()
    assert card["state"] == "needs_permission"
    assert card["missing_scopes"] == ["accounting.contacts.read"]
    [banner] = [banner for banner in card["banners"] if banner["code"] == "needs_permission"]
    assert "accounting.contacts.read" in banner["body"]
    assert (await tenants(world))[tenant_id]["reason"]["code"] == "needs_permission"


async def test_an_organisation_removed_within_xero_is_told_and_left_alone(world):
    gone, other = await world.ready(organisations=2)
    await world.control("DELETE", f"/tenants/{gone}/connections")
    await world.sync()
    now = await tenants(world)
    assert (now[gone]["health"], now[gone]["reason"]["code"]) == ("removed", "tenant_removed")
    assert now[other]["health"] == "healthy"
    assert await banners(world) == {("tenant_removed", gone)}
    await world.control("DELETE", "/ledger")
    run = await world.sync()
    assert {row["tenant_id"] for row in run["resources"]} == {other}
    assert {call["tenant_id"] for call in await world.ledger()} == {other}
    rows = await world.rows("SELECT count(*) AS n FROM billing_invoices WHERE source_tenant_id = :t", t=gone)
    assert rows[0]["n"] > 0


@pytest.mark.parametrize("until", ["-infinity", "infinity"])
async def test_a_pause_from_before_the_removal_neither_hides_nor_ends_it(world, until):
    [gone] = await world.ready()
    await world.control("DELETE", f"/tenants/{gone}/connections")
    await world.sync()
    await world.execute("UPDATE tenants SET paused_until = CAST(CAST(:until AS text) AS timestamptz)", until=until)
    [banner] = (await world.card())["banners"]
    assert (banner["code"], banner["until"]) == ("tenant_removed", None)


async def test_a_refusal_while_still_connected_is_forbidden_not_removed(world):
    [tenant_id] = await world.ready()
    await world.fault("forbidden", tenant_id=tenant_id, times=None)
    await world.sync()
    assert (await tenants(world))[tenant_id]["health"] == "forbidden"
    [row] = await world.rows("SELECT removed_at FROM tenants WHERE tenant_id = :t", t=tenant_id)
    assert row["removed_at"] is None


async def test_high_volume_falls_back_to_filtering_here_and_stays_so(dsn):
    async with open_world(dsn, xero_page_size=10) as world:
        [tenant_id, *_] = await world.connect()
        await world.fault("high_volume", tenant_id=tenant_id, resource="Invoices", query="where", times=None)
        await world.pick(tenant_id)
        await world.work()
        await world.control("DELETE", "/ledger")
        await world.sync()
        [call] = [call for call in await world.ledger() if call["resource"] == "Invoices"]
        assert "where" not in call["query"]
        assert (await tenants(world))[tenant_id]["health"] == "healthy"
        await assert_mirror_equals(world, tenant_id)


async def test_high_volume_in_the_middle_of_counted_pages_begins_them_anew(dsn):
    async with open_world(dsn, xero_page_size=10) as world:
        [tenant_id] = await world.ready()
        await world.control("POST", "/clock", {"advance_seconds": 900})
        await world.edit(tenant_id, edit="bulk_insert", resource="Invoices", count=60)
        suppliers = [row for row in await world.state(tenant_id, "Contacts") if row["is_supplier"]]
        for _ in range(30):
            await world.edit(
                tenant_id, edit="create_invoice", contact_id=suppliers[0]["id"], total="5.00", type="ACCPAY"
            )
        await world.fault("high_volume", resource="Invoices", query="page=4&", times=None)
        orders = (await world.control("GET", "/faults"))[0]
        struck: list[object] = []

        async def clear(request):
            if "page=4&" in str(request.url) and not struck:
                struck.append(request)
                await world.control("DELETE", "/faults")

        world.between.act = clear
        await world.sync()
        assert struck
        assert orders["kind"] == "high_volume"
        await assert_mirror_equals(world, tenant_id)


@pytest.mark.parametrize("kind", ["truncated", "reset", "bad_gzip", "html", "empty"])
async def test_a_spoiled_page_of_a_first_sync_is_never_half_applied(dsn, kind):
    async with open_world(dsn, xero_page_size=10) as world:
        [tenant_id, *_] = await world.connect()
        await world.fault(kind, tenant_id=tenant_id, share=0.3, times=None)
        await world.pick(tenant_id)
        await world.work()
        pages = await world.rows("SELECT count(*) AS n FROM billing_invoices")
        await world.control("DELETE", "/faults")
        await world.sync()
        assert pages[0]["n"] <= len(await world.state(tenant_id, "Invoices"))
        await assert_mirror_equals(world, tenant_id)


async def test_an_answer_cut_at_every_sixteenth_is_never_half_applied(world):
    [tenant_id, *_] = await world.connect()
    await world.pick(tenant_id)
    for sixteenths in range(16):
        await world.control("DELETE", "/faults")
        await world.fault("reset", resource="Invoices", keep=sixteenths / 16, times=None)
        assert (await world.sync())["status"] == "partial"
        assert not await world.rows("SELECT 1 FROM billing_invoices LIMIT 1")
    await world.control("DELETE", "/faults")
    await world.sync()
    await assert_mirror_equals(world, tenant_id)


async def test_an_empty_answer_does_not_end_a_first_sync_as_if_nothing_were_there(world):
    [tenant_id, *_] = await world.connect()
    for kind in ("empty", "no_content", "html"):
        await world.fault(kind, tenant_id=tenant_id, times=None)
    await world.pick(tenant_id)
    await world.work()
    assert (await tenants(world))[tenant_id]["data_as_of"] is None
    await world.control("DELETE", "/faults")
    await world.sync()
    await assert_mirror_equals(world, tenant_id)
