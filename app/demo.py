"""The demo: the main job from end to end, each step as it happens, against the pretend Xero in a process of its own."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import uvicorn
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from app.api.auth import mint_token
from app.bars import Bars
from app.clock import SystemClock
from app.db import migrate
from app.log import configure_logging
from app.main import create_app, make_ready
from app.settings import Settings, load_settings

FIRST_PORT = 8000
CLIENT_ID = "DEMO0000000000000000000000000000"
CLIENT_SECRET = "demo-secret-of-the-pretend-xero"  # noqa: S105 - it opens the pretend Xero alone
WEBHOOK_KEY = "demo-webhook-key-of-the-pretend-xero"
PATIENCE = 120
LOOK_SECONDS = 0.05
RESOURCES = ("contacts", "invoices", "credit_memos", "payments")


class DemoFailed(RuntimeError):
    """A step did not do what it shows."""


@dataclass
class Stage:
    """What the steps share: where to print, the service as a client sees it, and the pretend Xero's control."""

    console: Console
    api: httpx.AsyncClient
    xero: httpx.AsyncClient
    names: dict[str, str] = field(default_factory=dict)
    step: int = 0

    def announce(self, title: str) -> None:
        self.step += 1
        self.console.print(f"\n[bold cyan]{self.step}. {title}[/]")

    async def get(self, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        return _read(await self.api.get(path, params=query))

    async def send(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        return _read(await self.api.request(method, path, json=body))

    async def control(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        return _read(await self.xero.request(method, f"/_control{path}", json=body))


def show(*, once: bool) -> int:
    """Run the demo; return the exit status.

    Args:
        once: end after the walk instead of staying up until Ctrl-C.
    """
    console = Console()
    configure_logging("error", "console")
    port = _free_port(FIRST_PORT)
    with _pretend_xero(port) as xero_url:
        settings = _settings(port, xero_url)
        console.print(Panel("The Vectis Xero connector, from consent to answer, against a pretend Xero.", expand=False))
        began = time.monotonic()
        ready = make_ready(settings)
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
        async with _stage(console, settings, port, xero_url) as stage:
            await _until_ready(stage, serving)
            await _walk(stage, settings)
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


async def _walk(stage: Stage, settings: Settings) -> None:
    await _connect(stage)
    await _pick(stage)
    await _sync(stage)
    await _reconcile(stage)
    customer_id = await _webhook(stage)
    await _summary(stage, settings, customer_id)


async def _connect(stage: Stage) -> None:
    stage.announce("Connect")
    card = await stage.get("/api/integrations/xero")
    stage.console.print(f"   redirect URI to copy into Xero: [bold]{card['redirect_uri']}[/]")
    body = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "scope_set": "broad"}
    await stage.send("PUT", "/api/integrations/xero/credentials", body)
    await stage.send("PUT", "/api/integrations/xero/webhook-key", {"signing_key": WEBHOOK_KEY})
    started = await stage.send("POST", "/api/integrations/xero/connect", {})
    consent = await stage.xero.get(started["authorization_url"])
    back = await stage.api.get(consent.headers["location"])
    outcome = back.headers.get("location", "")
    if not outcome.endswith("?xero=connected"):
        raise DemoFailed(f"the consent ended at {outcome or back.text}")
    card = await stage.get("/api/integrations/xero")
    stage.console.print(
        f"   consent given; state [green]{card['state']}[/], granted: {', '.join(card['scopes_granted'])}"
    )


async def _pick(stage: Stage) -> None:
    stage.announce("Pick organisations")
    listed = (await stage.get("/api/integrations/xero/tenants"))["items"]
    stage.names = {tenant["tenant_id"]: tenant["name"] for tenant in listed}
    for tenant in listed:
        stage.console.print(f"   [green]✓[/] {tenant['name']}  [dim]{tenant['tenant_id']}[/]")
    stage.console.print("   [dim]Practices carry no billing data and are not offered.[/]")
    await stage.send("PUT", "/api/integrations/xero/tenants", {"tenant_ids": list(stage.names)})


async def _sync(stage: Stage) -> None:
    stage.announce("Sync contacts, invoices, credit notes and payments")
    began = time.monotonic()
    run = await stage.send("POST", "/api/integrations/xero/sync")
    with Bars(stage.console, stage.names) as bars:
        run = await _follow(stage, run["id"], bars)
    stage.console.print(_figures(stage, run))
    calls = sum(resource["calls"] for resource in run["resources"])
    created = sum(resource["created"] for resource in run["resources"])
    took = time.monotonic() - began
    stage.console.print(f"   {run['status']} in {took:.1f} s with {calls} calls; {created:,} of the rows are new")
    if run["status"] != "succeeded":
        raise DemoFailed(f"the sync ended {run['status']}: {run['error']}")


async def _follow(stage: Stage, run_id: str, bars: Bars) -> Any:  # noqa: ANN401 - JSON
    """Draw the run from the stream of steps until it is over."""
    headers = {"Last-Event-ID": "0"}
    async with stage.api.stream("GET", "/api/integrations/xero/progress", headers=headers, timeout=PATIENCE) as stream:
        async for kind, step in _events(stream):
            if step.get("run_id") != run_id:
                continue
            if kind == "page":
                bars.draw(step)
            if kind == "run_finished":
                break
    return await stage.get(f"/api/integrations/xero/runs/{run_id}")


async def _events(stream: httpx.Response) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    kind = ""
    async for line in stream.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def _figures(stage: Stage, run: Mapping[str, Any]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2))
    table.add_column("   rows kept", no_wrap=True)
    for resource in RESOURCES:
        table.add_column(resource.replace("_", " "), justify="right")
    found = {(row["tenant_id"], row["resource"]): row for row in run["resources"]}
    for tenant_id, name in stage.names.items():
        rows = [found[tenant_id, resource] for resource in RESOURCES]
        table.add_row(f"   {name}", *(f"{row['fetched'] - row['skipped']:,}" for row in rows))
    return table


async def _reconcile(stage: Stage) -> None:
    """Prove the mirror equal; a pretend Xero begun anew has forgotten an earlier demo's edits, which this heals."""
    stage.announce("Compare the mirror with the books, whole")
    run = await stage.send("POST", "/api/integrations/xero/reconcile")
    while run["status"] == "running":
        await asyncio.sleep(LOOK_SECONDS)
        run = await stage.get(f"/api/integrations/xero/runs/{run['id']}")
    found = (await stage.get("/api/integrations/xero/reconciliations", limit="200"))["items"]
    found = [finding for finding in found if finding["run_id"] == run["id"]]
    names = ("checked", "missing", "stale", "orphaned", "healed")
    figures = [f"{sum(finding[name] for finding in found):,} {name}" for name in names]
    stage.console.print(f"   {run['status']}: {', '.join(figures)}")
    if run["status"] != "succeeded":
        raise DemoFailed(f"the comparison ended {run['status']}: {run['error']}")


async def _webhook(stage: Stage) -> str:
    """Have an invoice paid in the pretend Xero, and wait for it to be visible here."""
    stage.announce("Take a webhook")
    probes = await stage.control("POST", "/webhook/probe", {})
    stage.console.print(f"   intent to receive: [green]{_verdict(probes)}[/]")
    invoice = await _open_invoice(stage)
    await stage.control(
        "POST",
        f"/tenants/{invoice['tenant_id']}/edits",
        {"edit": "pay", "invoice_id": invoice["external_id"], "webhook": True},
    )
    began = time.monotonic()
    while (seen := await stage.get(f"/api/invoices/{invoice['id']}"))["status"] != "paid":
        if time.monotonic() - began > PATIENCE:
            raise DemoFailed("the paid invoice did not become visible")
        await asyncio.sleep(LOOK_SECONDS)
    took = time.monotonic() - began
    stage.console.print(
        f"   {invoice['number']} of {invoice['currency']} {invoice['balance']} was paid in Xero: "
        f"[green]{seen['status']}[/] here [bold]{took:.2f} s[/] after the webhook"
    )
    return str(invoice["customer_id"])


def _verdict(probes: Mapping[str, Any]) -> str:
    if not probes["ok"]:
        problems = {problem for delivery in probes["deliveries"] for problem in delivery["problems"]}
        raise DemoFailed(f"the webhook's probes were not answered as Xero wants: {', '.join(sorted(problems))}")
    return f"OK ({len(probes['deliveries'])} probes, most of them wrongly signed on purpose)"


async def _open_invoice(stage: Stage) -> Any:  # noqa: ANN401 - JSON
    """Choose an open invoice of a customer that has several, so that something is left to show."""
    items = (await stage.get("/api/invoices", status="open", source="xero", limit="200"))["items"]
    counts: dict[str, int] = {}
    for item in items:
        counts[item["customer_id"]] = counts.get(item["customer_id"], 0) + 1
    if not items:
        raise DemoFailed("there is no open invoice to pay")
    return max(items, key=lambda item: counts[item["customer_id"]])


async def _summary(stage: Stage, settings: Settings, customer_id: str) -> None:
    stage.announce("Answer for a customer")
    customer = await stage.get(f"/api/customers/{customer_id}")
    summary = await stage.get(f"/api/customers/{customer_id}/billing")
    truth = await _truth(stage, customer)
    table = Table(title=f"{customer['name']}, {summary['month']}", header_style="dim", title_justify="left")
    table.add_column("")
    for column in ("this month", "outstanding", "in Xero", "overdue", "credit left"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in summary["currencies"]:
        overdue = f"{row['overdue']} ({row['overdue_count']})"
        owed = f"{truth.get(row['currency'], Decimal(0)):.2f}"
        figures = (row["invoiced_this_month"], row["outstanding"], owed, overdue, row["unapplied_credit"])
        table.add_row(row["currency"], *figures)
        if Decimal(row["outstanding"]) != Decimal(owed):
            raise DemoFailed(
                f"{row['currency']} {row['outstanding']} is outstanding here, and {owed} in the pretend Xero"
            )
    stage.console.print(table)
    stage.console.print("   [dim]'in Xero' is added up from the pretend Xero's own books.[/]")
    stage.console.print(f"   [dim]As of {summary['data_as_of']}, months in {settings.billing_timezone}.[/]")


async def _truth(stage: Stage, customer: Mapping[str, Any]) -> dict[str, Decimal]:
    """Add up what the pretend Xero itself holds as due from this customer, by currency."""
    owed: dict[str, Decimal] = {}
    for link in customer["links"]:
        state = await stage.control("GET", f"/tenants/{link['tenant_id']}/state?resource=Invoices")
        for row in state["Invoices"]:
            is_owed = row["type"] == "ACCREC" and row["status"] == "AUTHORISED"
            if is_owed and row["contact_id"] == link["external_id"]:
                owed[row["currency"]] = owed.get(row["currency"], Decimal(0)) + Decimal(row["amount_due"])
    return owed


def _say_goodbye(console: Console, settings: Settings, xero_url: str) -> None:
    secret = settings.auth_jwt_secret.get_secret_value() if settings.auth_jwt_secret else ""
    token = _token(secret, settings.auth_jwt_audience)
    console.print(f"\nConsole        {settings.public_url}/console")
    console.print(f"API docs       {settings.public_url}/docs")
    console.print(f"Pretend Xero   {xero_url}/_control")
    console.print(f"Token          {token}", soft_wrap=True, highlight=False)


def _token(secret: str, audience: str) -> str:
    return mint_token(secret, "admin", "demo", hours=12, audience=audience, now=SystemClock().now())


@contextlib.asynccontextmanager
async def _stage(console: Console, settings: Settings, port: int, xero_url: str) -> AsyncIterator[Stage]:
    secret = settings.auth_jwt_secret.get_secret_value() if settings.auth_jwt_secret else ""
    headers = {"Authorization": f"Bearer {_token(secret, settings.auth_jwt_audience)}"}
    base_url = f"http://localhost:{port}"
    async with (
        httpx.AsyncClient(base_url=base_url, headers=headers, timeout=30) as api,
        httpx.AsyncClient(base_url=xero_url, timeout=30) as xero,
    ):
        yield Stage(console, api, xero)


async def _until_ready(stage: Stage, serving: asyncio.Task[None]) -> None:
    began = time.monotonic()
    while not serving.done() and time.monotonic() - began < PATIENCE:
        with contextlib.suppress(httpx.TransportError):
            if (await stage.api.get("/health/ready")).is_success:
                return
        await asyncio.sleep(LOOK_SECONDS)
    raise DemoFailed("the service did not come up")


@contextlib.contextmanager
def _pretend_xero(port: int) -> Any:  # noqa: ANN401 - a context manager
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


def _free_port(first: int) -> int:
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
