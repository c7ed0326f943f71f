"""Who may write billing rows when: writers of one organisation take turns, and some work waits for all of them.

The locks end with the transaction, so they need no session of their own and survive a transaction pooler. They are
what makes the rest simple: a payment and its invoice cannot arrive at the same moment and miss each other, a contact
cannot change its customer while a document of it is being written, and no two writers can deadlock over rows.
"""

from sqlalchemy import func, select

from app.db import Session

EVERYONE = 0x62696C6C696E67


async def lock_tenant(session: Session, source: str, tenant_id: str) -> None:
    """Be the one writer of that organisation's rows until the transaction ends."""
    organisation = func.pg_advisory_xact_lock(func.hashtextextended(f"{source}:{tenant_id}", 0))
    await lock_shared(session)
    await session.execute(select(organisation))


async def lock_all_tenants(session: Session) -> None:
    """Be the one writer of billing rows until the transaction ends, after every writer under way has ended.

    A transaction that took a turn before must not call this: two such would wait for each other.
    """
    await session.execute(select(func.pg_advisory_xact_lock(EVERYONE)))


async def lock_shared(session: Session) -> None:
    """Write beside the others until the transaction ends, but not while somebody has every turn."""
    await session.execute(select(func.pg_advisory_xact_lock_shared(EVERYONE)))
