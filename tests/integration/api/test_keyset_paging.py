"""Keyset paging of the sync's lists: pages neither repeat nor lose rows of equal instants."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from app.billing.customer_list import NAME_ORDER
from app.billing.tables import Customer
from app.sync import runs
from app.sync.pull import reconcile
from app.sync.tables import Reconciliation, Run, WebhookEvent
from app.sync.webhooks import inbox
from app.sync.webhooks.inbox import EventFilter

# Two rows share the newest instant and three the oldest, so that every page of two ends among equals.
INSTANTS = [datetime(2026, 11, day, 8, tzinfo=UTC) for day in (3, 1, 1, 3, 1)]


def make_run(at, vendor="xero"):
    return Run(id=uuid4(), vendor=vendor, trigger="manual", started_at=at)


async def add_runs(session):
    session.add_all([make_run(at) for at in INSTANTS])
    session.add(make_run(INSTANTS[0], vendor="paper"))


async def add_events(session):
    for number, at in enumerate(INSTANTS):
        key = {"tenant_id": "t1", "resource_id": f"r{number}", "category": "INVOICE", "event_type": "UPDATE"}
        session.add(WebhookEvent(**key, event_at=at, received_at=at, payload={}))


async def add_findings(session):
    run = make_run(INSTANTS[0])
    session.add(run)
    await session.flush()
    session.add_all(
        [Reconciliation(run_id=run.id, tenant_id="t1", resource="invoices", finished_at=at) for at in INSTANTS]
    )


async def list_events(session, vendor, after, limit):
    return await inbox.list_events(session, vendor, EventFilter(), after, limit)


@pytest.mark.parametrize(
    ("add", "list_page", "order", "instant"),
    [
        (add_runs, runs.list_runs, runs.RUN_ORDER, "started_at"),
        (add_events, list_events, inbox.EVENT_ORDER, "received_at"),
        (add_findings, reconcile.list_reports, reconcile.REPORT_ORDER, "finished_at"),
    ],
)
async def test_pages_of_two_hold_every_row_once_newest_first(db, add, list_page, order, instant):
    found, after = [], None
    async with db.transaction() as session:
        await add(session)
        await session.flush()
        while page := await list_page(session, "xero", after, 2):
            assert len(page) <= 2
            found += page
            after = order.position(page[-1])
            assert len(found) <= len(INSTANTS)

    assert [getattr(row, instant) for row in found] == sorted(INSTANTS, reverse=True)
    assert len({row.id for row in found}) == len(INSTANTS)


async def test_pages_by_name_hold_every_row_once_equal_names_by_their_id(db):
    names = ["Beta", "acme", "ACME", "Acme", "acme", "Zenith", "Acme"]
    # Stored in descending order of their ids, so that the order of storage is not that of the list.
    rows = [Customer(id=UUID(int=100 - number), name=name) for number, name in enumerate(names)]
    found: list[Customer] = []
    async with db.transaction() as session:
        session.add_all(rows)
        await session.flush()
        # An index that has the list's order would give it to a statement that asks for less.
        await session.execute(text("SET LOCAL enable_indexscan = off"))
        await session.execute(text("SET LOCAL enable_bitmapscan = off"))
        after = None
        while page := (await session.scalars(NAME_ORDER.page_after(select(Customer), after, 2))).all():
            assert len(page) <= 2
            found += page
            after = NAME_ORDER.position(page[-1])
            assert len(found) <= len(rows)

    assert [row.id for row in found] == [row.id for row in sorted(rows, key=lambda row: (row.name.lower(), row.id))]
