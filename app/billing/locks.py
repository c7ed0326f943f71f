"""The locks that order writers of billing rows: one writer per tenant, and some work that excludes every writer.

They are transaction-level advisory locks: released at commit or rollback, and safe behind a transaction pooler. Because
of them a payment and its invoice cannot be written at the same time and miss each other, a contact cannot change its
customer while one of its documents is being written, and no two writers can deadlock over rows.
"""

from sqlalchemy import Text, bindparam, func, select, true

from app.db import Session

# The bytes of "billing": the advisory lock that every writer shares and `lock_all_tenants` takes exclusively.
ALL_TENANTS_KEY = 0x62696C6C696E67
# Tells the triggers that check references (`check_reference`) that they need not lock what a row refers to. Whoever
# deletes a customer has locked the tenants of all its links, and a document has the customer of its contact's link.
WRITES_BY_LOCKS = func.set_config("vectis.writes_by_locks", "true", true())
LOCK_TENANT = select(
    WRITES_BY_LOCKS,
    func.pg_advisory_xact_lock_shared(ALL_TENANTS_KEY),
    func.pg_advisory_xact_lock(func.hashtextextended(bindparam("tenant", type_=Text()), 0)),
)
# Where a session remembers which tenant its transaction has locked.
LOCKED = "locked_tenant"


async def lock_tenant(session: Session, source: str, tenant_id: str) -> None:
    """Make the transaction the only writer of the tenant's rows until it ends; waits for the one before it.

    Asked again in the same transaction, it does nothing.
    """
    tenant = f"{source}:{tenant_id}"
    if session.info.get(LOCKED) != (session.sync_session.get_transaction(), tenant):
        await session.execute(LOCK_TENANT, {"tenant": tenant})
        session.info[LOCKED] = (session.sync_session.get_transaction(), tenant)


async def lock_all_tenants(session: Session) -> None:
    """Make the transaction the only writer of billing rows until it ends; waits for every writer under way.

    A transaction that called `lock_tenant` or `lock_shared` before must not call this: two of them would deadlock.
    """
    await session.execute(select(func.pg_advisory_xact_lock(ALL_TENANTS_KEY)))


async def lock_shared(session: Session) -> None:
    """Allow other writers beside the transaction, but none that holds `lock_all_tenants`, until it ends."""
    await session.execute(select(func.pg_advisory_xact_lock_shared(ALL_TENANTS_KEY)))
