"""The outermost door: an id for every request, and a problem for whatever nobody caught."""

import re
import secrets

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import PROBLEMS, Problem, problem_response
from app.billing.alerts import AlertIsResolved, UnknownAlert
from app.billing.matching.review import UnknownCustomer, UnknownLink
from app.connections.errors import (
    InvalidReturnPath,
    ManagedByEnvironment,
    NotConfigured,
    NoTenantSelected,
    UnknownTenant,
)
from app.crypto import SealBroken
from app.db import DatabaseUnavailable

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
RETRY_SECONDS = "5"

log = structlog.get_logger(__name__)

# What the rooms below raise; the detail is the exception's own sentence. The nearest class wins.
TRANSLATIONS: dict[type[Exception], str] = {
    AlertIsResolved: "conflict",
    DatabaseUnavailable: "database_unavailable",
    InvalidReturnPath: "invalid_return_path",
    ManagedByEnvironment: "managed_by_environment",
    NoTenantSelected: "no_tenant_selected",
    NotConfigured: "not_configured",
    SealBroken: "internal_error",
    UnknownAlert: "not_found",
    UnknownCustomer: "unknown_customer",
    UnknownLink: "not_found",
    UnknownTenant: "unknown_tenant",
}


class ProblemMiddleware:
    """Gives each request its id and turns whatever nobody caught into a problem.

    `X-Request-ID` is taken over when it is harmless, else made up; it is in every answer, log line and problem.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = _choose_request_id(scope)
        scope.setdefault("state", {})["request_id"] = identity
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=identity)
        await self._run(scope, receive, _Answer(send, identity))

    async def _run(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self.app(scope, receive, answer)
        except Exception as error:
            # The last resort: whatever it is, the caller gets a shape and no leak.
            problem = _translate(error, scope)
            if answer.is_started:
                # Too late for another answer; an aborted connection is the only honest sign left.
                raise
            await problem_response(problem, scope)(scope, receive, answer)


class _Answer:
    """Sends on, adds the request id, and remembers whether the head of the answer is out."""

    def __init__(self, send: Send, identity: str) -> None:
        self._send = send
        self._identity = identity
        self.is_started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_started = True
            message = {**message, "headers": [*message["headers"], (b"x-request-id", self._identity.encode())]}
        await self._send(message)


def _choose_request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if SANE_REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _translate(error: Exception, scope: Scope) -> Problem:
    if isinstance(error, Problem):
        return error
    code = next((TRANSLATIONS[kind] for kind in type(error).__mro__ if kind in TRANSLATIONS), None)
    if code is None:
        log.error("request_failed", method=scope["method"], path=scope["path"], exc_info=error)
        return Problem("internal_error", "Something broke here; quote the request id when you report it.")
    problem = Problem(code, str(error))
    if problem.status_code >= PROBLEMS["internal_error"][0]:
        cause = type(error.__cause__ or error).__name__
        log.warning("request_refused", method=scope["method"], path=scope["path"], code=code, cause=cause)
        problem.headers = {"Retry-After": RETRY_SECONDS}
    return problem
