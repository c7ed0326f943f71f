"""From a webhook to a row: no event may be lost, read twice without need, or hold up another."""

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
    return {item["status"] for item in events}


async def test_many_events_of_one_row_cost_one_call_and_many_rows_are_read_in_one(harness):
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
    [run] = [item for item in (await harness.read(f"{INTEGRATION}/runs"))["items"] if item["trigger"] == "webhook"]
    assert (run["status"], run["resources"][0]["fetched"]) == ("succeeded", len(rows))


async def test_a_redelivery_is_counted_and_costs_no_call(harness):
    [tenant_id] = await harness.connect_and_sync()
    [row_id] = await receivables(harness, tenant_id, 1)
    await send(harness, event(tenant_id, row_id))
    await harness.run_until_idle()
    await harness.control("DELETE", "/ledger")
    await send(harness, event(tenant_id, row_id))
    await send(harness, event(tenant_id, row_id), event(tenant_id, row_id))
    await harness.run_until_idle()
    assert await harness.xero_calls() == []
    [item] = await inbox(harness)
    assert (item["status"], item["deliveries"]) == ("processed", 4)


async def test_a_payable_is_read_once_and_leaves_no_row(harness):
    [tenant_id] = await harness.connect_and_sync()
    supplier = next(row for row in await harness.xero_rows(tenant_id, "Contacts") if row["is_supplier"])
    made = await harness.edit_books(
        tenant_id, edit="create_invoice", contact_id=supplier["id"], total="9.00", type="ACCPAY", webhook=True
    )
    row_id = made["changes"][0]["id"]
    await harness.run_until_idle()
    assert [item["status"] for item in await inbox(harness) if item["resource_id"] == row_id] == ["ignored"]
    assert not await harness.query("SELECT 1 FROM billing_invoices WHERE external_id = :i", i=row_id)


async def test_an_organisation_that_is_not_selected_costs_no_call(harness):
    [tenant_id] = await harness.connect_and_sync()
    others = [item for item in await harness.control("GET", "/tenants") if item["tenant_id"] != tenant_id]
    stranger = "0c0ffee0-0000-4000-8000-000000000000"
    await harness.control("DELETE", "/ledger")
    await send(harness, *(event(tenant, stranger) for tenant in (stranger, others[0]["tenant_id"])))
    await harness.run_until_idle()
    assert await harness.xero_calls() == []
    assert statuses(await inbox(harness)) == {"ignored"}


async def test_pending_events_are_ignored_when_their_organisation_is_deselected(harness):
    [tenant_id] = await harness.connect_and_sync()
    others = [
        item["tenant_id"] for item in (await harness.read(f"{INTEGRATION}/tenants"))["items"] if not item["selected"]
    ]
    [row_id] = await receivables(harness, tenant_id, 1)
    await send(harness, event(tenant_id, row_id))
    await harness.select_tenants(others[0])
    await harness.run_until_idle()
    assert [item["status"] for item in await inbox(harness) if item["tenant_id"] == tenant_id] == ["ignored"]


async def test_an_event_that_always_fails_is_given_up_after_eight_attempts_and_holds_up_no_other(dsn):
    async with (
        shifted_clock(dsn) as clock,
        open_harness(dsn, clock=clock, options={"limits_enabled": False}) as harness,
    ):
        [tenant_id] = await harness.connect_and_sync()
        failing, *others = await receivables(harness, tenant_id, 12)
        await harness.add_fault("server_error", resource="Invoices", query=failing, times=None)
        await send(harness, *(event(tenant_id, row_id) for row_id in (failing, *others)))
        for _ in range(4):
            await harness.run_until_idle()
            await clock.advance(60)
        found = {item["resource_id"]: item for item in await inbox(harness)}
        assert statuses([found[row_id] for row_id in others]) == {"processed"}
        assert found[failing]["status"] == "failed"

        for _ in range(12):
            await harness.run_until_idle()
            await clock.advance(4000)
        dead = next(item for item in await inbox(harness) if item["resource_id"] == failing)
        assert (dead["status"], dead["attempts"]) == ("dead", 8)
        assert "unavailable" in dead["error"]
        await harness.control("DELETE", "/ledger")
        await clock.advance(100_000)
        await harness.run_until_idle()
        assert await harness.xero_calls() == []

        # A person may replay it.
        await harness.control("DELETE", "/faults")
        replayed = await harness.call(
            "POST",
            f"{INTEGRATION}/webhook-events/replay",
            json={"ids": [dead["id"]], "reason": "It should be well now."},
        )
        assert replayed.json() == {"replayed": 1}
        await harness.run_until_idle()
        assert statuses(await inbox(harness)) == {"processed"}


async def test_the_event_of_an_unreadable_row_is_given_up_and_the_row_is_quarantined(dsn):
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
        found = {item["resource_id"]: item for item in await inbox(harness)}
        assert (found[good]["status"], found[bad]["status"]) == ("processed", "dead")
        assert [row["external_id"] for row in await harness.query("SELECT * FROM quarantined_rows")] == [bad]


async def test_an_event_that_causes_an_internal_error_holds_up_no_other(dsn):
    async with (
        shifted_clock(dsn) as clock,
        open_harness(dsn, clock=clock, options={"limits_enabled": False}) as harness,
    ):
        [tenant_id] = await harness.connect_and_sync()
        failing, *others = await receivables(harness, tenant_id, 8)
        await harness.execute(
            "CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF NEW.external_id = '{failing}' THEN RAISE 'broken'; END IF; RETURN NEW; END $$"
        )
        await harness.execute(
            "CREATE TRIGGER break_it BEFORE INSERT OR UPDATE ON billing_invoices"
            " FOR EACH ROW EXECUTE FUNCTION break_it()"
        )
        for row_id in (failing, *others):
            await harness.edit_books(tenant_id, edit="change_reference", id=row_id, reference="New")
        await send(harness, *(event(tenant_id, row_id) for row_id in (failing, *others)))
        for _ in range(10):
            await harness.run_until_idle()
            await clock.advance(4000)
        found = {item["resource_id"]: item for item in await inbox(harness)}
        assert statuses([found[row_id] for row_id in others]) == {"processed"}
        assert found[failing]["status"] == "dead"
        assert "broken" not in found[failing]["error"]
        rows = await harness.query("SELECT reference FROM billing_invoices WHERE external_id = ANY(:ids)", ids=others)
        assert {row["reference"] for row in rows} == {"New"}


async def test_an_error_that_no_event_caused_is_not_counted_as_an_attempt(dsn):
    kinds = ("organisation_offline", "forbidden", "limit_day")
    async with (
        shifted_clock(dsn) as clock,
        open_harness(dsn, clock=clock, options={"limits_enabled": False}) as harness,
    ):
        tenant_ids = await harness.connect_and_sync(organisations=len(kinds))
        for tenant_id, kind in zip(tenant_ids, kinds, strict=True):
            [row_id] = await receivables(harness, tenant_id, 1)
            await harness.add_fault(kind, tenant_id=tenant_id, times=None, retry_after="600")
            await send(harness, event(tenant_id, row_id))
        # Longer than an event that is to blame has.
        for _ in range(9):
            await harness.run_until_idle()
            await clock.advance(310)
        items = await inbox(harness)
        assert [(item["status"], item["attempts"]) for item in items] == [("pending", 0)] * len(kinds)
        assert all(item["error"] for item in items)
        await harness.control("DELETE", "/faults")
        await clock.advance(4000)
        await harness.run_until_idle()
        assert statuses(await inbox(harness)) == {"processed"}


async def test_a_missing_scope_holds_up_events_of_its_own_resource_alone(harness):
    [tenant_id] = await harness.connect_and_sync()
    contact = (await harness.xero_rows(tenant_id, "Contacts"))[0]
    [row_id] = await receivables(harness, tenant_id, 1)
    await harness.add_fault("scope_missing", tenant_id=tenant_id, resource="Contacts", times=None)
    await send(harness, event(tenant_id, contact["id"], "CONTACT"), event(tenant_id, row_id))
    await harness.run_until_idle()
    found = {item["category"]: (item["status"], item["attempts"]) for item in await inbox(harness)}
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
        [run] = [item for item in (await harness.read(f"{INTEGRATION}/runs"))["items"] if item["trigger"] == "manual"]
        [delivered] = await inbox(harness)
        assert delivered["status"] == "processed"
        assert delivered["processed_at"] < run["finished_at"]
        await assert_mirror_equals(harness, tenant_id)


async def test_an_older_page_does_not_overwrite_a_row_that_a_webhook_brought(dsn):
    """Xero answers the page first and it is stored last; between the two the webhook's newer row is stored."""
    async with open_harness(dsn) as harness:
        [tenant_id] = await harness.connect_and_sync()
        invoice = next(
            row
            for row in await harness.xero_rows(tenant_id, "Invoices")
            if row["type"] == "ACCREC" and row["status"] == "AUTHORISED"
        )
        await harness.edit_books(tenant_id, edit="change_reference", id=invoice["id"], reference="Old")
        held_back: list[object] = []

        async def pay_meanwhile(request):
            if "Invoices" in request.url.path and not held_back:
                held_back.append(request)
                await harness.edit_books(tenant_id, edit="pay", invoice_id=invoice["id"], webhook=True)
                await wait_until(lambda: is_everything_processed(harness), "the webhook event is processed")

        harness.transport.after_call = pay_meanwhile
        await harness.sync()
        assert statuses(await inbox(harness)) == {"processed"}
        [row] = await harness.query("SELECT status FROM billing_invoices WHERE external_id = :i", i=invoice["id"])
        assert row["status"] == "paid"


async def test_events_are_found_by_row_and_time_and_one_is_shown_as_it_came(harness):
    tenant_id = (await harness.connect())[0]
    rows = await receivables(harness, tenant_id, 3)
    sent = [event(tenant_id, row_id, number=number) for number, row_id in enumerate(rows)]
    await send(harness, *sent[:2])
    first = await inbox(harness)
    await send(harness, sent[2])
    [last] = [item for item in await inbox(harness) if item not in first]
    path = f"{INTEGRATION}/webhook-events"
    assert [item["resource_id"] for item in (await harness.read(path, search=rows[1][4:20].upper()))["items"]] == [
        rows[1]
    ]
    assert (await harness.read(path, until=last["received_at"]))["items"] == first
    assert (await harness.read(path, since=last["received_at"]))["items"] == [last]
    assert (await harness.read(path, search="100%"))["items"] == []
    shown = await harness.read(f"{path}/{last['id']}")
    assert shown == {**last, "payload": sent[2]}
    unknown = await harness.call("GET", f"{path}/{tenant_id}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
