"""The service in a process of its own on its own PostgreSQL, with rows to read."""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import text

from app.db import Database, migrate
from app.embedded_postgres import EmbeddedPostgres
from bench.environment import EXIT_SECONDS, SECRET, WEBHOOK_KEY, wait_until_ready

INVOICES = 20_000
MIB = 1024 * 1024
INSERT_ROWS = (
    "INSERT INTO customers (name) SELECT 'Customer ' || n FROM generate_series(1, 500) AS n",
    """
    INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, number, status, currency,
                                  subtotal, tax, total, paid, credited, balance, issued_on, due_on)
    SELECT 'other', 't', n::text, c.id, 'INV-' || n, 'open', 'EUR', 100, 20, 120, 0, 0, 120,
           current_date - n % 700, current_date - n % 700 + 30
    FROM generate_series(1, :invoices) AS n
    JOIN (SELECT id, row_number() OVER () AS number FROM customers) AS c ON c.number = n % 500 + 1
    """,
)


@dataclass(frozen=True)
class ServedProcess:
    """A running `vectis-xero serve`.

    Attributes:
        process: the process, the parent of its workers where it has several.
        port: where it listens, on 127.0.0.1.
    """

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> int:
        """Return the process's resident memory, in MiB."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * resource.getpagesize() // MIB

    async def stop(self) -> tuple[float, int]:
        """Send SIGTERM; return the seconds until the process has ended, and its exit status."""
        started = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self.process.wait, EXIT_SECONDS)
        return time.perf_counter() - started, status


@asynccontextmanager
async def run_database() -> AsyncIterator[str]:
    """Run a migrated PostgreSQL with rows, and yield its DSN."""
    with tempfile.TemporaryDirectory() as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o755)
        with EmbeddedPostgres(Path(folder)) as server:
            dsn = server.start()
            await asyncio.to_thread(migrate, dsn)
            db = Database(dsn)
            async with db.transaction() as session:
                for statement in INSERT_ROWS:
                    values = {"invoices": INVOICES} if ":invoices" in statement else {}
                    await session.execute(text(statement), values)
            await db.close()
            yield dsn


@asynccontextmanager
async def serve(dsn: str, port: int, *arguments: str, open_files: int | None = None) -> AsyncIterator[ServedProcess]:
    """Serve on a port until the block ends; `open_files` limits how many files the process may open."""
    environment = {
        **os.environ,
        "DATABASE_URL": dsn,
        "ENCRYPTION_KEYS": "bench:" + "QUFB" * 10 + "QUE=",
        "AUTH_JWT_SECRET": SECRET,
        "XERO_WEBHOOK_KEY": WEBHOOK_KEY,
        "LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "app.cli.commands", "serve", "--port", str(port), *arguments]
    if open_files:
        command = ["/bin/sh", "-c", f'ulimit -n {open_files}; exec "$@"', "serve", *command]
    process = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: ASYNC220, S603 - our own program
    try:
        served = ServedProcess(process, port)
        async with httpx.AsyncClient(base_url=served.url) as client:
            await wait_until_ready(client)
        yield served
    finally:
        # Its workers too, which a parent that is killed leaves behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
