"""The integration's status with its banners, and the pre-flight check."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from app.api.deps import Admin, EngineDep, Reader, SessionDep
from app.api.errors import document_problems
from app.api.openapi import OneOf, ScopeSet
from app.api.schemas import ResponseModel
from app.connections.banner_groups import MOST_IDS, group_banners
from app.connections.states import ConnectionState, CredentialsSource, Severity
from app.sync.engine import Engine
from app.sync.preflight import CheckState
from app.sync.status.overview import Overview

router = APIRouter(tags=["integration"])


class ActionResponse(ResponseModel):
    label: str
    method: str
    href: str


class BannerResponse(ResponseModel):
    """What is wrong or under way, one per code: what happened, what it means and what to do."""

    code: str
    severity: Annotated[str, OneOf(Severity)]
    title: str
    body: str
    tenant_id: Annotated[str | None, Field(description="The organisation, when it is about exactly one.")]
    tenant_ids: Annotated[list[str], Field(description="The organisations it is about.", max_length=MOST_IDS)]
    count: Annotated[int, Field(description="How many organisations it is about; 0 for the whole connection.")]
    since: datetime | None
    until: datetime | None
    action: ActionResponse | None


class WebhookResponse(ResponseModel):
    url: str
    configured: bool
    last_intent_to_receive_at: datetime | None
    last_event_at: datetime | None
    pending: int
    failed: int
    signature_failures_24h: int


class SyncResponse(ResponseModel):
    enabled: bool
    interval_seconds: int
    last_tick_at: datetime | None
    next_tick_at: datetime | None
    running: bool


class TenantCounts(ResponseModel):
    available: int
    selected: int


class IntegrationStatus(ResponseModel):
    """Everything the set-up page shows; the server decides, the page paints."""

    state: Annotated[str, OneOf(ConnectionState)]
    redirect_uri: str
    scope_set: ScopeSet
    scopes_requested: list[str]
    scopes_granted: list[str]
    missing_scopes: list[str]
    client_id: str | None
    credentials_managed_by: Annotated[str, OneOf(CredentialsSource)] | None
    connected_by: str | None
    connected_at: datetime | None
    refresh_token_expires_at: datetime | None
    webhook: WebhookResponse
    sync: SyncResponse
    tenants: TenantCounts
    data_as_of: datetime | None
    notify_addresses: Annotated[
        list[str], Field(description="Where people are told: the scheme and, where it is no secret, the host of each.")
    ]
    banners: list[BannerResponse]
    allowed_actions: Annotated[
        list[str],
        Field(
            description="What this token may do now: the last parts of the routes' paths.", examples=[["sync", "check"]]
        ),
    ]
    needs_attention: Annotated[int, Field(description="How many of the banners stay until somebody acts.")]


class CheckResponse(ResponseModel):
    name: str
    ok: bool
    state: Annotated[
        str, OneOf(CheckState), Field(description="`not_yet`: a step of the set-up that it needs is not done.")
    ]
    detail: str
    fix: str | None


class PreflightResponse(ResponseModel):
    ok: bool
    summary: str
    checks: list[CheckResponse]


@router.get("", responses=document_problems())
async def get_status(engine: EngineDep, session: SessionDep, reader: Reader) -> IntegrationStatus:
    """Return what is connected, what is wrong and what to do."""
    return describe_status(engine, await engine.status.read_overview(session), is_admin=reader.role == "admin")


@router.post("/check", responses=document_problems())
async def check(engine: EngineDep, _admin: Admin) -> PreflightResponse:
    """Try everything a sync needs, without changing anything."""
    return PreflightResponse.model_validate(await engine.check())


def describe_status(engine: Engine, overview: Overview, *, is_admin: bool) -> IntegrationStatus:
    """Return the status as it is answered; `is_admin` says whether the reader may act."""
    grant = overview.grant
    banners = group_banners(overview.banners, engine.profile.name)
    return IntegrationStatus(
        state=overview.state,
        redirect_uri=engine.redirect_uri,
        scope_set=overview.app.scope_set,
        scopes_requested=list(overview.scopes_requested),
        scopes_granted=list(grant.scopes) if grant else [],
        missing_scopes=list(grant.missing_scopes) if grant else [],
        client_id=overview.app.client_id,
        credentials_managed_by=overview.app.managed_by,
        connected_by=grant.connected_by if grant else None,
        connected_at=grant.connected_at if grant else None,
        refresh_token_expires_at=grant.refresh_expires_at if grant else None,
        webhook=WebhookResponse(
            url=engine.webhook_url,
            configured=overview.is_webhook_configured,
            last_intent_to_receive_at=overview.last_probe_at,
            last_event_at=overview.inbox.last_event_at,
            pending=overview.inbox.pending,
            failed=overview.inbox.failed,
            signature_failures_24h=overview.inbox.signature_failures,
        ),
        sync=SyncResponse(
            enabled=engine.is_scheduled,
            interval_seconds=int(engine.interval.total_seconds()),
            last_tick_at=overview.last_tick_at,
            next_tick_at=overview.next_tick_at,
            running=overview.is_running,
        ),
        tenants=TenantCounts(
            available=sum(tenant.removed_at is None for tenant in overview.tenants),
            selected=sum(tenant.is_selected for tenant in overview.tenants),
        ),
        data_as_of=overview.data_as_of,
        notify_addresses=engine.notifier.addresses,
        banners=[BannerResponse.model_validate(banner) for banner in banners],
        allowed_actions=list(_allowed_actions(engine, overview)) if is_admin else [],
        needs_attention=sum(banner.needs_person for banner in banners),
    )


def _allowed_actions(engine: Engine, overview: Overview) -> Iterable[str]:
    """Yield the names of the actions that would not be refused in the present state."""
    if overview.app.managed_by != CredentialsSource.ENVIRONMENT:
        yield "credentials"
    if overview.state != ConnectionState.NOT_CONFIGURED:
        yield "connect"
    if not engine.is_webhook_key_managed:
        yield "webhook-key"
    yield "check"
    if overview.state in {ConnectionState.NOT_CONFIGURED, ConnectionState.NOT_CONNECTED}:
        return
    yield from ("tenants", "disconnect")
    if overview.is_any_syncable:
        yield from ("sync", "reconcile")
