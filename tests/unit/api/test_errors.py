"""Every error is a problem with a stable code and a request id, and reveals no internals."""

import re

import pytest
import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from structlog.testing import capture_logs

from app.api.auth import mint_token
from app.api.deps import Admin, Reader
from app.api.errors import PROBLEMS, Problem
from app.api.pagination import PagingDep
from app.db import DatabaseUnavailable
from tests.support.api import AUDIENCE, NOON, SECRET, ManualClock, api_client, make_app, make_services

LEAK = "postgresql://user:hunter2@db.internal/vectis"


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    count: int = 0


class RunRequest(BaseModel):
    items: list[Item]


class Routes:
    """Routes that fail in each way a route can fail."""

    router = APIRouter()


@Routes.router.get("/api/list")
async def read_list(_actor: Reader, paging: PagingDep, kind: str = "") -> str:
    return f"{kind}{paging.limit}"


@Routes.router.get("/api/broken")
async def raise_runtime_error(_actor: Reader) -> None:
    raise RuntimeError(LEAK)


@Routes.router.get("/api/unavailable")
async def raise_database_unavailable(_actor: Reader) -> None:
    raise DatabaseUnavailable("PostgreSQL is not answering; the same call may be tried again.")


@Routes.router.get("/api/invalid-response", response_model=RunRequest)
async def return_invalid_response(_actor: Reader) -> object:
    return {"items": LEAK}


@Routes.router.get("/api/things/{number}")
async def read_thing(_actor: Reader, number: int) -> int:
    return number


@Routes.router.post("/api/orders")
async def create_order(_actor: Admin, order: RunRequest) -> RunRequest:
    return order


@Routes.router.get("/api/teapot")
async def raise_http_exception(_actor: Reader) -> None:
    raise HTTPException(418, LEAK)


@Routes.router.get("/api/problem/{code}")
async def raise_problem(_actor: Reader, code: str) -> None:
    raise Problem(code, "As you wish.")


@pytest.fixture
async def api():
    clock = ManualClock()
    async with api_client(make_app(make_services(None, clock), [Routes]), clock) as api:
        yield api


def assert_problem(response, status, code):
    """Check every member of a problem and return its body."""
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"urn:vectis:problem:{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    assert "hunter2" not in response.text
    return body


@pytest.mark.parametrize("code", sorted(PROBLEMS))
async def test_every_code_is_sent_with_its_status(api, code):
    body = assert_problem(await api.get(f"/api/problem/{code}"), PROBLEMS[code][0], code)
    assert "errors" not in body


async def test_unknown_paths_methods_and_statuses_of_the_framework_are_problems(api):
    assert_problem(await api.get("/api/nothing"), 404, "not_found")
    assert_problem(await api.client.get("/nothing"), 404, "not_found")
    assert_problem(await api.get("/api/things/not-a-number"), 404, "not_found")
    response = await api.call("DELETE", "/api/list")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET"
    assert_problem(await api.get("/api/list/"), 404, "not_found")
    assert_problem(await api.get("/api/teapot"), 418, "bad_request")


async def test_a_missing_or_malformed_token_is_401_and_a_wrong_role_is_403(api):
    response = await api.client.get("/api/list")
    assert_problem(response, 401, "not_authenticated")
    assert response.headers["www-authenticate"] == "Bearer"
    assert_problem(await api.client.get("/api/nothing"), 401, "not_authenticated")
    assert_problem(await api.post("/api/orders", {"items": []}, role="analyst"), 403, "not_allowed")
    good = mint_token(SECRET, "viewer", "ann", hours=1, audience=AUDIENCE, now=NOON)
    doubled = [("Authorization", f"Bearer {good}"), ("Authorization", "Bearer b")]
    assert (await api.client.get("/api/list", headers=doubled[:1])).status_code == 200
    assert_problem(await api.client.get("/api/list", headers=doubled), 401, "not_authenticated")
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", "token"):
        response = await api.client.get("/api/list", headers={"Authorization": header})
        assert_problem(response, 401, "not_authenticated")


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("limit=0", ["/query/limit"]),
        ("limit=201", ["/query/limit"]),
        ("limit=x", ["/query/limit"]),
        ("limit=", ["/query/limit"]),
        ("limt=5", ["/query/limt"]),
        ("limit=5&limit=6", ["/query/limit"]),
        ("a/b~c=1&kind=x&d=2", ["/query/a~1b~0c", "/query/d"]),
    ],
)
async def test_an_invalid_query_parameter_is_named(api, query, pointers):
    body = assert_problem(await api.get(f"/api/list?{query}"), 422, "validation_failed")
    assert [each["pointer"] for each in body["errors"]] == pointers
    assert all(each["message"] for each in body["errors"])


async def test_limits_up_to_two_hundred_are_accepted(api):
    assert [(await api.get(f"/api/list?{query}")).json() for query in ("", "limit=1", "kind=x&limit=200")] == [
        "50",
        "1",
        "x200",
    ]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/items"]),
        ({"items": [{"name": "a"}, {"count": "x", "more": 1}]}, ["/items/1/name", "/items/1/count", "/items/1/more"]),
        ([], [""]),
        (None, [""]),
    ],
)
async def test_invalid_fields_of_a_body_are_named_by_json_pointer(api, body, pointers):
    response = await api.call("POST", "/api/orders", role="admin", json=body)
    found = assert_problem(response, 422, "validation_failed")
    assert sorted(each["pointer"] for each in found["errors"]) == sorted(pointers)


async def test_an_unexpected_exception_is_500_and_logged_with_its_request_id_and_reveals_nothing(api):
    for path in ("/api/broken", "/api/invalid-response"):
        with capture_logs([structlog.contextvars.merge_contextvars]) as logs:
            response = await api.get(path)
        body = assert_problem(response, 500, "internal_error")
        events = [(each["event"], each["request_id"], each["actor"], each["path"]) for each in logs]
        assert events == [("request_failed", body["request_id"], "tester", path)]


async def test_denied_access_is_logged(api):
    with capture_logs([structlog.contextvars.merge_contextvars]) as logs:
        await api.client.get("/api/list")
        await api.post("/api/orders", {"items": []}, role="viewer", subject="ann")
    seen = [(each["event"], each["code"], each["path"], each.get("actor")) for each in logs]
    assert seen == [
        ("access_denied", "not_authenticated", "/api/list", None),
        ("access_denied", "not_allowed", "/api/orders", "ann"),
    ]


async def test_an_unavailable_database_is_503_with_retry_after(api):
    response = await api.get("/api/unavailable")
    assert_problem(response, 503, "database_unavailable")
    assert response.headers["retry-after"] == "5"


@pytest.mark.parametrize("given", ["abc-123", "A:b.c_d-9", "x" * 128])
async def test_a_valid_request_id_is_used(api, given):
    response = await api.get("/api/list", headers={"X-Request-ID": given})
    assert response.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "x" * 129, "a\x1b[31m", "é"])
async def test_an_invalid_request_id_is_replaced(api, given):
    response = await api.get("/api/list", headers={"X-Request-ID": given.encode()})
    assert re.fullmatch("[0-9a-f]{16}", response.headers["x-request-id"])


async def test_the_schema_documents_problems_and_the_idempotency_key():
    app = make_app(make_services(None, ManualClock()))
    schema = app.openapi()
    assert schema is app.openapi()
    operation = schema["paths"]["/api/invoices/{invoice_id}"]["get"]
    content = operation["responses"]["404"]["content"]
    assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    assert {"ProblemDetails", "FieldError"} <= schema["components"]["schemas"].keys()
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    bulk = schema["paths"]["/api/billing/summaries"]["post"]["parameters"]
    assert [each["name"] for each in bulk] == ["Idempotency-Key"]
    names = [each["operationId"] for path in schema["paths"].values() for each in path.values()]
    assert len(names) == len(set(names))
    assert {"list_invoices", "get_invoice", "get_customer_billing", "check_live"} <= set(names)
