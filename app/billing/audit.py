"""The audit trail: who did what, kept for good; the table refuses every change."""

from collections.abc import Mapping

from app.billing.tables import AuditEntry
from app.db import Session


async def record(session: Session, actor: str, action: str, target: str, details: Mapping[str, object]) -> None:
    """Append one entry in the caller's transaction, so that it stands exactly when the deed does.

    Args:
        session: the transaction of the deed itself.
        actor: the subject of the token, or `system`.
        action: snake_case, in the past tense.
        target: what it was done to.
        details: JSON; never a secret.
    """
    session.add(AuditEntry(actor=actor, action=action, target=target, details=dict(details)))
    await session.flush()
