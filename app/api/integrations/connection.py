"""The connection to a vendor: credentials, consent, webhook key and disconnecting."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.api.deps import Admin, EngineDep, ServicesDep, SessionDep
from app.api.errors import FieldError, document_problems, json_pointer, validation_failed
from app.api.integrations.status import IntegrationStatus, get_status
from app.api.openapi import ScopeSet
from app.api.schemas import ResponseModel
from app.audit import append_audit_entry
from app.connections import consent
from app.connector import AppCredentials
from app.sync.engine import Engine

router = APIRouter(tags=["integration"])

Filled = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class Credentials(BaseModel):
    model_config = ConfigDict(extra="forbid")

    client_id: Filled
    client_secret: Filled
    scope_set: ScopeSet | None = None


class ConnectBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    return_to: Annotated[str | None, Field(description="A path on the frontend, such as `/customers/42`.")] = None
    scope_set: ScopeSet | None = None


class ConnectResponse(ResponseModel):
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
    _check_scope_set(engine, given.scope_set)
    credentials = AppCredentials(given.client_id, given.client_secret)
    await engine.save_credentials(session, credentials, given.scope_set)
    await append_audit_entry(
        session, admin.subject, "integration_credentials_updated", engine.vendor, {"client_id": given.client_id}
    )
    return await get_status(engine, session, admin)


@router.post("/connect", responses=document_problems("not_configured"))
async def connect(
    engine: EngineDep, session: SessionDep, admin: Admin, response: Response, wanted: ConnectBody | None = None
) -> ConnectResponse:
    """Begin a consent: send the browser to the address, with the cookie this answer sets."""
    body = wanted or ConnectBody()
    _check_scope_set(engine, body.scope_set)
    request = consent.ConnectRequest(admin.subject, body.return_to, body.scope_set)
    started = await engine.start_consent(session, request)
    response.set_cookie(
        started.cookie_name,
        started.browser_secret,
        max_age=int(consent.CONSENT_LIFETIME.total_seconds()),
        path=f"/api/integrations/{engine.vendor}/callback",
        secure=started.is_https,
        httponly=True,
        # The browser comes back from the vendor's site, and would not send a `strict` cookie with that request.
        samesite="lax",
    )
    return ConnectResponse(authorization_url=started.authorization_url, expires_at=started.expires_at)


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
    response = RedirectResponse(engine.return_url(outcome), 303, headers={"Cache-Control": "no-store"})
    if callback.browser_secret:
        response.delete_cookie(cookie, path=f"/api/integrations/{engine.vendor}/callback")
    return response


@router.put("/webhook-key", status_code=204, responses=document_problems("conflict"))
async def put_webhook_key(engine: EngineDep, session: SessionDep, admin: Admin, given: WebhookKey) -> None:
    """Take a new signing key; the one before it stays good for 24 hours."""
    await engine.save_signing_key(session, given.signing_key)
    await append_audit_entry(session, admin.subject, "webhook_key_updated", engine.vendor, {})


@router.delete("/webhook-key", status_code=204, responses=document_problems("conflict"))
async def delete_webhook_key(engine: EngineDep, session: SessionDep, admin: Admin) -> None:
    """Forget every signing key at once."""
    await engine.delete_signing_keys(session)
    await append_audit_entry(session, admin.subject, "webhook_key_deleted", engine.vendor, {})


@router.post("/disconnect", responses=document_problems())
async def disconnect(engine: EngineDep, services: ServicesDep, admin: Admin) -> IntegrationStatus:
    """Wipe the tokens at once and revoke them at the vendor; billing data and the selection stay."""
    await engine.disconnect(admin.subject)
    async with services.db.transaction() as session:
        return await get_status(engine, session, admin)


def _check_scope_set(engine: Engine, scope_set: str | None) -> None:
    """Raise the 422 of a request that names a scope set the vendor does not have."""
    names = engine.profile.scope_sets
    if scope_set is not None and scope_set not in names:
        message = f"Input should be {' or '.join(map(repr, names))}"
        raise validation_failed([FieldError(pointer=json_pointer("body", "scope_set"), message=message)])
