"""A database that is away is told by one exception, however it is away."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text

from app.db import APPLICATION_NAME, Database, DatabaseUnavailable, terminate_stuck_transactions
from tests.support.postgres import for_asyncpg


async def ask(dsn):
    db = Database(dsn)
    try:
        async with db.transaction() as session:
            await session.execute(text("SELECT 1"))
    finally:
        await db.close()


async def test_a_server_that_refuses_is_unavailable():
    with pytest.raises(DatabaseUnavailable):
        await ask("postgresql+asyncpg://someone:word@127.0.0.1:1/none")


async def test_a_host_name_that_resolves_to_nothing_is_unavailable():
    with pytest.raises(DatabaseUnavailable):
        await ask("postgresql+asyncpg://someone:word@stopped.invalid:5432/none")


async def test_a_server_that_never_answers_is_unavailable():
    is_over = asyncio.Event()

    async def say_nothing(_reader, writer):
        await is_over.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(DatabaseUnavailable):
            await ask(f"postgresql+asyncpg://someone:word@127.0.0.1:{port}/none")
        is_over.set()


async def test_of_the_transactions_that_stand_still_only_our_own_are_ended(dsn, db):
    migration = await asyncpg.connect(for_asyncpg(dsn))
    await migration.execute("BEGIN; SELECT 1")
    with pytest.raises(DatabaseUnavailable):
        await stand_while_ended(dsn, db)
    await migration.execute("COMMIT")
    await migration.close()


async def stand_while_ended(dsn, db):
    other = Database(dsn)
    async with db.transaction() as standing:
        await standing.execute(text("SELECT 1"))
        async with other.transaction() as session:
            assert await terminate_stuck_transactions(session, f"{APPLICATION_NAME}%", 60) == 0
            assert await terminate_stuck_transactions(session, "another name", 0) == 0
            assert await terminate_stuck_transactions(session, f"{APPLICATION_NAME}%", 0) == 1
        await other.close()
        await standing.execute(text("SELECT 1"))
