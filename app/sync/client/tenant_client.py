"""One page from the vendor: a token, a slot of the budget, and for every way it can fail one thing to do about it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from app.clock import Clock
from app.connections import tenants
from app.connections.tokens import AccessTokens
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
from app.sync.client.failures import describe_failure
from app.sync.client.rate_limiter import Paused, Permit, Priority, RateLimiter, retry_delay
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


class TenantClient:
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
        tokens: AccessTokens,
        rate_limiter: RateLimiter,
        tenant_id: str,
        grant_id: UUID,
        is_ours: Callable[[], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._connector = connector
        self._tokens = tokens
        self._rate_limiter = rate_limiter
        self._tenant_id = tenant_id
        self._grant_id = grant_id
        self._check = is_ours
        self._concurrency = rate_limiter.concurrency_limit()

    async def fetch(self, request: PageRequest, priority: Priority = Priority.SYNC) -> Fetched:
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
                return Fetched(await self._call(token, request, priority), request)
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
                await self._pause_for_limit(error, limits)
            except (VendorUnavailable, AnswerUnreadable) as error:
                failures += 1
                await self._back_off(error, failures)

    async def organisations(self) -> set[str]:
        """Return the ids of every organisation the grant still reaches; no organisation's budget is charged for it."""
        token = await self._tokens.access(self._grant_id)
        return {organisation.tenant_id for organisation in await self._connector.list_organisations(token)}

    async def _call(self, token: str, request: PageRequest, priority: Priority) -> Page:
        while True:
            # Waiting for the budget is done outside the gate, where pulls that wait long let a webhook's read pass.
            async with self._concurrency:
                permit = await self._rate_limiter.acquire(self._tenant_id, priority)
                if permit.slot:
                    return await self._exchange(token, request, permit)
            await self._clock.sleep(permit.wait)

    async def _exchange(self, token: str, request: PageRequest, permit: Permit) -> Page:
        self._check()
        try:
            return await self._connector.fetch_page(Access(token, self._tenant_id), request)
        except ConnectorError as error:
            await self._record_traffic(error.traffic)
            raise
        finally:
            await self._rate_limiter.release(self._tenant_id, permit)

    async def _record_traffic(self, traffic: Traffic) -> None:
        async with self._db.transaction() as session:
            await record_traffic(session, self._connector.vendor, self._tenant_id, traffic)

    async def _pause_for_limit(self, error: RateLimited, times: int) -> None:
        log.warning("rate_limited", tenant_id=self._tenant_id, limit=error.limit, retry_after=error.retry_after)
        await self._rate_limiter.pause_until(self._tenant_id, error)
        await self._publish_pause(Paused(error.limit, retry_delay(error)))
        if error.limit == "day" or times >= LIMIT_TRIES:
            raise Paused(error.limit, retry_delay(error)) from error

    async def _publish_pause(self, pause: Paused) -> None:
        """Let a person see the limit and until when, while it is sat out as well; the end of the pull clears it."""
        trouble = describe_failure(pause, self._clock.now())
        async with self._db.transaction() as session:
            await tenants.record_problem(session, self._connector.vendor, self._tenant_id, trouble)

    async def _back_off(self, error: ConnectorError, failures: int) -> None:
        # An organisation that Xero takes offline stays so for minutes: the next tick asks again.
        if failures >= TRIES or isinstance(error, OrganisationOffline):
            raise error
        await self._clock.sleep(BACKOFF_SECONDS[failures - 1] * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
