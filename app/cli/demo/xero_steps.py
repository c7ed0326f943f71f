"""The demo's steps on the side of Xero: connect, pick, sync, prove the mirror equal."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from rich.table import Table

from app.cli.demo.context import (
    CARD,
    CLIENT_ID,
    CLIENT_SECRET,
    PATIENCE,
    POLL_SECONDS,
    WEBHOOK_KEY,
    DemoContext,
    DemoFailed,
)
from app.cli.progress_bars import ProgressBars

RESOURCES = ("contacts", "invoices", "credit_memos", "payments")


async def connect(context: DemoContext) -> None:
    context.announce("Connect")
    card = await context.get(CARD)
    context.console.print(f"   redirect URI to copy into Xero: [bold]{card['redirect_uri']}[/]")
    body = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "scope_set": "broad"}
    await context.send("PUT", f"{CARD}/credentials", body)
    await context.send("PUT", f"{CARD}/webhook-key", {"signing_key": WEBHOOK_KEY})
    started = await context.send("POST", f"{CARD}/connect", {})
    consent = await context.xero.get(started["authorization_url"])
    back = await context.api.get(consent.headers["location"])
    outcome = back.headers.get("location", "")
    if not outcome.endswith("?xero=connected"):
        raise DemoFailed(f"the consent ended at {outcome or back.text}")
    card = await context.get(CARD)
    context.console.print(
        f"   consent given; state [green]{card['state']}[/], granted: {', '.join(card['scopes_granted'])}"
    )


async def pick(context: DemoContext) -> None:
    context.announce("Pick organisations")
    listed = (await context.get(f"{CARD}/tenants"))["items"]
    context.names = {tenant["tenant_id"]: tenant["name"] for tenant in listed}
    for tenant in listed:
        context.console.print(f"   [green]✓[/] {tenant['name']}  [dim]{tenant['tenant_id']}[/]")
    context.console.print("   [dim]Practices carry no billing data and are not offered.[/]")
    await context.send("PUT", f"{CARD}/tenants", {"tenant_ids": list(context.names)})


async def sync(context: DemoContext) -> None:
    context.announce("Sync contacts, invoices, credit notes and payments")
    began = time.monotonic()
    run = await context.send("POST", f"{CARD}/sync")
    with ProgressBars(context.console, context.names) as bars:
        run = await _follow(context, run["id"], bars)
    context.console.print(_figures(context, run))
    calls = sum(resource["calls"] for resource in run["resources"])
    created = sum(resource["created"] for resource in run["resources"])
    took = time.monotonic() - began
    context.console.print(f"   {run['status']} in {took:.1f} s with {calls} calls; {created:,} of the rows are new")
    if run["status"] != "succeeded":
        raise DemoFailed(f"the sync ended {run['status']}: {run['error']}")


async def _follow(context: DemoContext, run_id: str, bars: ProgressBars) -> Any:  # noqa: ANN401 - JSON
    """Draw the run from the stream of steps until it is over."""
    headers = {"Last-Event-ID": "0"}
    async with context.api.stream("GET", f"{CARD}/progress", headers=headers, timeout=PATIENCE) as stream:
        async for kind, step in _events(stream):
            if step.get("run_id") != run_id:
                continue
            if kind == "page":
                bars.draw(step)
            if kind == "run_finished":
                break
    return await context.get(f"{CARD}/runs/{run_id}")


async def _events(stream: httpx.Response) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    kind = ""
    async for line in stream.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def _figures(context: DemoContext, run: Mapping[str, Any]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2))
    table.add_column("   rows kept", no_wrap=True)
    for resource in RESOURCES:
        table.add_column(resource.replace("_", " "), justify="right")
    found = {(row["tenant_id"], row["resource"]): row for row in run["resources"]}
    for tenant_id, name in context.names.items():
        rows = [found[tenant_id, resource] for resource in RESOURCES]
        table.add_row(f"   {name}", *(f"{row['fetched'] - row['skipped']:,}" for row in rows))
    return table


async def reconcile(context: DemoContext) -> None:
    """Prove the mirror equal; a pretend Xero begun anew has forgotten an earlier demo's edits, which this heals."""
    context.announce("Compare the mirror with the books, whole")
    run = await context.send("POST", f"{CARD}/reconcile")
    while run["status"] == "running":
        await asyncio.sleep(POLL_SECONDS)
        run = await context.get(f"{CARD}/runs/{run['id']}")
    found = (await context.get(f"{CARD}/reconciliations", limit="200"))["items"]
    found = [finding for finding in found if finding["run_id"] == run["id"]]
    names = ("checked", "missing", "stale", "orphaned", "healed")
    figures = [f"{sum(finding[name] for finding in found):,} {name}" for name in names]
    context.console.print(f"   {run['status']}: {', '.join(figures)}")
    if run["status"] != "succeeded":
        raise DemoFailed(f"the comparison ended {run['status']}: {run['error']}")
