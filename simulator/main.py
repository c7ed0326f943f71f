"""Assembles the simulator's ASGI application and serves it."""

import signal
import socket
import sys
from collections.abc import Callable
from datetime import datetime

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from simulator.clock import utc_now
from simulator.control.routes import control_routes
from simulator.endpoints.router import TRANSPORT_KEY, Router
from simulator.options import SimulatorOptions
from simulator.state import SimulatorState

# Longer than a client keeps an idle connection, so that it never sends a request on one that is being closed.
_KEEP_ALIVE_SECONDS = 75
# How long a response that is delayed may still take when the simulator is stopped.
_END_REQUESTS_SECONDS = 2


class Simulator(Starlette):
    """The ASGI application. Tests in the same process may use `simulator_state`; all others use the control API."""

    def __init__(self, state: SimulatorState) -> None:
        self.simulator_state = state
        super().__init__(routes=[*control_routes(state), Route("/{path:path}", Router(state))])

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Uvicorn's `send` is a method of the object that holds the socket, which a fault needs to close the connection.
        # It is taken here because Starlette's middleware wraps `send` further in.
        scope[TRANSPORT_KEY] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


def create_app(
    options: SimulatorOptions | None = None,
    clock: Callable[[], datetime] = utc_now,
    webhook_transport: httpx.AsyncBaseTransport | None = None,
) -> Simulator:
    """Return an ASGI application with its own books. Webhooks are sent over `webhook_transport`, else the network."""
    return Simulator(SimulatorState(options or SimulatorOptions(), clock, webhook_transport))


def make_server(options: SimulatorOptions, clock: Callable[[], datetime] = utc_now) -> uvicorn.Server:
    """Return a server that may run in a thread; pass its `run` the socket from `listen`."""
    app = create_app(options, clock)
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="critical",
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_END_REQUESTS_SECONDS,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free port."""
    return socket.create_server((host, port), backlog=1024)


def serve(host: str, port: int, options: SimulatorOptions) -> None:
    """Serve until SIGTERM or SIGINT, then exit with status 0; print one line with the address at first."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # After its shutdown uvicorn raises the signal again, whose default handler would report a failure.
        signal.signal(number, lambda *_: sys.exit(0))
    server = make_server(options)
    listener = listen(host, port)
    print(f"simulator listening on http://{host}:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the parent process reads the address
    server.run(sockets=[listener])
