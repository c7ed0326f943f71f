"""One clock for several processes, the database and the simulated Xero, which only its controller moves.

The controller moves it when every replica reports that all it does is wait, so that no machine is too slow for a test.
The instant and the replicas' reports are in a file that all processes map into memory.
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

from tests.support.clocks import READ_MANUAL_CLOCK
from tests.support.postgres import for_asyncpg

# The file: the instant in seconds since 1970, then of each replica the monotonic times of its last poll and of the last
# poll at which it was busy.
INSTANT = struct.Struct("d")
REPORT = struct.Struct("dd")
REPLICAS = 2
SIZE = INSTANT.size + REPLICAS * REPORT.size
POLL_SECONDS = 0.005
# A poll later than this means that the replica's event loop was busy.
LATE_SECONDS = 0.01
# A replica must report for so long that it only waits before the clock moves.
IDLE_SECONDS = 0.02
STEP = timedelta(seconds=0.5)


class SharedClock:
    """The clock of one replica, which also reports whether the replica is busy.

    Args:
        path: the file of `SIZE` bytes.
        number: the replica's, from 0.

    Attributes:
        is_busy: says whether the replica does something beside sleeping on this clock.
    """

    def __init__(self, path, number):
        with path.open("r+b") as file:
            self._file = mmap.mmap(file.fileno(), SIZE)
        self._offset = INSTANT.size + number * REPORT.size
        self._sleepers = []
        self._numbers = itertools.count()
        self._polling = None
        self.is_busy = lambda: False

    def now(self):
        return datetime.fromtimestamp(INSTANT.unpack_from(self._file)[0], UTC)

    async def sleep(self, seconds):
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        woken = asyncio.get_running_loop().create_future()
        due = self.now() + timedelta(seconds=seconds)
        heapq.heappush(self._sleepers, (due, next(self._numbers), woken))
        await woken

    async def _poll(self):
        busy_at = last_poll_at = time.monotonic()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = time.monotonic()
            if self._wake() or self.is_busy() or now - last_poll_at > POLL_SECONDS + LATE_SECONDS:
                busy_at = now
            last_poll_at = now
            REPORT.pack_into(self._file, self._offset, last_poll_at, busy_at)

    def _wake(self):
        now, woken = self.now(), 0
        while self._sleepers and self._sleepers[0][0] <= now:
            _, _, sleeper = heapq.heappop(self._sleepers)
            with contextlib.suppress(asyncio.InvalidStateError):
                sleeper.set_result(None)
                woken += 1
        return woken


class CountingTransport(httpx.AsyncHTTPTransport):
    """The network; counts the requests that are in flight."""

    in_flight = 0

    @override
    async def handle_async_request(self, request):
        self.in_flight += 1
        try:
            return await super().handle_async_request(request)
        finally:
            self.in_flight -= 1


class SharedClockController:
    """Moves the clock of a cluster, step by step."""

    def __init__(self, cluster, connection, path):
        self._cluster = cluster
        self._connection = connection
        self._now = cluster.services.clock.now()
        self._stepped_at = time.monotonic()
        with path.open("r+b") as file:
            self._file = mmap.mmap(file.fileno(), SIZE)

    @classmethod
    @asynccontextmanager
    async def open(cls, cluster, dsn, path):
        """Stop the clock of the database, of Xero and of every replica started from now on."""
        connection = await asyncpg.connect(for_asyncpg(dsn))
        try:
            yield await cls._start(cluster, connection, path)
        finally:
            await connection.close()

    @classmethod
    async def _start(cls, cluster, connection, path):
        path.write_bytes(bytes(SIZE))
        controller = cls(cluster, connection, path)
        await connection.execute("CREATE UNLOGGED TABLE manual_clock (at timestamptz NOT NULL)")
        await connection.execute("INSERT INTO manual_clock VALUES (now())")
        await connection.execute(READ_MANUAL_CLOCK)
        await cluster.control("POST", "/clock", {"rate": 0})
        await controller._publish()
        cluster.services.clock = SharedClock(path, 0)
        return controller

    async def advance(self, seconds):
        """Move the clock by so much, whenever all replicas wait; return when it is done."""
        end = self._now + timedelta(seconds=seconds)
        while self._now < end:
            if all(self._is_waiting(number) for number in range(REPLICAS)):
                await self._step()
            await asyncio.sleep(POLL_SECONDS)

    def _is_waiting(self, number):
        last_poll_at, busy_at = REPORT.unpack_from(self._file, INSTANT.size + number * REPORT.size)
        return last_poll_at > self._stepped_at + IDLE_SECONDS and last_poll_at - busy_at > IDLE_SECONDS

    async def _step(self):
        # Xero's clock first: a call may reach Xero after its slot, never before it.
        await self._cluster.control("POST", "/clock", {"advance_seconds": STEP.total_seconds()})
        self._now += STEP
        await self._publish()

    async def _publish(self):
        await self._connection.execute("UPDATE manual_clock SET at = $1", self._now)
        INSTANT.pack_into(self._file, 0, self._now.timestamp())
        self._stepped_at = time.monotonic()
