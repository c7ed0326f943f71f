"""The integration's status: what is connected, what is wrong and what to do; and the pre-flight check."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter

from app.api.deps import Admin, EngineDep, Reader, ServicesDep, SessionDep
from app.api.errors import document_problems
from app.api.schemas import ResponseModel
from app.connections.status import State
from app.sync import preflight
from app.sync.engine import Engine
from app.sync.status.overview import Overview

router = APIRouter(tags=["integration"])

ScopeSet = Literal["broad", "granular"]


class ActionAnswer(ResponseModel):
    label: str
    method: str
    href: str


class BannerAnswer(ResponseModel):
    code: str
    severity: Literal["info", "warning", "critical"]
    title: str
    body: str
    tenant_id: str | None
    since: datetime | None
    until: datetime | None
    action: ActionAnswer | None


class WebhookAnswer(ResponseModel):
    url: str
    configured: bool
    last_intent_to_receive_at: datetime | None
    last_event_at: datetime | None
    pending: int
    failed: int
    signature_failures_24h: int


class SyncAnswer(ResponseModel):
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

    state: State
    redirect_uri: str
    scope_set: ScopeSet
    scopes_requested: list[str]
    scopes_granted: list[str]
    missing_scopes: list[str]
    client_id: str | None
    credentials_managed_by: Literal["environment", "api"] | None
    connected_by: str | None
    connected_at: datetime | None
    refresh_token_expires_at: datetime | None
    webhook: WebhookAnswer
    sync: SyncAnswer
    tenants: TenantCounts
    data_as_of: datetime | None
    banners: list[BannerAnswer]


class CheckAnswer(ResponseModel):
    name: str
    ok: bool
    detail: str
    fix: str | None


class PreflightAnswer(ResponseModel):
    ok: bool
    summary: str
    checks: list[CheckAnswer]


@router.get("", responses=document_problems())
async def get_status(engine: EngineDep, session: SessionDep, _reader: Reader) -> IntegrationStatus:
    """Return what is connected, what is wrong and what to do."""
    return _status_of(engine, await engine.overview(session))


@router.post("/check", responses=document_problems())
async def check(engine: EngineDep, services: ServicesDep, _admin: Admin) -> PreflightAnswer:
    """Try everything a sync needs, without changing anything."""
    return PreflightAnswer.model_validate(await preflight.check(services.db, engine))


def _status_of(engine: Engine, seen: Overview) -> IntegrationStatus:
    grant, config = seen.grant, engine.config
    return IntegrationStatus(
        state=seen.state,
        redirect_uri=config.redirect_uri,
        scope_set=seen.app.scope_set,
        scopes_requested=list(seen.scopes_requested),
        scopes_granted=list(grant.scopes) if grant else [],
        missing_scopes=list(grant.missing_scopes) if grant else [],
        client_id=seen.app.client_id,
        credentials_managed_by=seen.app.managed_by,
        connected_by=grant.connected_by if grant else None,
        connected_at=grant.connected_at if grant else None,
        refresh_token_expires_at=grant.refresh_expires_at if grant else None,
        webhook=WebhookAnswer(
            url=config.webhook_url,
            configured=seen.is_webhook_configured,
            last_intent_to_receive_at=seen.last_probe_at,
            last_event_at=seen.inbox.last_event_at,
            pending=seen.inbox.pending,
            failed=seen.inbox.failed,
            signature_failures_24h=seen.inbox.signature_failures,
        ),
        sync=SyncAnswer(
            enabled=engine.plan.is_scheduled,
            interval_seconds=int(engine.plan.interval.total_seconds()),
            last_tick_at=seen.last_tick_at,
            next_tick_at=seen.next_tick_at,
            running=seen.is_running,
        ),
        tenants=TenantCounts(
            available=sum(tenant.removed_at is None for tenant in seen.tenants),
            selected=sum(tenant.is_selected for tenant in seen.tenants),
        ),
        data_as_of=seen.data_as_of,
        banners=[BannerAnswer.model_validate(banner) for banner in seen.banners],
    )
