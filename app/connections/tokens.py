"""Access tokens: handed out while good, refreshed by one caller at a time across replicas and organisations.

The claim on a refresh is a row, not a session lock: it survives a transaction pooler, and a caller that dies with the
answer in hand loses it after CLAIM_SECONDS. The next one then asks with the old refresh token, which Xero accepts for
30 minutes after its use (Xero's page on token types).
"""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import func, or_, select, update

from app.clock import Clock
from app.connections.errors import NotConfigured
from app.connections.grants import access_place, mark_dead, refresh_place, store_tokens
from app.connections.tables import Grant
from app.connections.vendor_app import VendorConfig, load_app
from app.connector import (
    AppCredentials,
    AppRejected,
    Connector,
    ConnectorError,
    GrantRefused,
    TokenSet,
    VendorUnavailable,
)
from app.crypto import SealBroken, Sealer
from app.db import Database, DatabaseUnavailable

log = structlog.get_logger(__name__)

EARLY = timedelta(minutes=5)
KEEP_ALIVE = timedelta(hours=24)
CLAIM_SECONDS = 45
# All tries of one claim together; past that another caller may have the claim.
ANSWER_SECONDS = 40
WAIT_SECONDS = 0.1
# A refusal may be a passing confusion at the vendor, so it is asked again, spaced, before a person is troubled.
RETRY_AFTER_REFUSAL = (1.0, 4.0)
BACKOFF_SECONDS = 15


class GrantUnusable(ConnectorError):
    """The grant is dead: a person must connect again. No call was made."""


@dataclass(frozen=True, slots=True)
class DecryptedGrant:
    """A grant as read, its tokens unsealed: what is needed to use or refresh it."""

    id: UUID
    version: int
    state: str
    reason: str | None
    access_token: str
    refresh_token: str
    is_fresh: bool
    is_usable: bool
    is_backing_off: bool


class AccessTokens:
    """Hands out access tokens of grants.

    Args:
        db: where the grants are.
        sealer: opens and seals them.
        connector: the vendor.
        config: the vendor's app as the environment has it.
        clock: waits between tries.
    """

    def __init__(self, db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, clock: Clock) -> None:
        self._db = db
        self._sealer = sealer
        self._connector = connector
        self._config = config
        self._clock = clock

    async def access(self, grant_id: UUID, rejected: str | None = None) -> str:
        """Return an access token that is good for some minutes yet.

        Args:
            grant_id: whose.
            rejected: a token the vendor has just called expired; it is not handed out again.

        Raises:
            GrantUnusable: the grant is dead or gone.
            ConnectorError: the vendor did not give a new set; the grant may still be good.
        """
        while True:
            grant = await self._read(grant_id)
            if grant.is_fresh and grant.access_token != rejected:
                return grant.access_token
            if grant.is_backing_off or not (claim := await self._claim(grant)):
                if grant.is_usable and grant.access_token != rejected:
                    return grant.access_token
                if grant.is_backing_off:
                    raise VendorUnavailable("The last token refresh failed; the next try is in a moment.")
                await self._clock.sleep(WAIT_SECONDS)
                continue
            return await self._refresh(grant, claim, rejected)

    async def refresh_idle_grants(self) -> int:
        """Refresh every grant that has not been for a day, so that its 60 days never run out; return how many were."""
        async with self._db.transaction() as session:
            old = Grant.refreshed_at < func.wall_clock() - KEEP_ALIVE
            statement = select(Grant.id).where(Grant.vendor == self._config.vendor, Grant.state == "active", old)
            grant_ids = (await session.scalars(statement)).all()
        refreshed = 0
        for grant_id in grant_ids:
            try:
                refreshed += await self._refresh_idle_grant(grant_id)
            except (ConnectorError, SealBroken) as error:
                log.warning("keep_alive_failed", grant_id=str(grant_id), error=str(error))
        return refreshed

    async def _refresh_idle_grant(self, grant_id: UUID) -> bool:
        grant = await self._read(grant_id)
        claim = None if grant.is_backing_off else await self._claim(grant)
        if claim is None:
            return False
        await self._refresh(grant, claim, None)
        return True

    async def _read(self, grant_id: UUID) -> DecryptedGrant:
        async with self._db.transaction() as session:
            row = (await session.execute(select(Grant, func.wall_clock()).where(Grant.id == grant_id))).one_or_none()
        if row is None:
            raise GrantUnusable("This connection no longer exists; connect again.")
        grant, now = row[0], row[1]
        if grant.state != "active" or not (grant.access_token_sealed and grant.refresh_token_sealed):
            raise GrantUnusable(grant.reason or "The connection was ended; connect again.")
        return self._decrypt(grant, now)

    def _decrypt(self, grant: Grant, now: datetime) -> DecryptedGrant:
        expires_at = grant.access_expires_at or now
        return DecryptedGrant(
            id=grant.id,
            version=grant.version,
            state=grant.state,
            reason=grant.reason,
            access_token=self._sealer.open(grant.access_token_sealed or "", access_place(grant.id)),
            refresh_token=self._sealer.open(grant.refresh_token_sealed or "", refresh_place(grant.id)),
            is_fresh=expires_at - EARLY > now,
            is_usable=expires_at > now,
            is_backing_off=grant.next_refresh_at is not None and grant.next_refresh_at > now,
        )

    async def _claim(self, grant: DecryptedGrant) -> UUID | None:
        """Become the one caller that may refresh this version, or return None when another is."""
        claim = uuid4()
        free = or_(Grant.refresh_claim.is_(None), Grant.refresh_claimed_until < func.wall_clock())
        until = func.wall_clock() + timedelta(seconds=CLAIM_SECONDS)
        statement = (
            update(Grant)
            .where(Grant.id == grant.id, Grant.version == grant.version, Grant.state == "active", free)
            .values(refresh_claim=claim, refresh_claimed_until=until)
            .returning(Grant.id)
        )
        async with self._db.transaction() as session:
            claimed = await session.scalar(statement)
        return claim if claimed else None

    async def _refresh(self, grant: DecryptedGrant, claim: UUID, rejected: str | None) -> str:
        try:
            tokens = await self._ask(await self._app(), grant)
        except asyncio.CancelledError:
            # Whoever needs a token next need not wait for our claim to run out.
            await asyncio.shield(self._release_claim(grant, claim))
            raise
        except GrantRefused as error:
            return await self._refused(grant, error)
        except ConnectorError as error:
            await self._back_off(grant, claim, error)
            if grant.is_usable and grant.access_token != rejected:
                return grant.access_token
            raise
        return await self._commit(grant, claim, tokens)

    async def _app(self) -> AppCredentials:
        async with self._db.transaction() as session:
            app = await load_app(session, self._sealer, self._config)
        try:
            return app.credentials()
        except NotConfigured as error:
            raise AppRejected(str(error)) from error

    async def _ask(self, app: AppCredentials, grant: DecryptedGrant) -> TokenSet:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._refresh_with_retries(app, grant)
        except TimeoutError:
            raise VendorUnavailable("The vendor did not answer the token refresh in time.") from None

    async def _refresh_with_retries(self, app: AppCredentials, grant: DecryptedGrant) -> TokenSet:
        for pause in (*RETRY_AFTER_REFUSAL, None):
            try:
                return await self._connector.refresh(app, grant.refresh_token)
            except GrantRefused:
                if pause is None or await self._was_rotated(grant):
                    raise
                await self._clock.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _was_rotated(self, grant: DecryptedGrant) -> bool:
        return (await self._read(grant.id)).version != grant.version

    async def _refused(self, grant: DecryptedGrant, error: GrantRefused) -> str:
        if await self._was_rotated(grant):
            return await self.access(grant.id)
        log.warning("grant_refused", grant_id=str(grant.id), error=error.detail)
        async with self._db.transaction() as session:
            await mark_dead(session, grant.id, grant.version, error.detail)
        raise GrantUnusable(error.detail) from error

    async def _release_claim(self, grant: DecryptedGrant, claim: UUID) -> None:
        mine = update(Grant).where(Grant.id == grant.id, Grant.refresh_claim == claim)
        with contextlib.suppress(DatabaseUnavailable):
            async with self._db.transaction() as session:
                await session.execute(mine.values(refresh_claim=None))

    async def _back_off(self, grant: DecryptedGrant, claim: UUID, error: ConnectorError) -> None:
        log.warning("token_refresh_failed", grant_id=str(grant.id), error=error.detail, kind=type(error).__name__)
        wait = timedelta(seconds=BACKOFF_SECONDS * (4 if isinstance(error, AppRejected) else 1))
        values = {"refresh_claim": None, "next_refresh_at": func.wall_clock() + wait, "refusals": Grant.refusals + 1}
        async with self._db.transaction() as session:
            await session.execute(
                update(Grant).where(Grant.id == grant.id, Grant.refresh_claim == claim).values(values)
            )

    async def _commit(self, grant: DecryptedGrant, claim: UUID, tokens: TokenSet) -> str:
        """Commit the new set before anyone uses it; a claim lost meanwhile means that another set is already there."""
        statement = (
            update(Grant)
            .where(Grant.id == grant.id, Grant.refresh_claim == claim, Grant.state == "active")
            .values(version=Grant.version + 1, refresh_claim=None)
            .returning(Grant.id)
        )
        async with self._db.transaction() as session:
            if await session.scalar(statement):
                await store_tokens(session, self._sealer, grant.id, tokens)
                return tokens.access_token
        return await self.access(grant.id)
