"""`Database` raises `DatabaseUnavailable` whenever the server cannot be used, and terminates stuck transactions."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text

from app.db import APPLICATION_NAME, Database, DatabaseUnavailable, terminate_stuck_transactions
from tests.support.postgres import for_asyncpg


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
