"""The demo's steps that concern Xero: connect, select organisations, sync, reconcile."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from rich.table import Table

from app.cli.demo.context import (
    CLIENT_ID,
    CLIENT_SECRET,
    INTEGRATION_PATH,
    TIMEOUT_SECONDS,
    WEBHOOK_KEY,
    DemoContext,
    DemoFailed,
)
from app.cli.progress_bars import ProgressBars

STARTED_AGAIN = (
    "Stale: the data here are of an earlier demo. The simulator, started again, has the same rows with new times of"
    " change, so each of them differs from what is stored, once."
)
RESOURCES = ("contacts", "invoices", "credit_memos", "payments")


async def connect(context: DemoContext) -> None:
    """Save the app's credentials and go through the consent."""
    context.begin_step("Connect")
    status = await context.get(INTEGRATION_PATH)
    context.console.print(f"   redirect URI to copy into Xero: [bold]{status['redirect_uri']}[/]")
    credentials = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "scope_set": "broad"}
    await context.send("PUT", f"{INTEGRATION_PATH}/credentials", credentials)
    await context.send("PUT", f"{INTEGRATION_PATH}/webhook-key", {"signing_key": WEBHOOK_KEY})
    await _give_consent(context)
    status = await context.get(INTEGRATION_PATH)
    granted = ", ".join(status["scopes_granted"])
    context.console.print(f"   consent given; state [green]{status['state']}[/], granted: {granted}")


async def select_tenants(context: DemoContext) -> None:
    """Select every organisation that the consent gave access to."""
    context.begin_step("Select organisations")
    listed = (await context.get(f"{INTEGRATION_PATH}/tenants"))["items"]
    context.tenant_names = {tenant["tenant_id"]: tenant["name"] for tenant in listed}
    for tenant in listed:
        context.console.print(f"   [green]✓[/] {tenant['name']}  [dim]{tenant['tenant_id']}[/]")
    context.console.print("   [dim]Practices carry no billing data and are not offered.[/]")
    await context.send("PUT", f"{INTEGRATION_PATH}/tenants", {"tenant_ids": list(context.tenant_names)})


async def sync(context: DemoContext) -> None:
    """Run a sync and show its progress."""
    context.begin_step("Sync contacts, invoices, credit notes and payments")
    started_at = time.monotonic()
    run = await context.send("POST", f"{INTEGRATION_PATH}/sync")
    with ProgressBars(context.console, context.tenant_names, len(context.tenant_names)) as bars:
        await _draw_progress(context, run["id"], bars)
        bars.finish(context.tenant_names)
    run = await context.finish_run(await context.get(f"{INTEGRATION_PATH}/runs/{run['id']}"))
    context.console.print(_rows_table(context, run))
    calls = sum(resource["calls"] for resource in run["resources"])
    created = sum(resource["created"] for resource in run["resources"])
    seconds = time.monotonic() - started_at
    context.console.print(f"   {run['status']} in {seconds:.1f} s with {calls} calls; {created:,} of the rows are new")


async def reconcile(context: DemoContext) -> None:
    """Compare the mirror with Xero.

    The simulator keeps its books in memory and generates them up to the present instant. Started again it has the same
    rows with other time stamps, and no longer the changes of an earlier demo; the reconciliation corrects the mirror.
    """
    context.begin_step("Reconcile the mirror with Xero")
    run = await context.finish_run(await context.send("POST", f"{INTEGRATION_PATH}/reconcile"))
    listed = (await context.get(f"{INTEGRATION_PATH}/reconciliations", limit="200"))["items"]
    reports = [report for report in listed if report["run_id"] == run["id"]]
    names = ("checked", "missing", "stale", "orphaned", "healed")
    counts = {name: sum(report[name] for report in reports) for name in names}
    figures = [f"{count:,} {name}" for name, count in counts.items()]
    context.console.print(f"   {run['status']}: {', '.join(figures)}")
    if counts["stale"]:
        context.console.print(f"   [dim]{STARTED_AGAIN}[/]")


async def _give_consent(context: DemoContext) -> None:
    started = await context.send("POST", f"{INTEGRATION_PATH}/connect", {})
    consent = await context.simulator.get(started["authorization_url"])
    callback = await context.api.get(consent.headers["location"])
    return_url = callback.headers.get("location", "")
    if not return_url.endswith("?xero=connected"):
        raise DemoFailed(f"the consent ended at {return_url or callback.text}")


async def _draw_progress(context: DemoContext, run_id: str, bars: ProgressBars) -> None:
    """Draw the progress events of a run until it has ended."""
    headers = {"Last-Event-ID": "0"}
    path = f"{INTEGRATION_PATH}/progress"
    async with context.api.stream("GET", path, headers=headers, timeout=TIMEOUT_SECONDS) as stream:
        async for kind, event in _events(stream):
            if event.get("run_id") != run_id:
                continue
            if kind == "page":
                bars.add_page(event)
            if kind == "run_finished":
                break


async def _events(stream: httpx.Response) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Yield kind and data of each server-sent event."""
    kind = ""
    async for line in stream.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def _rows_table(context: DemoContext, run: Mapping[str, Any]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2))
    table.add_column("   rows kept", no_wrap=True)
    for resource in RESOURCES:
        table.add_column(resource.replace("_", " "), justify="right")
    found = {(row["tenant_id"], row["resource"]): row for row in run["resources"]}
    for tenant_id, name in context.tenant_names.items():
        rows = [found[tenant_id, resource] for resource in RESOURCES]
        table.add_row(f"   {name}", *(f"{row['fetched'] - row['skipped']:,}" for row in rows))
    return table
