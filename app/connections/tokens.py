"""Access tokens: returned while valid, and refreshed by one caller at a time across all replicas and tenants.

The claim on a refresh is stored in the grant's row and is no session lock, so it works with a connection pooler that
pools transactions. A process that dies between the vendor's response and the commit loses the claim after
CLAIM_SECONDS; the next caller then refreshes with the old refresh token, which Xero accepts for 30 minutes after its
first use (its page "Token types", documentation/guides/oauth2/token-types). For the same reason an answer that was lost
is asked for again under the same claim, while the other callers wait.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import func, or_, select, update

from app.clock import Clock
from app.concurrency import Coalescer
from app.connections.decrypted_grant import READ_GRANT, DecryptedGrant, GrantUnusable, decrypt_grant
from app.connections.errors import NotConfigured
from app.connections.grants import (
    mark_reconnect_required,
    store_tokens,
)
from app.connections.states import GrantState
from app.connections.tables import Grant
from app.connections.vendor_app import VendorConfig, load_app
from app.connector import (
    AnswerUnreadable,
    AppCredentials,
    AppRejected,
    Connector,
    ConnectorError,
    GrantRefused,
    RateLimited,
    TokenSet,
    VendorUnavailable,
)
from app.crypto import Sealer
from app.db import Database, DatabaseUnavailable

log = structlog.get_logger(__name__)

# A grant that nobody uses is refreshed this often, so that its refresh token does not expire.
IDLE_REFRESH_INTERVAL = timedelta(hours=24)
CLAIM_SECONDS = 45
# For one attempt. It and the longest delay before the next one together are shorter than the claim, which is renewed
# before every further attempt.
ATTEMPT_TIMEOUT_SECONDS = 15
# Callers wait for a claim at growing intervals, because a refresh that is tried again may take half a minute.
CLAIM_POLL_SECONDS = 0.1
MAX_CLAIM_POLL_SECONDS = 1.0
CLAIM_POLL_GROWTH = 1.5
# A refusal may be a transient fault of the vendor, so the refresh is retried before a person has to reconnect.
REFUSAL_RETRY_SECONDS = (1.0, 4.0)
# What says nothing about the grant is retried while no token is left to work with.
OUTAGE_RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
MAX_RETRY_SECONDS = 20.0
OUTAGES = (VendorUnavailable, AnswerUnreadable, RateLimited)
BACKOFF_SECONDS = 15
# Wrong credentials last until an operator corrects them, so the next attempt is made later.
REJECTED_BACKOFF_SECONDS = 60


class ClaimLost(RuntimeError):
    """The refresh claim has passed to another caller, or the grant was connected anew or disconnected meanwhile."""


class AccessTokens:
    """Returns valid access tokens of one vendor's grants, refreshing them when needed.

    Args:
        db: where the grants are stored.
        sealer: encrypts and decrypts their tokens.
        connector: the vendor's connector.
        config: the vendor's app as the environment describes it.
        clock: waits between attempts.
    """

    def __init__(self, db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, clock: Clock) -> None:
        self._db = db
        self._sealer = sealer
        self._connector = connector
        self._config = config
        self._clock = clock
        # The tenants of a grant and the pulls of each ask for the same token at once.
        self._reads: Coalescer[UUID, DecryptedGrant] = Coalescer(self._read_for)

    async def get_access_token(self, grant_id: UUID, rejected: str | None = None) -> str:
        """Return an access token that is valid for some minutes, refreshing it first if it is not.

        Args:
            grant_id: the grant.
            rejected: a token the vendor has just refused as expired; it is not returned again.

        Raises:
            GrantUnusable: the grant needs a reconnect, is disconnected, does not exist or cannot be decrypted.
            ConnectorError: the refresh failed, each time it was tried; the grant may still be good.
        """
        pauses = _claim_pauses()
        while True:
            grant = await self._read(grant_id)
            if grant.is_fresh and grant.access_token != rejected:
                return grant.access_token
            needs_refresh = grant.needs_refresh(rejected)
            if grant.refresh_problem or (grant.is_backing_off and (grant.has_failed or not needs_refresh)):
                return grant.use_without_refresh(rejected)
            if claim := await self._claim(grant):
                return await self._refresh(grant, claim, rejected)
            if not needs_refresh:
                return grant.access_token
            await self._clock.sleep(next(pauses))

    async def refresh_idle_grants(self) -> int:
        """Refresh every grant that was not refreshed for a day, so that none expires; return how many were."""
        async with self._db.transaction() as session:
            is_idle = Grant.refreshed_at < func.wall_clock() - IDLE_REFRESH_INTERVAL
            is_active = Grant.state == GrantState.ACTIVE
            statement = select(Grant.id).where(Grant.vendor == self._config.vendor, is_active, is_idle)
            grant_ids = (await session.scalars(statement)).all()
        refreshed = 0
        for grant_id in grant_ids:
            try:
                refreshed += await self._refresh_idle_grant(grant_id)
            except ConnectorError as error:
                log.warning("idle_refresh_failed", grant_id=str(grant_id), error=str(error))
        return refreshed

    async def _refresh_idle_grant(self, grant_id: UUID) -> bool:
        grant = await self._read(grant_id)
        claim = None if grant.is_backing_off or grant.refresh_problem else await self._claim(grant)
        if claim is None:
            return False
        await self._refresh(grant, claim, None)
        return True

    async def _read(self, grant_id: UUID) -> DecryptedGrant:
        return await self._reads.ask(grant_id)

    async def _read_for(self, grant_id: UUID, callers: int) -> Sequence[DecryptedGrant]:
        async with self._db.transaction() as session:
            grant = (await session.execute(READ_GRANT, {"grant_id": grant_id})).one_or_none()
        if grant is None:
            raise GrantUnusable("This connection no longer exists; connect again.")
        if grant.state != GrantState.ACTIVE or not (grant.access_token_sealed and grant.refresh_token_sealed):
            raise GrantUnusable(grant.reason or "The connection was ended; connect again.")
        return [decrypt_grant(grant, self._sealer)] * callers

    async def _claim(self, grant: DecryptedGrant) -> UUID | None:
        """Return a claim on the refresh; None when another caller has it, or has refreshed or failed since the read."""
        claim = uuid4()
        is_unclaimed = or_(Grant.refresh_claim.is_(None), Grant.refresh_claimed_until < func.wall_clock())
        has_not_failed = Grant.next_refresh_at.is_not_distinct_from(grant.next_refresh_at)
        is_as_read = (Grant.version == grant.version, has_not_failed)
        until = func.wall_clock() + timedelta(seconds=CLAIM_SECONDS)
        statement = (
            update(Grant)
            .where(Grant.id == grant.id, *is_as_read, Grant.state == GrantState.ACTIVE, is_unclaimed)
            .values(refresh_claim=claim, refresh_claimed_until=until)
            .returning(Grant.id)
        )
        async with self._db.transaction() as session:
            claimed = await session.scalar(statement)
        return claim if claimed else None

    async def _refresh(self, grant: DecryptedGrant, claim: UUID, rejected: str | None) -> str:
        needs_refresh = grant.needs_refresh(rejected)
        try:
            tokens = await self._request_tokens(grant, claim, OUTAGE_RETRY_SECONDS if needs_refresh else ())
        except asyncio.CancelledError:
            # The next caller that needs a token does not have to wait until this claim expires.
            await asyncio.shield(self._release_claim(grant, claim))
            raise
        except ClaimLost:
            return await self.get_access_token(grant.id, rejected)
        except GrantRefused as error:
            return await self._handle_refusal(grant, error)
        except ConnectorError as error:
            await self._back_off(grant, claim, error, needs_refresh=needs_refresh)
            if needs_refresh:
                raise
            return grant.access_token
        return await self._store_refreshed(grant, claim, tokens)

    async def _load_credentials(self) -> AppCredentials:
        async with self._db.transaction() as session:
            app = await load_app(session, self._sealer, self._config)
        try:
            return app.credentials()
        except NotConfigured as error:
            raise AppRejected(str(error)) from error

    async def _request_tokens(self, grant: DecryptedGrant, claim: UUID, outage_delays: Sequence[float]) -> TokenSet:
        """Ask for a new token set until there is an answer, for as often as there are delays.

        Args:
            grant: the grant, whose refresh token stays good for a while after a use whose answer was lost.
            claim: the claim it is done under.
            outage_delays: seconds to wait after each failure that says nothing about the grant.

        Raises:
            ClaimLost: somebody else has the claim by now.
            ConnectorError: what the last attempt ended with.
        """
        app = await self._load_credentials()
        refusal_delays, outages = iter(REFUSAL_RETRY_SECONDS), iter(outage_delays)
        while True:
            try:
                return await self._request_once(app, grant)
            except GrantRefused:
                delay = next(refusal_delays, None)
                if delay is None or await self._was_refreshed(grant):
                    raise
            except OUTAGES as error:
                delay = _delay_after(error, outages)
                if delay is None:
                    raise
                log.warning("token_refresh_retried", grant_id=str(grant.id), error=error.detail, seconds=round(delay))
            await self._clock.sleep(delay)
            await self._renew_claim(grant, claim)

    async def _request_once(self, app: AppCredentials, grant: DecryptedGrant) -> TokenSet:
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_SECONDS):
                return await self._connector.refresh(app, grant.refresh_token)
        except TimeoutError:
            raise VendorUnavailable("The vendor did not answer the token refresh in time.") from None

    async def _renew_claim(self, grant: DecryptedGrant, claim: UUID) -> None:
        """Hold the claim for another CLAIM_SECONDS.

        Raises:
            ClaimLost: it is not this caller's any more.
        """
        is_ours = (Grant.id == grant.id, Grant.refresh_claim == claim, Grant.version == grant.version)
        until = func.wall_clock() + timedelta(seconds=CLAIM_SECONDS)
        statement = update(Grant).where(*is_ours, Grant.state == GrantState.ACTIVE).values(refresh_claimed_until=until)
        async with self._db.transaction() as session:
            if await session.scalar(statement.returning(Grant.id)) is None:
                raise ClaimLost

    async def _was_refreshed(self, grant: DecryptedGrant) -> bool:
        """Return whether the grant has a newer token set by now."""
        return (await self._read(grant.id)).version != grant.version

    async def _handle_refusal(self, grant: DecryptedGrant, error: GrantRefused) -> str:
        """Return the newer token where there is one; else mark the grant, so that a person reconnects it.

        Raises:
            GrantUnusable: there is no newer token.
        """
        if await self._was_refreshed(grant):
            return await self.get_access_token(grant.id)
        log.warning("grant_refused", grant_id=str(grant.id), error=error.detail)
        async with self._db.transaction() as session:
            await mark_reconnect_required(session, grant.id, grant.version, error.detail)
        raise GrantUnusable(error.detail) from error

    async def _release_claim(self, grant: DecryptedGrant, claim: UUID) -> None:
        statement = update(Grant).where(Grant.id == grant.id, Grant.refresh_claim == claim)
        with contextlib.suppress(DatabaseUnavailable):
            async with self._db.transaction() as session:
                await session.execute(statement.values(refresh_claim=None))

    async def _back_off(
        self, grant: DecryptedGrant, claim: UUID, error: ConnectorError, *, needs_refresh: bool
    ) -> None:
        """Release the claim and let nobody try again for a while.

        A failure that was not tried again holds back only those who can work with the present token meanwhile.
        """
        log.warning("token_refresh_failed", grant_id=str(grant.id), error=error.detail, kind=type(error).__name__)
        is_final = needs_refresh or not isinstance(error, OUTAGES)
        delay = REJECTED_BACKOFF_SECONDS if isinstance(error, AppRejected) else BACKOFF_SECONDS
        next_refresh_at = func.wall_clock() + timedelta(seconds=delay)
        failures = Grant.refusals + 1 if is_final else Grant.refusals
        values = {"refresh_claim": None, "next_refresh_at": next_refresh_at, "refusals": failures}
        async with self._db.transaction() as session:
            is_ours = (Grant.id == grant.id, Grant.refresh_claim == claim)
            await session.execute(update(Grant).where(*is_ours).values(values))

    async def _store_refreshed(self, grant: DecryptedGrant, claim: UUID, tokens: TokenSet) -> str:
        """Store the new token set before anyone uses it, and return its access token.

        Where the claim was lost meanwhile, another caller has stored a newer set, whose token is returned.
        """
        statement = (
            update(Grant)
            .where(Grant.id == grant.id, Grant.refresh_claim == claim, Grant.state == GrantState.ACTIVE)
            .values(version=Grant.version + 1, refresh_claim=None)
            .returning(Grant.id)
        )
        lifetime = self._connector.profile.refresh_token_lifetime
        async with self._db.transaction() as session:
            if await session.scalar(statement):
                await store_tokens(session, self._sealer, grant.id, tokens, lifetime)
                return tokens.access_token
        return await self.get_access_token(grant.id)


def _claim_pauses() -> Iterator[float]:
    """Yield the seconds to wait between two looks at a claim that another caller has."""
    pause = CLAIM_POLL_SECONDS
    while True:
        yield pause
        pause = min(pause * CLAIM_POLL_GROWTH, MAX_CLAIM_POLL_SECONDS)


def _delay_after(error: ConnectorError, delays: Iterator[float]) -> float | None:
    """Return the seconds until the next attempt; None when it was the last, or the vendor asks for a longer wait."""
    delay = next(delays, None)
    if delay is None:
        return None
    asked = error.retry_after if isinstance(error, RateLimited) else None
    delay = max(delay * random.uniform(0.8, 1.2), asked or 0)  # noqa: S311 - jitter
    return delay if delay <= MAX_RETRY_SECONDS else None
