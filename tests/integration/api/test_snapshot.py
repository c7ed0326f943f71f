"""The parts of one answer are of one moment, whatever is written meanwhile."""

from starlette.requests import Request

from app.api.deps import open_session, open_snapshot
from app.billing.queries import CustomerFilter, list_customers
from tests.api import add_customer, make_app, make_services


async def test_what_is_written_between_two_statements_is_not_seen(db, clock):
    request = Request({"type": "http", "app": make_app(make_services(db, clock))})
    opening = open_session(request.app.state.services)
    session = await open_snapshot(await anext(opening))
    before = await list_customers(session, CustomerFilter(), None, 50)
    async with db.transaction() as other:
        await add_customer(other)
    assert await list_customers(session, CustomerFilter(), None, 50) == before == []
    await opening.aclose()
    async with db.transaction() as later:
        assert len(await list_customers(later, CustomerFilter(), None, 50)) == 1
