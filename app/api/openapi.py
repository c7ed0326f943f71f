"""The OpenAPI schema: operation ids, the responses every operation shares, and what differs from vendor to vendor."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from app.api.auth import is_protected
from app.api.deps import Services, bind_engine
from app.api.errors import ProblemDetails, document_problems
from app.api.middleware.idempotency import MUTATIONS
from app.sync.engine import Engine

ANYWHERE = document_problems("internal_error", is_public=True)
WITH_BODY = document_problems("request_timeout", "body_too_large", "unsupported_media_type", is_public=True)
MUTATION = document_problems("malformed_json", "idempotency_in_progress", is_public=True)
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key and body get the same reply for 24 hours, for the same subject and role. "
    "A token without `sub` cannot use it.",
}
REFERENCE = "#/components/schemas/"
SCOPE_SET = "x-scope-set"

# The name of a scope set. A model with such a field appears in the schema once per vendor, with that vendor's names.
ScopeSet = Annotated[str, Field(json_schema_extra={SCOPE_SET: True})]


class OneOf:
    """Annotates a text field that holds one of an enum's values; the schema lists them in the field, as of a literal.

    A field of the enum's own type would name a schema of its own instead.
    """

    def __init__(self, states: type[StrEnum]) -> None:
        self._values = [state.value for state in states]

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(self._values)


def name_operation(route: APIRoute) -> str:
    """Return the operation id of a route: its function's name, so that generated clients read well."""
    return route.name


def include_vendor(app: FastAPI, engine: Engine, routers: Sequence[APIRouter], webhook_router: APIRouter) -> None:
    """Include the integration routers for one vendor: its URLs and operation ids carry it, its engine serves them."""

    def name_vendor_operation(route: APIRoute) -> str:
        return f"{name_operation(route)}_{engine.vendor}"

    def include(router: APIRouter, prefix: str) -> None:
        dependencies = [Depends(bind_engine(engine))]
        app.include_router(
            router, prefix=prefix, dependencies=dependencies, generate_unique_id_function=name_vendor_operation
        )

    for router in routers:
        include(router, _integration_path(engine.vendor))
    include(webhook_router, f"/api/webhooks/{engine.vendor}")


def describe_common(app: FastAPI) -> None:
    """Make the application's schema say what the middlewares do, and which scope sets each vendor has."""
    describe = app.openapi

    def describe_all() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = describe()
            _complete(schema)
            services: Services = app.state.services
            _list_scope_sets(
                schema, {vendor: list(engine.profile.scope_sets) for vendor, engine in services.engines.items()}
            )
        return describe()

    app.openapi = describe_all  # type: ignore[method-assign]  # the framework's documented way to extend the schema


def _complete(openapi: dict[str, Any]) -> None:
    schema = ProblemDetails.model_json_schema(mode="serialization", ref_template=f"{REFERENCE}{{model}}")
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


def _list_scope_sets(openapi: dict[str, Any], scope_sets: Mapping[str, Sequence[str]]) -> None:
    """Replace each schema with a `ScopeSet` by one per vendor, `XeroCredentials` for `Credentials`."""
    schemas: dict[str, Any] = openapi["components"]["schemas"]
    generic = {name: schemas.pop(name) for name in list(schemas) if SCOPE_SET in json.dumps(schemas[name])}
    for vendor, names in scope_sets.items():
        own = {name: f"{vendor.capitalize()}{name}" for name in generic}
        for name, schema in generic.items():
            schemas[own[name]] = _fill_scope_sets(schema, names) | {"title": own[name]}
        for path in openapi["paths"]:
            if f"{path}/".startswith(f"{_integration_path(vendor)}/"):
                openapi["paths"][path] = _rename_references(openapi["paths"][path], own)


def _fill_scope_sets(schema: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    text = json.dumps(schema).replace(f'"{SCOPE_SET}": true', f'"enum": {json.dumps(names)}')
    filled: dict[str, Any] = json.loads(text)
    return filled


def _rename_references(operations: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    text = json.dumps(operations)
    for old, new in names.items():
        text = text.replace(f'"{REFERENCE}{old}"', f'"{REFERENCE}{new}"')
    renamed: dict[str, Any] = json.loads(text)
    return renamed


def _integration_path(vendor: str) -> str:
    return f"/api/integrations/{vendor}"
