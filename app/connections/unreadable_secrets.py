"""Finds the stored secrets that cannot be decrypted, and says what that means and how to repair it."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Integer, Text, cast, func, literal, literal_column, select, union_all
from sqlalchemy.dialects.postgresql import array

from app.connections.sealed_columns import SEALED_COLUMNS, SealedColumn, SecretKind
from app.connections.states import BannerCode
from app.connections.tables import Grant
from app.connections.vendor_app import VendorConfig
from app.crypto import Sealer
from app.db import Session
from app.paging import AnySelect

log = structlog.get_logger(__name__)

# Of a kept reply only the key id is read; an envelope begins with it.
KEY_ID_PREFIX = 100
REMEDIES = {
    SecretKind.CLIENT_SECRET: "enter client id and secret again",
    SecretKind.SIGNING_KEY: "set the webhook key again",
    SecretKind.TOKENS: "connect again",
    SecretKind.REVOCATION: "remove the app at the vendor yourself",
}


@dataclass(frozen=True, slots=True)
class UnreadableSecret:
    """A stored secret that cannot be decrypted.

    Attributes:
        kind: what it is.
        missing_key: the id of the key it needs and that is not configured; None where it was altered, or where another
            key has the id now.
        grant_id: of a refresh token, its grant, which cannot be used without it.
    """

    kind: SecretKind
    missing_key: str | None
    grant_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class UnreadableSecrets:
    """The secrets of one vendor that cannot be decrypted; each counts as absent."""

    secrets: Sequence[UnreadableSecret] = ()

    @property
    def missing_keys(self) -> list[str]:
        """The ids of the keys that are used and not configured."""
        return sorted({one.missing_key for one in self.secrets if one.missing_key is not None})

    @property
    def grant_ids(self) -> AbstractSet[UUID]:
        """The grants that cannot be used, because their refresh token cannot be decrypted."""
        return frozenset(one.grant_id for one in self.secrets if one.grant_id)

    @property
    def is_transient(self) -> bool:
        """Whether all of them expire by themselves within a day."""
        return all(one.kind.is_transient for one in self.secrets)

    def of_missing_keys(self) -> "UnreadableSecrets":
        """Return those whose key is not configured."""
        return UnreadableSecrets([one for one in self.secrets if one.missing_key is not None])

    def of_known_keys(self) -> "UnreadableSecrets":
        """Return those whose key is configured, so that they were altered or the key is another one."""
        return UnreadableSecrets([one for one in self.secrets if one.missing_key is None])

    @property
    def kinds(self) -> list[SecretKind]:
        """Return what they are, in the order of their importance."""
        found = {one.kind for one in self.secrets}
        return [kind for kind in SecretKind if kind in found]

    def describe(self) -> str:
        """Say what cannot be decrypted, why, what it means and what to do."""
        names = ", ".join(self.kinds)
        keys = ", ".join(self.missing_keys)
        reason = (
            f"ENCRYPTION_KEYS does not hold the key {keys}, which is needed for: {names}."
            if keys
            else f"These were altered in the database, or ENCRYPTION_KEYS holds another key of the same id: {names}."
        )
        if self.is_transient:
            return f"{reason} They expire by themselves within a day; nothing has to be done."
        remedies = ", ".join(REMEDIES[kind] for kind in self.kinds if kind in REMEDIES)
        return f"{reason} What cannot be decrypted counts as absent. Put the right key back and restart, or {remedies}."


async def find_unreadable(session: Session, sealer: Sealer, config: VendorConfig) -> UnreadableSecrets:
    """Try to decrypt every secret of a vendor, and look up the key of every kept reply.

    Stored credentials and signing keys are left out where the environment's take precedence.
    """
    statements = [_rows_statement(one, config.vendor) for one in SEALED_COLUMNS if _is_used(one, config)]
    rows = (await session.execute(union_all(*statements))).all()
    found = [_examine(sealer, SEALED_COLUMNS[row.position], row.envelope, row.bound_to) for row in rows]
    return UnreadableSecrets([one for one in found if one])


def log_unreadable(vendor: str, found: UnreadableSecrets) -> None:
    """Log what cannot be decrypted, the missing keys by their ids; the events are named as the banners."""
    if (missing := found.of_missing_keys()).secrets:
        names = [str(kind) for kind in missing.kinds]
        log.error(BannerCode.ENCRYPTION_KEY_MISSING.value, vendor=vendor, key_ids=missing.missing_keys, secrets=names)
    if (altered := found.of_known_keys()).secrets:
        names = [str(kind) for kind in altered.kinds]
        log.error(BannerCode.SECRETS_UNREADABLE.value, vendor=vendor, count=len(altered.secrets), secrets=names)


def _is_used(sealed: SealedColumn, config: VendorConfig) -> bool:
    """Return whether the stored secrets are used, and not the environment's in their place."""
    if sealed.kind is SecretKind.CLIENT_SECRET:
        return not (config.client_id and config.client_secret)
    return sealed.kind is not SecretKind.SIGNING_KEY or not config.webhook_key


def _rows_statement(sealed: SealedColumn, vendor: str) -> AnySelect:
    position = literal_column(str(SEALED_COLUMNS.index(sealed)), Integer).label("position")
    if sealed.kind is SecretKind.REPLY:
        # There may be many long ones, and they are of every vendor: their keys are looked up, not each of them.
        start = func.left(sealed.column, KEY_ID_PREFIX)
        keyed = func.concat(func.split_part(start, ".", 1), ".", func.split_part(start, ".", 2), ".")
        unbound = array([literal("")]).label("bound_to")
        return select(position, keyed.label("envelope"), unbound).where(sealed.is_set).distinct()
    bound_to = array([cast(one, Text) for one in sealed.bound_to]).label("bound_to")
    is_of_vendor = sealed.column.class_.vendor == vendor
    return select(position, sealed.column.label("envelope"), bound_to).where(sealed.is_set, is_of_vendor)


def _examine(sealer: Sealer, sealed: SealedColumn, envelope: str, bound_to: Sequence[str]) -> UnreadableSecret | None:
    """Return the secret if it cannot be decrypted."""
    missing_key = sealer.missing_key(envelope)
    if sealed.kind is SecretKind.REPLY:
        return UnreadableSecret(sealed.kind, missing_key) if missing_key else None
    if missing_key is None and sealer.try_open(envelope, sealed.associated_data(*bound_to)) is not None:
        return None
    is_refresh_token = sealed.column is Grant.refresh_token_sealed
    return UnreadableSecret(sealed.kind, missing_key, UUID(bound_to[0]) if is_refresh_token else None)
