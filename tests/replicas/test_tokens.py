"""Two replicas and one token set: refreshed once however many need it, and never lost with whoever held it.

Run shortened here; `make soak` runs the whole loops (SOAK_TOKEN_ROUNDS, SOAK_TOKEN_KILLS say how many).
"""

import os
import signal
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import text

from tests.support.clocks import shift
from tests.support.oracle import assert_mirror_equals
from tests.support.replica_processes import ONE, open_fleet, until

ROUNDS = int(os.environ.get("SOAK_TOKEN_ROUNDS", "2"))
KILLS = int(os.environ.get("SOAK_TOKEN_KILLS", "2"))
SIXTEEN = (
    *("--no-limits", "--organisations", "16", "--practices", "0", "--latency-ms", "20"),
    *("--contacts", "4", "--invoices", "8", "--payments", "4", "--credit-notes", "2"),
)
CLAIM_SECONDS = 45
REFRESH = {"path": "/connect/token", "grant_type": "refresh_token"}


async def test_sixteen_organisations_on_two_replicas_refresh_an_expired_token_once_a_round(dsn, tmp_path):
    async with open_fleet(dsn, tmp_path, xero=SIXTEEN) as fleet:
        # Without any grace a second use of a refresh token is refused, so that nothing hides behind it.
        await fleet.control("PATCH", "/options", {"refresh_grace_seconds": 0})
        await fleet.start()
        await fleet.start()
        tenant_ids = await fleet.connect()
        assert len(tenant_ids) == 16
        await fleet.pick(*tenant_ids)
        await fleet.work()
        await fleet.put_ticks_off()
        await fleet.remember_owners()
        await fleet.control("DELETE", "/ledger")
        for number in range(ROUNDS):
            # Known to be expired, or found to be so by whoever is told: by turns.
            await expire(fleet, is_known=number % 2 == 0)
            await fleet.sync_from_both(tenant_ids)
            await fleet.work()
        assert (await fleet.control("GET", "/stats"))["token_calls"] == {"refresh_token: ok": ROUNDS}
        [grant] = await fleet.rows("SELECT state, version FROM grants")
        assert (grant["state"], grant["version"]) == ("active", 1 + ROUNDS)
        assert len(await fleet.owners()) == 2
        for tenant_id in tenant_ids:
            await assert_mirror_equals(fleet, tenant_id)


async def expire(fleet, *, is_known):
    await fleet.control("POST", "/tokens/expire")
    if is_known:
        await fleet.execute("UPDATE grants SET access_expires_at = wall_clock() - interval '1 second'")


async def test_a_replica_killed_between_the_answer_and_its_commit_costs_no_grant(dsn, tmp_path):
    async with shift(dsn) as clock, open_fleet(dsn, tmp_path, xero=ONE) as fleet:
        victim, survivor = await fleet.start(), await fleet.start()
        tenant_id = await fleet.begin_first_sync()
        await fleet.put_ticks_off()
        for number in range(KILLS):
            await expire(fleet, is_known=True)
            await fleet.control("DELETE", "/ledger")
            survivor.signal(signal.SIGSTOP)
            fleet.front = victim
            run = await die_with_the_new_tokens(fleet, victim, is_heard=number % 2 == 0)
            fleet.front = survivor
            died_at = await database_time(fleet)
            survivor.signal(signal.SIGCONT)
            # The claim on the refresh died with its holder: what is left of its time is not waited for here.
            await clock.move(CLAIM_SECONDS)
            await fleet.work()
            assert (await fleet.read(run))["status"] == "succeeded"
            assert await database_time(fleet) - died_at < timedelta(seconds=60)
            [grant] = await fleet.rows("SELECT state, version FROM grants")
            assert (grant["state"], grant["version"]) == ("active", number + 2)
            assert (await fleet.control("GET", "/stats"))["token_calls"] == {"refresh_token: ok": 2}
            victim = await fleet.start()
        await assert_mirror_equals(fleet, tenant_id)


async def die_with_the_new_tokens(fleet, victim, *, is_heard):
    """Kill a replica whose refresh took effect at Xero: with the answer in hand, or while it is on its way."""
    await fleet.fault("delay", seconds=0.4, **REFRESH)
    run = await fleet.begin_sync()

    async def is_claimed():
        return bool(await fleet.rows("SELECT 1 FROM grants WHERE refresh_claim IS NOT NULL"))

    async def is_asked_for():
        return bool((await fleet.control("GET", "/stats"))["token_calls"])

    await until(is_claimed, "the refresh is claimed")
    async with holding_the_grant(fleet) as is_waited_for:
        await until(is_waited_for if is_heard else is_asked_for, "the refresh took effect")
        victim.kill()
    return run


@asynccontextmanager
async def holding_the_grant(fleet):
    """Keep the new tokens from being committed; yield a question whether somebody is about to."""
    async with fleet.services.db.transaction() as session:
        await session.execute(text("SELECT 1 FROM grants FOR UPDATE"))

        async def is_waited_for():
            waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            return bool(await fleet.rows(waiting))

        yield is_waited_for


async def database_time(fleet):
    return (await fleet.rows("SELECT wall_clock() AS now"))[0]["now"]
