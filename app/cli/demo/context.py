"""What the steps of the demo share: HTTP clients of the service and of the Xero simulator, and the output."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from rich.console import Console

CLIENT_ID = "DEMO0000000000000000000000000000"
CLIENT_SECRET = "demo-secret-of-the-xero-simulator"  # noqa: S105 - only the simulator accepts it
WEBHOOK_KEY = "demo-webhook-key-of-the-xero-simulator"
TIMEOUT_SECONDS = 120
POLL_SECONDS = 0.05
INTEGRATION_PATH = "/api/integrations/xero"

Found = TypeVar("Found")


class DemoFailed(RuntimeError):
    """A step of the demo did not have the result it should show."""


@dataclass
class DemoContext:
    """The clients, the output, and what earlier steps found out for later ones.

    Attributes:
        console: where to print.
        api: a client of the service, as an administrator.
        simulator: a client of the Xero simulator.
        tenant_names: the organisations' names by tenant id.
        step_number: the number of the present step.
        followed_customer: the name in Xero of the customer that the demo shows in detail.
        ambiguous_customer: a name in Xero that two customers of the PSA could match.
    """

    console: Console
    api: httpx.AsyncClient
    simulator: httpx.AsyncClient
    tenant_names: dict[str, str] = field(default_factory=dict)
    step_number: int = 0
    followed_customer: str = ""
    ambiguous_customer: str = ""

    def begin_step(self, title: str) -> None:
        """Print the numbered title of the next step."""
        self.step_number += 1
        self.console.print(f"\n[bold cyan]{self.step_number}. {title}[/]")

    async def get(self, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        """Read from the service's API."""
        return _read(await self.api.get(path, params=query))

    async def send(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Change something through the service's API."""
        return _read(await self.api.request(method, path, json=body))

    async def control(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Call the simulator's control API."""
        return _read(await self.simulator.request(method, f"/_control{path}", json=body))

    async def finish_run(self, run: Any) -> Any:  # noqa: ANN401 - JSON
        """Wait until a run has ended and return it.

        Raises:
            DemoFailed: the run did not succeed.
        """
        while run["status"] == "running":
            await asyncio.sleep(POLL_SECONDS)
            run = await self.get(f"{INTEGRATION_PATH}/runs/{run['id']}")
        if run["status"] != "succeeded":
            raise DemoFailed(f"the run ended {run['status']}: {run['error']}")
        return run


async def wait_for(find: Callable[[], Awaitable[Found | None]], failure: str) -> Found:
    """Call `find` until it returns something other than None.

    Raises:
        DemoFailed: with `failure`, when `TIMEOUT_SECONDS` have passed.
    """
    started_at = time.monotonic()
    while time.monotonic() - started_at < TIMEOUT_SECONDS:
        if (found := await find()) is not None:
            return found
        await asyncio.sleep(POLL_SECONDS)
    raise DemoFailed(failure)


@contextlib.contextmanager
def run_simulator(port: int) -> Iterator[str]:
    """Run the Xero simulator in a process of its own during the block, and yield its URL.

    Args:
        port: the port of the service, to which the simulator sends its webhooks.
    """
    command = [
        *(sys.executable, "-m", "simulator", "--auto-consent", "--until-stdin-closes"),
        *("--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET, "--webhook-key", WEBHOOK_KEY),
        *("--webhook-url", f"http://localhost:{port}/api/webhooks/xero"),
    ]
    # In a group of its own, because Ctrl-C reaches the whole group of the demo: it is ended at the end of the block.
    process = subprocess.Popen(  # noqa: S603 - constants
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if "http" not in line:
            raise DemoFailed("the Xero simulator did not start")
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def find_free_port(first: int) -> int:
    """Return the first port, counted from `first`, on which no process listens."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise DemoFailed(f"no port from {first} on is free")


def _read(response: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    if response.is_error:
        raise DemoFailed(f"{response.request.method} {response.request.url.path}: {response.text}")
    return response.json() if response.content else None
