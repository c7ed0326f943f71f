"""A customer's timeline: merged, newest first, stable under writes."""

from datetime import timedelta

from app.billing.timeline import ExternalTimelineEvent
from tests.support.api import NOON, add, add_customer


async def add_event(session, customer, minutes, kind="ticket", **values):
    at = NOON + timedelta(minutes=minutes)
    row = {"source": "psa", "title": f"at {minutes}", **values}
    return await add(session, ExternalTimelineEvent, customer_id=customer, at=at, kind=kind, **row)


async def test_events_of_every_kind_come_newest_first(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        await add_event(session, await add_customer(session, "Other"), 9)
        await add_event(session, acme, 1, link="https://psa.test/1", detail="from sarah")
        payment = {"source": "xero", "amount": "12.5", "currency": "NZD"}
        paid = await add_event(session, acme, 2, "payment_received", **payment)
    items = await api.items(f"/api/customers/{acme}/timeline")
    assert [each["title"] for each in items] == ["at 2", "at 1"]
    assert items[0] == {
        "id": str(paid),
        "at": "2026-11-15T12:02:00Z",
        "kind": "payment_received",
        "title": "at 2",
        "detail": None,
        "source": "xero",
        "amount": "12.50",
        "currency": "NZD",
        "link": None,
    }
    assert (items[1]["link"], items[1]["detail"]) == ("https://psa.test/1", "from sarah")
    one_kind = await api.items(f"/api/customers/{acme}/timeline", params={"kind": "ticket"})
    assert [each["title"] for each in one_kind] == ["at 1"]


async def test_pages_lose_nothing_at_equal_instants_and_while_events_come(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        for number in range(12):
            await add_event(session, acme, number // 4)
    path = f"/api/customers/{acme}/timeline"
    everything = await api.items(path)
    assert await api.read_all(path, limit=1) == everything
    first = (await api.get(path, params={"limit": 5})).json()
    async with db.transaction() as session:
        await add_event(session, acme, 99)
    rest = (await api.get(path, params={"limit": 50, "cursor": first["next_cursor"]})).json()
    assert first["items"] + rest["items"] == everything


async def test_an_unknown_kind_is_refused(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
    answer = await api.get(f"/api/customers/{acme}/timeline", params={"kind": "nonsense"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/kind")
