"""Errors of the API: RFC 9457 problems, the table of their codes and HTTP statuses, and the exception handlers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
SCHEMA_REFERENCE = "#/components/schemas/ProblemDetails"

# The HTTP status and the title of every problem code; the only table of HTTP statuses.
PROBLEMS: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read"),
    "malformed_json": (400, "The body is not JSON"),
    "invalid_cursor": (400, "The cursor does not belong to this list"),
    "invalid_idempotency_key": (400, "The idempotency key cannot be used"),
    "not_authenticated": (401, "Not authenticated"),
    "invalid_signature": (401, "The signature is missing or wrong"),
    "not_allowed": (403, "Not allowed"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "request_timeout": (408, "The request took too long to arrive"),
    "conflict": (409, "The request conflicts with the present state"),
    "managed_by_environment": (409, "The environment manages this"),
    "not_configured": (409, "Not configured"),
    "reconnect_required": (409, "The connection has ended"),
    "idempotency_in_progress": (409, "The same request is being worked on"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "Unsupported media type"),
    "validation_failed": (422, "The request does not fit"),
    "idempotency_key_reused": (422, "The idempotency key was used for another request"),
    "idempotency_needs_subject": (422, "The token names nobody to keep a reply for"),
    "invalid_return_path": (422, "The return path is not a plain path"),
    "no_tenant_selected": (422, "No organisation is selected"),
    "unknown_tenant": (422, "Unknown organisation"),
    "unknown_customer": (422, "Unknown customer"),
    "headers_too_large": (431, "The headers are too large"),
    "internal_error": (500, "Internal error"),
    "database_unavailable": (503, "The database is not answering"),
    "identity_unavailable": (503, "The identity provider is not answering"),
    "not_ready": (503, "Not ready"),
    "too_many_connections": (503, "Too many connections are open"),
    "overloaded": (503, "Too many requests are waiting"),
}

# Codes for the errors that the framework itself raises, by status; every other status is a bad request.
FRAMEWORK_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}

# Problems that are logged, because they may be attempts at access.
ACCESS_DENIED_CODES = frozenset({"not_authenticated", "not_allowed"})
# Problems that every route but the public ones may answer with.
COMMON_CODES = ("not_authenticated", "not_allowed", "validation_failed", "database_unavailable")


class FieldError(BaseModel):
    """One thing that does not fit."""

    pointer: Annotated[
        str,
        Field(
            description="A JSON pointer: `/items/0/name` into the body (empty for the whole), "
            "`/query/limit` for a query parameter, `/header/idempotency-key` for a header.",
            examples=["/items/0/name"],
        ),
    ]
    message: Annotated[str, Field(examples=["Field required"])]


class ProblemDetails(BaseModel):
    """An error as RFC 9457 shapes it; a member that would be empty is left out."""

    type: Annotated[str, Field(examples=["urn:vectis:problem:not_found"])]
    title: Annotated[str, Field(examples=["Not found"])]
    status: Annotated[int, Field(examples=[404])]
    detail: Annotated[str, Field(examples=["There is no invoice of this id."])]
    code: Annotated[str, Field(examples=["not_found"])]
    request_id: Annotated[str, Field(examples=["4f1c6c1e9a0b4d55"])]
    errors: Annotated[list[FieldError], Field(description="Only with `validation_failed`.", min_length=1)] = Field(
        default_factory=list
    )


class Problem(HTTPException):
    """An error response with a stable code; the title and the status come from `PROBLEMS`.

    Args:
        code: a key of `PROBLEMS`.
        detail: what happened, what it means and what to do, for a person to read.
        status: overrides the status of `PROBLEMS`, for errors of the framework that share a code.
        errors: what does not fit, field by field; only with `validation_failed`.
        headers: headers to add to the response.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        default_status, self.title = PROBLEMS[code]
        super().__init__(status or default_status, detail, headers)
        self.code = code
        self.errors = errors


def not_found(resource_name: str) -> Problem:
    """Return the 404 for a resource that does not exist, such as `invoice`."""
    return Problem("not_found", f"There is no {resource_name} of this id.")


def document_problems(*codes: str, is_public: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` argument of a route, which documents its problems in OpenAPI.

    Args:
        codes: the problems of this route.
        is_public: leaves out the problems of routes that need a token.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for code in (*(() if is_public else COMMON_CODES), *codes):
        status, title = PROBLEMS[code]
        responses[status] = {
            "description": title,
            "content": {MEDIA_TYPE: {"schema": {"$ref": SCHEMA_REFERENCE}}},
        }
    return responses


def render_problem(problem: Problem, scope: Scope) -> JSONResponse:
    """Return a problem as an HTTP response; logs it when access was denied."""
    if problem.code in ACCESS_DENIED_CODES:
        log.info("access_denied", method=scope["method"], path=scope["path"], code=problem.code)
    details = ProblemDetails(
        type=f"urn:vectis:problem:{problem.code}",
        title=problem.title,
        status=problem.status_code,
        detail=problem.detail,
        code=problem.code,
        request_id=request_id(scope),
        **({"errors": list(problem.errors)} if problem.errors else {}),
    )
    body = details.model_dump(exclude_unset=True)
    return JSONResponse(body, problem.status_code, dict(problem.headers or {}), media_type=MEDIA_TYPE)


def request_id(scope: Scope) -> str:
    """Return the id that `ProblemMiddleware` gave the request."""
    return str(scope.get("state", {}).get("request_id", ""))


def add_exception_handlers(app: FastAPI) -> None:
    """Register handlers that answer every error of the framework and of the routes with a problem."""
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)


async def _handle_http_exception(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, Problem):
        status = getattr(error, "status_code", 400)
        error = Problem(
            FRAMEWORK_CODES.get(status, "bad_request"),
            _framework_detail(status),
            status=status,
            headers=getattr(error, "headers", None),
        )
    return render_problem(error, request.scope)


def _framework_detail(status: int) -> str:
    return {
        404: "There is nothing at this address.",
        405: "This address exists, but not with this method.",
    }.get(status, "The request cannot be read.")


async def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    return render_problem(_problem_of(error), request.scope)


def _problem_of(error: Exception) -> Problem:
    violations = error.errors() if isinstance(error, RequestValidationError) else []
    # A path parameter of the wrong type, such as an id that is no UUID, cannot be the id of anything: that is a 404.
    if any(each["loc"][0] == "path" for each in violations):
        return Problem("not_found", "There is nothing of this id.")
    if any(each["type"] == "json_invalid" for each in violations):
        return Problem("malformed_json", "The body is not JSON.")
    errors = [
        FieldError(pointer=json_pointer(*each["loc"]), message=each["msg"].removeprefix("Value error, "))
        for each in violations
    ]
    return validation_failed(errors)


def validation_failed(errors: Sequence[FieldError]) -> Problem:
    """Return the 422 that lists what does not fit."""
    return Problem("validation_failed", "Some of what was sent does not fit; `errors` says what.", errors=errors)


def json_pointer(location: int | str, *keys: int | str) -> str:
    """Return the JSON pointer of a value of the request.

    Args:
        location: `body`, `query` or `header`; a pointer into the body begins at the body itself.
        keys: the keys and indices that lead to the value.
    """
    path = keys if location == "body" else (location, *keys)
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)
