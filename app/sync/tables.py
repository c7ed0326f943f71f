"""Tables of the sync package, and the enums of their states: cursors, leases, rate limits, usage, runs, webhooks."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    and_,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.billing.records import Resource
from app.db import NEW_ID, Instant, Table, is_one_of


class RunTrigger(StrEnum):
    """Why a run was started. A `webhook` or `replay` run is the record of one drained batch of events."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    WEBHOOK = "webhook"
    REPLAY = "replay"
    RECONCILE = "reconcile"


class RunStatus(StrEnum):
    """How a run stands. `partial`: some of it failed; `paused`: a limit or a changed selection ended it early."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    PAUSED = "paused"
    FAILED = "failed"


class ResourceStatus(StrEnum):
    """How one resource of one tenant stands within a run. `pending` is work that any replica may claim."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    PAUSED = "paused"
    FAILED = "failed"


class EventStatus(StrEnum):
    """How a webhook event stands.

    `failed` is tried again; `dead` is a dead letter, tried again only by a replay; `dismissed` is one that a person has
    looked at and that no longer counts as failed.
    """

    PENDING = "pending"
    PROCESSED = "processed"
    IGNORED = "ignored"
    FAILED = "failed"
    DEAD = "dead"
    DISMISSED = "dismissed"


UNFINISHED = (ResourceStatus.PENDING, ResourceStatus.RUNNING)
WAITING = (EventStatus.PENDING, EventStatus.FAILED)


class Cursor(Table):
    """How far one resource of one tenant has been read; `pull.cursor.CursorState` explains the columns it is made of.

    `page_size` is the size `page` was counted by. `is_filtered`: the vendor filters rows that are not kept; false once
    it refused the filter. `page_limit`: the rows a page that came after an answer that was too slow or too large, and
    `page_limit_at`: when that was. `completed_at`: when a pull last reached its end. `rows_read` of `row_estimate` is
    the progress of the first pull.
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
    started_at: Mapped[datetime | None] = mapped_column("walk_read_at", Instant)
    next_since: Mapped[datetime | None] = mapped_column(Instant)
    is_active: Mapped[bool] = mapped_column("is_walking", server_default=text("false"))
    is_filtered: Mapped[bool] = mapped_column(server_default=text("true"))
    page_limit: Mapped[int | None]
    page_limit_at: Mapped[datetime | None] = mapped_column(Instant)
    completed_at: Mapped[datetime | None] = mapped_column(Instant)
    missing_rows: Mapped[int] = mapped_column(BigInteger, server_default="0")
    short_pulls: Mapped[int] = mapped_column(server_default="0")
    rows_read: Mapped[int] = mapped_column(BigInteger, server_default="0")
    row_estimate: Mapped[int | None] = mapped_column(BigInteger)

    @classmethod
    def is_of(cls, vendor: str, tenant_id: str, resource: Resource) -> ColumnElement[bool]:
        """Return the condition that a row is the cursor of this resource."""
        return and_(cls.vendor == vendor, cls.tenant_id == tenant_id, cls.resource == resource.value)


class Lease(Table):
    """Which replica may work on a tenant. `fencing_token` grows with every owner, which tells a former one apart."""

    __tablename__ = "sync_leases"

    vendor: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    owner: Mapped[str | None] = mapped_column(Text)
    fencing_token: Mapped[int] = mapped_column(BigInteger, server_default="0")
    expires_at: Mapped[datetime] = mapped_column(Instant)


class RateLimitBudget(Table):
    """The state of the rate limiter for one tenant; the row with an empty `tenant_id` is that of the whole app.

    `slots`: instants of the calls of the last minute; `webhook_slots`: those of them that webhooks caused. `free_at`:
    when the app-wide rate allows the next call. `blocked_until` and `blocked_by`: until when a 429 asked to pause, and
    which limit it named. `day_calls` and `day_remaining`: our own count of the day and the vendor's. The SQL function
    `take_call` reads and writes a row in one statement.
    """

    __tablename__ = "sync_budgets"

    vendor: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    slots: Mapped[list[datetime]] = mapped_column(ARRAY(Instant), server_default=text("'{}'::timestamptz[]"))
    webhook_slots: Mapped[list[datetime]] = mapped_column(ARRAY(Instant), server_default=text("'{}'::timestamptz[]"))
    free_at: Mapped[datetime | None] = mapped_column(Instant)
    blocked_until: Mapped[datetime | None] = mapped_column(Instant)
    blocked_by: Mapped[str | None] = mapped_column(Text)
    day_started_at: Mapped[datetime | None] = mapped_column(Instant)
    day_calls: Mapped[int] = mapped_column(server_default="0")
    day_remaining: Mapped[int | None]
    day_probed_at: Mapped[datetime | None] = mapped_column(Instant)


class Usage(Table):
    """What calls for a tenant cost on one UTC day. Bytes are of response bodies: `raw` decompressed, `wire` as sent."""

    __tablename__ = "api_usage"

    vendor: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger, server_default="0")
    bytes_raw: Mapped[int] = mapped_column(BigInteger, server_default="0")
    bytes_wire: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Schedule(Table):
    """When a recurring task is due next; its row is locked so that one of all replicas starts it."""

    __tablename__ = "sync_schedules"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    due_at: Mapped[datetime] = mapped_column(Instant)
    last_at: Mapped[datetime | None] = mapped_column(Instant)


class Run(Table):
    """One run: a tick, or one started by a person, a webhook, a replay or a reconciliation."""

    __tablename__ = "sync_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    vendor: Mapped[str] = mapped_column(Text)
    trigger: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default=RunStatus.RUNNING)
    tenant_id: Mapped[str | None] = mapped_column(Text)
    requested_by: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"))
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint(is_one_of("status", RunStatus), name="status"),
        Index("ix_sync_runs_started_at", text("started_at DESC"), "id"),
        Index("ix_sync_runs_running", "vendor", postgresql_where=text(f"status = '{RunStatus.RUNNING}'")),
    )


class RunResource(Table):
    """One resource of one tenant within a run, and what was done to its rows."""

    __tablename__ = "sync_run_resources"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("sync_runs.id", ondelete="CASCADE"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    resource: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(Text, server_default=ResourceStatus.PENDING)
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
        CheckConstraint(is_one_of("status", ResourceStatus), name="status"),
        Index("ix_sync_run_resources_unfinished", "tenant_id", postgresql_where=text(is_one_of("status", UNFINISHED))),
    )


class QuarantinedRow(Table):
    """A row of the vendor's that could not be read, kept whole until a later read of it succeeds."""

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
    """One webhook event, however often it was delivered.

    The table's name is fixed by the contract; the column `vendor` lets other vendors' events be stored here too.

    Attributes:
        attempts: how often its row was asked for.
        answers_without_row: how many of the attempts were answered well and yet did not bring a row that can be read;
            the other attempts failed.
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
    status: Mapped[str] = mapped_column(Text, server_default=EventStatus.PENDING)
    attempts: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None] = mapped_column(Text)
    payload: Mapped[Any] = mapped_column(JSONB)
    processed_at: Mapped[datetime | None] = mapped_column(Instant)
    due_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"))
    is_replay: Mapped[bool] = mapped_column(server_default=text("false"))
    answers_without_row: Mapped[int] = mapped_column(server_default="0")

    __table_args__ = (
        UniqueConstraint("vendor", "tenant_id", "resource_id", "category", "event_type", "event_at"),
        CheckConstraint(is_one_of("status", EventStatus), name="status"),
        Index("ix_xero_webhook_events_due", "due_at", postgresql_where=text(is_one_of("status", WAITING))),
        Index("ix_xero_webhook_events_dead", "received_at", postgresql_where=text(f"status = '{EventStatus.DEAD}'")),
        Index("ix_xero_webhook_events_received_at", text("received_at DESC"), "id"),
    )


class SignatureFailure(Table):
    """Webhook deliveries refused for their signature, counted by the hour.

    `mismatches` and `last_mismatch_at` are of those whose signature is well formed but fits no key.
    """

    __tablename__ = "webhook_signature_failures"

    vendor: Mapped[str] = mapped_column(Text, primary_key=True)
    hour: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    failures: Mapped[int] = mapped_column(BigInteger, server_default="1")
    last_at: Mapped[datetime] = mapped_column(Instant)
    mismatches: Mapped[int] = mapped_column(BigInteger, server_default="0")
    last_mismatch_at: Mapped[datetime | None] = mapped_column(Instant)


class Reconciliation(Table):
    """What one comparison of the mirror with the vendor found, per tenant and resource."""

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
    """One step of running work; ids are in the order of commits, so that a reader can resume after one."""

    __tablename__ = "progress_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant, server_default=func.now(), index=True)
    kind: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
