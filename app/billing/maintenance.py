"""What is due after a tick and once a day, whatever vendor wrote the rows."""

from dataclasses import dataclass
from datetime import datetime

from app.billing import alerts, timeline
from app.billing.matching import review
from app.billing.mirror.base_currency import infer_unknown
from app.db import Session


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What it came to: events written for other vendors' rows, contacts whose state changed, and alerts."""

    events: int
    restated: int
    alerts: alerts.AlertCounts


async def refresh_derived(session: Session, now: datetime, policy: alerts.AlertPolicy) -> Upkeep:
    """Tell of other vendors' rows, keep the review queue and the alerts equal to the tables.

    Args:
        session: a transaction of its own; at its end, writers of billing rows wait for it.
        now: aware.
        policy: when an alert is due.
    """
    events = await timeline.record_other_vendors(session)
    await infer_unknown(session)
    restated = await review.review(session)
    return Upkeep(events, restated, await alerts.evaluate(session, now, policy))
