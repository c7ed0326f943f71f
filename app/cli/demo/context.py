"""The demo's stage: the service as a client sees it, the pretend Xero in a process of its own, and where to print."""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console

CLIENT_ID = "DEMO0000000000000000000000000000"
CLIENT_SECRET = "demo-secret-of-the-pretend-xero"  # noqa: S105 - it opens the pretend Xero alone
WEBHOOK_KEY = "demo-webhook-key-of-the-pretend-xero"
PATIENCE = 120
POLL_SECONDS = 0.05
CARD = "/api/integrations/xero"


class DemoFailed(RuntimeError):
    """A step did not do what it shows."""


@dataclass
class DemoContext:
    """What the steps share: where to print, the service as a client sees it, and the pretend Xero's control.

    Attributes:
        names: organisations' names by id.
        hero: the name in Xero of the customer the demo follows.
        twin: the name in Xero that two of the PSA's customers could be.
    """

    console: Console
    api: httpx.AsyncClient
    xero: httpx.AsyncClient
    names: dict[str, str] = field(default_factory=dict)
    step: int = 0
    followed_customer: str = ""
    ambiguous_customer: str = ""

    def announce(self, title: str) -> None:
        self.step += 1
        self.console.print(f"\n[bold cyan]{self.step}. {title}[/]")

    async def get(self, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        return _read(await self.api.get(path, params=query))

    async def send(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        return _read(await self.api.request(method, path, json=body))

    async def control(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        return _read(await self.xero.request(method, f"/_control{path}", json=body))


@contextlib.contextmanager
def pretend_xero(port: int) -> Iterator[str]:
    """Run the pretend Xero while the block lasts, its webhooks aimed at our port; yield its address."""
    command = [
        *(sys.executable, "-m", "simulator", "--auto-consent", "--until-stdin-closes"),
        *("--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET, "--webhook-key", WEBHOOK_KEY),
        *("--webhook-url", f"http://localhost:{port}/api/webhooks/xero"),
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - fixed words
    try:
        line = process.stdout.readline() if process.stdout else ""
        if "http" not in line:
            raise DemoFailed("the pretend Xero did not start")
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def free_port(first: int) -> int:
    """Return the first port from `first` on that nobody listens at."""
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
