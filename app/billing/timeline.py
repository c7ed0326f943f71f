"""The timeline: what happened to a customer, read from the documents and payments that it happened to.

The view `timeline_events` (`migrations/views/`) derives the events of documents and payments from their rows, whoever
wrote them, and adds those that no row tells: the PSA's and other services' (`external_timeline_events`). Nothing is
stored that could differ from its row, and nothing is recorded twice. A correction at the vendor (amount, number, issue
date) corrects the event, and so does undoing: an invoice that is open again was not paid. Each event has an id that
follows from its row and its kind, so that it stays the same.

When an invoice was voided or a payment deleted is no field of the vendor: `voided_at` and `deleted_at` keep when that
was first seen.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Text, Uuid, column, func, select, table, text
from sqlalchemy.orm import Mapped, mapped_column

from app.billing.tables import Money, TimelineEventKind
from app.db import NEW_ID, Instant, Session, Table
from app.paging import AnyRow, NewestFirst, PagePosition


class ExternalTimelineEvent(Table):
    """An event of the PSA or of another service, which no document or payment tells.

    `dedupe_key` identifies it, so that writing it again changes nothing. The view `timeline_events` shows these events
    beside those of documents and payments.
    """

    __tablename__ = "external_timeline_events"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"))
    at: Mapped[datetime] = mapped_column(Instant)
    kind: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    detail: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[Decimal | None] = mapped_column(Money)
    currency: Mapped[str | None] = mapped_column(Text)
    link: Mapped[str | None] = mapped_column(Text)
    subject_id: Mapped[UUID | None]
    dedupe_key: Mapped[str] = mapped_column(Text, server_default=text("gen_random_uuid()::text"), unique=True)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (
        Index("ix_external_timeline_events_customer_id_at", "customer_id", text("at DESC"), "id"),
        Index(None, "subject_id"),
    )


EVENTS = table(
    "timeline_events",
    column("id", Uuid()),
    column("source", Text()),
    column("customer_id", Uuid()),
    column("at", Instant),
    column("kind", Text()),
    column("title", Text()),
    column("detail", Text()),
    column("amount", Money),
    column("currency", Text()),
    column("link", Text()),
    column("subject_id", Uuid()),
    column("dedupe_key", Text()),
    column("created_at", Instant),
)
TIMELINE_ORDER = NewestFirst(EVENTS.c.at, EVENTS.c.id)


async def list_events(
    session: Session, customer_id: UUID, kind: TimelineEventKind | None, after: PagePosition | None, limit: int
) -> Sequence[AnyRow]:
    """Return the customer's events after a position, newest first; `kind` None means all kinds."""
    statement = select(EVENTS).where(EVENTS.c.customer_id == customer_id)
    if kind:
        statement = statement.where(EVENTS.c.kind == kind)
    return (await session.execute(TIMELINE_ORDER.page_after(statement, after, limit))).all()
