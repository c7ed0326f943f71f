"""Key rotation: every sealed column, with one altered secret among them, and killed in its middle."""

import asyncio
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr
from sqlalchemy import Text, insert, text

from app.connections.key_rotation import BATCH_ROWS, RotationResult
from app.connections.key_rotation import rotate as rotate_as
from app.connections.sealed_columns import SEALED_COLUMNS
from app.crypto import Sealer
from app.db import Table
from app.idempotency import IdempotentRequest, reply_associated_data
from app.settings import parse_keys
from tests.support.commands import settings_environment
from tests.support.forked_process import ForkedProcess
from tests.support.service import ENCRYPTION_KEYS, INTEGRATION, open_harness
from tests.support.waiting import wait_until

NEWER = "newer:" + "QkJC" * 10 + "QkI="
BOTH = f"{NEWER},{ENCRYPTION_KEYS}"
KEYED = {"Idempotency-Key": "key-1"}
COUNTS = """
SELECT count(*) AS total, count(*) FILTER (WHERE reply_sealed LIKE 'v1.newer.%') AS newer FROM idempotent_requests
"""
WAITING = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


async def rotate(db, sealer):
    return await rotate_as(db, sealer, "ann")


def sealer_of(keys):
    return Sealer(parse_keys(keys))


def test_every_column_that_is_named_as_sealed_is_rotated():
    found = {
        (table.name, column.name)
        for table in Table.metadata.tables.values()
        for column in table.columns
        if column.name.endswith("_sealed")
    }
    assert found == {(one.column.class_.__tablename__, one.column.key) for one in SEALED_COLUMNS}
    assert all(isinstance(one.column.type, Text) for one in SEALED_COLUMNS)


async def test_after_a_rotation_nothing_needs_the_old_key(dsn, db):
    console = {"xero_client_id": None, "xero_client_secret": None, "xero_webhook_key": None}
    credentials = {"client_id": "SIMULATED-CLIENT", "client_secret": "simulated-secret"}
    async with open_harness(dsn, **console) as harness:
        saved = await harness.call("PUT", f"{INTEGRATION}/credentials", json=credentials, headers=KEYED)
        await harness.call("PUT", f"{INTEGRATION}/webhook-key", json={"signing_key": "k"})
        await harness.connect()
        begun = (await harness.call("POST", f"{INTEGRATION}/connect", json={})).json()["authorization_url"]
        cookies = dict(harness.client.cookies)
    # Two tokens, the client secret, a webhook key, a consent under way and a kept reply.
    assert await rotate(db, sealer_of(BOTH)) == RotationResult(resealed=6, total=6)
    assert await rotate(db, sealer_of(BOTH)) == RotationResult(resealed=0, total=6)

    async with open_harness(dsn, encryption_keys=SecretStr(NEWER), **console) as harness:
        card = await harness.integration_status()
        assert (card["state"], card["webhook"]["configured"], card["banners"]) == ("choose_tenants", True, [])
        [grant] = await harness.query("SELECT id FROM grants")
        assert await asyncio.wait_for(harness.engine.tokens.get_access_token(grant["id"]), 10)
        again = await harness.call("PUT", f"{INTEGRATION}/credentials", json=credentials, headers=KEYED)
        assert (again.headers["idempotency-replayed"], again.json()) == ("true", saved.json())
        harness.client.cookies.update(cookies)
        query = parse_qs(urlsplit(begun).query)
        # The verifier of the consent was opened: the simulated Xero, which is a new one, does not know the code.
        params = {"state": query["state"][0], "code": "c"}
        back = await harness.client.get(f"{INTEGRATION}/callback", params=params)
        assert back.headers["location"].endswith("?xero=exchange_failed")


async def keep_replies(db, number):
    """Store kept replies whose keys come in the order of their numbers."""
    sealer = sealer_of(ENCRYPTION_KEYS)
    async with db.transaction() as session:
        for key in (f"key-{one:03}" for one in range(number)):
            values = {"key": key, "actor": "admin:ann", "request_hash": "h", "status": 200}
            reply = sealer.seal(f"reply of {key}", reply_associated_data("admin:ann", key))
            await session.execute(insert(IdempotentRequest).values(reply_sealed=reply, **values))


async def execute(db, *statements):
    """Execute statements in one transaction and return the rows of the last."""
    async with db.transaction() as session:
        results = [await session.execute(text(statement)) for statement in statements]
        return results[-1].all() if results[-1].returns_rows else []


async def test_an_altered_secret_keeps_no_other_from_being_rotated_and_is_counted(db):
    await keep_replies(db, 3)
    await execute(db, "UPDATE idempotent_requests SET reply_sealed = left(reply_sealed, -8) WHERE key = 'key-001'")
    assert await rotate(db, sealer_of(BOTH)) == RotationResult(resealed=2, unreadable=1, total=3)
    assert (await rotate(db, sealer_of(BOTH))).current == 2


def start_rotation(dsn, output):
    """Start the command in a process of its own."""
    environment = settings_environment(dsn, BOTH)
    return ForkedProcess("app.cli.commands", ["rotate-keys"], environment, (output, output), "/")


async def count_replies(db):
    [row] = await execute(db, COUNTS)
    return row.total, row.newer


async def test_a_rotation_that_was_killed_in_its_middle_is_continued(dsn, db, tmp_path):
    """The rotation stops in the middle of its second batch, where a trigger makes it wait, and is killed there."""
    total = BATCH_ROWS + 50
    await keep_replies(db, total)
    await execute(
        db,
        "CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(14); RETURN NEW; END'",
        "CREATE TRIGGER wait_here BEFORE UPDATE ON idempotent_requests FOR EACH ROW"
        f" WHEN (NEW.key = 'key-{BATCH_ROWS + 20}') EXECUTE FUNCTION wait_here()",
    )
    process = start_rotation(dsn, tmp_path / "killed")
    await wait_until(lambda: execute(db, f"SELECT 1 {WAITING}"), "the rotation reached the row it waits at")
    process.kill()
    assert await asyncio.to_thread(process.wait, 60) == -9
    # A server notices that its client is gone when it has something to send, which the wait only delays.
    await execute(db, f"SELECT pg_terminate_backend(pid) {WAITING}", "DROP TRIGGER wait_here ON idempotent_requests")
    assert await count_replies(db) == (total, BATCH_ROWS)

    output = tmp_path / "continued"
    assert await asyncio.to_thread(start_rotation(dsn, output).wait, 60) == 0
    assert output.read_text().startswith(
        f"50 of {total} secrets were encrypted again; {total} of {total} use the newest"
    )
    assert await count_replies(db) == (total, total)
    assert await rotate(db, sealer_of(NEWER)) == RotationResult(total=total)
