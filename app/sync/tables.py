"""Tables of the sync room: cursors, leases, budgets, usage, runs, the inbox and what was set aside."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import NEW_ID, Instant, Table


class Cursor(Table):
    """How far one resource of one organisation is read.

    `since`, `page` and `page_size` say what to ask for next while a walk is under way, `then_since` where it goes on
    once the pages of a crowded second are read backwards. `high_water` is the newest stamp seen, `walk_read_at` the
    vendor's clock when the walk began, `next_since` where the next walk starts. `rows_read` of `row_estimate` is the
    progress.
    """

    __tablename__ = "sync_cursors"

    vendor: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    resource: Mapped[str] = mapped_column(Text, primary_key=True)
    since: Mapped[datetime | None] = mapped_column(Instant)
    page: Mapped[int] = mapped_column(server_default="1")
    page_size: Mapped[int | None]
    resume_since: Mapped[datetime | None] = mapped_column("then_since", Instant)
    high_water: Mapped[datetime | None] = mapped_column(Instant)
    walk_read_at: Mapped[datetime | None] = mapped_column(Instant)
    next_since: Mapped[datetime | None] = mapped_column(Instant)
    is_walking: Mapped[bool] = mapped_column(server_default=text("false"))
    is_filtered: Mapped[bool] = mapped_column(server_default=text("true"))
    completed_at: Mapped[datetime | None] = mapped_column(Instant)
    rows_read: Mapped[int] = mapped_column(BigInteger, server_default="0")
    row_estimate: Mapped[int | None] = mapped_column(BigInteger)


class Lease(Table):
    """Who may work on an organisation. `fencing_token` grows with every owner, so a stale one is known by it."""

    __tablename__ = "sync_leases"

    vendor: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    owner: Mapped[str | None] = mapped_column(Text)
    fencing_token: Mapped[int] = mapped_column(BigInteger, server_default="0")
    expires_at: Mapped[datetime] = mapped_column(Instant)


class Budget(Table):
    """The calls handed out to one organisation; the row with an empty `tenant_id` is the whole app's.

    `slots`: instants of the calls of the last minute. `free_at`: when the app-wide rate allows the next call.
    `blocked_until`: what a 429 asked for. `day_calls` and `day_remaining`: our own count and the vendor's.
    The function `take_call` of the first migration reads and writes it in one statement.
    """

    __tablename__ = "sync_budgets"

    vendor: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    slots: Mapped[list[datetime]] = mapped_column(ARRAY(Instant), server_default=text("'{}'::timestamptz[]"))
    free_at: Mapped[datetime | None] = mapped_column(Instant)
    blocked_until: Mapped[datetime | None] = mapped_column(Instant)
    blocked_by: Mapped[str | None] = mapped_column(Text)
    day_started_at: Mapped[datetime | None] = mapped_column(Instant)
    day_calls: Mapped[int] = mapped_column(server_default="0")
    day_remaining: Mapped[int | None]
    day_probed_at: Mapped[datetime | None] = mapped_column(Instant)


class Usage(Table):
    """What an organisation cost on one UTC day. Bytes are of answer bodies, before and after decompression."""

    __tablename__ = "api_usage"

    vendor: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger, server_default="0")
    bytes_raw: Mapped[int] = mapped_column(BigInteger, server_default="0")
    bytes_wire: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Schedule(Table):
    """When something is due next, so that of all replicas one does it."""

    __tablename__ = "sync_schedules"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    due_at: Mapped[datetime] = mapped_column(Instant)
    last_at: Mapped[datetime | None] = mapped_column(Instant)


class Run(Table):
    """One pass: a tick, or one manual, webhook, replay or reconcile pass."""

    __tablename__ = "sync_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    vendor: Mapped[str] = mapped_column(Text)
    trigger: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="running")
    tenant_id: Mapped[str | None] = mapped_column(Text)
    requested_by: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"))
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("status IN ('running', 'succeeded', 'partial', 'paused', 'failed')", name="status"),
        Index("ix_sync_runs_started_at", text("started_at DESC"), "id"),
        Index("ix_sync_runs_running", "vendor", postgresql_where=text("status = 'running'")),
    )


class RunResource(Table):
    """One resource of one organisation in a run; a pending one is work that any replica may take."""

    __tablename__ = "sync_run_resources"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("sync_runs.id", ondelete="CASCADE"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    resource: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    fetched: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created: Mapped[int] = mapped_column(BigInteger, server_default="0")
    updated: Mapped[int] = mapped_column(BigInteger, server_default="0")
    unchanged: Mapped[int] = mapped_column(BigInteger, server_default="0")
    skipped: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    calls: Mapped[int] = mapped_column(BigInteger, server_default="0")
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'running', 'succeeded', 'partial', 'paused', 'failed')", name="status"),
        Index(
            "ix_sync_run_resources_unfinished", "tenant_id", postgresql_where=text("status IN ('pending', 'running')")
        ),
    )


class QuarantinedRow(Table):
    """A row of the vendor's that could not be read, kept whole until a fix can."""

    __tablename__ = "quarantined_rows"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    vendor: Mapped[str] = mapped_column(Text)
    tenant_id: Mapped[str] = mapped_column(Text)
    resource: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(server_default="1")
    first_seen_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (UniqueConstraint("vendor", "tenant_id", "resource", "external_id"),)


class WebhookEvent(Table):
    """One event, however often delivered.

    The name is the one others rely on; `vendor` lets a second vendor's events stand here too.
    """

    __tablename__ = "xero_webhook_events"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    vendor: Mapped[str] = mapped_column(Text, server_default="xero")
    tenant_id: Mapped[str] = mapped_column(Text)
    resource_id: Mapped[str] = mapped_column(Text)
    category: Mapped[str] = mapped_column(Text)
    event_type: Mapped[str] = mapped_column(Text)
    event_at: Mapped[datetime] = mapped_column(Instant)
    resource: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"))
    deliveries: Mapped[int] = mapped_column(server_default="1")
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None] = mapped_column(Text)
    payload: Mapped[Any] = mapped_column(JSONB)
    processed_at: Mapped[datetime | None] = mapped_column(Instant)
    due_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"))
    is_replay: Mapped[bool] = mapped_column(server_default=text("false"))

    __table_args__ = (
        UniqueConstraint("vendor", "tenant_id", "resource_id", "category", "event_type", "event_at"),
        CheckConstraint("status IN ('pending', 'processed', 'ignored', 'failed', 'dead')", name="status"),
        Index("ix_xero_webhook_events_due", "due_at", postgresql_where=text("status IN ('pending', 'failed')")),
        Index("ix_xero_webhook_events_dead", "received_at", postgresql_where=text("status = 'dead'")),
        Index("ix_xero_webhook_events_received_at", text("received_at DESC"), "id"),
    )


class SignatureFailure(Table):
    """Refused deliveries, counted by the hour."""

    __tablename__ = "webhook_signature_failures"

    vendor: Mapped[str] = mapped_column(Text, primary_key=True)
    hour: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    failures: Mapped[int] = mapped_column(BigInteger, server_default="1")
    last_at: Mapped[datetime] = mapped_column(Instant)


class Reconciliation(Table):
    """What one comparison of the mirror with the vendor found, per organisation and resource."""

    __tablename__ = "reconciliations"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("sync_runs.id", ondelete="CASCADE"), index=True)
    tenant_id: Mapped[str] = mapped_column(Text)
    resource: Mapped[str] = mapped_column(Text)
    checked: Mapped[int] = mapped_column(BigInteger, server_default="0")
    missing: Mapped[int] = mapped_column(BigInteger, server_default="0")
    stale: Mapped[int] = mapped_column(BigInteger, server_default="0")
    orphaned: Mapped[int] = mapped_column(BigInteger, server_default="0")
    healed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    finished_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"))

    __table_args__ = (Index("ix_reconciliations_finished_at", text("finished_at DESC"), "id"),)


class ProgressEvent(Table):
    """One step of the running work, in order, so that any replica can tell it and a reader can resume."""

    __tablename__ = "progress_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant, server_default=func.now(), index=True)
    kind: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
