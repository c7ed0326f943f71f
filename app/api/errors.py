"""What a caller is told when something is refused: RFC 9457 problems, and the only table of HTTP statuses."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger(__name__)

REFERENCE = "#/components/schemas/ProblemDetails"

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
    "idempotency_in_progress": (409, "The same request is being worked on"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "Unsupported media type"),
    "validation_failed": (422, "The request does not fit"),
    "idempotency_key_reused": (422, "The idempotency key was used for another request"),
    "invalid_return_path": (422, "The return path is not a plain path"),
    "no_tenant_selected": (422, "No organisation is selected"),
    "unknown_tenant": (422, "Unknown organisation"),
    "unknown_customer": (422, "Unknown customer"),
    "internal_error": (500, "Internal error"),
    "database_unavailable": (503, "The database is not answering"),
    "identity_unavailable": (503, "The identity provider is not answering"),
    "not_ready": (503, "Not ready"),
}

# What the framework itself refuses, by status; everything else it may say is a bad request.
FRAMEWORK_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}

NOT_LET_IN = frozenset({"not_authenticated", "not_allowed", "invalid_signature"})
EVERYWHERE = ("not_authenticated", "not_allowed", "validation_failed", "database_unavailable")


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
    """An error as RFC 9457 shapes it."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    type: Annotated[str, Field(examples=["urn:vectis:problem:not_found"])]
    title: Annotated[str, Field(examples=["Not found"])]
    status: Annotated[int, Field(examples=[404])]
    detail: Annotated[str, Field(examples=["There is no invoice of this id."])]
    code: Annotated[str, Field(examples=["not_found"])]
    request_id: Annotated[str, Field(examples=["4f1c6c1e9a0b4d55"])]
    errors: Annotated[list[FieldError] | None, Field(description="Only with `validation_failed`.")] = None


class Problem(HTTPException):
    """A refusal with a stable code; status and title come from `PROBLEMS`.

    Args:
        code: a key of `PROBLEMS`.
        detail: what happened, what it means, what to do; for the caller's eyes.
        status: only where one code has two statuses.
        errors: `{"pointer", "message"}` each.
        headers: to send along.
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
        usual, self.title = PROBLEMS[code]
        super().__init__(status or usual, detail, headers)
        self.code = code
        self.errors = errors


def not_found(what: str) -> Problem:
    """Return the 404 for a thing that is not there, such as `invoice`."""
    return Problem("not_found", f"There is no {what} of this id.")


def documented(*codes: str, is_public: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: these problems and, unless it is public, those any route may answer."""
    answers: dict[int | str, dict[str, Any]] = {}
    for code in (*(() if is_public else EVERYWHERE), *codes):
        status, title = PROBLEMS[code]
        answers[status] = {
            "description": title,
            "content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE}}},
        }
    return answers


def problem_response(problem: Problem, scope: Scope) -> JSONResponse:
    """Write a problem down as an answer; who was not let in shows in the log."""
    if problem.code in NOT_LET_IN:
        log.info("not_let_in", method=scope["method"], path=scope["path"], code=problem.code)
    details = ProblemDetails(
        type=f"urn:vectis:problem:{problem.code}",
        title=problem.title,
        status=problem.status_code,
        detail=problem.detail,
        code=problem.code,
        request_id=request_id(scope),
        errors=list(problem.errors) or None,
    )
    body = details.model_dump(exclude_none=True)
    return JSONResponse(body, problem.status_code, dict(problem.headers or {}), media_type=MEDIA_TYPE)


def request_id(scope: Scope) -> str:
    return str(scope.get("state", {}).get("request_id", ""))


def install_handlers(app: FastAPI) -> None:
    """Give the framework's own refusals the shape of ours."""
    app.add_exception_handler(HTTPException, _answer_refusal)
    app.add_exception_handler(RequestValidationError, _answer_invalid)


async def _answer_refusal(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, Problem):
        status = getattr(error, "status_code", 400)
        error = Problem(
            FRAMEWORK_CODES.get(status, "bad_request"),
            _framework_detail(status),
            status=status,
            headers=getattr(error, "headers", None),
        )
    return problem_response(error, request.scope)


def _framework_detail(status: int) -> str:
    return {
        404: "There is nothing at this address.",
        405: "This address exists, but not with this method.",
    }.get(status, "The request cannot be read.")


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    return problem_response(_as_problem(error), request.scope)


def _as_problem(error: Exception) -> Problem:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    # An id that cannot be one names nothing, and what is not there is 404.
    if any(each["loc"][0] == "path" for each in found):
        return Problem("not_found", "There is nothing of this id.")
    if any(each["type"] == "json_invalid" for each in found):
        return Problem("malformed_json", "The body is not JSON.")
    errors = [
        FieldError(pointer=pointer_to(*each["loc"]), message=each["msg"].removeprefix("Value error, "))
        for each in found
    ]
    return invalid(errors)


def invalid(errors: Sequence[FieldError]) -> Problem:
    """Return the 422 that lists what does not fit."""
    return Problem("validation_failed", "Some of what was sent does not fit; `errors` says what.", errors=errors)


def pointer_to(place: int | str, *steps: int | str) -> str:
    """Return the JSON pointer of a place; what is under `body` is pointed to from the body itself."""
    path = steps if place == "body" else (place, *steps)
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
