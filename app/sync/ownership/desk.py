"""The desk: where an owner's transactions are made, each under the fencing token, and no more at once than is good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.db import Database, Session
from app.sync.ownership.leases import Held, guard

# Pages written at once by one replica; the pool has connections left for requests, heartbeats and the budget.
WRITERS = 4


class Desk:
    """One owner's way to the database.

    Args:
        db: the pool.
        held: the lease every transaction is made under.
        writers: shared by all owners of this replica.
    """

    def __init__(self, db: Database, held: Held, writers: asyncio.Semaphore) -> None:
        self.db = db
        self.held = held
        self._writers = writers
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Open a short transaction that fails unless the organisation is still ours.

        Raises:
            LeaseLost: another replica owns it now.
            DatabaseUnavailable: the server is away, too busy, or a timeout passed.
        """
        async with self.db.transaction() as session:
            await guard(session, self.held)
            yield session

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Session]:
        """Open a transaction that writes billing rows; the organisation's other pages wait for it outside the pool.

        They would wait for each other within the database too, each then keeping a connection from everyone else.
        """
        async with self._turn, self._writers, self.transaction() as session:
            yield session
