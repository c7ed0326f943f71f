"""Runs the demo: starts the embedded PostgreSQL, the Xero simulator and the service, and then each step in order."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator

import httpx
import uvicorn
from rich.console import Console
from rich.panel import Panel

from app.api.auth import mint_token
from app.api.server.draining import SIGNALS
from app.api.server.options import server_options
from app.cli.demo import billing_steps, xero_steps
from app.cli.demo.context import DemoContext, DemoFailed, find_free_port, run_simulator, wait_for
from app.clock import SystemClock
from app.concurrency import cancel_and_wait
from app.log import configure_logging
from app.main import create_app, migrate_database
from app.prepared_settings import prepare_settings, read_settings
from app.settings import Settings

FIRST_PORT = 8000
GOODBYE = "\nThe demo has ended; what it stored is kept, and the next one goes on from there."


def run_demo(*, once: bool) -> int:
    """Run the demo and return the exit status; Ctrl-C ends it with 0 at any moment.

    Args:
        once: exit after the last step instead of serving until Ctrl-C.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    console = Console()
    configure_logging("error", "console")
    try:
        exit_status = _start(console, once=once)
    except KeyboardInterrupt:
        exit_status = 0
    if not (once or exit_status):
        console.print(GOODBYE, soft_wrap=True)
    return exit_status


def _start(console: Console, *, once: bool) -> int:
    port = find_free_port(FIRST_PORT)
    with run_simulator(port) as xero_url:
        settings = _settings(port, xero_url)
        console.print(
            Panel("The Vectis Xero connector, from consent to billing summary, with the Xero simulator.", expand=False)
        )
        started_at = time.monotonic()
        ready = prepare_settings(settings)
        try:
            migrate_database(ready.settings)
            console.print(f"[dim]Embedded PostgreSQL started and migrated in {time.monotonic() - started_at:.1f} s.[/]")
            return asyncio.run(_run(console, ready.settings, port, xero_url, once=once))
        finally:
            ready.close()


def _settings(port: int, xero_url: str) -> Settings:
    return read_settings(
        {
            "database_url": None,
            "public_url": f"http://localhost:{port}",
            "frontend_url": None,
            "xero_client_id": None,
            "xero_client_secret": None,
            "xero_webhook_key": None,
            # The data are made up, so nobody is to be notified about them.
            "notify_urls": None,
            "xero_login_url": xero_url,
            "xero_identity_url": xero_url,
            "xero_api_url": xero_url,
            "scheduler_enabled": True,
        }
    )


async def _run(console: Console, settings: Settings, port: int, xero_url: str, *, once: bool) -> int:
    app = create_app(settings, is_served=True)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, **server_options(settings.max_connections))
    )
    for number in SIGNALS:
        # The server handles its signals, and raises them again when it has ended: by then nothing is left to do.
        signal.signal(number, lambda *_: None)
    serving = asyncio.create_task(server.serve())
    stopped = asyncio.create_task(app.state.services.drain.wait())
    showing = asyncio.create_task(_show(console, settings, port, xero_url, serving))
    try:
        await asyncio.wait({showing, serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if showing.done():
            showing.result()
        if once:
            server.should_exit = True
    except DemoFailed as failure:
        console.print(f"[red]The demo stopped: {failure}[/]")
        server.should_exit = True
        return 1
    finally:
        await cancel_and_wait({showing, stopped})
        await serving
    return 0


async def _show(console: Console, settings: Settings, port: int, xero_url: str, serving: asyncio.Task[None]) -> None:
    """Run every step, then print where the service is to be found."""
    async with _open_context(console, settings, port, xero_url) as context:
        await _wait_until_ready(context, serving)
        await _run_steps(context, settings)
    _print_addresses(console, settings, xero_url)


async def _run_steps(context: DemoContext, settings: Settings) -> None:
    await billing_steps.send_psa_data(context)
    await xero_steps.connect(context)
    await xero_steps.select_tenants(context)
    await xero_steps.sync(context)
    await xero_steps.reconcile(context)
    customer_id = await billing_steps.show_matches(context)
    await billing_steps.receive_webhook(context, customer_id)
    await billing_steps.show_summary(context, customer_id, settings.billing_timezone)
    await billing_steps.show_timeline(context, customer_id)


def _print_addresses(console: Console, settings: Settings, xero_url: str) -> None:
    token = _mint_admin_token(settings)
    console.print(f"\nConsole        {settings.public_url}/console#token={token}", soft_wrap=True, highlight=False)
    console.print(f"API docs       {settings.public_url}/docs")
    console.print(f"Xero simulator {xero_url}/_control")
    console.print(f"Token          {token}", soft_wrap=True, highlight=False)


def _mint_admin_token(settings: Settings) -> str:
    secret = settings.auth_jwt_secret.get_secret_value() if settings.auth_jwt_secret else ""
    return mint_token(secret, "admin", "demo", hours=12, audience=settings.auth_jwt_audience, now=SystemClock().now())


@contextlib.asynccontextmanager
async def _open_context(console: Console, settings: Settings, port: int, xero_url: str) -> AsyncIterator[DemoContext]:
    headers = {"Authorization": f"Bearer {_mint_admin_token(settings)}"}
    base_url = f"http://localhost:{port}"
    async with (
        httpx.AsyncClient(base_url=base_url, headers=headers, timeout=30) as api,
        httpx.AsyncClient(base_url=xero_url, timeout=30) as simulator,
    ):
        yield DemoContext(console, api, simulator)


async def _wait_until_ready(context: DemoContext, serving: asyncio.Task[None]) -> None:
    async def find() -> bool | None:
        if serving.done():
            raise DemoFailed("the service ended while it was starting")
        with contextlib.suppress(httpx.TransportError):
            return (await context.api.get("/health/ready")).is_success or None
        return None

    await wait_for(find, "the service did not become ready")
