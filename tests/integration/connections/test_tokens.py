"""Access tokens: one refresh at a time over all replicas, no lost response is final, and no outage ends a grant."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text
from typing_extensions import override

from app.clock import SystemClock
from app.connections import grants
from app.connections import tokens as token_module
from app.connections.decrypted_grant import GrantUnusable
from app.connections.grants import ConsentDetails, save_grant
from app.connections.snapshot import ConnectionSnapshot
from app.connections.states import CredentialsSource
from app.connections.status import list_banners
from app.connections.tokens import AccessTokens
from app.connections.vendor_app import App, VendorConfig
from app.connector import AppCredentials, ConnectorError, RateLimited
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
ROUNDS = 4
CALLERS = 16
DAY = 24 * 3600
# What a network or an identity provider does for a moment; none of it says anything about the grant.
BLIPS = ["lost_answer", "refused", "reset", "server_error", "maintenance", "html", "empty", "truncated", "bad_gzip"]


class Replicas:
    """A simulated Xero with one grant, and two replicas over one database that return its access tokens."""

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
            lifetime = self.connector.profile.refresh_token_lifetime
            details = ConsentDetails("xero", "broad", frozenset(), "tester", lifetime)
            self.grant_id = await save_grant(session, self.sealer, details, tokens)

    async def expire(self):
        """Expire the access token, in the database and at Xero."""
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
        return await (tokens or self.here).get_access_token(self.grant_id)


@asynccontextmanager
async def open_replicas(dsn, clock, **options):
    app = simulator.create_app(SimulatorOptions(invoices=0, payments=0, **options), clock.now)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as xero:
        replicas = Replicas(dsn, clock, xero)
        await replicas.connect()
        try:
            yield replicas
        finally:
            for db in replicas.dbs:
                await db.close()


@pytest.fixture
async def replicas(dsn):
    async with manual_clock(dsn) as clock, open_replicas(dsn, clock) as replicas:
        yield replicas


@pytest.mark.usefixtures("patient_server")
async def test_sixteen_callers_on_two_replicas_refresh_once_a_round(dsn):
    # Without any grace a second use of a refresh token is refused, so that nothing hides behind it.
    async with open_replicas(dsn, SystemClock(), refresh_grace_seconds=0) as replicas:
        for _ in range(ROUNDS):
            await replicas.expire()
            callers = [replicas.access(tokens) for tokens in (replicas.here, replicas.there) for _ in range(CALLERS)]
            assert len(set(await asyncio.gather(*callers))) == 1
        assert await replicas.refreshes() == {"ok": ROUNDS}
        assert (await replicas.grant())["version"] == ROUNDS + 1


async def test_a_token_the_vendor_calls_expired_is_refreshed_once_whoever_says_so(dsn):
    async with open_replicas(dsn, SystemClock(), refresh_grace_seconds=0) as replicas:
        rejected = await replicas.access()
        callers = [
            one.get_access_token(replicas.grant_id, rejected)
            for one in (replicas.here, replicas.there)
            for _ in range(CALLERS)
        ]
        [token] = set(await asyncio.gather(*callers))
        assert token != rejected
        assert await replicas.refreshes() == {"ok": 1}


async def test_a_token_is_renewed_minutes_before_it_expires(replicas):
    token = await replicas.access()
    await replicas.clock.advance(24 * 60)
    assert await replicas.access() == token
    await replicas.clock.advance(2 * 60)
    assert await replicas.access() != token
    assert (await replicas.grant())["refresh_expires_at"] == replicas.clock.now() + timedelta(days=60)


async def test_a_rotated_token_that_was_never_stored_is_asked_for_again_with_the_old_one(replicas):
    await replicas.expire()
    await die_before_the_commit(replicas)
    # The process that died held the claim; the next caller waits until it expires.
    began = replicas.clock.now()
    assert await replicas.access(replicas.there)
    assert replicas.clock.now() - began < timedelta(seconds=60)
    grant = await replicas.grant()
    assert (grant["state"], grant["version"]) == ("active", 2)
    assert await replicas.refreshes() == {"ok": 2}


@pytest.mark.parametrize("kind", BLIPS)
async def test_a_blip_is_waited_for_by_every_caller_and_costs_none_of_them_its_token(replicas, kind):
    await replicas.expire()
    await replicas.fault(kind, grant_type="refresh_token", times=3)
    began = replicas.clock.now()
    callers = [replicas.access(tokens) for tokens in (replicas.here, replicas.there) for _ in range(4)]
    assert len(set(await asyncio.gather(*callers))) == 1
    assert replicas.clock.now() - began < timedelta(seconds=60)
    assert (await replicas.refreshes()).total() == 4
    grant = await replicas.grant()
    assert (grant["state"], grant["version"], grant["refusals"], grant["next_refresh_at"]) == ("active", 2, 0, None)


async def test_an_attempt_that_is_never_answered_is_given_up_and_made_again(replicas, monkeypatch):
    monkeypatch.setattr(token_module, "ATTEMPT_TIMEOUT_SECONDS", 0.05)
    await replicas.expire()
    await replicas.fault("delay", grant_type="refresh_token", seconds=60, times=2)
    assert await replicas.access()
    assert (await replicas.refreshes()).total() == 3


async def test_a_limit_of_the_token_endpoint_is_waited_for_as_long_as_it_asks(replicas):
    await replicas.expire()
    await replicas.fault("limit_minute", grant_type="refresh_token", retry_after="17")
    began = replicas.clock.now()
    assert await replicas.access()
    assert replicas.clock.now() - began == timedelta(seconds=17)
    await replicas.expire()
    await replicas.fault("limit_minute", grant_type="refresh_token", retry_after="600")
    with pytest.raises(RateLimited):
        await replicas.access()


async def test_a_claim_is_kept_while_slow_attempts_fail_for_longer_than_it_lasts(replicas):
    await replicas.expire()
    await replicas.fault("server_error", grant_type="refresh_token", times=5)
    refresh = replicas.connector.refresh

    async def refresh_slowly(app, refresh_token):
        await replicas.clock.advance(14)
        return await refresh(app, refresh_token)

    replicas.connector.refresh = refresh_slowly
    began = replicas.clock.now()
    here, there = await asyncio.gather(replicas.access(), replicas.access(replicas.there))
    assert here == there
    assert replicas.clock.now() - began > timedelta(seconds=90)
    assert (await replicas.refreshes()).total() == 6
    assert (await replicas.grant())["version"] == 2


async def test_a_person_who_connects_during_the_retries_gives_every_caller_the_new_token(replicas):
    await replicas.expire()
    await replicas.fault("server_error", grant_type="refresh_token", times=None)
    refresh = replicas.connector.refresh

    async def connect_meanwhile(app, refresh_token):
        replicas.connector.refresh = refresh
        await replicas.connect()
        return await refresh(app, refresh_token)

    replicas.connector.refresh = connect_meanwhile
    token = await replicas.access()
    assert token == await replicas.access(replicas.there)
    assert (await replicas.refreshes()).total() == 1


async def test_a_failure_while_a_token_was_still_good_does_not_hold_back_who_has_none(replicas):
    token = await replicas.access()
    await replicas.clock.advance(30 * 60 - 5)
    await replicas.fault("server_error", grant_type="refresh_token")
    assert await replicas.access() == token
    # Nothing is waited for, and nothing is tried again, as long as the token is good.
    assert await replicas.access() == token
    assert (await replicas.refreshes()).total() == 1
    await replicas.clock.advance(6)
    assert await replicas.access() != token
    assert (await replicas.refreshes()).total() == 2


async def die_before_the_commit(replicas):
    """Leave what a process leaves that dies between response and commit: a rotated token at Xero, a held claim here."""

    async def die(*_args):
        raise MemoryError

    replicas.here._store_refreshed = die  # noqa: SLF001 - there is no other way to die at this very moment
    with pytest.raises(MemoryError):
        await replicas.access()
    assert (await replicas.grant())["refresh_claim"] is not None


async def test_who_read_the_grant_before_a_refresh_failed_does_not_try_again_at_once(replicas):
    failed = asyncio.Event()

    class LateCaller(AccessTokens):
        """Reads the grant while another caller refreshes it, and claims only after that refresh has failed."""

        @override
        async def _claim(self, grant):
            await failed.wait()
            return await super()._claim(grant)

    late = LateCaller(replicas.dbs[1], replicas.sealer, replicas.connector, CONFIG, replicas.clock)
    await replicas.expire()
    await replicas.fault("server_error", times=None)
    waiting = asyncio.create_task(replicas.access(late))
    with pytest.raises(ConnectorError):
        await replicas.access()
    asked = (await replicas.refreshes()).total()
    failed.set()
    with pytest.raises(ConnectorError, match="the next try is in a moment"):
        await waiting
    assert (await replicas.refreshes()).total() == asked


async def test_a_cancelled_refresh_releases_its_claim(dsn):
    async with open_replicas(dsn, SystemClock()) as replicas:
        await replicas.expire()
        await replicas.fault("delay", seconds=5)
        asking = asyncio.create_task(replicas.access())
        for _ in range(500):
            if await replicas.refreshes():
                break
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(3):
            assert await replicas.access(replicas.there)


async def test_one_refusal_does_not_end_the_grant(replicas):
    await replicas.expire()
    await replicas.fault("oauth_error", text="invalid_grant", times=1)
    assert await replicas.access()
    assert (await replicas.grant())["state"] == "active"


async def test_after_repeated_refusals_a_reconnect_is_required_and_no_call_is_made(replicas):
    await replicas.expire()
    await replicas.fault("oauth_error", text="invalid_grant", times=None)
    began = replicas.clock.now()
    with pytest.raises(GrantUnusable):
        await replicas.access()
    assert replicas.clock.now() - began >= timedelta(seconds=5)
    grant = await replicas.grant()
    assert grant["state"] == "reconnect_required"
    assert (await replicas.refreshes()).total() == 3

    await replicas.clock.advance(3 * DAY)
    for tokens in (replicas.here, replicas.there):
        with pytest.raises(GrantUnusable):
            await replicas.access(tokens)
        assert await tokens.refresh_idle_grants() == 0
    assert (await replicas.refreshes()).total() == 3

    await replicas.control("DELETE", "/faults")
    await replicas.connect()
    assert await replicas.access()
    assert (await replicas.grant())["id"] == grant["id"]


async def test_a_refusal_does_not_end_a_grant_that_was_renewed_meanwhile(replicas):
    await replicas.expire()
    await replicas.fault("oauth_error", text="invalid_grant", times=3, grant_type="refresh_token")
    refused = replicas.here._handle_refusal  # noqa: SLF001 - the moment between the last refusal and what follows from it

    async def connect_first(held, error):
        await replicas.connect()
        return await refused(held, error)

    replicas.here._handle_refusal = connect_first  # noqa: SLF001
    assert await replicas.access()
    assert (await replicas.grant())["state"] == "active"


async def test_a_refusal_of_older_tokens_does_not_end_a_grant_with_newer_ones(replicas):
    refused = (await replicas.grant())["version"]
    await replicas.connect()
    for version, state in ((refused, "active"), (refused + 1, "reconnect_required")):
        async with replicas.dbs[0].transaction() as session:
            await grants.mark_reconnect_required(session, replicas.grant_id, version, "invalid_grant")
        assert (await replicas.grant())["state"] == state


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
async def test_an_outage_never_ends_a_grant(replicas, kind, more):
    # Of two callers in an outage the second makes no attempt; the first tries again only what may pass.
    is_refused = kind == "oauth_error"
    most_attempts = 1 if is_refused else 1 + len(token_module.OUTAGE_RETRY_SECONDS)
    # While the token is still good for some minutes nobody notices.
    token = await replicas.access()
    await replicas.clock.advance(27 * 60)
    await replicas.fault(kind, grant_type="refresh_token", times=None, **more)
    assert await replicas.access() == token

    await replicas.clock.advance(10 * 60)
    for _ in range(10):
        with pytest.raises(ConnectorError) as refused:
            await replicas.access()
        assert not isinstance(refused.value, GrantUnusable)
        await replicas.clock.advance(61)
    assert (await replicas.grant())["state"] == "active"
    asked = (await replicas.refreshes()).total()
    with pytest.raises(ConnectorError):
        await replicas.access()
    with pytest.raises(ConnectorError):
        await replicas.access(replicas.there)
    assert (await replicas.refreshes()).total() <= asked + most_attempts

    await replicas.control("DELETE", "/faults")
    await replicas.clock.advance(61)
    assert await replicas.access()


async def test_missing_credentials_do_not_end_the_grant(replicas):
    config = VendorConfig("xero", BACK, "", "", "broad")
    await replicas.expire()
    tokens = AccessTokens(replicas.dbs[0], replicas.sealer, replicas.connector, config, replicas.clock)
    with pytest.raises(ConnectorError, match="client id and secret"):
        await tokens.get_access_token(replicas.grant_id)
    assert (await replicas.grant())["state"] == "active"


async def test_every_grant_is_refreshed_at_least_daily(replicas):
    await replicas.clock.advance(DAY - 60)
    assert await replicas.here.refresh_idle_grants() == 0
    await replicas.clock.advance(120)
    assert await replicas.here.refresh_idle_grants() == 1
    assert await replicas.there.refresh_idle_grants() == 0
    grant = await replicas.grant()
    assert (grant["refreshed_at"], grant["refresh_expires_at"]) == (
        replicas.clock.now(),
        replicas.clock.now() + timedelta(days=60),
    )
    await replicas.clock.advance(DAY + 60)
    await replicas.fault("server_error", times=None)
    assert await replicas.here.refresh_idle_grants() == 0
    await replicas.control("DELETE", "/faults")
    await replicas.clock.advance(60)
    assert await replicas.here.refresh_idle_grants() == 1


async def test_expiry_has_a_banner_at_seven_and_at_two_days_and_none_after_a_refresh(replicas):
    async def warnings():
        async with replicas.dbs[0].transaction() as session:
            found = await grants.list_grants(session, "xero")
        app = App(APP.client_id, APP.client_secret, "broad", CredentialsSource.ENVIRONMENT)
        snapshot = ConnectionSnapshot(app, found, [], 0, None, None, "", "Xero")
        return [(banner.code, banner.severity) for banner in list_banners(snapshot, replicas.clock.now())]

    assert await warnings() == []
    await replicas.clock.advance(53 * DAY - 60)
    assert await warnings() == []
    await replicas.clock.advance(120)
    assert await warnings() == [("token_expiring_7d", "warning")]
    await replicas.clock.advance(5 * DAY)
    assert await warnings() == [("token_expiring_2d", "critical")]
    await replicas.here.refresh_idle_grants()
    assert await warnings() == []
