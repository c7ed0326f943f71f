"""The demo's steps on the side of billing: the PSA's customers, matching, a webhook, an alert's life, a summary."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from rich.table import Table

from app.cli.demo.context import CARD, PATIENCE, POLL_SECONDS, DemoContext, DemoFailed
from app.clock import SystemClock

HERO = "demo-hero"
NEWEST = 8


async def feed_psa(context: DemoContext) -> None:
    """Give the PSA's side first, since its customers are there before Xero is: one spelled otherwise, two alike."""
    context.announce("Feed the PSA's customers, services and tickets")
    followed_customer, ambiguous_customer = await _two_names(context)
    context.followed_customer, context.ambiguous_customer = followed_customer, ambiguous_customer
    customers = [
        {"external_id": HERO, "name": f"{followed_customer.upper()} LTD."},
        {"external_id": "demo-twin-1", "name": ambiguous_customer},
        {"external_id": "demo-twin-2", "name": f"The {ambiguous_customer} Limited"},
    ]
    service = {
        "external_id": "demo-service",
        "customer_external_id": HERO,
        "name": "Managed desktop, 25 seats",
        "monthly_amount": "1450.00",
        "currency": "AUD",
        "starts_on": "2025-07-01",
    }
    ticket = {
        "external_id": "demo-ticket",
        "customer_external_id": HERO,
        "at": (SystemClock().now() - timedelta(hours=3)).isoformat(),
        "kind": "ticket",
        "title": "Ticket #4821: printer offline",
    }
    for what, items in (("customers", customers), ("services", [service]), ("timeline-events", [ticket])):
        fed = await context.send("PUT", f"/api/psa/{what}", {"items": items})
        context.console.print(f"   {what}: {fed['created']} created, {fed['unchanged']} unchanged")


async def show_matches(context: DemoContext) -> str:
    """Show what was matched on its own and what waits for a person; return the hero's customer id."""
    context.announce("Match Xero's contacts to the PSA's customers")
    matched = (await context.get("/api/matches", state="matched", limit="200"))["items"]
    waiting = (await context.get("/api/matches", state="suggested", limit="200"))["items"]
    for link in matched:
        customer = await context.get(f"/api/customers/{link['customer_id']}")
        context.console.print(f"   [green]✓[/] {link['name']} is {customer['name']}  [dim]{_name(context, link)}[/]")
    twins = [link for link in waiting if link["name"] == context.ambiguous_customer]
    for link in twins[:2]:
        proposed = ", ".join(f"{each['name']} ({float(each['score']):.2f})" for each in link["candidates"])
        context.console.print(f"   [yellow]?[/] {link['name']}: {proposed}  [dim]not guessed[/]")
    context.console.print(f"   {len(waiting)} wait in the review queue for a person to decide")
    heroes = [link["customer_id"] for link in matched if link["name"] == context.followed_customer]
    if not heroes or not twins:
        raise DemoFailed("a unique name should have been matched, and an ambiguous one should wait")
    return str(heroes[0])


async def take_webhook(context: DemoContext, customer_id: str) -> None:
    """Have an overdue invoice paid in the pretend Xero: it shows here in moments, and its alert resolves."""
    context.announce("Take a webhook, and see an alert resolve")
    probes = await context.control("POST", "/webhook/probe", {})
    context.console.print(f"   intent to receive: [green]{_verdict(probes)}[/]")
    alert = await _open_alert(context, customer_id)
    context.console.print(f"   [yellow]![/] {alert['title']} [dim]{alert['severity']}, {alert['detail']}[/]")
    invoice = await context.get(f"/api/invoices/{alert['subject']['id']}")
    edit = {"edit": "pay", "invoice_id": invoice["external_id"], "webhook": True}
    await context.control("POST", f"/tenants/{invoice['tenant_id']}/edits", edit)
    took = await _until_paid(context, invoice["id"])
    owed = f"{invoice['currency']} {invoice['balance']}"
    context.console.print(
        f"   {invoice['number']} over {owed}: [green]paid[/] here [bold]{took:.2f} s[/] after the webhook"
    )
    await _sync_once_more(context)
    await _until_resolved(context, customer_id, alert["id"])
    context.console.print("   [green]✓[/] the next tick resolved the alert")


async def show_summary(context: DemoContext, customer_id: str, timezone: str) -> None:
    """Show a customer's figures beside what the pretend Xero's own books add up to."""
    context.announce("Answer for a customer")
    customer = await context.get(f"/api/customers/{customer_id}")
    summary = await context.get(f"/api/customers/{customer_id}/billing")
    truth = await _truth(context, customer)
    table = Table(title=f"{customer['name']}, {summary['month']}", header_style="dim", title_justify="left")
    table.add_column("", min_width=3)
    for column in ("this month", "outstanding", "in Xero", "overdue", "credit", "MRR"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in summary["currencies"]:
        owed = f"{truth.get(row['currency'], Decimal(0)):.2f}"
        overdue = f"{row['overdue']} ({row['overdue_count']})"
        figures = (row["invoiced_this_month"], row["outstanding"], owed, overdue, row["unapplied_credit"])
        table.add_row(row["currency"], *figures, row["contracted_mrr"])
        if Decimal(row["outstanding"]) != Decimal(owed):
            raise DemoFailed(f"outstanding is {row['outstanding']} here and {owed} in the pretend Xero")
    context.console.print(table)
    context.console.print("   [dim]'in Xero' is added up from the pretend Xero's own books.[/]")
    context.console.print(f"   [dim]As of {summary['data_as_of']}, months in {timezone}.[/]")


async def show_timeline(context: DemoContext, customer_id: str) -> None:
    context.announce("Tell what happened")
    events = (await context.get(f"/api/customers/{customer_id}/timeline", limit=str(NEWEST)))["items"]
    for event in events:
        amount = f"{event['currency']} {event['amount']}" if event["amount"] else ""
        context.console.print(f"   {event['at'][:10]}  {event['source']:<5} {event['title']}  [dim]{amount}[/]")
    if "psa" not in {event["source"] for event in events}:
        raise DemoFailed("the PSA's ticket should be in the merged timeline")


async def _two_names(context: DemoContext) -> tuple[str, str]:
    """Choose from the pretend Xero's first books: a customer with overdue invoices, and another."""
    tenants = [row for row in await context.control("GET", "/tenants") if row["tenant_type"] == "ORGANISATION"]
    first = tenants[0]["tenant_id"]
    state = await context.control("GET", f"/tenants/{first}/state?resource=Contacts")
    invoices = (await context.control("GET", f"/tenants/{first}/state?resource=Invoices"))["Invoices"]
    today = SystemClock().now().date().isoformat()
    overdue = Counter(
        row["contact_id"]
        for row in invoices
        if row["type"] == "ACCREC" and row["status"] == "AUTHORISED" and str(row["due_on"]) < today
    )
    times = Counter(row["name"].lower() for row in state["Contacts"])
    usable = [row for row in state["Contacts"] if row["is_customer"] and times[row["name"].lower()] == 1]
    usable.sort(key=lambda row: (-overdue[row["id"]], row["name"]))
    return str(usable[0]["name"]), str(usable[1]["name"])


def _name(context: DemoContext, link: Mapping[str, Any]) -> str:
    return context.names.get(link["tenant_id"], str(link["tenant_id"]))


def _verdict(probes: Mapping[str, Any]) -> str:
    if not probes["ok"]:
        problems = {problem for delivery in probes["deliveries"] for problem in delivery["problems"]}
        raise DemoFailed(f"the webhook's probes were not answered as Xero wants: {', '.join(sorted(problems))}")
    return f"OK ({len(probes['deliveries'])} probes, most of them wrongly signed on purpose)"


async def _open_alert(context: DemoContext, customer_id: str) -> Any:  # noqa: ANN401 - JSON
    """Wait for the overdue alerts, which are raised right after the tick."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        query = {"trigger": "invoice_overdue", "status": "open", "customer_id": customer_id}
        if items := (await context.get("/api/alerts", **query))["items"]:
            return items[0]
        await asyncio.sleep(POLL_SECONDS)
    raise DemoFailed("no alert was raised for an overdue invoice")


async def _until_paid(context: DemoContext, invoice_id: str) -> float:
    began = time.monotonic()
    while (await context.get(f"/api/invoices/{invoice_id}"))["status"] != "paid":
        if time.monotonic() - began > PATIENCE:
            raise DemoFailed("the paid invoice did not become visible")
        await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - began


async def _until_resolved(context: DemoContext, customer_id: str, alert_id: str) -> None:
    """Wait for the alert to end: alerts are looked at right after a tick, when its run is closed already."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        listed = await context.get("/api/alerts", status="resolved", customer_id=customer_id, limit="200")
        if alert_id in [each["id"] for each in listed["items"]]:
            return
        await asyncio.sleep(POLL_SECONDS)
    raise DemoFailed("the alert of a paid invoice is still open after a tick")


async def _sync_once_more(context: DemoContext) -> None:
    run = await context.send("POST", f"{CARD}/sync")
    while run["status"] == "running":
        await asyncio.sleep(POLL_SECONDS)
        run = await context.get(f"{CARD}/runs/{run['id']}")
    if run["status"] != "succeeded":
        raise DemoFailed(f"the sync ended {run['status']}: {run['error']}")


async def _truth(context: DemoContext, customer: Mapping[str, Any]) -> dict[str, Decimal]:
    """Add up what the pretend Xero itself holds as due from this customer, by currency."""
    owed: dict[str, Decimal] = {}
    for link in customer["links"]:
        state = await context.control("GET", f"/tenants/{link['tenant_id']}/state?resource=Invoices")
        for row in state["Invoices"]:
            is_owed = row["type"] == "ACCREC" and row["status"] == "AUTHORISED"
            if is_owed and row["contact_id"] == link["external_id"]:
                owed[row["currency"]] = owed.get(row["currency"], Decimal(0)) + Decimal(row["amount_due"])
    return owed
