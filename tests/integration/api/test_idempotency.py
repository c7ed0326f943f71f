"""A mutation with an idempotency key is processed once, however often and by whichever replica it is received."""

import asyncio
from datetime import timedelta

import jwt
import pytest
from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import func, select, text

from app.api.deps import Admin
from app.api.errors import Problem
from app.idempotency import IdempotentRequest, delete_expired
from tests.support.api import AUDIENCE, NOON, SECRET, ManualClock, api_client, make_app, make_services

COOKIE = "browser=nonce-of-this-browser; HttpOnly"


class Body(BaseModel):
    secret: str = "hush"


class Counter:
    """A route that counts its requests, and can be made to wait, to refuse or to fail."""

    def __init__(self):
        self.request_count = 0
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self.arrivals: asyncio.Queue[int] = asyncio.Queue()
        self.error = None
        self.router = APIRouter()
        self.router.post("/api/work", status_code=202)(self.work)
        self.router.put("/api/nothing", status_code=204)(self.nothing)

    async def work(self, _actor: Admin, response: Response, body: Body) -> dict[str, int]:
        self.request_count += 1
        mine = self.request_count
        self.arrivals.put_nowait(mine)
        await self.may_finish.wait()
        if self.error:
            raise self.error
        response.headers["Location"] = "/api/runs/1"
        response.headers["Set-Cookie"] = COOKIE
        return {"request_count": mine}

    async def nothing(self, _actor: Admin) -> None:
        self.request_count += 1


@pytest.fixture
def counter():
    return Counter()


@pytest.fixture
async def replicas(db, counter):
    """Clients of two applications that share only the database."""
    clock = ManualClock()
    apps = [make_app(make_services(db, clock), [counter]) for _ in range(2)]
    async with api_client(apps[0], clock) as one, api_client(apps[1], clock) as other:
        yield one, other


async def send_work(api, key="key-1", path="/api/work", body=None, **options):
    return await api.call(
        options.pop("method", "POST"), path, role="admin", json=body or {}, headers={"Idempotency-Key": key}, **options
    )


async def test_the_same_request_gets_the_same_reply_on_any_replica(replicas, counter):
    first, again = [await send_work(api) for api in replicas]
    assert counter.request_count == 1
    assert (again.status_code, again.content) == (first.status_code, first.content) == (202, b'{"request_count":1}')
    for name in ("location", "set-cookie", "content-type", "cache-control", "content-length"):
        assert again.headers.get_list(name) == first.headers.get_list(name) != []
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert first.headers["x-request-id"] != again.headers["x-request-id"]


async def test_an_empty_reply_is_kept_too(replicas, counter):
    answers = [await send_work(api, path="/api/nothing", method="PUT") for api in replicas]
    assert [(each.status_code, each.content) for each in answers] == [(204, b""), (204, b"")]
    assert counter.request_count == 1


async def test_without_a_key_every_request_is_processed(replicas, counter):
    for api in replicas:
        await api.post("/api/work", role="admin")
    assert counter.request_count == 2


@pytest.mark.parametrize(
    "change", [{"body": {"secret": "other"}}, {"path": "/api/nothing", "method": "PUT"}, {"path": "/api/work?a=1"}]
)
async def test_a_key_that_was_used_for_another_request_is_refused(replicas, counter, change):
    await send_work(replicas[0])
    response = await send_work(replicas[1], **change)
    assert (response.status_code, response.json()["code"], counter.request_count) == (422, "idempotency_key_reused", 1)


async def test_two_callers_can_use_the_same_key(replicas):
    await send_work(replicas[0], subject="ann")
    assert (await send_work(replicas[1], subject="bob")).json() == {"request_count": 2}


async def test_an_analyst_is_not_given_the_reply_that_an_admin_of_the_same_name_got(replicas):
    assert (await send_work(replicas[0], subject="ann")).status_code == 202
    as_analyst = await replicas[1].call(
        "POST", "/api/work", role="analyst", json={}, headers={"Idempotency-Key": "key-1"}, subject="ann"
    )
    assert (as_analyst.status_code, as_analyst.json()["code"]) == (403, "not_allowed")
    # A subject that looks like a role and a name has keys of its own too.
    assert (await send_work(replicas[1], subject="admin:ann")).json() == {"request_count": 2}


@pytest.mark.parametrize("claims", [{}, {"sub": ""}])
async def test_a_token_without_a_subject_cannot_use_a_key_and_is_told_why(replicas, counter, claims):
    expires_at = NOON.timestamp() + 60
    token = jwt.encode({"role": "admin", "aud": AUDIENCE, "exp": expires_at, **claims}, SECRET, algorithm="HS256")
    headers = {"Authorization": f"Bearer {token}"}
    keyed = {**headers, "Idempotency-Key": "key-1"}
    refused = await replicas[0].client.post("/api/work", json={}, headers=keyed)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_needs_subject")
    assert "`sub`" in refused.json()["detail"]
    assert counter.request_count == 0
    assert (await replicas[0].client.post("/api/work", json={}, headers=headers)).status_code == 202
    # Whoever is called so by name is somebody.
    assert (await send_work(replicas[0], subject="unnamed")).status_code == 202


async def test_one_of_fifty_concurrent_requests_is_processed_and_the_others_get_409(replicas, counter):
    counter.may_finish.clear()
    calls = [asyncio.ensure_future(send_work(replicas[number % 2])) for number in range(50)]
    responses = []
    for finished in asyncio.as_completed(calls, timeout=10):
        responses.append(await finished)
        if len(responses) == 49:
            counter.may_finish.set()
    codes = sorted(each.status_code for each in responses)
    assert (codes, counter.request_count) == ([202] + [409] * 49, 1)
    assert {each.json()["code"] for each in responses if each.status_code == 409} == {"idempotency_in_progress"}
    assert (await send_work(replicas[1])).json() == {"request_count": 1}


@pytest.mark.parametrize("error", [Problem("conflict", "Not now."), RuntimeError("broken")])
async def test_a_key_can_be_used_again_after_an_error(replicas, counter, error):
    counter.error = error
    assert (await send_work(replicas[0])).status_code in {409, 500}
    counter.error = None
    assert (await send_work(replicas[1], body={"secret": "corrected"})).json() == {"request_count": 2}


async def test_a_request_without_permission_claims_no_key(replicas):
    headers = {"Idempotency-Key": "key-1"}
    assert (await replicas[0].post("/api/work", role="viewer", headers=headers)).status_code == 403
    assert (await replicas[0].client.post("/api/work", json={}, headers=headers)).status_code == 401
    assert (await send_work(replicas[1])).json() == {"request_count": 1}


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "é"])
async def test_an_invalid_key_is_400(replicas, counter, key):
    response = await send_work(replicas[0], key=key.encode())
    assert (response.status_code, response.json()["code"], counter.request_count) == (400, "invalid_idempotency_key", 0)


async def set_clock(db, ahead):
    async with db.transaction() as session:
        await session.execute(
            text(
                "CREATE OR REPLACE FUNCTION wall_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
                f"$$SELECT clock_timestamp() + interval '{ahead.total_seconds()} seconds'$$"
            )
        )


async def test_a_reply_is_kept_for_a_day(replicas, db):
    await send_work(replicas[0])
    await set_clock(db, timedelta(hours=23, minutes=59))
    assert (await send_work(replicas[1])).json() == {"request_count": 1}
    await set_clock(db, timedelta(hours=24, minutes=1))
    assert (await send_work(replicas[1], body={"secret": "new"})).json() == {"request_count": 2}


async def test_expired_replies_are_deleted(replicas, db):
    await send_work(replicas[0], key="old")
    await set_clock(db, timedelta(hours=24, minutes=1))
    await send_work(replicas[0], key="new")
    async with db.transaction() as session:
        await delete_expired(session)
        assert (await session.scalars(select(IdempotentRequest.key))).all() == ["new"]


async def test_an_abandoned_claim_is_replaced_and_its_late_reply_is_not_kept(replicas, counter, db):
    hanging = counter.may_finish = asyncio.Event()
    late = asyncio.ensure_future(send_work(replicas[0]))
    await asyncio.wait_for(counter.arrivals.get(), 10)
    await set_clock(db, timedelta(minutes=1, seconds=59))
    assert (await send_work(replicas[1])).status_code == 409

    await set_clock(db, timedelta(minutes=2, seconds=1))
    counter.may_finish = asyncio.Event()
    counter.may_finish.set()
    assert (await send_work(replicas[1])).json() == {"request_count": 2}
    hanging.set()
    assert (await late).json() == {"request_count": 1}
    assert (await send_work(replicas[0])).json() == {"request_count": 2}


async def test_the_table_contains_neither_the_body_nor_the_reply_in_clear_text(replicas, db):
    await send_work(replicas[0], body={"secret": "hunter2"})
    async with db.transaction() as session:
        row = (await session.execute(select(IdempotentRequest))).scalar_one()
        stored = " ".join(str(getattr(row, column.key)) for column in IdempotentRequest.__table__.c)
        assert await session.scalar(select(func.count()).select_from(IdempotentRequest)) == 1
    assert "hunter2" not in stored
    assert "nonce-of-this-browser" not in stored
