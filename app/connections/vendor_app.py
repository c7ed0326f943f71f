"""The app registered at the vendor: its credentials, its scope set and the keys its webhooks are signed with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, func, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert

from app.connections.errors import ManagedByEnvironment, NotConfigured
from app.connections.states import CredentialsSource
from app.connections.tables import VendorApp, WebhookKey
from app.connector import AppCredentials
from app.crypto import Sealer
from app.db import Session

# Deliveries signed with a replaced key are accepted this long.
REPLACED_KEY_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class VendorConfig:
    """The app registered at one vendor, as the environment describes it.

    Credentials and webhook key set here take precedence over those entered through the API. What is fixed about the
    vendor itself is in `VendorProfile` (`app.connector`).

    Attributes:
        vendor: the vendor's word in `source`.
        redirect_uri: where the vendor sends the browser back to after a consent; registered at the vendor.
        return_url: the frontend's URL, where the callback sends the browser on to.
        webhook_url: where the vendor delivers webhooks to.
        scope_set: the scope set used unless another is chosen through the API.
        client_id: the app's client id, if the environment sets it.
        client_secret: the app's client secret, if the environment sets it.
        webhook_key: the key webhooks are signed with, if the environment sets it.
        previous_webhook_key: the key before it, which is accepted as long as the environment sets it.
    """

    vendor: str
    redirect_uri: str
    return_url: str
    webhook_url: str
    scope_set: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    webhook_key: str | None = field(default=None, repr=False)
    previous_webhook_key: str | None = field(default=None, repr=False)

    @property
    def is_https(self) -> bool:
        """Whether the vendor sends the browser back over https."""
        return self.redirect_uri.startswith("https:")

    @property
    def webhook_keys(self) -> list[str]:
        """The keys of the environment that a delivery may be signed with, the present one first."""
        return [key for key in (self.webhook_key, self.previous_webhook_key) if key]


@dataclass(frozen=True, slots=True)
class App:
    """The app as it is configured now, from the environment or the API.

    Attributes:
        client_id: the client id; None while it is not known.
        client_secret: the secret; None while it is not known or cannot be decrypted.
        scope_set: the name of the scope set that a consent asks for.
        managed_by: where the two come from; None while neither source is whole.
        is_secret_unreadable: a secret is stored, and it cannot be decrypted.
    """

    client_id: str | None
    client_secret: str | None = field(repr=False)
    scope_set: str
    managed_by: CredentialsSource | None
    is_secret_unreadable: bool = False

    def credentials(self) -> AppCredentials:
        """Return what the token endpoint asks for.

        Raises:
            NotConfigured: the client id or the secret is missing, or cannot be decrypted.
        """
        if self.is_secret_unreadable:
            raise NotConfigured(
                "The stored client secret cannot be decrypted: put the right key back into ENCRYPTION_KEYS and restart,"
                " or enter client id and secret again."
            )
        if not (self.client_id and self.client_secret):
            raise NotConfigured("No client id and secret are configured; enter those of your app first.")
        return AppCredentials(self.client_id, self.client_secret)


async def load_app(session: Session, sealer: Sealer, config: VendorConfig) -> App:
    """Return the app from the environment or, where that has no credentials, from the table.

    A stored secret that cannot be decrypted counts as absent.
    """
    row = await session.get(VendorApp, config.vendor)
    scope_set = row.scope_set if row and row.scope_set else config.scope_set
    if config.client_id and config.client_secret:
        return App(config.client_id, config.client_secret, scope_set, CredentialsSource.ENVIRONMENT)
    if row is None or row.client_id is None or row.client_secret_sealed is None:
        return App(config.client_id, config.client_secret, scope_set, None)
    secret = sealer.try_open(row.client_secret_sealed, client_secret_associated_data(config.vendor))
    if secret is None:
        return App(row.client_id, None, scope_set, None, is_secret_unreadable=True)
    return App(row.client_id, secret, scope_set, CredentialsSource.API)


async def save_credentials(
    session: Session, sealer: Sealer, config: VendorConfig, credentials: AppCredentials, scope_set: str
) -> None:
    """Store the app's credentials, the secret encrypted.

    Raises:
        ManagedByEnvironment: the environment sets them.
    """
    if config.client_id and config.client_secret:
        raise ManagedByEnvironment("The client id and secret are set in the environment; change them there.")
    values = {
        "client_id": credentials.client_id,
        "client_secret_sealed": sealer.seal(credentials.client_secret, client_secret_associated_data(config.vendor)),
        "scope_set": scope_set,
        "updated_at": func.now(),
    }
    await _upsert_app(session, config.vendor, values)


async def save_scope_set(session: Session, vendor: str, scope_set: str) -> None:
    await _upsert_app(session, vendor, {"scope_set": scope_set, "updated_at": func.now()})


async def record_probe(session: Session, vendor: str) -> None:
    """Store that the vendor has just probed the webhook endpoint with a delivery without events."""
    await _upsert_app(session, vendor, {"last_probe_at": func.wall_clock()})


async def last_probe_at(session: Session, vendor: str) -> datetime | None:
    return await session.scalar(select(VendorApp.last_probe_at).where(VendorApp.vendor == vendor))


async def signing_keys(session: Session, sealer: Sealer, config: VendorConfig) -> list[str]:
    """Return every key a delivery may be signed with now, newest first; one that cannot be decrypted is left out."""
    is_valid = or_(WebhookKey.expires_at.is_(None), WebhookKey.expires_at > func.wall_clock())
    statement = select(WebhookKey).where(WebhookKey.vendor == config.vendor, is_valid)
    rows = (await session.scalars(statement.order_by(WebhookKey.created_at.desc()))).all()
    opened = [sealer.try_open(row.key_sealed, signing_key_associated_data(row.vendor)) for row in rows]
    stored = [key for key in opened if key is not None]
    return [*config.webhook_keys, *stored]


async def save_signing_key(session: Session, sealer: Sealer, config: VendorConfig, key: str) -> None:
    """Store a new signing key; those before it stay valid for 24 hours, unless they cannot be decrypted.

    Raises:
        ManagedByEnvironment: the environment sets the key.
    """
    if config.webhook_key:
        raise ManagedByEnvironment("The webhook key is set in the environment; change it there.")
    await _delete_useless_keys(session, sealer, config.vendor)
    expires_at: datetime | None = await session.scalar(select(func.wall_clock() + REPLACED_KEY_LIFETIME))
    current = (WebhookKey.vendor == config.vendor, WebhookKey.expires_at.is_(None))
    await session.execute(update(WebhookKey).where(*current).values(expires_at=expires_at))
    sealed = sealer.seal(key, signing_key_associated_data(config.vendor))
    session.add(WebhookKey(vendor=config.vendor, key_sealed=sealed))
    await session.flush()


async def _delete_useless_keys(session: Session, sealer: Sealer, vendor: str) -> None:
    """Delete the keys that have expired, and those that cannot be decrypted, which the new key replaces for good."""
    for row in (await session.scalars(select(WebhookKey).where(WebhookKey.vendor == vendor))).all():
        is_expired = WebhookKey.expires_at <= func.wall_clock()
        is_readable = sealer.try_open(row.key_sealed, signing_key_associated_data(vendor)) is not None
        is_row = WebhookKey.id == row.id
        await session.execute(delete(WebhookKey).where(is_row, is_expired if is_readable else true()))


async def delete_signing_keys(session: Session, config: VendorConfig) -> None:
    """Delete every key at once; deliveries are refused until a new one is given.

    Raises:
        ManagedByEnvironment: the environment sets the key.
    """
    if config.webhook_key:
        raise ManagedByEnvironment("The webhook key is set in the environment; remove it there.")
    await session.execute(delete(WebhookKey).where(WebhookKey.vendor == config.vendor))


async def _upsert_app(session: Session, vendor: str, values: Mapping[str, object]) -> None:
    statement = insert(VendorApp).values(vendor=vendor, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["vendor"], set_=values))


def client_secret_associated_data(vendor: str) -> str:
    return f"vendor_apps/{vendor}/client_secret"


def signing_key_associated_data(vendor: str) -> str:
    return f"webhook_keys/{vendor}/key"
