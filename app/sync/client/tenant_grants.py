"""Chooses the grant of each call for one tenant; where one fails, the next one takes over."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import structlog

from app.billing.records import Resource
from app.concurrency import Coalescer
from app.connections import grants, reach
from app.connections.decrypted_grant import GrantUnusable
from app.connections.grant_choice import TenantReach
from app.connections.reach_reader import ReachReader
from app.connections.states import GrantState
from app.connector import AccessExpired, Connector, ConnectorError, NotFound, OrganisationForbidden, PermissionMissing
from app.db import Database

log = structlog.get_logger(__name__)

# Errors of the grant with which a call was made: the same call may succeed with another one.
GRANT_ERRORS = (GrantUnusable, OrganisationForbidden, NotFound, PermissionMissing, AccessExpired)
# How old the other grants' lists may be when a tenant has no grant left.
MAX_LIST_AGE = timedelta(minutes=1)
ENDED = "No connection that is left reaches this organisation; connect again."


class TenantGrants:
    """The grants through which one tenant is read.

    Args:
        db: where grants and tenants are stored.
        connector: the vendor.
        reach_reader: reads again which tenants a grant reaches.
        tenant_id: the tenant.
    """

    def __init__(self, db: Database, connector: Connector, reach_reader: ReachReader, tenant_id: str) -> None:
        self._db = db
        self._connector = connector
        self._reach_reader = reach_reader
        self._tenant_id = tenant_id
        # Whether the vendor still listed the tenant for a grant after it had refused it a call.
        self._is_listed: dict[UUID, bool] = {}
        self._lock = asyncio.Lock()
        # The pulls of a tenant begin together and ask for the same.
        self._reads: Coalescer[str, TenantReach] = Coalescer(self._read_reach_for)

    async def choose(self, tried: Mapping[UUID, Exception]) -> UUID:
        """Return the grant to make a call with, and let the tenant use the best one from now on.

        Args:
            tried: the grants the call failed with, and how.

        Raises:
            ConnectorError: no grant is left; of the errors the one that a person must be shown.
        """
        found = await self._read_reach()
        if found.choose(tried) is None:
            await self._reach_reader.read_due(MAX_LIST_AGE, tried, is_needed=True)
            found = await self._read_reach()
        if chosen := found.choose(tried):
            return chosen.grant_id
        raise _final_error(found, tried)

    async def record_failure(self, grant_id: UUID, resource: Resource, error: Exception) -> bool:
        """Store what a failed call says about its grant; return whether another grant may do better."""
        if isinstance(error, PermissionMissing):
            await self._record_missing_scope(grant_id, resource)
        if not isinstance(error, OrganisationForbidden | NotFound | AccessExpired):
            return True
        if not await self._check_list(grant_id):
            return True
        if isinstance(error, NotFound):
            return False
        async with self._db.transaction() as session:
            await reach.record_refusal(session, grant_id, self._tenant_id)
        return True

    async def _read_reach(self) -> TenantReach:
        return await self._reads.ask(self._tenant_id)

    async def _read_reach_for(self, tenant_id: str, callers: int) -> Sequence[TenantReach]:
        vendor = self._connector.vendor
        async with self._db.transaction() as session:
            found = await reach.read_tenant_reach(session, vendor, tenant_id)
            best = found.choose()
            if best and best.grant_id != found.in_use:
                await reach.assign_grants(session, vendor, [tenant_id])
        return [found] * callers

    async def _record_missing_scope(self, grant_id: UUID, resource: Resource) -> None:
        found = await self._read_reach()
        lacking = [one for one in found.candidates if one.grant_id == grant_id]
        async with self._db.transaction() as session:
            for one in lacking:
                scope = self._connector.scope_of(resource, one.scope_set)
                await grants.record_missing_scope(session, grant_id, scope)

    async def _check_list(self, grant_id: UUID) -> bool:
        """Return whether the vendor still lists the tenant for the grant; asked once for all calls of a run."""
        async with self._lock:
            if grant_id not in self._is_listed:
                self._is_listed[grant_id] = await self._is_still_listed(grant_id)
        return self._is_listed[grant_id]

    async def _is_still_listed(self, grant_id: UUID) -> bool:
        # The others first: a tenant that is known to be lost and not yet known to be reached would count as removed.
        if (await self._read_reach()).choose([grant_id]) is None:
            await self._reach_reader.read_due(MAX_LIST_AGE, [grant_id], is_needed=True)
        try:
            listed = await self._reach_reader.read(grant_id)
        except ConnectorError as error:
            log.warning("connections_unread", grant_id=str(grant_id), error=str(error))
            return True
        return self._tenant_id in {organisation.tenant_id for organisation in listed}


def _final_error(found: TenantReach, tried: Mapping[UUID, Exception]) -> Exception:
    """Return the error of the best grant that is still living; else that a person must connect, or lost access."""
    if (best := found.choose()) and best.grant_id in tried:
        return tried[best.grant_id]
    ended = [one for one in found.candidates if one.is_listed and one.state != GrantState.ACTIVE]
    unusable = [error for error in tried.values() if isinstance(error, GrantUnusable)]
    if ended or not found.candidates:
        return unusable[-1] if unusable else GrantUnusable(ENDED)
    return next(reversed(list(tried.values())), OrganisationForbidden(ENDED))
