"""Refreshing what is derived from the tables, after every tick and once a day, whichever service wrote the rows."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from app.billing import alerts
from app.billing.changes import take_changes
from app.billing.matching import review
from app.billing.mirror.base_currency import refresh_base_currencies
from app.billing.sources import SourceDetails
from app.db import Session

# To be raised with every change of what opens an alert or of its texts, so that all are derived by the new rules.
RULES_VERSION = 1


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """What a refresh changed: links whose review state changed, and alerts."""

    changed_review_states: int
    alerts: alerts.AlertCounts


async def refresh_derived(
    session: Session, now: datetime, policy: alerts.AlertPolicy, sources: Collection[SourceDetails] = ()
) -> RefreshResult:
    """Refresh the base currencies, the match review queue, and the alerts, where anything they follow from has changed.

    Args:
        session: a transaction of its own; writers of billing rows wait for its last part.
        now: aware.
        policy: when an alert is due.
        sources: the organisations that are known, synced or not.
    """
    changes = await take_changes(session, _describe_basis(now, policy, sources))
    if changes.concerns_base_currency:
        await refresh_base_currencies(session)
    changed_review_states = await review.refresh_review_states(session)
    counts = await alerts.open_and_resolve(session, now, policy, sources, changes.changed)
    return RefreshResult(changed_review_states, counts)


def _describe_basis(now: datetime, policy: alerts.AlertPolicy, sources: Collection[SourceDetails]) -> str:
    """Return as text what all alerts depend on beside the rows."""
    today = now.astimezone(ZoneInfo(policy.timezone)).date()
    unsynced = sorted((one.source, one.tenant_id, one.age_note) for one in sources if not one.is_synced)
    return json.dumps([RULES_VERSION, today.isoformat(), asdict(policy), unsynced])
