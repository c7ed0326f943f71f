"""The app registered at the vendor: its credentials, its scope set and the keys its webhooks are signed with.

ConnectionProblem
├── NotConfigured           client id and secret are not known yet
├── ManagedByEnvironment    the environment sets it, so the API may not
├── UnknownTenant           a named organisation is not among those authorised
├── NoTenantSelected        an empty selection, or nothing selected yet
└── InvalidReturnPath       the address to come back to is not a path of ours
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.connections.errors import ManagedByEnvironment, NotConfigured
from app.connections.tables import VendorApp, WebhookKey
from app.connector import AppCredentials
from app.crypto import Sealer
from app.db import Session

KEY_GRACE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class VendorConfig:
    """What the environment says of one vendor's app; what it sets wins over what the API was given."""

    vendor: str
    redirect_uri: str
    return_url: str
    webhook_url: str
    scope_set: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    webhook_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class App:
    """The app as it stands. `managed_by` is `environment`, `api` or None when nothing is configured."""

    client_id: str | None
    client_secret: str | None = field(repr=False)
    scope_set: str
    managed_by: str | None

    def credentials(self) -> AppCredentials:
        """Return what the token endpoint asks for.

        Raises:
            NotConfigured: one of the two is missing.
        """
        if not (self.client_id and self.client_secret):
            raise NotConfigured("No client id and secret are configured; enter those of your app first.")
        return AppCredentials(self.client_id, self.client_secret)


async def load_app(session: Session, sealer: Sealer, config: VendorConfig) -> App:
    row = await session.get(VendorApp, config.vendor)
    scope_set = row.scope_set if row and row.scope_set else config.scope_set
    if config.client_id and config.client_secret:
        return App(config.client_id, config.client_secret, scope_set, "environment")
    if row is None or row.client_id is None or row.client_secret_sealed is None:
        return App(config.client_id, config.client_secret, scope_set, None)
    secret = sealer.open(row.client_secret_sealed, secret_place(config.vendor))
    return App(row.client_id, secret, scope_set, "api")


async def save_credentials(
    session: Session, sealer: Sealer, config: VendorConfig, given: AppCredentials, scope_set: str
) -> None:
    """Keep the app's credentials, the secret sealed.

    Raises:
        ManagedByEnvironment: the environment sets them.
    """
    if config.client_id and config.client_secret:
        raise ManagedByEnvironment("The client id and secret are set in the environment; change them there.")
    values = {
        "client_id": given.client_id,
        "client_secret_sealed": sealer.seal(given.client_secret, secret_place(config.vendor)),
        "scope_set": scope_set,
        "updated_at": func.now(),
    }
    await _upsert_app(session, config.vendor, values)


async def save_scope_set(session: Session, vendor: str, scope_set: str) -> None:
    await _upsert_app(session, vendor, {"scope_set": scope_set, "updated_at": func.now()})


async def record_probe(session: Session, vendor: str) -> None:
    """Remember that the vendor just asked whether we mean to receive."""
    await _upsert_app(session, vendor, {"last_probe_at": func.wall_clock()})


async def last_probe_at(session: Session, vendor: str) -> datetime | None:
    return await session.scalar(select(VendorApp.last_probe_at).where(VendorApp.vendor == vendor))


async def signing_keys(session: Session, sealer: Sealer, config: VendorConfig) -> list[str]:
    """Return every key a delivery may be signed with now, newest first."""
    good = or_(WebhookKey.expires_at.is_(None), WebhookKey.expires_at > func.wall_clock())
    statement = select(WebhookKey).where(WebhookKey.vendor == config.vendor, good)
    rows = (await session.scalars(statement.order_by(WebhookKey.created_at.desc()))).all()
    stored = [sealer.open(row.key_sealed, key_place(row.vendor)) for row in rows]
    return [config.webhook_key, *stored] if config.webhook_key else stored


async def save_signing_key(session: Session, sealer: Sealer, config: VendorConfig, key: str) -> None:
    """Take a new signing key; the ones before it stay good for 24 hours.

    Raises:
        ManagedByEnvironment: the environment sets the key.
    """
    if config.webhook_key:
        raise ManagedByEnvironment("The webhook key is set in the environment; change it there.")
    until: datetime | None = await session.scalar(select(func.wall_clock() + KEY_GRACE))
    current = (WebhookKey.vendor == config.vendor, WebhookKey.expires_at.is_(None))
    await session.execute(update(WebhookKey).where(*current).values(expires_at=until))
    sealed = sealer.seal(key, key_place(config.vendor))
    session.add(WebhookKey(vendor=config.vendor, key_sealed=sealed))
    await session.flush()


async def delete_signing_keys(session: Session, config: VendorConfig) -> None:
    """Forget every key at once; deliveries are refused until a new one is given.

    Raises:
        ManagedByEnvironment: the environment sets the key.
    """
    if config.webhook_key:
        raise ManagedByEnvironment("The webhook key is set in the environment; remove it there.")
    await session.execute(delete(WebhookKey).where(WebhookKey.vendor == config.vendor))


async def _upsert_app(session: Session, vendor: str, values: Mapping[str, object]) -> None:
    statement = insert(VendorApp).values(vendor=vendor, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["vendor"], set_=values))


def secret_place(vendor: str) -> str:
    return f"vendor_apps/{vendor}/client_secret"


def key_place(vendor: str) -> str:
    return f"webhook_keys/{vendor}/key"
