"""From a webhook to a row: folded, read once, never in the way of another, and never lost."""

import pytest

from tests.support.clocks import shifted_clock
from tests.support.oracle import assert_mirror_equals
from tests.support.service import INTEGRATION, open_harness
from tests.support.waiting import wait_until

SECOND = "2026-11-22T10:00:{:02d}.000"


def event(tenant_id, row_id, category="INVOICE", number=0, **more):
    return {
        "resourceUrl": f"https://api.xero.com/api.xro/2.0/Invoices/{row_id}",
        "resourceId": row_id,
        "tenantId": tenant_id,
        "tenantType": "ORGANISATION",
        "eventCategory": category,
        "eventType": "UPDATE",
        "eventDateUtc": SECOND.format(number),
        **more,
    }


async def send(harness, *events):
    await harness.control("POST", "/webhook/send", {"events": list(events)})


async def receivables(harness, tenant_id, most=100):
    rows = [row["id"] for row in await harness.xero_rows(tenant_id, "Invoices") if row["type"] == "ACCREC"]
    return rows[:most]


async def inbox(harness):
    return (await harness.read(f"{INTEGRATION}/webhook-events", limit="200"))["items"]


async def is_everything_processed(harness):
    return statuses(await inbox(harness)) == {"processed"}


def statuses(events):
    return {one["status"] for one in events}


async def test_many_events_of_one_row_are_one_read_and_many_rows_are_read_together(harness):
    [tenant_id] = await harness.connect_and_sync()
    rows = await receivables(harness, tenant_id, 30)
    await send(harness, *(event(tenant_id, rows[0], number=number) for number in range(40)))
    await send(harness, *(event(tenant_id, row_id, number=50) for row_id in rows))
    await harness.control("DELETE", "/ledger")
    await harness.run_until_idle()
    [call] = await harness.xero_calls()
    assert call["resource"] == "Invoices"
    assert all(row_id in call["query"] for row_id in rows)
    assert len(await inbox(harness)) == 70
    assert statuses(await inbox(harness)) == {"processed"}
    [run] = [one for one in (await harness.read(f"{INTEGRATION}/runs"))["items"] if one["trigger"] == "webhook"]
    assert (run["status"], run["resources"][0]["fetched"]) == ("succeeded", len(rows))


async def test_a_redelivery_is_counted_and_costs_no_second_read(harness):
    [tenant_id] = await harness.connect_and_sync()
    [row_id] = await receivables(harness, tenant_id, 1)
    await send(harness, event(tenant_id, row_id))
    await harness.run_until_idle()
    await harness.control("DELETE", "/ledger")
    await send(harness, event(tenant_id, row_id))
    await send(harness, event(tenant_id, row_id), event(tenant_id, row_id))
    await harness.run_until_idle()
    assert await harness.xero_calls() == []
    [one] = await inbox(harness)
    assert (one["status"], one["deliveries"]) == ("processed", 4)


async def test_payables_are_read_once_and_leave_no_row(harness):
    [tenant_id] = await harness.connect_and_sync()
    supplier = next(row for row in await harness.xero_rows(tenant_id, "Contacts") if row["is_supplier"])
    made = await harness.edit_books(
        tenant_id, edit="create_invoice", contact_id=supplier["id"], total="9.00", type="ACCPAY", webhook=True
    )
    row_id = made["changes"][0]["id"]
    await harness.run_until_idle()
    assert [one["status"] for one in await inbox(harness) if one["resource_id"] == row_id] == ["ignored"]
    assert not await harness.query("SELECT 1 FROM billing_invoices WHERE external_id = :i", i=row_id)


async def test_an_organisation_that_is_not_selected_costs_no_call(harness):
    [tenant_id] = await harness.connect_and_sync()
    others = [one for one in await harness.control("GET", "/tenants") if one["tenant_id"] != tenant_id]
    stranger = "0c0ffee0-0000-4000-8000-000000000000"
    await harness.control("DELETE", "/ledger")
    await send(harness, *(event(one, stranger) for one in (stranger, others[0]["tenant_id"])))
    await harness.run_until_idle()
    assert await harness.xero_calls() == []
    assert statuses(await inbox(harness)) == {"ignored"}


async def test_events_that_wait_are_closed_when_their_organisation_is_deselected(harness):
    [tenant_id] = await harness.connect_and_sync()
    others = [
        one["tenant_id"] for one in (await harness.read(f"{INTEGRATION}/tenants"))["items"] if not one["selected"]
    ]
    [row_id] = await receivables(harness, tenant_id, 1)
    await send(harness, event(tenant_id, row_id))
    await harness.select_tenants(others[0])
    await harness.run_until_idle()
    assert [one["status"] for one in await inbox(harness) if one["tenant_id"] == tenant_id] == ["ignored"]


async def test_one_poison_event_dies_alone_after_a_bounded_number_of_tries(dsn):
    async with (
        shifted_clock(dsn) as clock,
        open_harness(dsn, clock=clock, options={"limits_enabled": False}) as harness,
    ):
        [tenant_id] = await harness.connect_and_sync()
        poison, *others = await receivables(harness, tenant_id, 12)
        await harness.add_fault("server_error", resource="Invoices", query=poison, times=None)
        await send(harness, *(event(tenant_id, row_id) for row_id in (poison, *others)))
        for _ in range(4):
            await harness.run_until_idle()
            await clock.advance(60)
        found = {one["resource_id"]: one for one in await inbox(harness)}
        assert statuses([found[row_id] for row_id in others]) == {"processed"}
        assert found[poison]["status"] == "failed"

        for _ in range(12):
            await harness.run_until_idle()
            await clock.advance(4000)
        dead = next(one for one in await inbox(harness) if one["resource_id"] == poison)
        assert (dead["status"], dead["attempts"]) == ("dead", 8)
        assert "unavailable" in dead["error"]
        await harness.control("DELETE", "/ledger")
        await clock.advance(100_000)
        await harness.run_until_idle()
        assert await harness.xero_calls() == []

        # A person may have it tried again.
        await harness.control("DELETE", "/faults")
        replayed = await harness.call(
            "POST",
            f"{INTEGRATION}/webhook-events/replay",
            json={"ids": [dead["id"]], "reason": "It should be well now."},
        )
        assert replayed.json() == {"replayed": 1}
        await harness.run_until_idle()
        assert statuses(await inbox(harness)) == {"processed"}


async def test_a_row_that_cannot_be_read_dies_with_its_reason_and_is_kept_aside(dsn):
    async with (
        shifted_clock(dsn) as clock,
        open_harness(dsn, clock=clock, options={"limits_enabled": False}) as harness,
    ):
        [tenant_id] = await harness.connect_and_sync()
        bad, good = await receivables(harness, tenant_id, 2)
        await harness.edit_books(tenant_id, edit="spoil", resource="Invoices", id=bad, fields={"Total": "a lot"})
        await send(harness, event(tenant_id, bad), event(tenant_id, good))
        for _ in range(10):
            await harness.run_until_idle()
            await clock.advance(4000)
        found = {one["resource_id"]: one for one in await inbox(harness)}
        assert (found[good]["status"], found[bad]["status"]) == ("processed", "dead")
        assert [row["external_id"] for row in await harness.query("SELECT * FROM quarantined_rows")] == [bad]


async def test_an_event_that_breaks_something_here_keeps_no_other_from_being_worked_off(dsn):
    async with (
        shifted_clock(dsn) as clock,
        open_harness(dsn, clock=clock, options={"limits_enabled": False}) as harness,
    ):
        [tenant_id] = await harness.connect_and_sync()
        poison, *others = await receivables(harness, tenant_id, 8)
        await harness.execute(
            "CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF NEW.external_id = '{poison}' THEN RAISE 'broken'; END IF; RETURN NEW; END $$"
        )
        await harness.execute(
            "CREATE TRIGGER break_it BEFORE INSERT OR UPDATE ON billing_invoices"
            " FOR EACH ROW EXECUTE FUNCTION break_it()"
        )
        for row_id in (poison, *others):
            await harness.edit_books(tenant_id, edit="change_reference", id=row_id, reference="New")
        await send(harness, *(event(tenant_id, row_id) for row_id in (poison, *others)))
        for _ in range(14):
            await harness.run_until_idle()
            await clock.advance(4000)
        found = {one["resource_id"]: one for one in await inbox(harness)}
        assert statuses([found[row_id] for row_id in others]) == {"processed"}
        assert found[poison]["status"] == "dead"
        assert "broken" not in found[poison]["error"]
        rows = await harness.query("SELECT reference FROM billing_invoices WHERE external_id = ANY(:ids)", ids=others)
        assert {row["reference"] for row in rows} == {"New"}


@pytest.mark.parametrize("kind", ["organisation_offline", "forbidden", "limit_day"])
async def test_what_is_not_an_events_fault_is_not_counted_against_it(dsn, kind):
    async with (
        shifted_clock(dsn) as clock,
        open_harness(dsn, clock=clock, options={"limits_enabled": False}) as harness,
    ):
        [tenant_id] = await harness.connect_and_sync()
        [row_id] = await receivables(harness, tenant_id, 1)
        await harness.add_fault(kind, tenant_id=tenant_id, times=None, retry_after="600")
        await send(harness, event(tenant_id, row_id))
        for _ in range(12):
            await harness.run_until_idle()
            await clock.advance(310)
        [one] = await inbox(harness)
        assert (one["status"], one["attempts"]) == ("pending", 0)
        assert one["error"]
        await harness.control("DELETE", "/faults")
        await clock.advance(4000)
        await harness.run_until_idle()
        assert statuses(await inbox(harness)) == {"processed"}


async def test_a_missing_scope_holds_up_its_own_resource_alone(harness):
    [tenant_id] = await harness.connect_and_sync()
    contact = (await harness.xero_rows(tenant_id, "Contacts"))[0]
    [row_id] = await receivables(harness, tenant_id, 1)
    await harness.add_fault("scope_missing", tenant_id=tenant_id, resource="Contacts", times=None)
    await send(harness, event(tenant_id, contact["id"], "CONTACT"), event(tenant_id, row_id))
    await harness.run_until_idle()
    found = {one["category"]: (one["status"], one["attempts"]) for one in await inbox(harness)}
    assert found == {"CONTACT": ("pending", 0), "INVOICE": ("processed", 1)}


async def test_replaying_everything_changes_nothing(harness):
    [tenant_id] = await harness.connect_and_sync()
    await send(harness, *(event(tenant_id, row_id) for row_id in await receivables(harness, tenant_id, 20)))
    await harness.run_until_idle()
    before = await harness.query("SELECT id, updated_at, xmin::text FROM billing_invoices ORDER BY id")
    for _ in range(2):
        body = {"filter": {"status": "processed"}, "reason": "To be sure."}
        replayed = await harness.call("POST", f"{INTEGRATION}/webhook-events/replay", json=body)
        assert replayed.json() == {"replayed": 20}
        await harness.run_until_idle()
    assert await harness.query("SELECT id, updated_at, xmin::text FROM billing_invoices ORDER BY id") == before
    assert statuses(await inbox(harness)) == {"processed"}
    assert "replay" in {run["trigger"] for run in (await harness.read(f"{INTEGRATION}/runs"))["items"]}
    await assert_mirror_equals(harness, tenant_id)


async def test_a_long_first_sync_delays_no_webhook(dsn):
    async with open_harness(dsn, xero_page_size=10, options={"limits_enabled": False, "invoices": 400}) as harness:
        [tenant_id, *_] = await harness.connect()
        [contact, *_] = [row for row in await harness.xero_rows(tenant_id, "Contacts") if row["is_customer"]]
        pages = []

        async def rename_and_hold_the_page_back(request):
            pages.append(request)
            if len(pages) == 5:
                await harness.edit_books(
                    tenant_id, edit="rename", contact_id=contact["id"], name="Renamed Ltd", webhook=True
                )
                await wait_until(lambda: is_everything_processed(harness), "the webhook event is processed")

        harness.transport.after_call = rename_and_hold_the_page_back
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        [run] = [one for one in (await harness.read(f"{INTEGRATION}/runs"))["items"] if one["trigger"] == "manual"]
        [told] = await inbox(harness)
        assert told["status"] == "processed"
        assert told["processed_at"] < run["finished_at"]
        await assert_mirror_equals(harness, tenant_id)


async def test_an_older_page_does_not_undo_what_a_webhook_brought(dsn):
    """The page is answered first and stored last; between the two the webhook's newer row comes and goes in."""
    async with open_harness(dsn) as harness:
        [tenant_id] = await harness.connect_and_sync()
        invoice = next(
            row
            for row in await harness.xero_rows(tenant_id, "Invoices")
            if row["type"] == "ACCREC" and row["status"] == "AUTHORISED"
        )
        await harness.edit_books(tenant_id, edit="change_reference", id=invoice["id"], reference="Old")
        told: list[object] = []

        async def pay_meanwhile(request):
            if "Invoices" in request.url.path and not told:
                told.append(request)
                await harness.edit_books(tenant_id, edit="pay", invoice_id=invoice["id"], webhook=True)
                await wait_until(lambda: is_everything_processed(harness), "the webhook event is processed")

        harness.transport.after_call = pay_meanwhile
        await harness.sync()
        assert statuses(await inbox(harness)) == {"processed"}
        [row] = await harness.query("SELECT status FROM billing_invoices WHERE external_id = :i", i=invoice["id"])
        assert row["status"] == "paid"
