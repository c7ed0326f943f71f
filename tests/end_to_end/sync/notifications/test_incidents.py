"""What people are told: once when something is wrong, once when it is well again, and nothing else."""

import asyncio
from datetime import datetime, timedelta

from pydantic import SecretStr

from app.sync.notifications.incidents import lock_incidents
from tests.support.service import INTEGRATION, PUBLIC_URL, open_harness
from tests.support.waiting import wait_until
from tests.support.webhooks import HOOK, PROBE, sign

INTERVAL = 900
ADD_GIVEN_UP = (
    "INSERT INTO xero_webhook_events"
    " (tenant_id, resource_id, category, event_type, event_at, payload, resource, status, processed_at)"
    " SELECT 't', n::text, 'INVOICE', 'UPDATE', now(), '{}', 'invoices', 'dead', now() FROM generate_series(1, 3) AS n"
)


def telling(dsn, people, clock=None, **settings):
    return open_harness(dsn, clock=clock, notify_urls=SecretStr(people.url()), **settings)


async def told(harness, people):
    """Let the service tell what has changed, twice, and return the titles that came."""
    await harness.engine.notifier.run()
    await harness.engine.notifier.run()
    return people.take_titles()


async def end_grant(harness):
    await harness.execute(
        "UPDATE grants SET state = 'reconnect_required', reason = 'The user withdrew it.', state_since = now()"
    )


async def test_a_dead_connection_is_told_once_by_all_replicas_and_once_when_it_is_well_again(dsn, people):
    async with telling(dsn, people) as harness, telling(dsn, people) as other:
        assert await told(harness, people) == []
        await harness.connect()
        assert await told(harness, people) == []

        await end_grant(harness)
        # While one replica looks at the connection, another one leaves it alone.
        async with other.services.db.transaction() as session:
            assert await lock_incidents(session, "xero")
            await harness.engine.notifier.run()
            assert people.messages == []
        await asyncio.gather(*(one.engine.notifier.run() for one in (harness, other, harness, other)))
        [message] = people.messages
        assert (message["title"], message["type"]) == ("Xero needs reconnecting", "failure")
        assert "The user withdrew it. Your data is safe" in message["message"]
        assert f"Open {PUBLIC_URL}/console " in message["message"]
        people.messages.clear()

    # A restart repeats nothing.
    async with telling(dsn, people) as harness:
        assert await told(harness, people) == []
        assert (await harness.give_consent()).endswith("?xero=connected")
        await harness.engine.notifier.run()
        [message] = people.messages
        assert (message["title"], message["type"]) == ("Well again: Xero needs reconnecting", "success")
        people.messages.clear()
        assert await told(harness, people) == []
        # It may happen again.
        await end_grant(harness)
        assert await told(harness, people) == ["Xero needs reconnecting"]
        # Ended by a person, it is not called well.
        await harness.call("POST", f"{INTEGRATION}/disconnect")
        assert await told(harness, people) == ["No longer applies: Xero needs reconnecting"]


async def test_an_expiring_token_is_told_at_seven_and_at_two_days_and_what_becomes_worse_is_not_called_well(
    dsn, people, clock
):
    async with telling(dsn, people, clock) as harness:
        await harness.connect()

        async def tell_with(days):
            expires_at = clock.now() + timedelta(days=days)
            await harness.execute("UPDATE grants SET refresh_expires_at = :at", at=expires_at)
            return await told(harness, people)

        assert await tell_with(7.01) == []
        assert len(await tell_with(6.9)) == 1
        assert await tell_with(2.1) == []
        [title] = await tell_with(1.9)
        assert title.startswith("Xero connection expires on ")
        await end_grant(harness)
        assert await told(harness, people) == ["Xero needs reconnecting"]
        assert (await harness.give_consent()).endswith("?xero=connected")
        assert await told(harness, people) == ["Well again: Xero needs reconnecting"]


async def test_organisations_that_fail_together_are_one_message_and_one_that_fails_later_is_another(dsn, people):
    async with telling(dsn, people) as harness:
        tenants = await harness.connect_and_sync(organisations=3)

        async def forbid(*tenant_ids):
            await harness.execute(
                "UPDATE tenants SET health = 'forbidden', reason_code = 'tenant_forbidden', reason_message = 'no',"
                " reason_since = now() WHERE tenant_id = ANY(:t)",
                t=list(tenant_ids),
            )

        async def allow(*tenant_ids):
            await harness.execute(
                "UPDATE tenants SET health = 'healthy', reason_code = NULL WHERE tenant_id = ANY(:t)",
                t=list(tenant_ids),
            )

        names = {one["tenant_id"]: one["name"] for one in (await harness.selected_tenants()).values()}
        first, second, third = tenants
        await forbid(first, second)
        await harness.engine.notifier.run()
        [message] = people.messages
        assert message["title"] == "2 organisations no longer grant access"
        assert all(names[one] in message["message"] for one in (first, second))
        assert names[third] not in message["message"]
        people.messages.clear()

        await forbid(third)
        assert await told(harness, people) == [f"{names[third]} no longer grants access"]
        await allow(first)
        assert await told(harness, people) == []
        await forbid(first)
        assert await told(harness, people) == [f"{names[first]} no longer grants access"]
        # Removed is worse, not well.
        await harness.execute("UPDATE tenants SET removed_at = now() WHERE tenant_id = :t", t=third)
        assert await told(harness, people) == [f"{names[third]} was removed in Xero"]
        await harness.execute("UPDATE tenants SET removed_at = NULL")
        await allow(third)
        assert await told(harness, people) == [f"Well again: {names[third]} was removed in Xero"]
        # Left out by a person, it is not called well.
        await harness.select_tenants(second, third)
        assert await told(harness, people) == [f"No longer applies: {names[first]} no longer grants access"]
        await allow(second)
        assert await told(harness, people) == ["Well again: 2 organisations no longer grant access"]


async def test_data_older_than_four_intervals_are_told_unless_a_dead_connection_explains_them(dsn, people, clock):
    async with telling(dsn, people, clock, sync_interval_seconds=INTERVAL) as harness:
        [tenant_id] = await harness.connect_and_sync()
        tenant = (await harness.selected_tenants())[tenant_id]
        as_of = datetime.fromisoformat(tenant["data_as_of"])
        await clock.advance_to(as_of + timedelta(seconds=4 * INTERVAL))
        assert await told(harness, people) == []
        await clock.advance(1)
        assert await harness.banner_codes() == ["data_stale"]
        [title] = await told(harness, people)
        assert title.startswith(f"{tenant['name']}: the figures are of ")
        await harness.sync()
        assert await told(harness, people) == [f"Well again: {title}"]

        await end_grant(harness)
        assert await told(harness, people) == ["Xero needs reconnecting"]
        await clock.advance(8 * INTERVAL)
        assert await told(harness, people) == []
        # Nor are they told in the moment between the reconnect and the end of the sync it starts.
        assert (await harness.give_consent()).endswith("?xero=connected")
        assert await told(harness, people) == ["Well again: Xero needs reconnecting"]


async def test_a_wrong_webhook_key_and_events_that_were_given_up_are_told(dsn, people):
    async with telling(dsn, people) as harness:
        refused = await harness.client.post(
            HOOK, content=PROBE, headers={"x-xero-signature": sign(PROBE, "another key")}
        )
        assert refused.status_code == 401
        await harness.engine.receiver.close()
        assert await told(harness, people) == ["Webhook deliveries are not signed with our key"]
        await harness.client.post(HOOK, content=PROBE, headers={"x-xero-signature": sign(PROBE)})
        assert await told(harness, people) == ["Well again: Webhook deliveries are not signed with our key"]

        await harness.execute(ADD_GIVEN_UP)
        [title] = await told(harness, people)
        assert title == "Webhook events that were given up: 3"
        assert await harness.banner_codes() == ["webhook_events_given_up"]
        await harness.execute("UPDATE xero_webhook_events SET status = 'processed'")
        assert await told(harness, people) == [f"Well again: {title}"]


async def test_the_schedule_of_a_replica_tells_people(dsn, people):
    async with telling(dsn, people) as harness:
        await harness.connect()
        await end_grant(harness)
    async with telling(dsn, people, scheduler_enabled=True, sync_interval_seconds=1):

        async def has_come():
            return "Xero needs reconnecting" in people.titles()

        await wait_until(has_come, "the schedule has sent a message about the dead connection")
