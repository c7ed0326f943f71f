"""Messages reach people whatever happens to an address or a replica, and no secret of an address is shown anywhere."""

import asyncio
import json
import logging

import pytest
import structlog
from pydantic import SecretStr

from app.log import configure_logging
from app.prepared_settings import read_addresses
from app.sync.notifications import outbox
from app.sync.notifications.messages import Message
from app.sync.notifications.sender import NO_ANSWER, UNDER_WAY, Sender
from tests.support.message_server import message_server
from tests.support.ports import free_port
from tests.support.service import INTEGRATION, open_harness, settings_for

TEST = f"{INTEGRATION}/notifications/test"
CANARY = "canary5ecret"
TITLE = "Webhook events that were given up: 1"
ADD_GIVEN_UP = (
    "INSERT INTO xero_webhook_events"
    " (tenant_id, resource_id, category, event_type, event_at, payload, resource, status, processed_at)"
    " VALUES ('t', 'r', 'INVOICE', 'UPDATE', now(), '{}', 'invoices', 'dead', now())"
)
RETRY_SECONDS = 30


async def give_up_an_event(harness):
    await harness.execute(ADD_GIVEN_UP)


async def process_the_event(harness):
    await harness.execute("UPDATE xero_webhook_events SET status = 'processed'")


async def unsent(harness):
    """Return the gauges of unsent messages."""
    harness.services.metrics.sync_metrics_read_at = float("-inf")
    lines = (await harness.client.get("/metrics")).text.splitlines()
    found = [line.rpartition(" ") for line in lines if line.startswith("billing_notifications{")]
    return {name.partition('status="')[2].rstrip('"}'): float(value) for name, _, value in found}


async def test_a_failing_address_is_retried_ever_later_and_shown_and_the_others_get_each_message_once(
    dsn, people, clock
):
    async with message_server() as good:
        urls = SecretStr(f"{people.url(CANARY)}\n {good.url()} {good.url()}")
        async with open_harness(dsn, clock=clock, notify_urls=urls) as harness:
            assert await unsent(harness) == {"waiting": 0, "failing": 0}
            people.status = 500
            await give_up_an_event(harness)
            for _ in range(3):
                await harness.engine.notifier.run()
            assert (len(people.messages), good.titles()) == (1, [TITLE])
            assert await unsent(harness) == {"waiting": 0, "failing": 1}
            banners = {one["code"]: one["body"] for one in (await harness.integration_status())["banners"]}
            assert set(banners) == {"webhook_events_given_up", "notifications_failing"}
            assert "json://127.0.0.1: The server answered with status 500" in banners["notifications_failing"]

            # Each wait is twice the one before.
            for attempts in (2, 3, 4):
                await clock.advance(RETRY_SECONDS * 2 ** (attempts - 2) - 1)
                await harness.engine.notifier.run()
                assert len(people.messages) == attempts - 1
                await clock.advance(2)
                await harness.engine.notifier.run()
                assert len(people.messages) == attempts

            # That it is well again does not overtake what it is about.
            people.messages.clear()
            await process_the_event(harness)
            await harness.engine.notifier.run()
            assert (people.titles(), good.titles()) == ([], [TITLE, f"Well again: {TITLE}"])
            assert await unsent(harness) == {"waiting": 1, "failing": 1}
            people.status = 200
            await clock.advance(RETRY_SECONDS * 16)
            await harness.engine.notifier.run()
            assert people.titles() == [TITLE, f"Well again: {TITLE}"]
            assert len(good.messages) == 2
            assert await harness.banner_codes() == []
            assert await unsent(harness) == {"waiting": 0, "failing": 0}

            await harness.execute("UPDATE incidents SET resolved_at = resolved_at - interval '89 days'")
            await harness.engine.maintenance.run()
            assert len(await harness.query("SELECT 1 FROM notifications")) == 4
            await harness.execute("UPDATE incidents SET resolved_at = resolved_at - interval '2 days'")
            await harness.engine.maintenance.run()
            assert await harness.query("SELECT 1 FROM notifications") == []


async def test_what_cannot_be_delivered_for_three_days_is_abandoned(dsn, people, clock):
    async with open_harness(dsn, clock=clock, notify_urls=SecretStr(people.url())) as harness:
        people.status = 401
        await give_up_an_event(harness)
        await harness.engine.notifier.run()
        await clock.advance(3 * 86_400 + 1)
        await harness.engine.notifier.run()
        assert await unsent(harness) == {"waiting": 0, "failing": 0}
        await clock.advance(86_400)
        await harness.engine.notifier.run()
        assert len(people.messages) == 2


async def test_a_message_whose_replica_was_killed_is_sent_by_another_one(dsn, people, clock):
    async with open_harness(dsn, clock=clock, notify_urls=SecretStr(people.url())) as harness:
        await give_up_an_event(harness)
        # The first replica writes and claims the message, and is killed before it sends it.
        people.status = 500
        await harness.engine.notifier.run()
        await clock.advance(RETRY_SECONDS + 1)
        [address] = read_addresses(harness.services.settings)
        async with harness.services.db.transaction() as session:
            killed = await outbox.claim_next(session, "xero", address.fingerprint)
        assert killed is not None
        people.status = 200
        people.messages.clear()
        await harness.engine.notifier.run()
        assert people.messages == []
        await clock.advance(outbox.CLAIM.total_seconds() + 1)
        await harness.engine.notifier.run()
        assert people.titles() == [TITLE]
        # Should the first one only have been suspended, it no longer changes what came of the message.
        async with harness.services.db.transaction() as session:
            await outbox.close(session, killed, "late")
        assert await harness.query("SELECT status, error FROM notifications") == [{"status": "sent", "error": None}]
        await harness.engine.notifier.run()
        assert people.titles() == [TITLE]


async def test_an_address_that_is_new_is_told_of_what_is_wrong_and_one_that_is_gone_fails_nowhere(dsn, people):
    async with open_harness(dsn, notify_urls=SecretStr(f"json://127.0.0.1:{free_port()}/")) as harness:
        await give_up_an_event(harness)
        await harness.engine.notifier.run()
        assert await unsent(harness) == {"waiting": 0, "failing": 1}
    async with open_harness(dsn, notify_urls=SecretStr(people.url())) as harness:
        await harness.engine.notifier.run()
        assert people.titles() == [TITLE]
        assert await harness.banner_codes() == ["webhook_events_given_up"]
        assert await unsent(harness) == {"waiting": 0, "failing": 0}


async def test_an_address_that_hangs_holds_up_no_other_and_gets_no_second_thread(dsn, people):
    async with message_server() as good:
        settings = settings_for(dsn, notify_urls=SecretStr(f"{people.url()}&rto=3600 {good.url()}"))
        addresses = read_addresses(settings)
        sender = Sender(addresses, seconds=0.5)
        message = Message("Title", "Body", None)
        people.is_silent = True
        reasons = await asyncio.gather(*(sender.send(address, message) for address in addresses))
        assert reasons[0] == NO_ANSWER.format(0.5)
        assert await sender.send(addresses[0], message) == UNDER_WAY
        assert len(people.messages) == 1


async def test_a_test_message_says_for_each_address_whether_it_was_delivered(dsn, people):
    async with open_harness(dsn) as harness:
        refused = await harness.call("POST", TEST)
        assert (refused.status_code, refused.json()["code"]) == (409, "not_configured")
        assert "NOTIFY_URLS is empty" in refused.json()["detail"]
        assert (await harness.integration_status())["notify_addresses"] == []
    async with message_server() as other:
        other.status = 403
        urls = SecretStr(f"{people.url(CANARY)} {other.url(CANARY)} json://u:{CANARY}@127.0.0.1:{free_port()}/{CANARY}")
        async with open_harness(dsn, notify_urls=urls) as harness:
            for role in ("viewer", "analyst", "service"):
                assert (await harness.call("POST", TEST, role=role)).status_code == 403
            response = await harness.call("POST", TEST)
            assert response.status_code == 200
            delivered, denied, unreachable = response.json()["addresses"]
            assert response.json()["delivered"] == 1
            assert delivered == {"position": 1, "address": "json://127.0.0.1", "delivered": True, "reason": None}
            assert (denied["delivered"], denied["position"]) == (False, 2)
            assert "status 403" in denied["reason"]
            assert "cannot be reached" in unreachable["reason"]
            assert people.titles() == ["Test message from Vectis"]
            assert (await harness.integration_status())["notify_addresses"] == ["json://127.0.0.1"] * 3
            [entry] = (await harness.read(f"{INTEGRATION}/audit-log", action="notification_test_sent"))["items"]
            assert entry["actor"] == "tester"
            assert CANARY not in response.text + json.dumps(entry)


@pytest.fixture
def debug_output(capfd):
    """Log at debug level as a process does, and return a function that returns what was written meanwhile."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logging("debug", "json")
    yield lambda: "".join(capfd.readouterr())
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def logs():
    """Leave the log as it is: this file looks at what a process writes."""


async def test_no_secret_of_an_address_is_logged_stored_or_shown(dsn, people, debug_output):
    unreachable = f"jsons://user:{CANARY}@127.0.0.1:{free_port()}/{CANARY}?-key={CANARY}"
    async with open_harness(dsn, notify_urls=SecretStr(f"{people.url(CANARY)} {unreachable}")) as harness:
        people.status = 500
        await give_up_an_event(harness)
        await harness.engine.notifier.run()
        answers = [await harness.call("POST", path) for path in (TEST, f"{INTEGRATION}/check")]
        answers += [await harness.call("GET", path) for path in (INTEGRATION, f"{INTEGRATION}/audit-log")]
        metrics = await harness.client.get("/metrics")
        tables = ("incidents", "notifications", "audit_entries", "idempotent_requests")
        rows = [await harness.query(f"SELECT row_to_json(x)::text FROM {table} AS x") for table in tables]  # noqa: S608 - constants
        assert people.messages
        assert CANARY not in repr(harness.services.settings) + repr(harness.engine.notifier.addresses)
        assert CANARY not in "".join(answer.text for answer in (*answers, metrics)) + str(rows)
    written = debug_output()
    assert "notification_not_delivered" in written
    assert CANARY not in written
