"""What the OpenAPI schema says of every operation: problems in their shape, and the idempotency key of mutations."""

from typing import Any

from fastapi import FastAPI

from app.api.auth import is_protected
from app.api.errors import ProblemDetails, document_problems
from app.api.middleware.idempotency import MUTATIONS

ANYWHERE = document_problems("internal_error", is_public=True)
WITH_BODY = document_problems("request_timeout", "body_too_large", "unsupported_media_type", is_public=True)
MUTATION = document_problems("malformed_json", "idempotency_in_progress", is_public=True)
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key and body get the same reply for 24 hours.",
}


def describe_common(app: FastAPI) -> None:
    """Let the application's schema tell what the doors do, whatever the route."""
    describe = app.openapi

    def describe_all() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(describe())
        return describe()

    app.openapi = describe_all  # type: ignore[method-assign]  # the framework's documented way to extend the schema


def _complete(openapi: dict[str, Any]) -> None:
    schema = ProblemDetails.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    schemas = openapi.setdefault("components", {}).setdefault("schemas", {})
    schemas |= schema.pop("$defs") | {"ProblemDetails": schema}
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            _complete_operation(operation, is_mutation=method.upper() in MUTATIONS, is_ours=is_protected(path))


def _complete_operation(operation: dict[str, Any], *, is_mutation: bool, is_ours: bool) -> None:
    if is_mutation and is_ours:
        operation.setdefault("parameters", []).append(KEY)
    common = ANYWHERE | (WITH_BODY if is_mutation else {}) | (MUTATION if is_mutation and is_ours else {})
    for status, answer in common.items():
        operation["responses"].setdefault(str(status), answer)
