"""All statements of one GET see the same snapshot, whatever is written meanwhile."""

from contextlib import asynccontextmanager

from starlette.requests import Request

from app.api.deps import open_session, open_snapshot
from app.billing.customer_list import CustomerFilter, list_customers
from tests.support.api import add_customer, make_app, make_services
from tests.support.clocks import START


async def test_what_is_written_between_two_statements_is_not_seen(db, clock):
    request = Request({"type": "http", "app": make_app(make_services(db, clock))})
    async with asynccontextmanager(open_session)(request.app.state.services) as opened:
        session = await open_snapshot(opened)
        before = await list_customers(session, CustomerFilter(), START.date(), None, 50)
        async with db.transaction() as other:
            await add_customer(other)
        assert await list_customers(session, CustomerFilter(), START.date(), None, 50) == before == []
    async with db.transaction() as later:
        assert len(await list_customers(later, CustomerFilter(), START.date(), None, 50)) == 1
