"""The OAuth scopes: which exist, which an app may request, and which a resource requires."""

_BROAD = ("accounting.transactions", "accounting.transactions.read")
_INVOICES = ("accounting.invoices", "accounting.invoices.read", *_BROAD)
_PAYMENTS = ("accounting.payments", "accounting.payments.read", *_BROAD)
_CONTACTS = ("accounting.contacts", "accounting.contacts.read")
_SETTINGS = ("accounting.settings", "accounting.settings.read")
_KNOWN_SCOPES = frozenset(
    (
        *("openid", "profile", "email", "offline_access"),
        *_INVOICES,
        *_PAYMENTS,
        *_CONTACTS,
        *_SETTINGS,
        *("accounting.banktransactions", "accounting.banktransactions.read"),
        *("accounting.manualjournals", "accounting.manualjournals.read"),
        *("accounting.attachments", "accounting.attachments.read"),
        *("accounting.reports.read", "accounting.journals.read"),
    )
)
SCOPES_BY_RESOURCE: dict[str, tuple[str, ...]] = {
    "Contacts": _CONTACTS,
    "Invoices": _INVOICES,
    "CreditNotes": _INVOICES,
    "Payments": _PAYMENTS,
    "Overpayments": _PAYMENTS,
    "Prepayments": _PAYMENTS,
    "Organisation": _SETTINGS,
}


def find_scope_error(scopes: list[str], *, broad_allowed: bool) -> str | None:
    """Return the OAuth error code for a request of these scopes, or None when they are allowed."""
    if "app.connections" in scopes:
        return "access_denied"
    if not scopes or not _KNOWN_SCOPES.issuperset(scopes):
        return "invalid_scope"
    if not broad_allowed and any(scope in _BROAD for scope in scopes):
        return "invalid_scope"
    return None


def can_read(granted: tuple[str, ...], resource: str) -> bool:
    """Return whether the granted scopes allow reading this resource."""
    return any(scope in granted for scope in SCOPES_BY_RESOURCE[resource])
