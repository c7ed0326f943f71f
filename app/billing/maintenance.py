"""Refreshing what is derived from the tables, after every tick and once a day, whichever service wrote the rows."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from app.billing import alerts
from app.billing.matching import review
from app.billing.mirror.base_currency import refresh_base_currencies
from app.billing.sources import SourceDetails
from app.db import Session


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """What a refresh changed: links whose review state changed, and alerts."""

    changed_review_states: int
    alerts: alerts.AlertCounts


async def refresh_derived(
    session: Session, now: datetime, policy: alerts.AlertPolicy, sources: Collection[SourceDetails] = ()
) -> RefreshResult:
    """Refresh the base currencies, the match review queue, and the alerts.

    Args:
        session: a transaction of its own; writers of billing rows wait for its last part.
        now: aware.
        policy: when an alert is due.
        sources: the organisations that are known, synced or not.
    """
    await refresh_base_currencies(session)
    changed_review_states = await review.refresh_review_states(session)
    return RefreshResult(changed_review_states, await alerts.open_and_resolve(session, now, policy, sources))
