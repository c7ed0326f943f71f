"""Paper: a vendor whose books are three rows in memory, and whose notices are lines of text."""

from datetime import UTC, date, datetime
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
from app.connector import BadSignature, Notice, Organisation, Page, RowKey, TokenSet, Traffic

STAMP = datetime(2026, 11, 2, 9, tzinfo=UTC)
LEDGER = "ledger-1"
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


class PaperConnector:
    vendor = "paper"
    signature_header = "x-paper-seal"

    def ids_per_read(self, resource):
        return 10

    def scopes(self, scope_set):
        return frozenset({"read"})

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

    async def revoke(self, app, refresh_token):
        return None

    async def list_organisations(self, access_token):
        return [
            Organisation(LEDGER, "Paper Ledger", "connection-1", has_billing=True, consent_id=None, updated_at=STAMP)
        ]

    async def fetch_page(self, access, request):
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
        if list(signatures) != [b"sealed"]:
            raise BadSignature
        return [
            Notice(LEDGER, line, "BILL", "UPDATE", STAMP, Resource.INVOICES, None, {"line": line})
            for line in body.decode().split()
        ]
