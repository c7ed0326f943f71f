"""One page from the vendor: a token, a slot of the budget, and for every way it can fail one thing to do about it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from app.clock import Clock
from app.connections import tenants
from app.connections.tokens import Tokens
from app.connector import (
    Access,
    AccessExpired,
    AnswerUnreadable,
    Connector,
    ConnectorError,
    HighVolume,
    OrganisationOffline,
    Page,
    PageRequest,
    RateLimited,
    Traffic,
    VendorUnavailable,
)
from app.db import Database
from app.sync.client.failures import describe
from app.sync.client.rate_limiter import Lane, Paused, Spender, Turn, pause_of
from app.sync.client.usage import record_traffic

log = structlog.get_logger(__name__)

TRIES = 4
LIMIT_TRIES = 6
BACKOFF_SECONDS = (1.0, 3.0, 8.0)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page, and the request that brought it: without its filters when the vendor refused them as too broad."""

    page: Page
    request: PageRequest


class Caller:
    """Calls the vendor for one organisation; only the owner of its lease has one.

    Args:
        db: where failed calls are accounted for.
        clock: waits between tries.
        connector: the vendor.
        tokens: the grants' access tokens.
        spender: the budget.
        tenant_id: the organisation.
        grant_id: the grant that reaches it.
        is_ours: says whether the lease still holds by our own reckoning; asked before every call.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the one place where a call's collaborators meet
        self,
        db: Database,
        clock: Clock,
        connector: Connector,
        tokens: Tokens,
        spender: Spender,
        tenant_id: str,
        grant_id: UUID,
        is_ours: Callable[[], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._connector = connector
        self._tokens = tokens
        self._spender = spender
        self._tenant_id = tenant_id
        self._grant_id = grant_id
        self._check = is_ours
        self._gate = spender.gate()

    async def fetch(self, request: PageRequest, lane: Lane = Lane.SYNC) -> Fetched:
        """Return one page; the caller stores it together with `page.traffic`.

        Raises:
            Paused: a limit asks for a longer wait than a tick should sit out.
            ConnectorError: what is left when every remedy failed.
            LeaseLost: the organisation has another owner.
        """
        failures = limits = 0
        rejected: str | None = None
        while True:
            token = await self._tokens.access(self._grant_id, rejected)
            try:
                return Fetched(await self._call(token, request, lane), request)
            except AccessExpired:
                if rejected is not None:
                    raise
                rejected = token
            except HighVolume:
                if not request.is_filtered:
                    raise
                request = replace(request, is_filtered=False)
            except RateLimited as error:
                limits += 1
                await self._hold_still(error, limits)
            except (VendorUnavailable, AnswerUnreadable) as error:
                failures += 1
                await self._try_later(error, failures)

    async def organisations(self) -> set[str]:
        """Return the ids of every organisation the grant still reaches; no organisation's budget is charged for it."""
        token = await self._tokens.access(self._grant_id)
        return {organisation.tenant_id for organisation in await self._connector.list_organisations(token)}

    async def _call(self, token: str, request: PageRequest, lane: Lane) -> Page:
        while True:
            # Waiting for the budget is done outside the gate, where pulls that wait long let a webhook's read pass.
            async with self._gate:
                turn = await self._spender.take(self._tenant_id, lane)
                if turn.slot:
                    return await self._exchange(token, request, turn)
            await self._clock.sleep(turn.wait)

    async def _exchange(self, token: str, request: PageRequest, turn: Turn) -> Page:
        self._check()
        try:
            return await self._connector.fetch_page(Access(token, self._tenant_id), request)
        except ConnectorError as error:
            await self._account(error.traffic)
            raise
        finally:
            await self._spender.finish(self._tenant_id, turn)

    async def _account(self, traffic: Traffic) -> None:
        async with self._db.transaction() as session:
            await record_traffic(session, self._connector.vendor, self._tenant_id, traffic)

    async def _hold_still(self, error: RateLimited, times: int) -> None:
        log.warning("rate_limited", tenant_id=self._tenant_id, limit=error.limit, retry_after=error.retry_after)
        await self._spender.block(self._tenant_id, error)
        await self._tell(Paused(error.limit, pause_of(error)))
        if error.limit == "day" or times >= LIMIT_TRIES:
            raise Paused(error.limit, pause_of(error)) from error

    async def _tell(self, pause: Paused) -> None:
        """Let a person see the limit and until when, while it is sat out as well; the end of the pull clears it."""
        trouble = describe(pause, self._clock.now())
        async with self._db.transaction() as session:
            await tenants.mark_trouble(session, self._connector.vendor, self._tenant_id, trouble)

    async def _try_later(self, error: ConnectorError, failures: int) -> None:
        # An organisation that Xero takes offline stays so for minutes: the next tick asks again.
        if failures >= TRIES or isinstance(error, OrganisationOffline):
            raise error
        await self._clock.sleep(BACKOFF_SECONDS[failures - 1] * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
