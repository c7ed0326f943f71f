"""The simulator's options."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """The simulator's size and behaviour. Row counts are per organisation."""

    seed: int = 1
    organisations: int = 3
    practices: int = 1
    contacts: int = 60
    invoices: int = 400
    payments: int = 300
    credit_notes: int = 25

    client_id: str = "SIMULATED-CLIENT"
    client_secret: str = "simulated-secret"  # noqa: S105 - the simulated app's secret protects nothing
    app_name: str = "Vectis"
    redirect_uris: tuple[str, ...] = ()
    """The redirect URIs registered for the app. Empty: any https address, and http://localhost."""
    app_may_ask_broad_scopes: bool = True
    """Apps created on or after 2 March 2026 may not ask for accounting.transactions(.read)."""
    auto_consent: bool = False

    access_token_seconds: int = 30 * 60
    refresh_token_days: int = 60
    refresh_grace_seconds: int = 30 * 60

    limits_enabled: bool = True
    minute_limit: int = 60
    day_limit: int = 5000
    concurrent_limit: int = 5
    app_minute_limit: int = 10_000

    webhook_key: str = "simulated-webhook-key"
    webhook_url: str | None = None
    webhook_body_allowed: bool = True
    """Whether a webhook acknowledgement may have a body: Xero refused it in 2021-22, and has accepted it since."""
    webhook_categories: tuple[str, ...] = ("CONTACT", "INVOICE", "CREDITNOTE")

    latency_ms: float = 0
    clock_rate: float = 1
    gzip_level: int = 1
    query_string_limit: int = 2048
    """In characters: 52 to 55 GUIDs fit, depending on how commas are encoded; one more is a 404."""
    high_volume_rows: int = 100_000

    paging_block: Literal["pagination", "absent", "renamed", "text", "item_count", "page_count"] = "pagination"
    """The paging block of a list: as documented, left out, called PageInfo as in July 2024, with its numbers as text,
    or with one of its counts alone."""
    page_size_has_effect: bool = True
    """False: pages have the default size whatever `pageSize` says, as in July 2024."""
    if_modified_since: Literal["inclusive", "exclusive"] = "inclusive"
    """Not documented by Xero; "exclusive" leaves out the whole second that is named, the stricter reading."""
    allocation_moves_invoice: Literal["always", "status", "never"] = "status"
    """Whether an allocation changes the invoice's UpdatedDateUTC. Not established at Xero.

    "status": only when the allocation pays or reopens the invoice.
    """
    merge_moves_documents: bool = False
    """Whether a merge of contacts changes the UpdatedDateUTC of their documents. Not established at Xero."""
    batch_payment_as_text: bool = True
    """Whether TotalAmount and IsReconciled of a nested BatchPayment are text, as in Xero's example; its schema and SDK
    expect a number and a boolean."""
    balances_net_of_credits: bool = False
    """Whether unallocated credit lowers a contact's Outstanding. Not established at Xero."""
