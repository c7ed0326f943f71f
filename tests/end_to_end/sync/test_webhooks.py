"""From a webhook to a row: folded, read once, never in the way of another, and never lost."""

import asyncio

import pytest

from tests.support.clocks import shift
from tests.support.oracle import assert_mirror_equals
from tests.support.service import CARD, open_world

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


async def send(world, *events):
    await world.control("POST", "/webhook/send", {"events": list(events)})


async def receivables(world, tenant_id, most=100):
    rows = [row["id"] for row in await world.state(tenant_id, "Invoices") if row["type"] == "ACCREC"]
    return rows[:most]


async def inbox(world):
    return (await world.read(f"{CARD}/webhook-events", limit="200"))["items"]


def statuses(events):
    return {one["status"] for one in events}


async def test_many_events_of_one_row_are_one_read_and_many_rows_are_read_together(world):
    [tenant_id] = await world.ready()
    rows = await receivables(world, tenant_id, 30)
    await send(world, *(event(tenant_id, rows[0], number=number) for number in range(40)))
    await send(world, *(event(tenant_id, row_id, number=50) for row_id in rows))
    await world.control("DELETE", "/ledger")
    await world.work()
    [call] = await world.ledger()
    assert call["resource"] == "Invoices"
    assert all(row_id in call["query"] for row_id in rows)
    assert len(await inbox(world)) == 70
    assert statuses(await inbox(world)) == {"processed"}
    [run] = [one for one in (await world.read(f"{CARD}/runs"))["items"] if one["trigger"] == "webhook"]
    assert (run["status"], run["resources"][0]["fetched"]) == ("succeeded", len(rows))


async def test_a_redelivery_is_counted_and_costs_no_second_read(world):
    [tenant_id] = await world.ready()
    [row_id] = await receivables(world, tenant_id, 1)
    await send(world, event(tenant_id, row_id))
    await world.work()
    await world.control("DELETE", "/ledger")
    await send(world, event(tenant_id, row_id))
    await send(world, event(tenant_id, row_id), event(tenant_id, row_id))
    await world.work()
    assert await world.ledger() == []
    [one] = await inbox(world)
    assert (one["status"], one["deliveries"]) == ("processed", 4)


async def test_payables_are_read_once_and_leave_no_row(world):
    [tenant_id] = await world.ready()
    supplier = next(row for row in await world.state(tenant_id, "Contacts") if row["is_supplier"])
    made = await world.edit(
        tenant_id, edit="create_invoice", contact_id=supplier["id"], total="9.00", type="ACCPAY", webhook=True
    )
    row_id = made["changes"][0]["id"]
    await world.work()
    assert [one["status"] for one in await inbox(world) if one["resource_id"] == row_id] == ["ignored"]
    assert not await world.rows("SELECT 1 FROM billing_invoices WHERE external_id = :i", i=row_id)


async def test_an_organisation_that_is_not_selected_costs_no_call(world):
    [tenant_id] = await world.ready()
    others = [one for one in await world.control("GET", "/tenants") if one["tenant_id"] != tenant_id]
    stranger = "0c0ffee0-0000-4000-8000-000000000000"
    await world.control("DELETE", "/ledger")
    await send(world, *(event(one, stranger) for one in (stranger, others[0]["tenant_id"])))
    await world.work()
    assert await world.ledger() == []
    assert statuses(await inbox(world)) == {"ignored"}


async def test_events_that_wait_are_closed_when_their_organisation_is_deselected(world):
    [tenant_id] = await world.ready()
    others = [one["tenant_id"] for one in (await world.read(f"{CARD}/tenants"))["items"] if not one["selected"]]
    [row_id] = await receivables(world, tenant_id, 1)
    await send(world, event(tenant_id, row_id))
    await world.pick(others[0])
    await world.work()
    assert [one["status"] for one in await inbox(world) if one["tenant_id"] == tenant_id] == ["ignored"]


async def test_one_poison_event_dies_alone_after_a_bounded_number_of_tries(dsn):
    async with shift(dsn) as clock, open_world(dsn, clock=clock, options={"limits_enabled": False}) as world:
        [tenant_id] = await world.ready()
        poison, *others = await receivables(world, tenant_id, 12)
        await world.fault("server_error", resource="Invoices", query=poison, times=None)
        await send(world, *(event(tenant_id, row_id) for row_id in (poison, *others)))
        for _ in range(4):
            await world.work()
            await clock.move(60)
        found = {one["resource_id"]: one for one in await inbox(world)}
        assert statuses([found[row_id] for row_id in others]) == {"processed"}
        assert found[poison]["status"] == "failed"

        for _ in range(12):
            await world.work()
            await clock.move(4000)
        dead = next(one for one in await inbox(world) if one["resource_id"] == poison)
        assert (dead["status"], dead["attempts"]) == ("dead", 8)
        assert "unavailable" in dead["error"]
        await world.control("DELETE", "/ledger")
        await clock.move(100_000)
        await world.work()
        assert await world.ledger() == []

        # A person may have it tried again.
        await world.control("DELETE", "/faults")
        replayed = await world.call(
            "POST", f"{CARD}/webhook-events/replay", json={"ids": [dead["id"]], "reason": "It should be well now."}
        )
        assert replayed.json() == {"replayed": 1}
        await world.work()
        assert statuses(await inbox(world)) == {"processed"}


async def test_a_row_that_cannot_be_read_dies_with_its_reason_and_is_kept_aside(dsn):
    async with shift(dsn) as clock, open_world(dsn, clock=clock, options={"limits_enabled": False}) as world:
        [tenant_id] = await world.ready()
        bad, good = await receivables(world, tenant_id, 2)
        await world.edit(tenant_id, edit="spoil", resource="Invoices", id=bad, fields={"Total": "a lot"})
        await send(world, event(tenant_id, bad), event(tenant_id, good))
        for _ in range(10):
            await world.work()
            await clock.move(4000)
        found = {one["resource_id"]: one for one in await inbox(world)}
        assert (found[good]["status"], found[bad]["status"]) == ("processed", "dead")
        assert [row["external_id"] for row in await world.rows("SELECT * FROM quarantined_rows")] == [bad]


async def test_an_event_that_breaks_something_here_keeps_no_other_from_being_worked_off(dsn):
    async with shift(dsn) as clock, open_world(dsn, clock=clock, options={"limits_enabled": False}) as world:
        [tenant_id] = await world.ready()
        poison, *others = await receivables(world, tenant_id, 8)
        await world.execute(
            "CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF NEW.external_id = '{poison}' THEN RAISE 'broken'; END IF; RETURN NEW; END $$"
        )
        await world.execute(
            "CREATE TRIGGER break_it BEFORE INSERT OR UPDATE ON billing_invoices"
            " FOR EACH ROW EXECUTE FUNCTION break_it()"
        )
        for row_id in (poison, *others):
            await world.edit(tenant_id, edit="change_reference", id=row_id, reference="New")
        await send(world, *(event(tenant_id, row_id) for row_id in (poison, *others)))
        for _ in range(14):
            await world.work()
            await clock.move(4000)
        found = {one["resource_id"]: one for one in await inbox(world)}
        assert statuses([found[row_id] for row_id in others]) == {"processed"}
        assert found[poison]["status"] == "dead"
        assert "broken" not in found[poison]["error"]
        rows = await world.rows("SELECT reference FROM billing_invoices WHERE external_id = ANY(:ids)", ids=others)
        assert {row["reference"] for row in rows} == {"New"}


@pytest.mark.parametrize("kind", ["organisation_offline", "forbidden", "limit_day"])
async def test_what_is_not_an_events_fault_is_not_counted_against_it(dsn, kind):
    async with shift(dsn) as clock, open_world(dsn, clock=clock, options={"limits_enabled": False}) as world:
        [tenant_id] = await world.ready()
        [row_id] = await receivables(world, tenant_id, 1)
        await world.fault(kind, tenant_id=tenant_id, times=None, retry_after="600")
        await send(world, event(tenant_id, row_id))
        for _ in range(12):
            await world.work()
            await clock.move(310)
        [one] = await inbox(world)
        assert (one["status"], one["attempts"]) == ("pending", 0)
        assert one["error"]
        await world.control("DELETE", "/faults")
        await clock.move(4000)
        await world.work()
        assert statuses(await inbox(world)) == {"processed"}


async def test_a_missing_scope_holds_up_its_own_resource_alone(world):
    [tenant_id] = await world.ready()
    contact = (await world.state(tenant_id, "Contacts"))[0]
    [row_id] = await receivables(world, tenant_id, 1)
    await world.fault("scope_missing", tenant_id=tenant_id, resource="Contacts", times=None)
    await send(world, event(tenant_id, contact["id"], "CONTACT"), event(tenant_id, row_id))
    await world.work()
    found = {one["category"]: (one["status"], one["attempts"]) for one in await inbox(world)}
    assert found == {"CONTACT": ("pending", 0), "INVOICE": ("processed", 1)}


async def test_replaying_everything_changes_nothing(world):
    [tenant_id] = await world.ready()
    await send(world, *(event(tenant_id, row_id) for row_id in await receivables(world, tenant_id, 20)))
    await world.work()
    before = await world.rows("SELECT id, updated_at, xmin::text FROM billing_invoices ORDER BY id")
    for _ in range(2):
        body = {"filter": {"status": "processed"}, "reason": "To be sure."}
        replayed = await world.call("POST", f"{CARD}/webhook-events/replay", json=body)
        assert replayed.json() == {"replayed": 20}
        await world.work()
    assert await world.rows("SELECT id, updated_at, xmin::text FROM billing_invoices ORDER BY id") == before
    assert statuses(await inbox(world)) == {"processed"}
    assert "replay" in {run["trigger"] for run in (await world.read(f"{CARD}/runs"))["items"]}
    await assert_mirror_equals(world, tenant_id)


async def test_a_long_first_sync_delays_no_webhook(dsn):
    async with open_world(dsn, xero_page_size=10, options={"limits_enabled": False, "invoices": 400}) as world:
        [tenant_id, *_] = await world.connect()
        [contact, *_] = [row for row in await world.state(tenant_id, "Contacts") if row["is_customer"]]
        pages = []

        async def tell_once_and_slow_down(request):
            pages.append(request)
            if len(pages) == 5:
                await world.edit(tenant_id, edit="rename", contact_id=contact["id"], name="Renamed Ltd", webhook=True)
            await asyncio.sleep(0.05)

        world.between.act = tell_once_and_slow_down
        await world.pick(tenant_id)
        await world.work()
        [run] = [one for one in (await world.read(f"{CARD}/runs"))["items"] if one["trigger"] == "manual"]
        [told] = await inbox(world)
        assert told["status"] == "processed"
        assert told["processed_at"] < run["finished_at"]
        await assert_mirror_equals(world, tenant_id)


async def test_an_older_page_does_not_undo_what_a_webhook_brought(dsn):
    """The page is answered first and stored last; between the two the webhook's newer row comes and goes in."""
    async with open_world(dsn) as world:
        [tenant_id] = await world.ready()
        invoice = next(
            row
            for row in await world.state(tenant_id, "Invoices")
            if row["type"] == "ACCREC" and row["status"] == "AUTHORISED"
        )
        await world.edit(tenant_id, edit="change_reference", id=invoice["id"], reference="Old")
        told: list[object] = []

        async def pay_meanwhile(request):
            if "Invoices" in request.url.path and not told:
                told.append(request)
                await world.edit(tenant_id, edit="pay", invoice_id=invoice["id"], webhook=True)
                for _ in range(100):
                    if statuses(await inbox(world)) == {"processed"}:
                        break
                    await asyncio.sleep(0.02)

        world.between.act = pay_meanwhile
        await world.sync()
        assert statuses(await inbox(world)) == {"processed"}
        [row] = await world.rows("SELECT status FROM billing_invoices WHERE external_id = :i", i=invoice["id"])
        assert row["status"] == "paid"
