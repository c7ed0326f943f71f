"""A process that is asked to stop fails its readiness first, ends open streams, and exits with status 0."""

import signal

import pytest

from tests.support.served_process import ServedProcess
from tests.support.service import INTEGRATION
from tests.support.waiting import wait_until

EXIT_TIMEOUT_SECONDS = 60


@pytest.mark.parametrize(
    ("arguments", "number"),
    [((), signal.SIGINT), (("--workers", "2"), signal.SIGTERM)],
    ids=["SIGINT", "SIGTERM with two workers"],
)
async def test_a_process_asked_to_stop_says_so_before_it_stops_and_ends_open_streams(dsn, tmp_path, arguments, number):
    async with ServedProcess(dsn, tmp_path / "log", *arguments) as served:
        await wait_until(served.is_ready, "the process is ready")
        async with served.client.stream("GET", f"{INTEGRATION}/progress") as stream:
            chunks = stream.aiter_text()
            assert await anext(chunks) == "retry: 2000\n\n"
            served.process.send_signal(number)
            await wait_until(served.is_draining, "the process is not ready")
            assert "".join([chunk async for chunk in chunks]).endswith("retry: 2000\n\n")
        assert served.process.wait(EXIT_TIMEOUT_SECONDS) == 0, served.log()
        assert "Traceback" not in served.log()
