"""Tokens: one refresh at a time over all replicas, no answer lost for good, and no outage taken for a revocation."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text

from app.clock import SystemClock
from app.connections import grants
from app.connections.grants import Identity, save_grant
from app.connections.status import Snapshot, banners_of
from app.connections.tokens import AccessTokens, GrantUnusable
from app.connections.vendor_app import App, VendorConfig
from app.connector import AppCredentials, ConnectorError
from app.crypto import Sealer
from app.db import Database
from app.xero.connector import XeroConnector
from simulator import main as simulator
from simulator.options import SimulatorOptions
from tests.support.clocks import manual_clock

XERO = "http://xero.test"
BACK = "http://localhost:8000/back"
APP = AppCredentials("SIMULATED-CLIENT", "simulated-secret")
CONFIG = VendorConfig("xero", BACK, "", "", "broad", APP.client_id, APP.client_secret)
ROUNDS = 10
CALLERS = 16
DAY = 24 * 3600


class Stage:
    """A pretend Xero with one grant, and two replicas over one database that hand its tokens out."""

    def __init__(self, dsn, clock, xero):
        self.dbs = [Database(dsn), Database(dsn)]
        self.clock = clock
        self.xero = xero
        self.sealer = Sealer({"test": b"k" * 32})
        self.connector = XeroConnector(xero, XERO, XERO, XERO)
        self.here, self.there = (AccessTokens(db, self.sealer, self.connector, CONFIG, clock) for db in self.dbs)

    async def connect(self):
        asked = {
            "response_type": "code",
            "client_id": APP.client_id,
            "redirect_uri": BACK,
            "scope": " ".join(self.connector.scopes("broad")),
            "auto": "1",
        }
        page = await self.xero.get(f"{XERO}/identity/connect/authorize", params=asked)
        tokens = await self.connector.exchange_code(APP, httpx.URL(page.headers["location"]).params["code"], BACK, "")
        async with self.dbs[0].transaction() as session:
            identity = Identity("xero", "broad", frozenset(), "tester")
            self.grant_id = await save_grant(session, self.sealer, identity, tokens)

    async def expire(self):
        """Let the access token be expired, here as there."""
        await self.control("POST", "/tokens/expire")
        await self.execute("UPDATE grants SET access_expires_at = wall_clock() - interval '1 second'")

    async def fault(self, kind, **matching):
        await self.control("POST", "/faults", {"kind": kind, "path": "/connect/token", **matching})

    async def control(self, method, path, body=None):
        response = await self.xero.request(method, f"{XERO}/_control{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def execute(self, statement):
        async with self.dbs[0].transaction() as session:
            await session.execute(text(statement))

    async def grant(self):
        async with self.dbs[0].transaction() as session:
            return (await session.execute(text("SELECT * FROM grants"))).mappings().one()

    async def refreshes(self):
        """Count the refreshes Xero was asked for, by outcome."""
        ledger = await self.control("GET", "/ledger")
        return Counter(call["note"] or "ok" for call in ledger if call["grant_type"] == "refresh_token")

    async def access(self, tokens=None):
        return await (tokens or self.here).access(self.grant_id)


@asynccontextmanager
async def open_stage(dsn, clock, **options):
    app = simulator.create_app(SimulatorOptions(invoices=0, payments=0, **options), clock.now)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as xero:
        stage = Stage(dsn, clock, xero)
        await stage.connect()
        try:
            yield stage
        finally:
            for db in stage.dbs:
                await db.close()


@pytest.fixture
async def stage(dsn):
    async with manual_clock(dsn) as clock, open_stage(dsn, clock) as stage:
        yield stage


async def test_sixteen_callers_on_two_replicas_refresh_once_a_round(dsn):
    # Without any grace a second use of a refresh token is refused, so that nothing hides behind it.
    async with open_stage(dsn, SystemClock(), refresh_grace_seconds=0) as stage:
        for _ in range(ROUNDS):
            await stage.expire()
            callers = [stage.access(tokens) for tokens in (stage.here, stage.there) for _ in range(CALLERS)]
            assert len(set(await asyncio.gather(*callers))) == 1
        assert await stage.refreshes() == {"ok": ROUNDS}
        assert (await stage.grant())["version"] == ROUNDS + 1


async def test_a_token_the_vendor_calls_expired_is_refreshed_once_whoever_says_so(dsn):
    async with open_stage(dsn, SystemClock(), refresh_grace_seconds=0) as stage:
        rejected = await stage.access()
        callers = [one.access(stage.grant_id, rejected) for one in (stage.here, stage.there) for _ in range(CALLERS)]
        [token] = set(await asyncio.gather(*callers))
        assert token != rejected
        assert await stage.refreshes() == {"ok": 1}


async def test_a_token_is_renewed_minutes_before_it_expires(stage):
    token = await stage.access()
    await stage.clock.advance(24 * 60)
    assert await stage.access() == token
    await stage.clock.advance(2 * 60)
    assert await stage.access() != token
    assert (await stage.grant())["refresh_expires_at"] == stage.clock.now() + timedelta(days=60)


@pytest.mark.parametrize("is_lost_on_the_way", [True, False])
async def test_an_answer_that_was_lost_is_asked_for_again_with_the_old_token(stage, is_lost_on_the_way):
    await stage.expire()
    if is_lost_on_the_way:
        await stage.fault("lost_answer", grant_type="refresh_token")
        with pytest.raises(ConnectorError):
            await stage.access()
        await stage.clock.advance(16)
    else:
        await die_before_the_commit(stage)
        # Whoever died held the claim; the next caller waits until it runs out.
    began = stage.clock.now()
    assert await stage.access(stage.there)
    assert stage.clock.now() - began < timedelta(seconds=60)
    grant = await stage.grant()
    assert (grant["state"], grant["version"]) == ("active", 2)
    assert await stage.refreshes() == {"ok": 2}


async def die_before_the_commit(stage):
    """Leave things as a process does that is killed with the answer in hand: rotated there, the claim held here."""

    async def die(*_args):
        raise MemoryError

    stage.here._commit = die  # noqa: SLF001 - there is no other way to die at this very moment
    with pytest.raises(MemoryError):
        await stage.access()
    assert (await stage.grant())["refresh_claim"] is not None


async def test_a_cancelled_refresh_keeps_nobody_waiting(dsn):
    async with open_stage(dsn, SystemClock()) as stage:
        await stage.expire()
        await stage.fault("delay", seconds=5)
        asking = asyncio.create_task(stage.access())
        for _ in range(500):
            if await stage.refreshes():
                break
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(3):
            assert await stage.access(stage.there)


async def test_one_refusal_is_not_believed(stage):
    await stage.expire()
    await stage.fault("oauth_error", text="invalid_grant", times=1)
    assert await stage.access()
    assert (await stage.grant())["state"] == "active"


async def test_a_lasting_refusal_ends_in_reconnecting_and_silence(stage):
    await stage.expire()
    await stage.fault("oauth_error", text="invalid_grant", times=None)
    began = stage.clock.now()
    with pytest.raises(GrantUnusable):
        await stage.access()
    assert stage.clock.now() - began >= timedelta(seconds=5)
    grant = await stage.grant()
    assert grant["state"] == "reconnect_required"
    assert (await stage.refreshes()).total() == 3

    await stage.clock.advance(3 * DAY)
    for tokens in (stage.here, stage.there):
        with pytest.raises(GrantUnusable):
            await stage.access(tokens)
        assert await tokens.refresh_idle_grants() == 0
    assert (await stage.refreshes()).total() == 3

    await stage.control("DELETE", "/faults")
    await stage.connect()
    assert await stage.access()
    assert (await stage.grant())["id"] == grant["id"]


async def test_a_refusal_does_not_end_a_grant_that_was_renewed_meanwhile(stage):
    await stage.expire()
    await stage.fault("oauth_error", text="invalid_grant", times=3, grant_type="refresh_token")
    refused = stage.here._refused  # noqa: SLF001 - the moment between the last refusal and what follows from it

    async def connect_first(held, error):
        await stage.connect()
        return await refused(held, error)

    stage.here._refused = connect_first  # noqa: SLF001
    assert await stage.access()
    assert (await stage.grant())["state"] == "active"


async def test_a_refusal_of_older_tokens_says_nothing_of_newer_ones(stage):
    refused = (await stage.grant())["version"]
    await stage.connect()
    for version, state in ((refused, "active"), (refused + 1, "reconnect_required")):
        async with stage.dbs[0].transaction() as session:
            await grants.mark_dead(session, stage.grant_id, version, "invalid_grant")
        assert (await stage.grant())["state"] == state


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("server_error", {}),
        ("maintenance", {}),
        ("html", {}),
        ("empty", {}),
        ("truncated", {}),
        ("lost_answer", {}),
        ("refused", {}),
        ("limit_minute", {}),
        ("oauth_error", {"text": "invalid_client"}),
        ("oauth_error", {"text": "unauthorized_client"}),
        ("status", {"status": 400, "text": "<html>invalid_grant</html>"}),
        ("status", {"status": 403, "text": "blocked"}),
    ],
)
async def test_what_is_no_refusal_is_never_taken_for_one(stage, kind, more):
    # While the token is still good for some minutes nobody notices.
    token = await stage.access()
    await stage.clock.advance(27 * 60)
    await stage.fault(kind, grant_type="refresh_token", times=None, **more)
    assert await stage.access() == token

    await stage.clock.advance(10 * 60)
    for _ in range(10):
        with pytest.raises(ConnectorError) as refused:
            await stage.access()
        assert not isinstance(refused.value, GrantUnusable)
        await stage.clock.advance(61)
    assert (await stage.grant())["state"] == "active"
    asked = (await stage.refreshes()).total()
    with pytest.raises(ConnectorError):
        await stage.access()
    with pytest.raises(ConnectorError):
        await stage.access(stage.there)
    assert (await stage.refreshes()).total() <= asked + 1

    await stage.control("DELETE", "/faults")
    await stage.clock.advance(61)
    assert await stage.access()


async def test_missing_credentials_are_an_operators_matter(stage):
    config = VendorConfig("xero", BACK, "", "", "broad")
    await stage.expire()
    with pytest.raises(ConnectorError, match="client id and secret"):
        await AccessTokens(stage.dbs[0], stage.sealer, stage.connector, config, stage.clock).access(stage.grant_id)
    assert (await stage.grant())["state"] == "active"


async def test_every_grant_is_refreshed_at_least_daily(stage):
    await stage.clock.advance(DAY - 60)
    assert await stage.here.refresh_idle_grants() == 0
    await stage.clock.advance(120)
    assert await stage.here.refresh_idle_grants() == 1
    assert await stage.there.refresh_idle_grants() == 0
    grant = await stage.grant()
    assert (grant["refreshed_at"], grant["refresh_expires_at"]) == (
        stage.clock.now(),
        stage.clock.now() + timedelta(days=60),
    )
    await stage.clock.advance(DAY + 60)
    await stage.fault("server_error", times=1)
    assert await stage.here.refresh_idle_grants() == 0
    await stage.clock.advance(60)
    assert await stage.here.refresh_idle_grants() == 1


async def test_expiry_is_told_at_seven_and_at_two_days_and_no_more_after_a_refresh(stage):
    async def warnings():
        async with stage.dbs[0].transaction() as session:
            found = await grants.grants_of(session, "xero")
        app = App(APP.client_id, APP.client_secret, "broad", "environment")
        snapshot = Snapshot(app, found, [], 0, None, None, "", "Xero")
        return [(banner.code, banner.severity) for banner in banners_of(snapshot, stage.clock.now())]

    assert await warnings() == []
    await stage.clock.advance(53 * DAY - 60)
    assert await warnings() == []
    await stage.clock.advance(120)
    assert await warnings() == [("token_expiring_7d", "warning")]
    await stage.clock.advance(5 * DAY)
    assert await warnings() == [("token_expiring_2d", "critical")]
    await stage.here.refresh_idle_grants()
    assert await warnings() == []
