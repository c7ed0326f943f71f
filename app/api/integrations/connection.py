"""Setting a vendor up: the card, credentials, consent, the organisations to pick, the webhook key."""

from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.api.deps import Admin, EngineDep, ServicesDep, SessionDep
from app.api.errors import document_problems
from app.api.integrations.status import IntegrationStatus, ScopeSet, get_status
from app.api.schemas import ResponseModel
from app.audit import append_audit_entry
from app.connections import consent, vendor_app
from app.connector import AppCredentials

router = APIRouter(tags=["integration"])

Filled = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class Credentials(BaseModel):
    model_config = ConfigDict(extra="forbid")

    client_id: Filled
    client_secret: Filled
    scope_set: ScopeSet | None = None


class ConnectRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    return_to: Annotated[str | None, Field(description="A path on the frontend, such as `/customers/42`.")] = None
    scope_set: ScopeSet | None = None


class ConnectAnswer(ResponseModel):
    authorization_url: str
    expires_at: datetime


class WebhookKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    signing_key: Filled


@router.put("/credentials", responses=document_problems("conflict"))
async def put_credentials(
    engine: EngineDep, session: SessionDep, admin: Admin, given: Credentials
) -> IntegrationStatus:
    """Keep the app's client id and secret; the secret is never given back."""
    # A new secret alone must not undo the scope set that was chosen before.
    scope_set = given.scope_set or (await vendor_app.load_app(session, engine.sealer, engine.config)).scope_set
    credentials = AppCredentials(given.client_id, given.client_secret)
    await vendor_app.save_credentials(session, engine.sealer, engine.config, credentials, scope_set)
    await append_audit_entry(
        session, admin.subject, "integration_credentials_updated", engine.vendor, {"client_id": given.client_id}
    )
    return await get_status(engine, session, admin)


@router.post("/connect", responses=document_problems("not_configured"))
async def connect(
    engine: EngineDep, session: SessionDep, admin: Admin, response: Response, wanted: ConnectRequest | None = None
) -> ConnectAnswer:
    """Begin a consent: send the browser to the address, with the cookie this answer sets."""
    asked = wanted or ConnectRequest()
    order = consent.ConnectRequest(admin.subject, asked.return_to, asked.scope_set)
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
    responses=document_problems("validation_failed", "database_unavailable", is_public=True),
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


@router.put("/webhook-key", status_code=204, responses=document_problems("conflict"))
async def put_webhook_key(engine: EngineDep, session: SessionDep, admin: Admin, given: WebhookKey) -> None:
    """Take a new signing key; the one before it stays good for 24 hours."""
    await vendor_app.save_signing_key(session, engine.sealer, engine.config, given.signing_key)
    engine.forget_keys()
    await append_audit_entry(session, admin.subject, "webhook_key_updated", engine.vendor, {})


@router.delete("/webhook-key", status_code=204, responses=document_problems("conflict"))
async def delete_webhook_key(engine: EngineDep, session: SessionDep, admin: Admin) -> None:
    """Forget every signing key at once."""
    await vendor_app.delete_signing_keys(session, engine.config)
    engine.forget_keys()
    await append_audit_entry(session, admin.subject, "webhook_key_deleted", engine.vendor, {})


@router.post("/disconnect", responses=document_problems())
async def disconnect(engine: EngineDep, services: ServicesDep, admin: Admin) -> IntegrationStatus:
    """Wipe the tokens at once and revoke them at the vendor; billing data and the selection stay."""
    await engine.disconnect(admin.subject)
    async with services.db.transaction() as session:
        return await get_status(engine, session, admin)
