"""Gives each request an id, and turns exceptions that no other layer handled into problems."""

import re
import secrets

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import PROBLEMS, Problem, render_problem
from app.billing.alerts import AlertIsResolved, UnknownAlert
from app.billing.matching.review import UnknownCustomer, UnknownLink
from app.connections.errors import (
    InvalidReturnPath,
    ManagedByEnvironment,
    NotConfigured,
    NoTenantSelected,
    ReconnectRequired,
    UnknownTenant,
)
from app.db import DatabaseUnavailable
from app.sync.notifications.notifier import NoAddress
from app.sync.webhooks.dismissal import EventNotGivenUp, UnknownEvent

VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
RETRY_SECONDS = "5"

log = structlog.get_logger(__name__)

# The problem codes of the exceptions that the layers below raise. An exception's own message becomes the detail; of an
# exception and its base classes, the most derived class listed here decides.
PROBLEM_CODES: dict[type[Exception], str] = {
    AlertIsResolved: "conflict",
    DatabaseUnavailable: "database_unavailable",
    EventNotGivenUp: "conflict",
    InvalidReturnPath: "invalid_return_path",
    ManagedByEnvironment: "managed_by_environment",
    NoTenantSelected: "no_tenant_selected",
    NotConfigured: "not_configured",
    NoAddress: "not_configured",
    ReconnectRequired: "reconnect_required",
    UnknownAlert: "not_found",
    UnknownCustomer: "unknown_customer",
    UnknownEvent: "not_found",
    UnknownLink: "not_found",
    UnknownTenant: "unknown_tenant",
}


class ProblemMiddleware:
    """Gives each request an id and turns exceptions that nothing else handled into problems.

    Comes before `AuthenticationMiddleware`, so that it handles the exceptions of all middlewares that refuse requests.
    A valid `X-Request-ID` of the request is used, otherwise an id is generated; responses, log lines and problems
    contain it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _choose_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        await self._run(scope, receive, _ResponseSender(send, request_id))

    async def _run(self, scope: Scope, receive: Receive, sender: "_ResponseSender") -> None:
        try:
            await self.app(scope, receive, sender)
        except Exception as error:
            # Every exception becomes a problem, so that no response reveals internals.
            problem = _translate(error, scope)
            if sender.is_started:
                # The status has been sent already; only an aborted connection can still show that the response failed.
                raise
            await render_problem(problem, scope)(scope, receive, sender)


class _ResponseSender:
    """Adds the request id to a response's headers, and records whether the response has been started."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.is_started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_started = True
            message = {**message, "headers": [*message["headers"], (b"x-request-id", self._request_id.encode())]}
        await self._send(message)


def _choose_request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and VALID_REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)


def _translate(error: Exception, scope: Scope) -> Problem:
    if isinstance(error, Problem):
        return error
    code = next((PROBLEM_CODES[base] for base in type(error).__mro__ if base in PROBLEM_CODES), None)
    if code is None:
        log.error("request_failed", method=scope["method"], path=scope["path"], exc_info=error)
        return Problem("internal_error", "Something broke here; quote the request id when you report it.")
    problem = Problem(code, str(error))
    if problem.status_code >= PROBLEMS["internal_error"][0]:
        cause = type(error.__cause__ or error).__name__
        log.warning("request_refused", method=scope["method"], path=scope["path"], code=code, cause=cause)
        problem.headers = {"Retry-After": RETRY_SECONDS}
    return problem
