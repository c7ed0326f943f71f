"""Everything about the pretend Xero that a test may choose."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """What the pretend Xero is like. Sizes are per organisation; seconds and bytes where the name says so."""

    seed: int = 1
    organisations: int = 3
    practices: int = 1
    contacts: int = 60
    invoices: int = 400
    payments: int = 300
    credit_notes: int = 25

    client_id: str = "SIMULATED-CLIENT"
    client_secret: str = "simulated-secret"  # noqa: S105 - the pretend app's own, guards nothing
    app_name: str = "Vectis"
    redirect_uris: tuple[str, ...] = ()
    """What is registered for the app. Empty: any https address, and http://localhost."""
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
    """Xero refused acknowledgements with a body in 2021-22 and has been seen to tolerate them since."""
    webhook_categories: tuple[str, ...] = ("CONTACT", "INVOICE", "CREDITNOTE")

    latency_ms: float = 0
    clock_rate: float = 1
    gzip_level: int = 1
    query_string_limit: int = 2048
    """52 to 55 GUIDs fit, depending on how the commas are written; one more is a 404."""
    high_volume_rows: int = 100_000

    if_modified_since: Literal["inclusive", "exclusive"] = "inclusive"
    """Xero does not say; "exclusive" leaves out the whole named second, the harsher reading."""
    allocation_moves_invoice: Literal["always", "status", "never"] = "status"
    """Not established at Xero. "status": the stamp moves only when the allocation pays or reopens the invoice."""
    merge_moves_documents: bool = False
    """Whether re-pointing a merged contact's documents moves their stamps. Not established at Xero."""
    batch_payment_as_text: bool = True
    """Amount and flag of a nested BatchPayment as text, as in Xero's example; its schema and SDK want them typed."""
    balances_net_of_credits: bool = False
    """Whether a contact's Outstanding is lowered by its unallocated credit. Not established at Xero."""
