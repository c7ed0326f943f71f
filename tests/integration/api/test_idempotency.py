"""A mutation with an Idempotency-Key is done once, whichever replica hears it how often."""

import asyncio
from datetime import timedelta

import pytest
from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import func, select, text

from app.api.deps import Admin
from app.api.errors import Problem
from app.idempotency import IdempotentRequest, delete_expired
from tests.support.api import HandClock, calling, make_app, make_services

COOKIE = "browser=nonce-of-this-browser; HttpOnly"


class Body(BaseModel):
    secret: str = "hush"


class Counter:
    """A route that counts how often it is reached, and can be held, refused or broken."""

    def __init__(self):
        self.reached = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrivals: asyncio.Queue[int] = asyncio.Queue()
        self.trouble = None
        self.router = APIRouter()
        self.router.post("/api/work", status_code=202)(self.work)
        self.router.put("/api/nothing", status_code=204)(self.nothing)

    async def work(self, _actor: Admin, response: Response, body: Body) -> dict[str, int]:
        self.reached += 1
        mine = self.reached
        self.arrivals.put_nowait(mine)
        await self.gate.wait()
        if self.trouble:
            raise self.trouble
        response.headers["Location"] = "/api/runs/1"
        response.headers["Set-Cookie"] = COOKIE
        return {"reached": mine}

    async def nothing(self, _actor: Admin) -> None:
        self.reached += 1


@pytest.fixture
def counter():
    return Counter()


@pytest.fixture
async def replicas(db, counter):
    """Two applications that share the database and nothing else."""
    clock = HandClock()
    apps = [make_app(make_services(db, clock), [counter]) for _ in range(2)]
    async with calling(apps[0], clock) as one, calling(apps[1], clock) as other:
        yield one, other


async def work(api, key="key-1", path="/api/work", body=None, **given):
    return await api.call(
        given.pop("method", "POST"), path, role="admin", json=body or {}, headers={"Idempotency-Key": key}, **given
    )


async def test_the_same_request_gets_the_same_reply_on_any_replica(replicas, counter):
    first, again = [await work(api) for api in replicas]
    assert counter.reached == 1
    assert (again.status_code, again.content) == (first.status_code, first.content) == (202, b'{"reached":1}')
    for name in ("location", "set-cookie", "content-type", "cache-control", "content-length"):
        assert again.headers.get_list(name) == first.headers.get_list(name) != []
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert first.headers["x-request-id"] != again.headers["x-request-id"]


async def test_an_empty_reply_is_given_again_too(replicas, counter):
    answers = [await work(api, path="/api/nothing", method="PUT") for api in replicas]
    assert [(each.status_code, each.content) for each in answers] == [(204, b""), (204, b"")]
    assert counter.reached == 1


async def test_without_a_key_every_request_counts(replicas, counter):
    for api in replicas:
        await api.post("/api/work", role="admin")
    assert counter.reached == 2


@pytest.mark.parametrize(
    "change", [{"body": {"secret": "other"}}, {"path": "/api/nothing", "method": "PUT"}, {"path": "/api/work?a=1"}]
)
async def test_the_key_of_another_request_is_refused(replicas, counter, change):
    await work(replicas[0])
    refused = await work(replicas[1], **change)
    assert (refused.status_code, refused.json()["code"], counter.reached) == (422, "idempotency_key_reused", 1)


async def test_a_key_is_its_caller_s_own(replicas):
    await work(replicas[0], subject="ann")
    assert (await work(replicas[1], subject="bob")).json() == {"reached": 2}


async def test_of_fifty_at_once_one_works_and_the_others_hear_409(replicas, counter):
    counter.gate.clear()
    calls = [asyncio.ensure_future(work(replicas[number % 2])) for number in range(50)]
    refused = []
    for finished in asyncio.as_completed(calls, timeout=10):
        refused.append(await finished)
        if len(refused) == 49:
            counter.gate.set()
    codes = sorted(each.status_code for each in refused)
    assert (codes, counter.reached) == ([202] + [409] * 49, 1)
    assert {each.json()["code"] for each in refused if each.status_code == 409} == {"idempotency_in_progress"}
    assert (await work(replicas[1])).json() == {"reached": 1}


@pytest.mark.parametrize("trouble", [Problem("conflict", "Not now."), RuntimeError("broken")])
async def test_after_a_refusal_or_a_failure_the_key_is_free_again(replicas, counter, trouble):
    counter.trouble = trouble
    assert (await work(replicas[0])).status_code in {409, 500}
    counter.trouble = None
    assert (await work(replicas[1], body={"secret": "corrected"})).json() == {"reached": 2}


async def test_who_may_not_act_takes_no_key(replicas):
    headers = {"Idempotency-Key": "key-1"}
    assert (await replicas[0].post("/api/work", role="viewer", headers=headers)).status_code == 403
    assert (await replicas[0].client.post("/api/work", json={}, headers=headers)).status_code == 401
    assert (await work(replicas[1])).json() == {"reached": 1}


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "é"])
async def test_a_key_that_cannot_be_one_is_400(replicas, counter, key):
    refused = await work(replicas[0], key=key.encode())
    assert (refused.status_code, refused.json()["code"], counter.reached) == (400, "invalid_idempotency_key", 0)


async def set_clock(db, ahead):
    async with db.transaction() as session:
        await session.execute(
            text(
                "CREATE OR REPLACE FUNCTION wall_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
                f"$$SELECT clock_timestamp() + interval '{ahead.total_seconds()} seconds'$$"
            )
        )


async def test_a_reply_is_kept_for_a_day(replicas, db):
    await work(replicas[0])
    await set_clock(db, timedelta(hours=23, minutes=59))
    assert (await work(replicas[1])).json() == {"reached": 1}
    await set_clock(db, timedelta(hours=24, minutes=1))
    assert (await work(replicas[1], body={"secret": "new"})).json() == {"reached": 2}


async def test_old_replies_are_forgotten(replicas, db):
    await work(replicas[0], key="old")
    await set_clock(db, timedelta(hours=24, minutes=1))
    await work(replicas[0], key="new")
    async with db.transaction() as session:
        await delete_expired(session)
        assert (await session.scalars(select(IdempotentRequest.key))).all() == ["new"]


async def test_the_claim_of_a_replica_that_hangs_is_taken_over_and_its_late_reply_is_not_kept(replicas, counter, db):
    hanging = counter.gate = asyncio.Event()
    late = asyncio.ensure_future(work(replicas[0]))
    await asyncio.wait_for(counter.arrivals.get(), 10)
    await set_clock(db, timedelta(minutes=1, seconds=59))
    assert (await work(replicas[1])).status_code == 409

    await set_clock(db, timedelta(minutes=2, seconds=1))
    counter.gate = asyncio.Event()
    counter.gate.set()
    assert (await work(replicas[1])).json() == {"reached": 2}
    hanging.set()
    assert (await late).json() == {"reached": 1}
    assert (await work(replicas[0])).json() == {"reached": 2}


async def test_neither_the_body_nor_the_reply_can_be_read_in_the_table(replicas, db):
    await work(replicas[0], body={"secret": "hunter2"})
    async with db.transaction() as session:
        row = (await session.execute(select(IdempotentRequest))).scalar_one()
        stored = " ".join(str(getattr(row, column.key)) for column in IdempotentRequest.__table__.c)
        assert await session.scalar(select(func.count()).select_from(IdempotentRequest)) == 1
    assert "hunter2" not in stored
    assert "nonce-of-this-browser" not in stored
