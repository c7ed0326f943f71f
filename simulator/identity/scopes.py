"""Which scopes exist, who may ask for them, and which a resource needs."""

_BROAD = ("accounting.transactions", "accounting.transactions.read")
_INVOICES = ("accounting.invoices", "accounting.invoices.read", *_BROAD)
_PAYMENTS = ("accounting.payments", "accounting.payments.read", *_BROAD)
_CONTACTS = ("accounting.contacts", "accounting.contacts.read")
_SETTINGS = ("accounting.settings", "accounting.settings.read")
_KNOWN = frozenset(
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
SCOPES_FOR: dict[str, tuple[str, ...]] = {
    "Contacts": _CONTACTS,
    "Invoices": _INVOICES,
    "CreditNotes": _INVOICES,
    "Payments": _PAYMENTS,
    "Overpayments": _PAYMENTS,
    "Prepayments": _PAYMENTS,
    "Organisation": _SETTINGS,
}


def refuse_scopes(scopes: list[str], *, broad_allowed: bool) -> str | None:
    """The OAuth error that a request for these scopes gets, or None."""
    if "app.connections" in scopes:
        return "access_denied"
    if not scopes or not _KNOWN.issuperset(scopes):
        return "invalid_scope"
    if not broad_allowed and any(scope in _BROAD for scope in scopes):
        return "invalid_scope"
    return None


def may_read(granted: tuple[str, ...], resource: str) -> bool:
    return any(scope in granted for scope in SCOPES_FOR[resource])
