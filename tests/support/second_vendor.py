"""Paper: a made-up second vendor with four rows in memory, limits unlike Xero's, and webhooks of plain text lines."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode

from app.billing.records import (
    Batch,
    ContactRecord,
    CreditMemoRecord,
    DocumentStatus,
    InvoiceRecord,
    PaymentRecord,
    PaymentStatus,
    Resource,
)
from app.connections.vendor_app import VendorConfig
from app.connector import BadSignature, Notice, Organisation, Page, RowKey, TokenSet, Traffic, VendorProfile
from app.main import Vendor, make_vendor_settings, make_vendors
from app.sync.client.rate_limiter import RateLimits

STAMP = datetime(2026, 11, 2, 9, tzinfo=UTC)
TENANT_ID = "ledger-1"
ACME = ContactRecord(external_id="acme", name="Acme", is_customer=True, vendor_updated_at=STAMP)
INVOICE = InvoiceRecord(
    external_id="p-1",
    contact=ACME,
    number="P1",
    reference=None,
    status=DocumentStatus.OPEN,
    vendor_status="outstanding",
    currency="CHF",
    exchange_rate=None,
    subtotal=Decimal("90.00"),
    tax=Decimal("10.00"),
    total=Decimal("100.00"),
    paid=Decimal("40.00"),
    credited=Decimal("0.00"),
    balance=Decimal("60.00"),
    issued_on=date(2026, 11, 1),
    due_on=date(2026, 12, 1),
    paid_on=None,
    vendor_url=None,
    vendor_updated_at=STAMP,
)
PAYMENT = PaymentRecord(
    external_id="pay-1",
    contact=ACME,
    invoice_external_id="p-1",
    amount=Decimal("40.00"),
    currency="CHF",
    exchange_rate=None,
    paid_on=date(2026, 11, 2),
    reference=None,
    status=PaymentStatus.ACTIVE,
    vendor_updated_at=STAMP,
)
MEMO = CreditMemoRecord(
    external_id="m-1",
    contact=ACME,
    number="M1",
    reference=None,
    status=DocumentStatus.OPEN,
    vendor_status="outstanding",
    currency="CHF",
    exchange_rate=None,
    total=Decimal("5.00"),
    remaining=Decimal("5.00"),
    issued_on=date(2026, 11, 1),
    vendor_url=None,
    vendor_updated_at=STAMP,
)
BATCHES = {
    Resource.CONTACTS: Batch(contacts=[ACME]),
    Resource.INVOICES: Batch(invoices=[INVOICE]),
    Resource.PAYMENTS: Batch(payments=[PAYMENT]),
    Resource.CREDIT_MEMOS: Batch(credit_memos=[MEMO]),
}
IDS = {
    Resource.CONTACTS: "acme",
    Resource.INVOICES: "p-1",
    Resource.PAYMENTS: "pay-1",
    Resource.CREDIT_MEMOS: "m-1",
}


PROFILE = VendorProfile(
    name="Paper",
    requests_per_minute=1200,
    requests_per_day=12,
    concurrent_requests=1,
    app_requests_per_minute=2400,
    largest_page=25,
    refresh_token_lifetime=timedelta(days=10),
    delivery_seconds=2.0,
    monthly_egress={"free": 1000, "paid": None},
    scope_sets={"whole": ("read", "read_settings"), "billing_only": ("read",)},
)


class PaperConnector:
    """Answers every request from memory, and records the requests and how many were under way at once.

    Attributes:
        requests: the pages asked for.
        most_in_flight: the largest number of pages asked for at the same time.
    """

    vendor = "paper"
    signature_header = "x-paper-signature"
    profile = PROFILE

    def __init__(self):
        self.requests = []
        self.in_flight = self.most_in_flight = 0

    def ids_per_read(self, resource):
        return 10

    def scopes(self, scope_set):
        return frozenset(PROFILE.scope_sets[scope_set])

    def missing_scopes(self, granted):
        return frozenset({"read"}) - granted

    def scope_of(self, resource, scope_set):
        return "read"

    def authorization_url(self, request):
        return "https://paper.example/allow?" + urlencode({"state": request.state, "to": request.redirect_uri})

    async def exchange_code(self, app, code, redirect_uri, verifier):
        return TokenSet("access", "refresh", 3600, frozenset({"read"}), "clerk", None)

    async def refresh(self, app, refresh_token):
        return TokenSet("access", "refresh", 3600, frozenset({"read"}), "clerk", None)

    async def check_app(self, app):
        return None

    async def revoke(self, app, refresh_token):
        return None

    async def list_organisations(self, access_token):
        return [
            Organisation(TENANT_ID, "Paper Ledger", "connection-1", has_billing=True, consent_id=None, updated_at=STAMP)
        ]

    async def fetch_page(self, access, request):
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0.01)
        self.in_flight -= 1
        keys = [RowKey(IDS[request.resource], STAMP)]
        return Page(
            BATCHES[request.resource],
            keys,
            [],
            row_count=1,
            total_rows=1,
            is_last=True,
            read_at=STAMP,
            traffic=Traffic(calls=1, bytes_raw=100, bytes_wire=50),
        )

    def read_notices(self, body, signatures, keys):
        if list(signatures) != [b"signed"]:
            raise BadSignature
        return [
            Notice(TENANT_ID, line, "BILL", "UPDATE", STAMP, Resource.INVOICES, None, {"line": line})
            for line in body.decode().split()
        ]


def with_paper(settings, http):
    """Return the service's own vendors and Paper, which is set up in the environment and has its own settings."""
    config = VendorConfig(
        vendor="paper",
        redirect_uri=settings.redirect_uri("paper"),
        return_url=settings.return_url,
        webhook_url=settings.webhook_url("paper"),
        scope_set="whole",
        client_id="id",
        client_secret="secret",
    )
    limits = RateLimits(
        per_minute=PROFILE.requests_per_minute,
        max_concurrent=PROFILE.concurrent_requests,
        per_day=PROFILE.requests_per_day,
        pause_at=0.75,
        app_per_minute=PROFILE.app_requests_per_minute,
        vendor_per_day=PROFILE.requests_per_day,
    )
    paper_settings = make_vendor_settings(settings, limits, page_size=PROFILE.largest_page)
    return [*make_vendors(settings, http), Vendor(PaperConnector(), config, paper_settings)]
