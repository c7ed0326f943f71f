"""Setting a vendor up: the card, credentials, consent, the organisations to pick, the webhook key."""

from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.api.deps import Admin, Reader, ServicesDep, SessionDep
from app.api.errors import documented
from app.api.integrations.vendor import EngineDep
from app.api.pagination import Page, PagingDep
from app.billing.audit import record as audit
from app.connections import apps, consent
from app.connections.card import State
from app.connections.tenants import TenantKey, list_tenants, select_tenants
from app.connector import AppCredentials
from app.sync import preflight
from app.sync.engine import Engine, Overview

router = APIRouter(tags=["integration"])

ScopeSet = Literal["broad", "granular"]
Filled = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Health = Literal[
    "not_selected",
    "first_sync",
    "healthy",
    "syncing",
    "partial",
    "rate_limited",
    "paused",
    "forbidden",
    "removed",
    "failing",
]


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True)


class ActionAnswer(Answer):
    label: str
    method: str
    href: str


class BannerAnswer(Answer):
    code: str
    severity: Literal["info", "warning", "critical"]
    title: str
    body: str
    tenant_id: str | None
    since: datetime | None
    until: datetime | None
    action: ActionAnswer | None


class WebhookAnswer(Answer):
    url: str
    configured: bool
    last_intent_to_receive_at: datetime | None
    last_event_at: datetime | None
    pending: int
    failed: int
    signature_failures_24h: int


class SyncAnswer(Answer):
    enabled: bool
    interval_seconds: int
    last_tick_at: datetime | None
    next_tick_at: datetime | None
    running: bool


class TenantCounts(Answer):
    available: int
    selected: int


class Card(Answer):
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


class Credentials(BaseModel):
    model_config = ConfigDict(extra="forbid")

    client_id: Filled
    client_secret: Filled
    scope_set: ScopeSet | None = None


class ConnectRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    return_to: Annotated[str | None, Field(description="A path on the frontend, such as `/customers/42`.")] = None
    scope_set: ScopeSet | None = None


class ConnectAnswer(Answer):
    authorization_url: str
    expires_at: datetime


class ReasonAnswer(Answer):
    code: str
    message: str


class ProgressAnswer(Answer):
    rows_read: int
    row_estimate: int | None


class TenantAnswer(Answer):
    tenant_id: str
    name: str
    selected: bool
    health: Health
    reason: ReasonAnswer | None
    data_as_of: datetime | None
    last_success_at: datetime | None
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    first_sync_progress: ProgressAnswer | None
    calls_today: int
    daily_cap: int
    bytes_this_month: int


class Selection(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tenant_ids: Annotated[list[str], Field(max_length=10_000)]


class WebhookKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    signing_key: Filled


class CheckAnswer(Answer):
    name: str
    ok: bool
    detail: str
    fix: str | None


class PreflightAnswer(Answer):
    ok: bool
    summary: str
    checks: list[CheckAnswer]


@router.get("", responses=documented())
async def get_card(engine: EngineDep, session: SessionDep, _reader: Reader) -> Card:
    """Return what is connected, what is wrong and what to do."""
    return _card(engine, await engine.overview(session))


@router.put("/credentials", responses=documented("conflict"))
async def put_credentials(engine: EngineDep, session: SessionDep, admin: Admin, given: Credentials) -> Card:
    """Keep the app's client id and secret; the secret is never given back."""
    # A new secret alone must not undo the scope set that was chosen before.
    scope_set = given.scope_set or (await apps.load_app(session, engine.sealer, engine.config)).scope_set
    credentials = AppCredentials(given.client_id, given.client_secret)
    await apps.save_credentials(session, engine.sealer, engine.config, credentials, scope_set)
    await audit(
        session, admin.subject, "integration_credentials_updated", engine.vendor, {"client_id": given.client_id}
    )
    return await get_card(engine, session, admin)


@router.post("/connect", responses=documented("not_configured"))
async def connect(
    engine: EngineDep, session: SessionDep, admin: Admin, response: Response, wanted: ConnectRequest | None = None
) -> ConnectAnswer:
    """Begin a consent: send the browser to the address, with the cookie this answer sets."""
    asked = wanted or ConnectRequest()
    order = consent.Asked(admin.subject, asked.return_to, asked.scope_set)
    started = await consent.start_consent(session, engine.sealer, engine.connector, engine.config, order)
    response.set_cookie(
        started.cookie_name,
        started.browser,
        max_age=int(consent.LIFETIME.total_seconds()),
        path=f"/api/integrations/{engine.vendor}/callback",
        secure=engine.config.redirect_uri.startswith("https:"),
        httponly=True,
        # The vendor sends the browser back from its own site: a stricter cookie would not come along.
        samesite="lax",
    )
    return ConnectAnswer(authorization_url=started.authorization_url, expires_at=started.expires_at)


@router.get(
    "/callback",
    status_code=303,
    response_class=RedirectResponse,
    responses=documented("validation_failed", "database_unavailable", is_public=True),
)
async def finish_connect(
    engine: EngineDep,
    request: Request,
    state: Annotated[str | None, Query(max_length=500)] = None,
    code: Annotated[str | None, Query(max_length=4000)] = None,
    error: Annotated[str | None, Query(max_length=200)] = None,
) -> RedirectResponse:
    """Take the browser back from the vendor and send it on, with how it went as `?xero=<outcome>`."""
    cookie = consent.cookie_name(state) if state else ""
    callback = consent.Callback(state, code, error, request.cookies.get(cookie))
    outcome = await engine.finish_consent(callback)
    address = f"{engine.config.return_url}{outcome.return_to}?{engine.vendor}={quote(outcome.code)}"
    response = RedirectResponse(address, 303, headers={"Cache-Control": "no-store"})
    if callback.browser:
        response.delete_cookie(cookie, path=f"/api/integrations/{engine.vendor}/callback")
    return response


@router.get("/tenants", responses=documented("invalid_cursor"))
async def get_tenants(
    engine: EngineDep,
    session: SessionDep,
    paging: PagingDep,
    _reader: Reader,
    search: Annotated[str | None, Query(max_length=200)] = None,
) -> Page[TenantAnswer]:
    """List the organisations the connection reaches, by name."""
    after = TenantKey(str(paging.after[0]), str(paging.after[1])) if paging.after else None
    rows = await list_tenants(session, engine.vendor, search, after, paging.limit + 1)
    views = await engine.views(session, rows)
    return paging.page(views, lambda view: (view.name, view.tenant_id), TenantAnswer.model_validate)


@router.put("/tenants", responses=documented("no_tenant_selected"))
async def put_tenants(
    engine: EngineDep, session: SessionDep, paging: PagingDep, admin: Admin, wanted: Selection
) -> Page[TenantAnswer]:
    """Make these the whole selection; what is new begins to sync at once."""
    added = await select_tenants(session, engine.vendor, wanted.tenant_ids)
    details = {"selected": len(set(wanted.tenant_ids)), "added": added}
    await audit(session, admin.subject, "tenants_selected", engine.vendor, details)
    if added:
        await engine.sync_added(session, added, admin.subject)
    return await get_tenants(engine, session, paging, admin)


@router.put("/webhook-key", status_code=204, responses=documented("conflict"))
async def put_webhook_key(engine: EngineDep, session: SessionDep, admin: Admin, given: WebhookKey) -> None:
    """Take a new signing key; the one before it stays good for 24 hours."""
    await apps.save_signing_key(session, engine.sealer, engine.config, given.signing_key)
    engine.forget_keys()
    await audit(session, admin.subject, "webhook_key_updated", engine.vendor, {})


@router.delete("/webhook-key", status_code=204, responses=documented("conflict"))
async def delete_webhook_key(engine: EngineDep, session: SessionDep, admin: Admin) -> None:
    """Forget every signing key at once."""
    await apps.delete_signing_keys(session, engine.config)
    engine.forget_keys()
    await audit(session, admin.subject, "webhook_key_deleted", engine.vendor, {})


@router.post("/check", responses=documented())
async def check(engine: EngineDep, services: ServicesDep, _admin: Admin) -> PreflightAnswer:
    """Try everything a sync needs, without changing anything."""
    return PreflightAnswer.model_validate(await preflight.check(services.db, engine))


@router.post("/disconnect", responses=documented())
async def disconnect(engine: EngineDep, services: ServicesDep, admin: Admin) -> Card:
    """Wipe the tokens at once and revoke them at the vendor; billing data and the selection stay."""
    await engine.disconnect(admin.subject)
    async with services.db.transaction() as session:
        return await get_card(engine, session, admin)


def _card(engine: Engine, seen: Overview) -> Card:
    grant, config = seen.grant, engine.config
    return Card(
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
