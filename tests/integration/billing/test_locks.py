"""The lock of a tenant: one writer at a time, however often a transaction asks, and anew in the next transaction."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.billing.locks import lock_tenant


async def require_locked(db):
    async with db.transaction() as session:
        await session.execute(text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(Exception, match="lock timeout"):
            await lock_tenant(session, "xero", "one")


async def test_a_tenant_that_is_locked_twice_is_locked_until_the_end_and_again_in_the_next_transaction(db, other_db):
    async with db.engine.connect() as connection, AsyncSession(connection) as session:
        for _ in range(2):
            await lock_tenant(session, "xero", "one")
            await lock_tenant(session, "xero", "one")
            await require_locked(other_db)
            await session.commit()
            async with other_db.transaction() as other:
                await lock_tenant(other, "xero", "one")


async def test_another_tenant_is_locked_too(db, other_db):
    async with db.transaction() as session:
        await lock_tenant(session, "xero", "other")
        await lock_tenant(session, "xero", "one")
        await require_locked(other_db)
