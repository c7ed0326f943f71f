"""Every response of Xero's must have one meaning for the run, its organisation, the others and the next tick."""

import pytest

from tests.support.oracle import assert_mirror_equals
from tests.support.service import open_harness

UNAVAILABLE = ("failing", "xero_unavailable", "xero_unavailable")
FORBIDDEN = ("forbidden", "tenant_forbidden", "tenant_forbidden")
REMOVED = ("removed", "tenant_removed", "tenant_removed")
# The organisation's health, its reason and its banner while Xero answers every list of invoices like this: one fault
# for each error that Xero's connector raises. The connector's own test knows the error of every fault.
LASTING_FAULTS = {
    "bad_token": UNAVAILABLE,
    "forbidden": FORBIDDEN,
    "not_found": REMOVED,
    "validation_error": UNAVAILABLE,
    "server_error": UNAVAILABLE,
    "organisation_offline": UNAVAILABLE,
    "truncated": UNAVAILABLE,
    "reset": UNAVAILABLE,
}
PASSING_FAULTS = (
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
async def harness(dsn):
    """The service and a simulated Xero without limits, so that none is hit beside the fault of a test."""
    async with open_harness(dsn, options={"limits_enabled": False}) as opened:
        yield opened


async def banners(harness):
    """Return the code of each banner with each organisation it is about."""
    found = (await harness.integration_status())["banners"]
    return {(banner["code"], tenant_id) for banner in found for tenant_id in banner["tenant_ids"] or [None]}


def statuses(run):
    return {(row["tenant_id"], row["resource"]): row["status"] for row in run["resources"]}


async def change_something(harness, tenant_id):
    await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=5)


async def test_a_lasting_fault_affects_one_resource_of_its_organisation_until_it_ends(dsn):
    options = {"limits_enabled": False, "organisations": 1 + len(LASTING_FAULTS), "invoices": 30}
    async with open_harness(dsn, options=options) as harness:
        good, *bad = await harness.connect_and_sync(organisations=1 + len(LASTING_FAULTS))
        kinds = dict(zip(bad, LASTING_FAULTS, strict=True))
        for tenant_id in (good, *bad):
            await change_something(harness, tenant_id)
        for tenant_id, kind in kinds.items():
            await harness.add_fault(kind, tenant_id=tenant_id, resource="Invoices", times=None)

        run = await harness.sync()

        assert run["status"] == "partial"
        failed = {key for key, status in statuses(run).items() if status != "succeeded"}
        assert failed == {(tenant_id, "invoices") for tenant_id in bad}
        now = await harness.selected_tenants()
        assert (now[good]["health"], now[good]["reason"]) == ("healthy", None)
        found = {kinds[each]: (now[each]["health"], now[each]["reason"]["code"]) for each in bad}
        assert found == {kind: expected[:2] for kind, expected in LASTING_FAULTS.items()}
        assert await banners(harness) == {(LASTING_FAULTS[kind][2], tenant_id) for tenant_id, kind in kinds.items()}
        assert (await harness.integration_status())["state"] == "connected"
        await assert_mirror_equals(harness, good)

        await harness.control("DELETE", "/faults")
        assert (await harness.sync())["status"] == "succeeded"
        assert {each["health"] for each in (await harness.selected_tenants()).values()} == {"healthy"}
        assert await banners(harness) == set()
        for tenant_id in bad:
            await assert_mirror_equals(harness, tenant_id)


async def test_a_passing_fault_is_retried_and_leaves_no_trace(harness):
    [tenant_id] = await harness.connect_and_sync()
    for kind in PASSING_FAULTS:
        await change_something(harness, tenant_id)
        await harness.add_fault(kind, tenant_id=tenant_id, resource="Invoices", times=1)
        run = await harness.sync()
        assert (kind, run["status"]) == (kind, "succeeded")
        assert all(fault["struck"] for fault in await harness.control("GET", "/faults")), kind
        await harness.control("DELETE", "/faults")
    await assert_mirror_equals(harness, tenant_id)


async def test_an_organisation_that_is_offline_is_called_once_per_resource(harness):
    bad, good = await harness.connect_and_sync(organisations=2)
    await harness.control("PATCH", f"/tenants/{bad}", {"is_offline": True})
    await harness.control("DELETE", "/ledger")
    await harness.sync()
    calls = [call["tenant_id"] for call in await harness.xero_calls()]
    assert (calls.count(bad), calls.count(good)) == (4, 4)
    now = await harness.selected_tenants()
    assert (now[bad]["health"], now[good]["health"]) == ("failing", "healthy")
    await harness.control("PATCH", f"/tenants/{bad}", {"is_offline": False})
    await harness.sync()
    assert (await harness.selected_tenants())[bad]["health"] == "healthy"


async def test_a_missing_scope_is_named_in_the_integration_status(harness):
    [tenant_id] = await harness.connect_and_sync()
    await harness.add_fault("scope_missing", tenant_id=tenant_id, resource="Contacts", times=None)
    run = await harness.sync()
    assert statuses(run)[tenant_id, "contacts"] == "failed"
    assert statuses(run)[tenant_id, "invoices"] == "succeeded"
    status = await harness.integration_status()
    assert status["state"] == "needs_permission"
    assert status["missing_scopes"] == ["accounting.contacts.read"]
    [banner] = [banner for banner in status["banners"] if banner["code"] == "needs_permission"]
    assert "accounting.contacts.read" in banner["body"]
    assert (await harness.selected_tenants())[tenant_id]["reason"]["code"] == "needs_permission"


async def test_an_organisation_removed_at_xero_is_shown_as_removed_and_not_called_again(harness):
    removed, other = await harness.connect_and_sync(organisations=2)
    await harness.control("DELETE", f"/tenants/{removed}/connections")
    await harness.sync()
    now = await harness.selected_tenants()
    assert (now[removed]["health"], now[removed]["reason"]["code"]) == ("removed", "tenant_removed")
    assert now[other]["health"] == "healthy"
    assert await banners(harness) == {("tenant_removed", removed)}
    await harness.control("DELETE", "/ledger")
    run = await harness.sync()
    assert {row["tenant_id"] for row in run["resources"]} == {other}
    assert {call["tenant_id"] for call in await harness.xero_calls()} == {other}
    rows = await harness.query("SELECT count(*) AS n FROM billing_invoices WHERE source_tenant_id = :t", t=removed)
    assert rows[0]["n"] > 0


async def test_a_pause_from_before_the_removal_does_not_hide_it(harness):
    [removed] = await harness.connect_and_sync()
    await harness.control("DELETE", f"/tenants/{removed}/connections")
    await harness.sync()
    for until in ("-infinity", "infinity"):
        await harness.execute(
            "UPDATE tenants SET paused_until = CAST(CAST(:until AS text) AS timestamptz)", until=until
        )
        [banner] = (await harness.integration_status())["banners"]
        assert (until, banner["code"], banner["until"]) == (until, "tenant_removed", None)


async def test_a_403_while_the_connection_exists_is_forbidden_and_not_removed(harness):
    [tenant_id] = await harness.connect_and_sync()
    await harness.add_fault("forbidden", tenant_id=tenant_id, times=None)
    await harness.sync()
    assert (await harness.selected_tenants())[tenant_id]["health"] == "forbidden"
    [row] = await harness.query("SELECT removed_at FROM tenants WHERE tenant_id = :t", t=tenant_id)
    assert row["removed_at"] is None


async def test_after_a_high_volume_error_rows_are_requested_without_a_filter_from_then_on(dsn):
    async with open_harness(dsn, xero_page_size=10) as harness:
        [tenant_id, *_] = await harness.connect()
        await harness.add_fault("high_volume", tenant_id=tenant_id, resource="Invoices", query="where", times=None)
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        await harness.control("DELETE", "/ledger")
        await harness.sync()
        [call] = [call for call in await harness.xero_calls() if call["resource"] == "Invoices"]
        assert "where" not in call["query"]
        assert (await harness.selected_tenants())[tenant_id]["health"] == "healthy"
        await assert_mirror_equals(harness, tenant_id)


async def test_a_high_volume_error_in_the_middle_of_a_pull_restarts_its_pages(dsn):
    async with open_harness(dsn, xero_page_size=10) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await harness.control("POST", "/clock", {"advance_seconds": 900})
        await harness.edit_books(tenant_id, edit="bulk_insert", resource="Invoices", count=60)
        suppliers = [row for row in await harness.xero_rows(tenant_id, "Contacts") if row["is_supplier"]]
        for _ in range(30):
            await harness.edit_books(
                tenant_id, edit="create_invoice", contact_id=suppliers[0]["id"], total="5.00", type="ACCPAY"
            )
        await harness.add_fault("high_volume", resource="Invoices", query="page=4&", times=None)
        orders = (await harness.control("GET", "/faults"))[0]
        struck: list[object] = []

        async def clear(request):
            if "page=4&" in str(request.url) and not struck:
                struck.append(request)
                await harness.control("DELETE", "/faults")

        harness.transport.after_call = clear
        await harness.sync()
        assert struck
        assert orders["kind"] == "high_volume"
        await assert_mirror_equals(harness, tenant_id)


@pytest.mark.parametrize("kind", ["truncated", "reset"])
async def test_a_broken_page_of_a_first_sync_is_never_applied_in_part(dsn, kind):
    async with open_harness(dsn, xero_page_size=10) as harness:
        [tenant_id, *_] = await harness.connect()
        await harness.add_fault(kind, tenant_id=tenant_id, share=0.3, times=None)
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        pages = await harness.query("SELECT count(*) AS n FROM billing_invoices")
        await harness.control("DELETE", "/faults")
        await harness.sync()
        assert pages[0]["n"] <= len(await harness.xero_rows(tenant_id, "Invoices"))
        await assert_mirror_equals(harness, tenant_id)


async def test_a_response_cut_off_anywhere_is_never_applied_in_part(harness):
    """Where the connector's own test cuts a response off at every sixteenth."""
    [tenant_id, *_] = await harness.connect()
    await harness.select_tenants(tenant_id)
    for sixteenths in (0, 5, 10, 15):
        await harness.control("DELETE", "/faults")
        await harness.add_fault("reset", resource="Invoices", keep=sixteenths / 16, times=None)
        assert (await harness.sync())["status"] == "partial"
        assert not await harness.query("SELECT 1 FROM billing_invoices LIMIT 1")
    await harness.control("DELETE", "/faults")
    await harness.sync()
    await assert_mirror_equals(harness, tenant_id)


async def test_an_empty_response_does_not_end_a_first_sync_as_if_there_were_no_rows(harness):
    [tenant_id, *_] = await harness.connect()
    for kind in ("empty", "no_content", "html"):
        await harness.add_fault(kind, tenant_id=tenant_id, times=None)
    await harness.select_tenants(tenant_id)
    await harness.run_until_idle()
    assert (await harness.selected_tenants())[tenant_id]["data_as_of"] is None
    await harness.control("DELETE", "/faults")
    await harness.sync()
    await assert_mirror_equals(harness, tenant_id)
