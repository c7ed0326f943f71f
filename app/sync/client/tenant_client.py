"""Calls the vendor for one tenant: an access token, a permit, and one remedy for each way a call can fail."""

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
from app.sync.client.page_size import TOO_MANY_ROWS, explain_smallest, with_fewer_rows
from app.sync.client.rate_limiter import Paused, Permit, Priority, RateLimiter, retry_delay
from app.sync.client.tenant_grants import GRANT_ERRORS, TenantGrants
from app.sync.client.usage import record_traffic

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 4
MAX_RATE_LIMIT_WAITS = 6
BACKOFF_SECONDS = (1.0, 3.0, 8.0)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page and the request that brought it.

    Attributes:
        request: as it was answered: for page 1 without the filters that the vendor refused as too broad, or for page 1
            with fewer rows a page.
        is_limited: whether answers were too slow or too large before this one came.
    """

    page: Page
    request: PageRequest
    is_limited: bool = False


class TenantClient:
    """Reads pages of one tenant. The owner of the tenant's lease has one, and the pre-flight check for a single call.

    Args:
        db: where failed calls are recorded.
        clock: waits between attempts.
        connector: the vendor.
        tokens: gives access tokens.
        rate_limiter: gives permits.
        tenant_id: the tenant.
        grants: chooses the grant through which the tenant is read.
        ensure_lease: raises LeaseLost when the lease is no longer valid; called before every call.
        is_patient: whether a failed call is repeated and a limit waited out; else the first failure is raised.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the one place where a call's collaborators meet
        self,
        db: Database,
        clock: Clock,
        connector: Connector,
        tokens: AccessTokens,
        rate_limiter: RateLimiter,
        tenant_id: str,
        grants: TenantGrants,
        ensure_lease: Callable[[], None],
        *,
        is_patient: bool = True,
    ) -> None:
        self._db = db
        self._clock = clock
        self._connector = connector
        self._tokens = tokens
        self._rate_limiter = rate_limiter
        self._tenant_id = tenant_id
        self._grants = grants
        self._ensure_lease = ensure_lease
        self._is_patient = is_patient
        self._concurrency = rate_limiter.concurrency_limit()

    async def fetch(self, request: PageRequest, priority: Priority = Priority.SYNC) -> Fetched:
        """Return one page. The caller stores it together with `page.traffic`.

        A grant that dies, loses the tenant or lacks a scope is replaced by the next one, and the call repeated. Where
        the vendor does not manage as many rows as are asked for, fewer are.

        Raises:
            Paused: a limit asks for a longer wait than a run may wait.
            ConnectorError: what is left after every remedy failed.
            LeaseLost: another replica owns the tenant.
        """
        tried: dict[UUID, Exception] = {}
        while True:
            grant_id = await self._grants.choose(tried)
            try:
                return await self._fetch_manageable(grant_id, request, priority)
            except GRANT_ERRORS as error:
                if not await self._grants.record_failure(grant_id, request.resource, error):
                    raise
                tried[grant_id] = error

    async def _fetch_manageable(self, grant_id: UUID, request: PageRequest, priority: Priority) -> Fetched:
        is_limited = False
        while True:
            try:
                fetched = await self._fetch_with(grant_id, request, priority)
            except TOO_MANY_ROWS as error:
                smaller = with_fewer_rows(request)
                if smaller is None:
                    raise explain_smallest(error, request) from error
                self._log_smaller_page(smaller, error)
                request, is_limited = smaller, True
            else:
                return replace(fetched, is_limited=fetched.is_limited or is_limited)

    def _log_smaller_page(self, request: PageRequest, error: ConnectorError) -> None:
        size, resource = request.page_size, request.resource.value
        log.warning(
            "page_size_reduced", tenant_id=self._tenant_id, resource=resource, page_size=size, reason=error.detail
        )

    async def _fetch_with(self, grant_id: UUID, request: PageRequest, priority: Priority) -> Fetched:
        failures = rate_limit_waits = 0
        is_limited = False
        rejected_token: str | None = None
        while True:
            token = await self._tokens.get_access_token(grant_id, rejected_token)
            try:
                return Fetched(await self._call(token, request, priority), request, is_limited)
            except AccessExpired:
                if rejected_token is not None:
                    raise
                rejected_token = token
            except HighVolume:
                if not request.is_filtered:
                    raise
                request = replace(request, is_filtered=False, page=1)
            except RateLimited as error:
                rate_limit_waits += 1
                await self._wait_out_rate_limit(error, rate_limit_waits)
            except (VendorUnavailable, AnswerUnreadable) as error:
                failures += 1
                is_limited = is_limited or isinstance(error, TOO_MANY_ROWS)
                await self._back_off(error, request, failures)

    async def _call(self, token: str, request: PageRequest, priority: Priority) -> Page:
        while True:
            # The wait for a permit is outside the semaphore, so that a webhook's read passes pulls that wait long.
            async with self._concurrency:
                permit = await self._rate_limiter.acquire(self._tenant_id, priority)
                if permit.slot:
                    return await self._fetch_page(token, request, permit)
            await self._clock.sleep(permit.wait)

    async def _fetch_page(self, token: str, request: PageRequest, permit: Permit) -> Page:
        self._ensure_lease()
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

    async def _wait_out_rate_limit(self, error: RateLimited, waits: int) -> None:
        """Pause all replicas after a 429; the next permit is given when the pause is over.

        Raises:
            Paused: the day's limit is reached, the limit was met too often, or it is not to be waited out.
        """
        log.warning("rate_limited", tenant_id=self._tenant_id, limit=error.limit, retry_after=error.retry_after)
        await self._rate_limiter.record_pause(self._tenant_id, error)
        if not self._is_patient:
            raise Paused(error.limit, retry_delay(error)) from error
        await self._show_pause(Paused(error.limit, retry_delay(error)))
        if error.limit == "day" or waits >= MAX_RATE_LIMIT_WAITS:
            raise Paused(error.limit, retry_delay(error)) from error

    async def _show_pause(self, pause: Paused) -> None:
        """Show a person the limit and until when it lasts, while it is waited out; the end of the pull clears it."""
        problem = describe_failure(pause, self._clock.now())
        async with self._db.transaction() as session:
            await tenants.record_problem(session, self._connector.vendor, self._tenant_id, problem)

    async def _back_off(self, error: ConnectorError, request: PageRequest, failures: int) -> None:
        # An organisation that Xero takes offline stays so for minutes: the next tick asks again.
        if not self._is_patient or failures >= MAX_ATTEMPTS or isinstance(error, OrganisationOffline):
            raise error
        # What was too much once is not asked for again where less can be.
        if isinstance(error, TOO_MANY_ROWS) and with_fewer_rows(request):
            raise error
        await self._clock.sleep(BACKOFF_SECONDS[failures - 1] * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
