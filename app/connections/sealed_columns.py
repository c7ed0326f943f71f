"""Every encrypted column of the database: what its values are bound to, and which of them are still needed."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, TextClause, and_, func, or_, true
from sqlalchemy.orm import InstrumentedAttribute

from app.connections import consent, disconnect, grants, vendor_app
from app.connections.tables import Consent, Grant, VendorApp, WebhookKey
from app.idempotency import IS_KEPT, IdempotentRequest, reply_associated_data

Column = InstrumentedAttribute[Any]


class SecretKind(StrEnum):
    """What a secret is, as people are told."""

    CLIENT_SECRET = "the client secret"  # noqa: S105 - what it is called
    SIGNING_KEY = "a webhook signing key"
    TOKENS = "the tokens of a connection"
    REVOCATION = "the token of a connection that is still to be revoked"
    CONSENT = "a consent under way"
    REPLY = "kept replies to an Idempotency-Key"

    @property
    def is_transient(self) -> bool:
        """Whether it expires by itself within a day, so that nothing has to be done without it."""
        return self in (SecretKind.CONSENT, SecretKind.REPLY)


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """An encrypted column.

    Attributes:
        kind: what its values are.
        column: the column.
        key: the primary key of its table, by which the rows are read in batches.
        bound_to: the columns whose values its values are bound to.
        associated_data: returns from those values, or from their text, what a value is bound to.
        is_needed: which rows' values may still be opened.
    """

    kind: SecretKind
    column: Column
    key: tuple[Column, ...]
    bound_to: tuple[Column, ...]
    associated_data: Callable[..., str]
    is_needed: ColumnElement[bool] | TextClause

    @property
    def is_set(self) -> ColumnElement[bool]:
        """The condition that a row has a value that may still be opened."""
        return and_(self.column != "", self.is_needed)


def _column_of_grant(kind: SecretKind, column: Column, associated_data: Callable[..., str]) -> SealedColumn:
    return SealedColumn(kind, column, (Grant.id,), (Grant.id,), associated_data, true())


SEALED_COLUMNS = (
    _column_of_grant(SecretKind.TOKENS, Grant.access_token_sealed, grants.access_token_associated_data),
    _column_of_grant(SecretKind.TOKENS, Grant.refresh_token_sealed, grants.refresh_token_associated_data),
    _column_of_grant(SecretKind.REVOCATION, Grant.revoke_token_sealed, disconnect.revocation_associated_data),
    SealedColumn(
        SecretKind.CLIENT_SECRET,
        VendorApp.client_secret_sealed,
        (VendorApp.vendor,),
        (VendorApp.vendor,),
        vendor_app.client_secret_associated_data,
        true(),
    ),
    SealedColumn(
        SecretKind.SIGNING_KEY,
        WebhookKey.key_sealed,
        (WebhookKey.id,),
        (WebhookKey.vendor,),
        vendor_app.signing_key_associated_data,
        or_(WebhookKey.expires_at.is_(None), WebhookKey.expires_at > func.wall_clock()),
    ),
    SealedColumn(
        SecretKind.CONSENT,
        Consent.verifier_sealed,
        (Consent.id,),
        (Consent.id,),
        consent.verifier_associated_data,
        Consent.expires_at > func.wall_clock(),
    ),
    SealedColumn(
        SecretKind.REPLY,
        IdempotentRequest.reply_sealed,
        (IdempotentRequest.key, IdempotentRequest.actor),
        (IdempotentRequest.actor, IdempotentRequest.key),
        reply_associated_data,
        IS_KEPT,
    ),
)
