"""One time for several processes, which only a timekeeper moves: it stands in a file, in the database and at Xero.

It moves on when every process says that all it does is wait, so that no machine is too slow for the test.
"""

import asyncio
import contextlib
import heapq
import itertools
import mmap
import struct
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
from typing_extensions import override

from tests.support.clocks import READ_TABLE
from tests.support.postgres import for_asyncpg

# The instant in seconds since 1970, then of each replica when it last looked and when it last had something to do.
INSTANT = struct.Struct("d")
STATE = struct.Struct("dd")
REPLICAS = 2
SIZE = INSTANT.size + REPLICAS * STATE.size
POLL_SECONDS = 0.005
# What a look may be late by before the replica is taken to be at work, and how long it must wait to be believed.
LATE_SECONDS = 0.01
IDLE_SECONDS = 0.02
STEP = timedelta(seconds=0.5)


class SharedClock:
    """The clock of a replica, which also tells what the replica is doing.

    Args:
        path: the file of `SIZE` bytes.
        number: of the replica, from 0.
    """

    def __init__(self, path, number):
        with path.open("r+b") as file:
            self._file = mmap.mmap(file.fileno(), SIZE)
        self._place = INSTANT.size + number * STATE.size
        self._sleepers = []
        self._numbers = itertools.count()
        self._looking = None
        self.is_at_work = lambda: False

    def now(self):
        return datetime.fromtimestamp(INSTANT.unpack_from(self._file)[0], UTC)

    async def sleep(self, seconds):
        if self._looking is None:
            self._looking = asyncio.create_task(self._poll())
        woken = asyncio.get_running_loop().create_future()
        due = self.now() + timedelta(seconds=seconds)
        heapq.heappush(self._sleepers, (due, next(self._numbers), woken))
        await woken

    async def _poll(self):
        busy_at = last_poll_at = time.monotonic()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = time.monotonic()
            if self._wake() or self.is_at_work() or now - last_poll_at > POLL_SECONDS + LATE_SECONDS:
                busy_at = now
            last_poll_at = now
            STATE.pack_into(self._file, self._place, last_poll_at, busy_at)

    def _wake(self):
        now, woken = self.now(), 0
        while self._sleepers and self._sleepers[0][0] <= now:
            _, _, sleeper = heapq.heappop(self._sleepers)
            with contextlib.suppress(asyncio.InvalidStateError):
                sleeper.set_result(None)
                woken += 1
        return woken


class CountingTransport(httpx.AsyncHTTPTransport):
    """The network, and how many requests are under way in it."""

    under_way = 0

    @override
    async def handle_async_request(self, request):
        self.under_way += 1
        try:
            return await super().handle_async_request(request)
        finally:
            self.under_way -= 1


class Timekeeper:
    """Moves the time of a fleet on, step by step."""

    def __init__(self, fleet, connection, path):
        self._fleet = fleet
        self._connection = connection
        self._now = fleet.services.clock.now()
        self._stepped_at = time.monotonic()
        with path.open("r+b") as file:
            self._file = mmap.mmap(file.fileno(), SIZE)

    @classmethod
    @asynccontextmanager
    async def employ(cls, fleet, dsn, path):
        """Stop the time of everyone who is asked for it from now on."""
        connection = await asyncpg.connect(for_asyncpg(dsn))
        try:
            yield await cls._begin(fleet, connection, path)
        finally:
            await connection.close()

    @classmethod
    async def _begin(cls, fleet, connection, path):
        path.write_bytes(bytes(SIZE))
        keeper = cls(fleet, connection, path)
        await connection.execute("CREATE UNLOGGED TABLE driven_clock (at timestamptz NOT NULL)")
        await connection.execute("INSERT INTO driven_clock VALUES (now())")
        await connection.execute(READ_TABLE)
        await fleet.control("POST", "/clock", {"rate": 0})
        await keeper._tell()
        fleet.services.clock = SharedClock(path, 0)
        return keeper

    async def pass_time(self, seconds):
        """Return once so much has passed."""
        end = self._now + timedelta(seconds=seconds)
        while self._now < end:
            if all(self._is_waiting(number) for number in range(REPLICAS)):
                await self._step()
            await asyncio.sleep(POLL_SECONDS)

    def _is_waiting(self, number):
        last_poll_at, busy_at = STATE.unpack_from(self._file, INSTANT.size + number * STATE.size)
        return last_poll_at > self._stepped_at + IDLE_SECONDS and last_poll_at - busy_at > IDLE_SECONDS

    async def _step(self):
        # Xero's clock first: a call may reach it late, never before it was handed out.
        await self._fleet.control("POST", "/clock", {"advance_seconds": STEP.total_seconds()})
        self._now += STEP
        await self._tell()

    async def _tell(self):
        await self._connection.execute("UPDATE driven_clock SET at = $1", self._now)
        INSTANT.pack_into(self._file, 0, self._now.timestamp())
        self._stepped_at = time.monotonic()
