"""A database that is away is told by one exception, however it is away."""

import asyncio

import pytest
from sqlalchemy import text

from app.db import Database, DatabaseUnavailable


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
