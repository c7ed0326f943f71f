"""Alerts over HTTP: listing, acknowledging, resolving and muting."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app.audit import AuditEntry
from app.billing.tables import Alert, Invoice
from tests.support.api import NOON, add, add_customer, add_invoice

NOBODY = "8c0f4a5e-0000-4000-8000-000000000000"


@pytest.fixture
async def alert(db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        return await raise_alert(session, acme, await add_invoice(session, acme))


async def raise_alert(session, customer, subject, **values):
    row = {
        "trigger": "invoice_overdue",
        "severity": "warning",
        "subject_type": "invoice",
        "title": "Late",
        "detail": "2",
    }
    seen = {"first_seen_at": NOON, "last_seen_at": NOON}
    return await add(session, Alert, customer_id=customer, subject_id=subject, **{**row, **seen, **values})


async def test_an_alert_shows_what_the_contract_names(api, db, alert):
    async with db.transaction() as session:
        invoice, acme = (await session.execute(select(Invoice.id, Invoice.customer_id))).one()
    assert await api.items("/api/alerts") == [
        {
            "id": str(alert),
            "trigger": "invoice_overdue",
            "severity": "warning",
            "customer_id": str(acme),
            "customer_name": "Acme Ltd",
            "title": "Late",
            "detail": "2",
            "subject": {"type": "invoice", "id": str(invoice)},
            "status": "open",
            "muted_until": None,
            "occurrences": 1,
            "first_seen_at": "2026-11-15T12:00:00Z",
            "last_seen_at": "2026-11-15T12:00:00Z",
            "resolved_at": None,
        }
    ]


async def test_alerts_are_filtered_and_their_pages_are_stable_while_they_are_evaluated(api, db):
    async with db.transaction() as session:
        acme, other = await add_customer(session, "Acme"), await add_customer(session, "Other")
        for number in range(6):
            customer = other if number == 5 else acme
            invoice = await add_invoice(session, customer, str(number))
            seen = NOON - timedelta(hours=number // 2)
            status = "resolved" if number == 4 else "open"
            await raise_alert(session, customer, invoice, title=str(number), first_seen_at=seen, status=status)
        service = {"trigger": "service_without_invoice", "subject_type": "service", "title": "service"}
        await raise_alert(session, acme, NOBODY, first_seen_at=NOON - timedelta(days=1), **service)
    everything = [each["title"] for each in await api.read_all("/api/alerts", limit=1)]
    assert sorted(everything[:2] + everything[2:4] + everything[4:6]) == list("012345")
    assert ({*everything[:2]}, {*everything[4:6]}, everything[6]) == ({"0", "1"}, {"4", "5"}, "service")

    for params, found in [
        ({"status": "resolved"}, {"4"}),
        ({"status": "open", "trigger": "invoice_overdue"}, set("01235")),
        ({"trigger": "service_without_invoice"}, {"service"}),
        ({"customer_id": str(other)}, {"5"}),
    ]:
        assert {each["title"] for each in await api.items("/api/alerts", params=params)} == found

    first = (await api.get("/api/alerts", params={"limit": 3})).json()
    async with db.transaction() as session:
        for row in (await session.scalars(select(Alert))).all():
            row.last_seen_at = NOON + timedelta(hours=int(row.title) if row.title.isdigit() else 9)
    rest = (await api.get("/api/alerts", params={"cursor": first["next_cursor"]})).json()
    assert [each["title"] for each in first["items"] + rest["items"]] == everything


async def test_acknowledging_resolving_and_muting_change_an_alert_and_are_audited(api, db, alert, clock):
    path = f"/api/alerts/{alert}"
    acknowledged = await api.post(f"{path}/acknowledge", role="analyst", subject="ann")
    assert (acknowledged.status_code, acknowledged.json()["status"]) == (200, "acknowledged")
    muted = (await api.post(f"{path}/mute", {"hours": 5}, role="admin", subject="ann")).json()
    assert (muted["status"], muted["muted_until"]) == ("muted", "2026-11-15T17:00:00Z")
    clock.instant += timedelta(minutes=1)
    resolved = (await api.post(f"{path}/resolve", role="analyst", subject="bob")).json()
    assert (resolved["status"], resolved["resolved_at"]) == ("resolved", "2026-11-15T12:01:00Z")
    assert (await api.items("/api/alerts"))[0] == resolved
    async with db.transaction() as session:
        trail = [
            (row.actor, row.action, row.target)
            for row in await session.scalars(select(AuditEntry).order_by(AuditEntry.at))
        ]
    assert trail == [
        ("ann", "alert_acknowledged", str(alert)),
        ("ann", "alert_muted", str(alert)),
        ("bob", "alert_resolved", str(alert)),
    ]


async def test_a_resolved_alert_can_be_neither_acknowledged_nor_muted(api, alert):
    await api.post(f"/api/alerts/{alert}/resolve", role="admin")
    for verb, body in (("acknowledge", {}), ("mute", {"hours": 1})):
        refused = await api.post(f"/api/alerts/{alert}/{verb}", body, role="admin")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert (await api.post(f"/api/alerts/{alert}/resolve", role="admin")).status_code == 200


@pytest.mark.parametrize("verb", ["acknowledge", "resolve", "mute"])
@pytest.mark.parametrize("role", ["viewer", "service"])
async def test_only_analysts_and_administrators_may_change_alerts(api, db, alert, verb, role):
    refused = await api.post(f"/api/alerts/{alert}/{verb}", {"hours": 1}, role=role)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    async with db.transaction() as session:
        assert await session.scalar(select(Alert.status)) == "open"


@pytest.mark.parametrize("verb", ["acknowledge", "resolve", "mute"])
async def test_an_unknown_alert_is_404(api, verb):
    for alert_id in (NOBODY, "nonsense"):
        refused = await api.post(f"/api/alerts/{alert_id}/{verb}", {"hours": 1}, role="admin")
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("hours", [0, -1, 10**6, 1.5, "x", None, True])
async def test_a_number_of_hours_out_of_range_is_refused(api, alert, hours):
    refused = await api.post(f"/api/alerts/{alert}/mute", {"hours": hours}, role="admin")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/hours")
