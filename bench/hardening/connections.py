"""Connections that send too much, too slowly, or nothing."""

import asyncio
import time
from contextlib import AsyncExitStack

import httpx

from bench.hardening.result import Result
from bench.hardening.service import MIB, ServedProcess, serve

HEADER_BLOCK = 64 * MIB
HEADER_BLOCKS = 2
PIECE = 256 * 1024
MAX_GROWTH = 64
DRIP_PROMISE_SECONDS = 11.0
SILENCE_PROMISE_SECONDS = 21.0
SILENT_SOCKETS = 400
FEW_FILES = 256
HEALTHY_SECONDS = 1.0


async def measure_headers(served: ServedProcess) -> Result:
    """Send two blocks of headers without an end."""
    before = served.memory()
    peaks = [before]

    async def watch() -> None:
        while True:
            peaks.append(served.memory())
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    statuses = await asyncio.gather(*(_send_headers(served) for _ in range(HEADER_BLOCKS)))
    watching.cancel()
    growth = max(peaks) - before
    measured = f"+{growth} MiB at most, answered {' and '.join(statuses)}"
    is_kept = growth <= MAX_GROWTH and set(statuses) == {"431"}
    return Result("two header blocks of 64 MiB", measured, f"at most +{MAX_GROWTH} MiB, 431", is_kept)


async def measure_slow(served: ServedProcess) -> list[Result]:
    """Let headers and a body drip, and send nothing at all, each until the service ends the connection."""
    post = b"POST /api/webhooks/xero HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n"
    get = b"GET /health/live HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n"
    drips = {
        "headers that drip": (b"GET / HTTP/1.1\r\n", b"x", DRIP_PROMISE_SECONDS),
        "a body that drips": (post, b"x", DRIP_PROMISE_SECONDS + 5),
        "a body of a GET, which nobody reads": (get, b"x", DRIP_PROMISE_SECONDS),
        "a silent socket": (b"", b"", SILENCE_PROMISE_SECONDS),
    }
    seconds = await asyncio.gather(*(_seconds_until_closed(served, *sent[:2]) for sent in drips.values()))
    return [
        Result(f"{name}: closed after", f"{taken:.1f} s", f"at most {drips[name][2]:g} s", taken <= drips[name][2])
        for name, taken in zip(drips, seconds, strict=True)
    ]


async def measure_silent_sockets(dsn: str, port: int) -> list[Result]:
    """Open silent sockets to a process that may open few files, and to call it beside them."""
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serve(dsn, port, open_files=FEW_FILES))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=served.url))
        await client.get("/health/live")
        opened = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(SILENT_SOCKETS)]
        started = time.perf_counter()
        connected = (await client.get("/health/ready")).status_code
        kept_open = time.perf_counter() - started
        new_after = await _seconds_until_served(served)
        for _, writer in opened:
            writer.close()
    name = f"{SILENT_SOCKETS} silent sockets, {FEW_FILES} open files"
    return [
        Result(
            f"{name}: a connected client",
            f"{connected} in {kept_open * 1000:.0f} ms",
            f"200 within {HEALTHY_SECONDS:g} s",
            connected == httpx.codes.OK and kept_open <= HEALTHY_SECONDS,
        ),
        Result(f"{name}: a new client is served after", f"{new_after:.1f} s", "at most 6 s", new_after <= 6),  # noqa: PLR2004 - as written
    ]


async def _send_headers(served: ServedProcess) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET / HTTP/1.1\r\nx: ")
    try:
        for _ in range(HEADER_BLOCK // PIECE):
            writer.write(b"y" * PIECE)
            await writer.drain()
    except ConnectionError:
        pass
    async with asyncio.timeout(30):
        response = await reader.read()
    writer.close()
    return response[9:12].decode()


async def _seconds_until_closed(served: ServedProcess, start: bytes, drip: bytes) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    started = time.perf_counter()
    writer.write(start)

    async def send_drips() -> None:
        while True:
            await asyncio.sleep(0.5)
            writer.write(drip)

    dripping = asyncio.create_task(send_drips())
    try:
        async with asyncio.timeout(40):
            while await reader.read(1024):
                pass
    finally:
        dripping.cancel()
        writer.close()
    return time.perf_counter() - started


async def _seconds_until_served(served: ServedProcess) -> float:
    started = time.perf_counter()
    while time.perf_counter() - started < SILENCE_PROMISE_SECONDS:
        async with httpx.AsyncClient(base_url=served.url) as client:
            try:
                if (await client.get("/health/live")).is_success:
                    break
            except httpx.TransportError:
                pass
        await asyncio.sleep(0.2)
    return time.perf_counter() - started
