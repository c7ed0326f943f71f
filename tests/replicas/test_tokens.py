"""Two replicas and one grant: its tokens are refreshed once however many need them, and no crash loses them.

Run shortened here; `make soak` runs the whole loops (SOAK_TOKEN_ROUNDS, SOAK_TOKEN_KILLS say how many).
"""

import os
import signal
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import text

from tests.support.clocks import shifted_clock
from tests.support.oracle import assert_mirror_equals
from tests.support.replica_processes import ONE_ORGANISATION, open_cluster
from tests.support.waiting import wait_until

ROUNDS = int(os.environ.get("SOAK_TOKEN_ROUNDS", "2"))
KILLS = int(os.environ.get("SOAK_TOKEN_KILLS", "2"))
ORGANISATIONS = 16 if "SOAK_TOKEN_ROUNDS" in os.environ else 8
MANY_ORGANISATIONS = (
    *("--no-limits", "--organisations", str(ORGANISATIONS), "--practices", "0", "--latency-ms", "20"),
    *("--contacts", "4", "--invoices", "8", "--payments", "4", "--credit-notes", "2"),
)
CLAIM_SECONDS = 45
REFRESH_REQUEST = {"path": "/connect/token", "grant_type": "refresh_token"}


async def test_many_organisations_on_two_replicas_refresh_an_expired_token_once_per_expiry(dsn, tmp_path):
    async with open_cluster(dsn, tmp_path, xero=MANY_ORGANISATIONS) as cluster:
        # Without a grace period Xero refuses the second use of a refresh token, which would hide here.
        await cluster.control("PATCH", "/options", {"refresh_grace_seconds": 0})
        await cluster.start()
        await cluster.start()
        tenant_ids = await cluster.connect()
        assert len(tenant_ids) == ORGANISATIONS
        await cluster.select_tenants(*tenant_ids)
        await cluster.run_until_idle()
        await cluster.postpone_ticks()
        await cluster.record_owners()
        await cluster.control("DELETE", "/ledger")
        for number in range(ROUNDS):
            # In turn: the replicas know that it has expired, or learn it from a 401.
            await expire_access_token(cluster, is_known=number % 2 == 0)
            await cluster.sync_from_both(tenant_ids)
            await cluster.run_until_idle()
        assert (await cluster.control("GET", "/stats"))["token_calls"] == {"refresh_token: ok": ROUNDS}
        [grant] = await cluster.query("SELECT state, version FROM grants")
        assert (grant["state"], grant["version"]) == ("active", 1 + ROUNDS)
        assert len(await cluster.recorded_owners()) == 2
        for tenant_id in tenant_ids:
            await assert_mirror_equals(cluster, tenant_id)


async def expire_access_token(cluster, *, is_known):
    await cluster.control("POST", "/tokens/expire")
    if is_known:
        await cluster.execute("UPDATE grants SET access_expires_at = wall_clock() - interval '1 second'")


async def test_a_replica_killed_before_it_commits_new_tokens_loses_no_grant(dsn, tmp_path):
    async with shifted_clock(dsn) as clock, open_cluster(dsn, tmp_path, xero=ONE_ORGANISATION) as cluster:
        victim, survivor = await cluster.start(), await cluster.start()
        tenant_id = await cluster.start_first_sync()
        await cluster.postpone_ticks()
        for number in range(KILLS):
            await expire_access_token(cluster, is_known=True)
            await cluster.control("DELETE", "/ledger")
            survivor.signal(signal.SIGSTOP)
            cluster.target = victim
            run = await kill_during_refresh(cluster, victim, is_answered=number % 2 == 0)
            cluster.target = survivor
            died_at = await database_time(cluster)
            survivor.signal(signal.SIGCONT)
            # Nobody releases the claim on the refresh of a killed replica; the clock skips the time until it expires.
            await clock.advance(CLAIM_SECONDS)
            await cluster.run_until_idle()
            assert (await cluster.read(run))["status"] == "succeeded"
            assert await database_time(cluster) - died_at < timedelta(seconds=60)
            [grant] = await cluster.query("SELECT state, version FROM grants")
            assert (grant["state"], grant["version"]) == ("active", number + 2)
            assert (await cluster.control("GET", "/stats"))["token_calls"] == {"refresh_token: ok": 2}
            victim = await cluster.start()
        await assert_mirror_equals(cluster, tenant_id)


async def kill_during_refresh(cluster, victim, *, is_answered):
    """Kill a replica once Xero has rotated its tokens: after the response has reached it, or before."""
    await cluster.add_fault("delay", seconds=0.4, **REFRESH_REQUEST)
    run = await cluster.start_sync()

    async def is_claimed():
        return bool(await cluster.query("SELECT 1 FROM grants WHERE refresh_claim IS NOT NULL"))

    async def is_rotated():
        return bool((await cluster.control("GET", "/stats"))["token_calls"])

    await wait_until(is_claimed, "the refresh is claimed")
    async with locked_grant(cluster) as is_commit_waiting:
        await wait_until(is_commit_waiting if is_answered else is_rotated, "the refresh took effect")
        victim.kill()
    return run


@asynccontextmanager
async def locked_grant(cluster):
    """Lock the grant, so that new tokens cannot be committed; yield a condition: a transaction waits to do so."""
    async with cluster.services.db.transaction() as session:
        await session.execute(text("SELECT 1 FROM grants FOR UPDATE"))

        async def is_commit_waiting():
            waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            return bool(await cluster.query(waiting))

        yield is_commit_waiting


async def database_time(cluster):
    return (await cluster.query("SELECT wall_clock() AS now"))[0]["now"]
