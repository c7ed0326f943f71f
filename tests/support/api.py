"""Helpers for tests of the API: an application of some routers, a client that acts in any role, and rows to read."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import insert

from app.api import health, metrics, setup
from app.api.auth import TokenVerifier, mint_token
from app.api.billing import alerts, credit_memos, customers, invoices, matches, payments, psa, summary, timeline
from app.api.deps import Services
from app.api.metrics import Metrics
from app.api.pagination import CursorSigner
from app.billing import tables
from app.crypto import Sealer
from app.settings import Settings
from tests.support.documented_responses import assert_documented

SECRET = "a secret of at least thirty-two bytes"
AUDIENCE = "vectis-billing"
MAX_ITEMS = 1000
NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
ROUTERS = (health, metrics, customers, summary, invoices, payments, credit_memos, timeline, alerts, matches, psa)


class ManualClock:
    """A clock whose time changes only when a test sets it, or sleeps on it."""

    def __init__(self, now=NOON):
        self.instant = now

    def now(self):
        return self.instant

    async def sleep(self, seconds):
        self.instant += timedelta(seconds=seconds)


class ApiClient:
    """A client of the application that acts as a `viewer` unless a call names another role."""

    def __init__(self, client, clock):
        self.client = client
        self.clock = clock

    async def get(self, path, **options):
        return await self.call("GET", path, **options)

    async def post(self, path, body=None, **options):
        return await self.call("POST", path, json=body if body is not None else {}, **options)

    async def put(self, path, body, **options):
        return await self.call("PUT", path, json=body, **options)

    async def call(self, method, path, role="viewer", headers=None, subject="tester", **options):
        token = mint_token(SECRET, role, subject, hours=1, audience=AUDIENCE, now=self.clock.now())
        all_headers = {"Authorization": f"Bearer {token}", **(headers or {})}
        return await self.client.request(method, path, headers=all_headers, **options)

    async def items(self, path, **options):
        """Return the first page of a list; fails when the response is an error."""
        response = await self.get(path, **options)
        assert response.status_code == 200, response.text
        return response.json()["items"]

    async def read_all(self, path, limit, **params):
        """Return every item of a list, page by page."""
        found: list[Any] = []
        next_page: dict[str, str] = {}
        while len(found) < MAX_ITEMS:
            page = (await self.get(path, params={**params, "limit": limit, **next_page})).json()
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            next_page = {"cursor": page["next_cursor"]}
        raise AssertionError(f"The list has more than {MAX_ITEMS} items.")


def make_services(db, clock, **settings):
    return Services(
        settings=Settings(_env_file=None, **settings),
        db=db,
        clock=clock,
        sealer=Sealer({"k1": b"k" * 32}),
        verifier=TokenVerifier(SECRET, None, AUDIENCE, clock),
        cursors=CursorSigner(b"cursors"),
        metrics=Metrics(),
    )


def make_app(services, routers=ROUTERS):
    app = FastAPI(redirect_slashes=False, docs_url=None, redoc_url=None)
    app.state.services = services
    setup.configure_api(app, is_https=services.settings.public_url.startswith("https://"))
    for module in routers:
        app.include_router(module.router)
    return app


@asynccontextmanager
async def api_client(app, clock, *, is_documented=False):
    """Open a client that calls the application in this process, without a network.

    Args:
        app: the application.
        clock: its clock, which the tokens are valid by.
        is_documented: the application has no routes but the service's own, so that each response is compared with
            `openapi.json`.
    """
    hooks = {"response": [assert_documented] if is_documented else []}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", event_hooks=hooks) as client:
        yield ApiClient(client, clock)


async def add(session, table, **values):
    """Insert a row and return its id."""
    return await session.scalar(insert(table).values(**values).returning(table.id))


async def add_customer(session, name="Acme Ltd", **values):
    return await add(session, tables.Customer, name=name, **values)


async def add_invoice(session, customer_id, number="INV-1", **values):
    """Insert an open invoice of 115.00 NZD, issued and due this month; `total` sets the balance too."""
    total = values.get("total", "115.00")
    row = {
        "source": "xero",
        "source_tenant_id": "org-1",
        "external_id": f"x-{number}",
        "status": "open",
        "currency": "NZD",
        "total": total,
        "balance": total,
        "issued_on": NOON.date(),
        "due_on": NOON.date(),
    }
    return await add(session, tables.Invoice, customer_id=customer_id, number=number, **{**row, **values})
