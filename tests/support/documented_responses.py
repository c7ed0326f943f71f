"""Compares every response of the service with `openapi/openapi.json`: its status, its media type and its body.

The clients of the harness and of the API's tests do so for each response they receive, so that every test of the suite
also shows that the document is true, for refusals too.
"""

import functools
import json
import re
from typing import Any

import httpx
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from tests.support.paths import ROOT

# No route, no such method, or what a middleware refuses before any route is looked for.
REFUSALS_WITHOUT_ROUTE = {404, 405, 400, 401, 403, 408, 413, 415, 422, 503}
PROBLEM = {"$ref": "#/components/schemas/ProblemDetails"}
# Paths of the made-up vendor, which the document does not have.
OTHER_VENDORS = re.compile(r"/api/(integrations|webhooks)/(?!xero\b).*")


async def assert_documented(response: httpx.Response) -> None:
    """Fail unless the document promises this response; a hook for a client's responses.

    An address or a method that does not exist has no operation, and has to be refused with a problem all the same.
    """
    method, path = response.request.method, response.request.url.path
    await response.aread()
    if not path.startswith("/api/") or OTHER_VENDORS.fullmatch(path):
        return
    operation = _find_operation(method, path)
    if operation is None:
        _assert_problem(response)
        return
    promised = operation["responses"].get(str(response.status_code))
    assert promised, f"{method} {path} answered {response.status_code}, which openapi.json does not document"
    contents = promised.get("content", {})
    if not response.content:
        return
    media_type = response.headers["content-type"].partition(";")[0]
    assert media_type in contents, f"{method} {path} answered {media_type}, which openapi.json does not document"
    if media_type.endswith("json"):
        _validate(response, contents[media_type]["schema"])


def _assert_problem(response: httpx.Response) -> None:
    assert response.status_code in REFUSALS_WITHOUT_ROUTE
    if response.content:
        assert response.headers["content-type"] == "application/problem+json"
        _validate(response, PROBLEM)


def _validate(response: httpx.Response, schema: dict[str, Any]) -> None:
    for error in _validator(json.dumps(schema)).iter_errors(response.json()):
        request = response.request
        raise AssertionError(f"{request.method} {request.url.path}: {error.json_path}: {error.message}")


@functools.cache
def _validator(schema: str) -> OAS31Validator:
    components = _document()["components"]
    return OAS31Validator({**json.loads(schema), "components": components}, format_checker=oas31_format_checker)


def _find_operation(method: str, path: str) -> dict[str, Any] | None:
    # A path without parameters comes before one with them, as in the router.
    for pattern, operations in _patterns():
        if pattern.fullmatch(path) and method.lower() in operations:
            found: dict[str, Any] = operations[method.lower()]
            return found
    return None


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    paths = sorted(_document()["paths"].items(), key=lambda item: item[0].count("{"))
    return [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), operations) for path, operations in paths]


@functools.cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ROOT / "openapi" / "openapi.json").read_text(encoding="utf-8"))
    return document
