"""`Database` raises `DatabaseUnavailable` whenever the server cannot be used, and terminates stuck transactions."""

import asyncio
from typing import Any, cast

import asyncpg
import pytest
from sqlalchemy import make_url, text

from app.db import Database, DatabaseUnavailable, migrate, terminate_stuck_transactions
from app.db_connection import APPLICATION_NAME
from app.db_deadline import answers_within
from tests.support.postgres import for_asyncpg
from tests.support.tcp_proxy import open_proxy

# Less than the client waits for a statement in the background, and much more than either takes.
BOUND_SECONDS = 10


async def query(dsn):
    db = Database(dsn)
    try:
        async with db.transaction() as session:
            await session.execute(text("SELECT 1"))
    finally:
        await db.close()


async def test_a_server_that_refuses_the_connection_is_unavailable():
    with pytest.raises(DatabaseUnavailable):
        await query("postgresql+asyncpg://someone:word@127.0.0.1:1/none")


async def test_a_host_name_that_does_not_resolve_is_unavailable():
    with pytest.raises(DatabaseUnavailable):
        await query("postgresql+asyncpg://someone:word@stopped.invalid:5432/none")


@pytest.mark.parametrize("changed", [{"password": "wrong"}, {"username": "stranger"}, {"database": "none"}])
async def test_a_user_or_database_that_the_server_refuses_is_said_in_one_sentence(dsn, changed):
    refused = make_url(dsn).set(**changed).render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnavailable):
        await query(refused)
    with pytest.raises(DatabaseUnavailable, match=r"^PostgreSQL cannot be used; check DATABASE_URL") as raised:
        await asyncio.to_thread(migrate, refused)
    assert "\n" not in str(raised.value)


async def test_a_server_that_never_answers_is_unavailable():
    is_finished = asyncio.Event()

    async def send_nothing(_reader, writer):
        await is_finished.wait()
        writer.close()

    async with await asyncio.start_server(send_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(DatabaseUnavailable):
            await query(f"postgresql+asyncpg://someone:word@127.0.0.1:{port}/none")
        is_finished.set()


async def test_a_silent_server_delays_neither_a_rollback_nor_the_end(dsn):
    async with open_proxy(dsn) as (proxy, proxied):
        db = Database(proxied)
        with pytest.raises(DatabaseUnavailable):
            await roll_back_while_silent(db, proxy)
        assert cast("Any", db.engine.pool).checkedout() == 0
        proxy.resume()
        async with db.transaction() as session, db.transaction() as other:
            await session.execute(text("SELECT 1"))
            await other.execute(text("SELECT 1"))
        proxy.pause()
        async with asyncio.timeout(BOUND_SECONDS):
            await db.close()


async def roll_back_while_silent(db, proxy):
    async with asyncio.timeout(BOUND_SECONDS), db.transaction() as session:
        await session.execute(text("SELECT 1"))
        proxy.pause()
        raise LookupError


async def test_a_request_waits_for_each_answer_anew_and_for_none_too_long(db):
    with answers_within(0.4):
        async with db.transaction() as session:
            for _ in range(3):
                await session.execute(text("SELECT pg_sleep(0.2)"))
        with pytest.raises(DatabaseUnavailable):
            async with asyncio.timeout(BOUND_SECONDS), db.transaction() as session:
                await session.execute(text("SELECT pg_sleep(60)"))
        # What is left of a request after a silence is not given the whole time again, until there is an answer.
        with pytest.raises(DatabaseUnavailable):
            async with db.transaction() as session:
                await session.execute(text("SELECT pg_sleep(0.3)"))
        async with db.transaction() as session:
            await session.execute(text("SELECT 1"))
            await session.execute(text("SELECT pg_sleep(0.3)"))
    async with db.transaction() as session:
        running = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE :query"
        assert (await session.execute(text(running), {"query": "%sleep(60)%"})).all() == []


async def test_only_stuck_transactions_of_this_service_are_terminated(dsn, db):
    migration = await asyncpg.connect(for_asyncpg(dsn))
    await migration.execute("BEGIN; SELECT 1")
    with pytest.raises(DatabaseUnavailable):
        await hold_transaction_while_terminated(dsn, db)
    await migration.execute("COMMIT")
    await migration.close()


async def hold_transaction_while_terminated(dsn, db):
    other = Database(dsn)
    async with db.transaction() as stuck:
        await stuck.execute(text("SELECT 1"))
        async with other.transaction() as session:
            assert await terminate_stuck_transactions(session, f"{APPLICATION_NAME}%", 60) == 0
            assert await terminate_stuck_transactions(session, "another name", 0) == 0
            assert await terminate_stuck_transactions(session, f"{APPLICATION_NAME}%", 0) == 1
        await other.close()
        await stuck.execute(text("SELECT 1"))
