"""Health, metrics, and which operations need a token."""

from dataclasses import replace

import pytest

from app.db import Database
from tests.support.api import NOON, ManualClock, add_customer, api_client, make_app, make_services

PUBLIC = {"/health/live", "/health/ready", "/metrics"}


async def test_a_process_whose_loops_have_stopped_is_not_alive_but_may_be_ready(db, clock):
    app = make_app(make_services(db, clock))
    async with api_client(app, clock) as api:
        assert (await api.client.get("/health/live")).json() == {"status": "ok"}
        app.state.services = replace(app.state.services, is_alive=lambda: False)
        stuck = await api.client.get("/health/live")
        assert (stuck.status_code, stuck.json()["code"]) == (503, "not_ready")
        assert (await api.client.get("/health/ready")).json() == {"status": "ok"}


async def test_without_tables_it_is_alive_and_not_ready(empty_dsn, clock):
    database = Database(empty_dsn)
    async with api_client(make_app(make_services(database, clock)), clock) as api:
        assert (await api.client.get("/health/live")).status_code == 200
        waiting = await api.client.get("/health/ready")
    await database.close()
    assert (waiting.status_code, waiting.json()["code"]) == (503, "not_ready")


async def test_without_a_database_it_is_alive_and_everything_else_is_503_at_once(clock):
    database = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    async with api_client(make_app(make_services(database, clock)), clock) as api:
        assert (await api.client.get("/health/live")).status_code == 200
        for answer in [await api.client.get("/health/ready"), await api.get("/api/invoices")]:
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["retry-after"]
    await database.close()


async def test_requests_are_counted_by_the_route_s_template(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
    await api.get(f"/api/customers/{acme}")
    await api.get("/api/customers/not-an-id")
    await api.client.get("/api/customers")
    await api.client.request("BREW", "/nothing")
    answer = await api.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for line in (
        'http_requests_total{method="GET",route="/api/customers/{customer_id}",status="200"} 1.0',
        'http_requests_total{method="GET",route="/api/customers/{customer_id}",status="404"} 1.0',
        'http_requests_total{method="GET",route="none",status="401"} 1.0',
        'http_requests_total{method="other",route="none",status="404"} 1.0',
        'http_request_duration_seconds_count{method="GET",route="/api/customers/{customer_id}"} 2.0',
    ):
        assert line in lines
    assert str(acme) not in answer.text


async def test_two_applications_count_apart(db, clock):
    one, other = make_services(db, clock), make_services(db, clock)
    one.metrics.requests.labels("GET", "/here", 200).inc()
    assert b'route="/here"' in one.metrics.render()
    assert b'route="/here"' not in other.metrics.render()


async def test_without_a_database_metrics_say_so_and_nothing_of_the_sync(clock):
    database = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    async with api_client(make_app(make_services(database, clock)), clock) as api:
        answer = await api.client.get("/metrics")
    await database.close()
    assert answer.status_code == 200
    assert "database_ready 0.0" in answer.text.splitlines()
    assert "billing_webhook_events{" not in answer.text


def operations():
    schema = make_app(make_services(None, ManualClock(NOON))).openapi()
    return [(method.upper(), path) for path, methods in schema["paths"].items() for method in methods]


@pytest.mark.parametrize(("method", "path"), operations())
async def test_every_operation_of_the_api_needs_a_token(api, method, path):
    address = path.replace("{customer_id}", "x").replace("{invoice_id}", "x")
    answer = await api.client.request(method, address, json={})
    assert (answer.status_code == 401) == (path not in PUBLIC)
