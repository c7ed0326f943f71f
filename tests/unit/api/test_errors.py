"""Whatever goes wrong, the caller gets one shape, a code to go by, and nothing of our insides."""

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
from tests.support.api import AUDIENCE, NOON, SECRET, HandClock, calling, make_app, make_services

LEAK = "postgresql://user:hunter2@db.internal/vectis"


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    count: int = 0


class RunRequest(BaseModel):
    items: list[Item]


class Routes:
    """Routes that go wrong in every way."""

    router = APIRouter()


@Routes.router.get("/api/list")
async def read_list(_actor: Reader, paging: PagingDep, kind: str = "") -> str:
    return f"{kind}{paging.limit}"


@Routes.router.get("/api/broken")
async def break_down(_actor: Reader) -> None:
    raise RuntimeError(LEAK)


@Routes.router.get("/api/away")
async def be_away(_actor: Reader) -> None:
    raise DatabaseUnavailable("PostgreSQL is not answering; the same call may be tried again.")


@Routes.router.get("/api/wrong-answer", response_model=RunRequest)
async def answer_wrongly(_actor: Reader) -> object:
    return {"items": LEAK}


@Routes.router.get("/api/things/{number}")
async def read_thing(_actor: Reader, number: int) -> int:
    return number


@Routes.router.post("/api/orders")
async def take_order(_actor: Admin, order: RunRequest) -> RunRequest:
    return order


@Routes.router.get("/api/teapot")
async def refuse(_actor: Reader) -> None:
    raise HTTPException(418, LEAK)


@Routes.router.get("/api/problem/{code}")
async def refuse_as(_actor: Reader, code: str) -> None:
    raise Problem(code, "As you wish.")


@pytest.fixture
async def api():
    clock = HandClock()
    async with calling(make_app(make_services(None, clock), [Routes]), clock) as api:
        yield api


def assert_problem(answer, status, code):
    """Check the whole shape of a problem and return its body."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"urn:vectis:problem:{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "hunter2" not in answer.text
    return body


@pytest.mark.parametrize("code", sorted(PROBLEMS))
async def test_every_code_has_its_status(api, code):
    body = assert_problem(await api.get(f"/api/problem/{code}"), PROBLEMS[code][0], code)
    assert "errors" not in body


async def test_what_is_not_there_or_not_so(api):
    assert_problem(await api.get("/api/nothing"), 404, "not_found")
    assert_problem(await api.client.get("/nothing"), 404, "not_found")
    assert_problem(await api.get("/api/things/not-a-number"), 404, "not_found")
    refused = await api.call("DELETE", "/api/list")
    assert_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "GET"
    assert_problem(await api.get("/api/list/"), 404, "not_found")
    assert_problem(await api.get("/api/teapot"), 418, "bad_request")


async def test_who_may_not(api):
    refused = await api.client.get("/api/list")
    assert_problem(refused, 401, "not_authenticated")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert_problem(await api.client.get("/api/nothing"), 401, "not_authenticated")
    assert_problem(await api.post("/api/orders", {"items": []}, role="analyst"), 403, "not_allowed")
    good = mint_token(SECRET, "viewer", "ann", hours=1, audience=AUDIENCE, now=NOON)
    doubled = [("Authorization", f"Bearer {good}"), ("Authorization", "Bearer b")]
    assert (await api.client.get("/api/list", headers=doubled[:1])).status_code == 200
    assert_problem(await api.client.get("/api/list", headers=doubled), 401, "not_authenticated")
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", "token"):
        refused = await api.client.get("/api/list", headers={"Authorization": header})
        assert_problem(refused, 401, "not_authenticated")


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
async def test_a_query_that_does_not_fit_names_the_parameter(api, query, pointers):
    body = assert_problem(await api.get(f"/api/list?{query}"), 422, "validation_failed")
    assert [each["pointer"] for each in body["errors"]] == pointers
    assert all(each["message"] for each in body["errors"])


async def test_limits_up_to_two_hundred_are_taken(api):
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
async def test_a_body_that_does_not_fit_is_pointed_into(api, body, pointers):
    answer = await api.call("POST", "/api/orders", role="admin", json=body)
    found = assert_problem(answer, 422, "validation_failed")
    assert sorted(each["pointer"] for each in found["errors"]) == sorted(pointers)


async def test_what_breaks_is_500_logged_under_its_request_id_and_tells_nothing(api):
    for path in ("/api/broken", "/api/wrong-answer"):
        with capture_logs([structlog.contextvars.merge_contextvars]) as logs:
            answer = await api.get(path)
        body = assert_problem(answer, 500, "internal_error")
        events = [(each["event"], each["request_id"], each["actor"], each["path"]) for each in logs]
        assert events == [("request_failed", body["request_id"], "tester", path)]


async def test_who_was_not_let_in_shows_in_the_log(api):
    with capture_logs([structlog.contextvars.merge_contextvars]) as logs:
        await api.client.get("/api/list")
        await api.post("/api/orders", {"items": []}, role="viewer", subject="ann")
    seen = [(each["event"], each["code"], each["path"], each.get("actor")) for each in logs]
    assert seen == [
        ("not_let_in", "not_authenticated", "/api/list", None),
        ("not_let_in", "not_allowed", "/api/orders", "ann"),
    ]


async def test_the_database_away_is_503_and_when_to_try_again(api):
    answer = await api.get("/api/away")
    assert_problem(answer, 503, "database_unavailable")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize("given", ["abc-123", "A:b.c_d-9", "x" * 128])
async def test_a_harmless_request_id_is_taken_over(api, given):
    answer = await api.get("/api/list", headers={"X-Request-ID": given})
    assert answer.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "x" * 129, "a\x1b[31m", "é"])
async def test_any_other_is_replaced(api, given):
    answer = await api.get("/api/list", headers={"X-Request-ID": given.encode()})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


async def test_the_schema_documents_problems_and_the_key():
    app = make_app(make_services(None, HandClock()))
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
