"""Puts the pretend Xero together, and serves it."""

import socket
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
from simulator.endpoints.router import TRANSPORT, Gate
from simulator.options import SimulatorOptions
from simulator.state import World

# Longer than a client keeps an idle connection, so that it never sends into one that is just being closed.
_KEEP_ALIVE_SECONDS = 75


class Simulator(Starlette):
    """The application. `world` is open to tests in the same process; all others use the control API."""

    def __init__(self, world: World) -> None:
        self.world = world
        super().__init__(routes=[*control_routes(world), Route("/{path:path}", Gate(world))])

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Uvicorn's send belongs to the object that holds the socket; a fault that resets the connection needs it,
        # and further in the middleware has wrapped send.
        scope[TRANSPORT] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


def create_app(
    options: SimulatorOptions | None = None,
    clock: Callable[[], datetime] = utc_now,
    webhook_transport: httpx.AsyncBaseTransport | None = None,
) -> Simulator:
    """An ASGI application with books of its own. Webhooks go over `webhook_transport`, by default the network."""
    return Simulator(World(options or SimulatorOptions(), clock, webhook_transport))


def make_server(options: SimulatorOptions, clock: Callable[[], datetime] = utc_now) -> uvicorn.Server:
    """A server that may run in a thread; give its `run` the socket of `listen`."""
    app = create_app(options, clock)
    config = uvicorn.Config(
        app, lifespan="off", log_level="critical", access_log=False, timeout_keep_alive=_KEEP_ALIVE_SECONDS
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    return socket.create_server((host, port), backlog=1024)


def serve(host: str, port: int, options: SimulatorOptions) -> None:
    """Serve until interrupted. Prints one line with the address once calls are accepted."""
    server = make_server(options)
    listener = listen(host, port)
    print(f"simulator listening on http://{host}:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - who started us reads it
    server.run(sockets=[listener])
