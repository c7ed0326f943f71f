"""`make demo`: the main job from end to end, each step as it happens."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx
import uvicorn
from rich.console import Console
from rich.panel import Panel

from app.api.auth import mint_token
from app.cli.demo import billing_steps, xero_steps
from app.cli.demo.context import PATIENCE, POLL_SECONDS, DemoContext, DemoFailed, free_port, pretend_xero
from app.clock import SystemClock
from app.db import migrate
from app.log import configure_logging
from app.main import create_app, prepare_settings
from app.settings import Settings, load_settings

FIRST_PORT = 8000


def show(*, once: bool) -> int:
    """Run the demo; return the exit status.

    Args:
        once: end after the walk instead of staying up until Ctrl-C.
    """
    console = Console()
    configure_logging("error", "console")
    port = free_port(FIRST_PORT)
    with pretend_xero(port) as xero_url:
        settings = _settings(port, xero_url)
        console.print(Panel("The Vectis Xero connector, from consent to answer, against a pretend Xero.", expand=False))
        began = time.monotonic()
        ready = prepare_settings(settings)
        try:
            migrate(ready.settings.database_url.get_secret_value() if ready.settings.database_url else "")
            console.print(f"[dim]Embedded PostgreSQL up and migrated in {time.monotonic() - began:.1f} s.[/]")
            return asyncio.run(_run(console, ready.settings, port, xero_url, once=once))
        finally:
            ready.close()


def _settings(port: int, xero_url: str) -> Settings:
    return load_settings(
        {
            "database_url": None,
            "public_url": f"http://localhost:{port}",
            "frontend_url": None,
            "xero_client_id": None,
            "xero_client_secret": None,
            "xero_webhook_key": None,
            "xero_login_url": xero_url,
            "xero_identity_url": xero_url,
            "xero_api_url": xero_url,
            "scheduler_enabled": True,
        }
    )


async def _run(console: Console, settings: Settings, port: int, xero_url: str, *, once: bool) -> int:
    config = uvicorn.Config(
        create_app(settings), host="127.0.0.1", port=port, log_config=None, access_log=False, server_header=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        async with _stage(console, settings, port, xero_url) as context:
            await _until_ready(context, serving)
            await _walk(context, settings)
        _say_goodbye(console, settings, xero_url)
        if not once:
            await serving
    except DemoFailed as failure:
        console.print(f"[red]The demo stopped: {failure}[/]")
        return 1
    finally:
        server.should_exit = True
        await serving
    return 0


async def _walk(context: DemoContext, settings: Settings) -> None:
    await billing_steps.feed_psa(context)
    await xero_steps.connect(context)
    await xero_steps.pick(context)
    await xero_steps.sync(context)
    await xero_steps.reconcile(context)
    customer_id = await billing_steps.show_matches(context)
    await billing_steps.take_webhook(context, customer_id)
    await billing_steps.show_summary(context, customer_id, settings.billing_timezone)
    await billing_steps.show_timeline(context, customer_id)


def _say_goodbye(console: Console, settings: Settings, xero_url: str) -> None:
    secret = settings.auth_jwt_secret.get_secret_value() if settings.auth_jwt_secret else ""
    token = _token(secret, settings.auth_jwt_audience)
    console.print(f"\nConsole        {settings.public_url}/console#token={token}", soft_wrap=True, highlight=False)
    console.print(f"API docs       {settings.public_url}/docs")
    console.print(f"Pretend Xero   {xero_url}/_control")
    console.print(f"Token          {token}", soft_wrap=True, highlight=False)


def _token(secret: str, audience: str) -> str:
    return mint_token(secret, "admin", "demo", hours=12, audience=audience, now=SystemClock().now())


@contextlib.asynccontextmanager
async def _stage(console: Console, settings: Settings, port: int, xero_url: str) -> AsyncIterator[DemoContext]:
    secret = settings.auth_jwt_secret.get_secret_value() if settings.auth_jwt_secret else ""
    headers = {"Authorization": f"Bearer {_token(secret, settings.auth_jwt_audience)}"}
    base_url = f"http://localhost:{port}"
    async with (
        httpx.AsyncClient(base_url=base_url, headers=headers, timeout=30) as api,
        httpx.AsyncClient(base_url=xero_url, timeout=30) as xero,
    ):
        yield DemoContext(console, api, xero)


async def _until_ready(context: DemoContext, serving: asyncio.Task[None]) -> None:
    began = time.monotonic()
    while not serving.done() and time.monotonic() - began < PATIENCE:
        with contextlib.suppress(httpx.TransportError):
            if (await context.api.get("/health/ready")).is_success:
                return
        await asyncio.sleep(POLL_SECONDS)
    raise DemoFailed("the service did not come up")
