"""Reads the vendor's lists of connections again, and stores which tenants each grant reaches."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import select

from app.connections import reach
from app.connections.states import GrantState
from app.connections.tables import Grant
from app.connections.tokens import AccessTokens
from app.connector import AccessExpired, Connector, ConnectorError, Organisation
from app.db import Database, Session

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionList:
    """One grant's organisations with billing data, and the instant of the consent they were read under."""

    consented_at: datetime | None
    organisations: Sequence[Organisation]


class ReachReader:
    """Reads which tenants one vendor's grants reach; the calls count against no tenant's limits.

    Args:
        db: where grants and tenants are stored.
        connector: the vendor.
        tokens: gives access tokens.
    """

    def __init__(self, db: Database, connector: Connector, tokens: AccessTokens) -> None:
        self._db = db
        self._connector = connector
        self._tokens = tokens
        self._reading = asyncio.Lock()

    async def read(self, grant_id: UUID) -> Sequence[Organisation]:
        """Read and store what one grant reaches, and return its organisations with billing data.

        Raises:
            ConnectorError: the list could not be read; nothing is stored.
        """
        found = await self._read_list(grant_id)
        await self._store({grant_id: found})
        return found.organisations

    async def read_due(self, max_age: timedelta, excluded: Collection[UUID] = (), *, is_needed: bool = False) -> None:
        """Read and store the lists that `claim_due_lists` gives; one caller at a time, the others wait for its result.

        A list that cannot be read is left as it is.
        """
        vendor = self._connector.vendor
        async with self._reading:
            async with self._db.transaction() as session:
                due = await reach.claim_due_lists(session, vendor, max_age, excluded, is_needed=is_needed)
            lists = await asyncio.gather(*(self._try_read_list(grant_id) for grant_id in due))
            # Stored together, so that a tenant that one grant lost and another reaches is never without any.
            await self._store({grant_id: one for grant_id, one in zip(due, lists, strict=True) if one})

    async def _try_read_list(self, grant_id: UUID) -> ConnectionList | None:
        try:
            return await self._read_list(grant_id)
        except ConnectorError as error:
            log.warning("connections_unread", grant_id=str(grant_id), error=str(error))
            return None

    async def _read_list(self, grant_id: UUID) -> ConnectionList:
        async with self._db.transaction() as session:
            consented_at = await session.scalar(select(Grant.connected_at).where(Grant.id == grant_id))
        organisations = await self._list_organisations(grant_id)
        return ConnectionList(consented_at, [one for one in organisations if one.has_billing])

    async def _list_organisations(self, grant_id: UUID) -> Sequence[Organisation]:
        token = await self._tokens.get_access_token(grant_id)
        try:
            return await self._connector.list_organisations(token)
        except AccessExpired:
            return await self._connector.list_organisations(
                await self._tokens.get_access_token(grant_id, rejected=token)
            )

    async def _store(self, lists: Mapping[UUID, ConnectionList]) -> None:
        if not lists:
            return
        vendor = self._connector.vendor
        concerned: set[str] = set()
        async with self._db.transaction() as session:
            # Always in the same order, so that two that store the same lists cannot deadlock.
            for grant_id in sorted(lists):
                if await _is_current(session, grant_id, lists[grant_id].consented_at):
                    concerned.update(await reach.save_reach(session, vendor, grant_id, lists[grant_id].organisations))
            await reach.assign_grants(session, vendor, concerned)


async def _is_current(session: Session, grant_id: UUID, consented_at: datetime | None) -> bool:
    """Lock the grant, and return whether its user has not consented again since, which stored a newer list."""
    statement = select(Grant.state, Grant.connected_at).where(Grant.id == grant_id).with_for_update(key_share=True)
    row = (await session.execute(statement)).one_or_none()
    return row is not None and row.state == GrantState.ACTIVE and row.connected_at == consented_at
