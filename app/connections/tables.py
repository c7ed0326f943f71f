"""Tables of the connections package: vendor apps, webhook keys, consents, grants, tenants and their reach."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.connections.states import GrantState, TenantHealth
from app.db import NEW_ID, Instant, Table


class VendorApp(Table):
    """The app registered at the vendor, as entered through the API; values from the environment take precedence."""

    __tablename__ = "vendor_apps"

    vendor: Mapped[str] = mapped_column(Text, primary_key=True)
    client_id: Mapped[str | None] = mapped_column(Text)
    client_secret_sealed: Mapped[str | None] = mapped_column(Text)
    scope_set: Mapped[str | None] = mapped_column(Text)
    last_probe_at: Mapped[datetime | None] = mapped_column(Instant)
    updated_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())


class WebhookKey(Table):
    """A key that webhook deliveries are signed with.

    `expires_at` is set when a newer key replaces it, so that both are accepted for a while.
    """

    __tablename__ = "webhook_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    vendor: Mapped[str] = mapped_column(Text, index=True)
    key_sealed: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(Instant)


class Consent(Table):
    """A started consent. The state and the browser's cookie are stored as hashes, the PKCE verifier encrypted."""

    __tablename__ = "consents"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    vendor: Mapped[str] = mapped_column(Text)
    state_hash: Mapped[str] = mapped_column(Text, unique=True)
    browser_hash: Mapped[str] = mapped_column(Text)
    verifier_sealed: Mapped[str] = mapped_column(Text)
    scope_set: Mapped[str] = mapped_column(Text)
    return_to: Mapped[str] = mapped_column(Text, server_default="")
    started_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(Instant, index=True)
    used_at: Mapped[datetime | None] = mapped_column(Instant)


class Grant(Table):
    """The consent of one user of the vendor, with its current token set and state.

    Attributes:
        state: one of `GrantState`.
        version: counts the token sets; each refresh and each new consent adds one.
        refresh_claim: identifies the one caller that may refresh the tokens until `refresh_claimed_until`.
        refusals: refreshes since the last good one that failed although they were tried again.
        revoke_token_sealed: the refresh token of a disconnected grant, kept until the vendor has revoked it.
        listed_at: when the vendor was last asked which tenants the grant reaches; None: never by this version.
    """

    __tablename__ = "grants"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    vendor: Mapped[str] = mapped_column(Text)
    vendor_user_id: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default=GrantState.ACTIVE)
    reason: Mapped[str | None] = mapped_column(Text)
    state_since: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    scope_set: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))
    access_token_sealed: Mapped[str | None] = mapped_column(Text)
    access_expires_at: Mapped[datetime | None] = mapped_column(Instant)
    refresh_token_sealed: Mapped[str | None] = mapped_column(Text)
    refreshed_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    refresh_expires_at: Mapped[datetime | None] = mapped_column(Instant)
    version: Mapped[int] = mapped_column(server_default="1")
    refusals: Mapped[int] = mapped_column(server_default="0")
    next_refresh_at: Mapped[datetime | None] = mapped_column(Instant)
    refresh_claim: Mapped[UUID | None]
    refresh_claimed_until: Mapped[datetime | None] = mapped_column(Instant)
    revoke_token_sealed: Mapped[str | None] = mapped_column(Text)
    missing_scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))
    connected_by: Mapped[str] = mapped_column(Text)
    connected_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    listed_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (UniqueConstraint("vendor", "vendor_user_id"),)


class Tenant(Table):
    """One organisation that at least one grant gives access to, or gave.

    Attributes:
        grant_id: the grant in use, the best of those in `tenant_grants`; its connection and consent stand beside it.
        removed_at: since when no grant reaches it any more.
        health: the `TenantHealth` the last sync ended with.
        reason_code: the `ReasonCode` of what is wrong, or None.
        paused_until: when the organisation is synced again, where a limit or an outage pauses it.
        data_as_of: the vendor's instant up to which everything is mirrored; None before the first complete sync.
    """

    __tablename__ = "tenants"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    vendor: Mapped[str] = mapped_column(Text)
    tenant_id: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    connection_id: Mapped[str] = mapped_column(Text)
    grant_id: Mapped[UUID] = mapped_column(ForeignKey("grants.id"), index=True)
    consent_id: Mapped[str | None] = mapped_column(Text)
    is_selected: Mapped[bool] = mapped_column(server_default=text("false"))
    removed_at: Mapped[datetime | None] = mapped_column(Instant)
    health: Mapped[str] = mapped_column(Text, server_default=TenantHealth.FIRST_SYNC)
    reason_code: Mapped[str | None] = mapped_column(Text)
    reason_message: Mapped[str | None] = mapped_column(Text)
    reason_since: Mapped[datetime | None] = mapped_column(Instant)
    paused_until: Mapped[datetime | None] = mapped_column(Instant)
    failures: Mapped[int] = mapped_column(server_default="0")
    data_as_of: Mapped[datetime | None] = mapped_column(Instant)
    last_success_at: Mapped[datetime | None] = mapped_column(Instant)
    last_attempt_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (UniqueConstraint("vendor", "tenant_id"),)


class TenantGrant(Table):
    """That one grant reaches one tenant, or did: an entry of the vendor's list of connections.

    Attributes:
        connection_id: the vendor's id of the entry.
        consent_id: the vendor's id of the consent that made the entry.
        listed_at: when the vendor last listed the tenant for the grant.
        lost_at: since when the vendor no longer lists it.
        refused_at: when the vendor last refused the grant a call for the tenant that it still lists.
    """

    __tablename__ = "tenant_grants"

    vendor: Mapped[str] = mapped_column(Text)
    tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(ForeignKey("grants.id", ondelete="CASCADE"), primary_key=True)
    connection_id: Mapped[str] = mapped_column(Text)
    consent_id: Mapped[str | None] = mapped_column(Text)
    listed_at: Mapped[datetime] = mapped_column(Instant, server_default=func.wall_clock())
    lost_at: Mapped[datetime | None] = mapped_column(Instant)
    refused_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (
        ForeignKeyConstraint(["vendor", "tenant_id"], ["tenants.vendor", "tenants.tenant_id"], ondelete="CASCADE"),
        Index(None, "vendor", "tenant_id"),
    )
