"""The demo's steps that concern billing: data of the PSA, matching, a webhook and an alert, a summary, a timeline."""

import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from rich.table import Table

from app.cli.demo.context import INTEGRATION_PATH, DemoContext, DemoFailed, wait_for
from app.clock import SystemClock

FOLLOWED_EXTERNAL_ID = "demo-customer"
TIMELINE_EVENTS = 8


async def send_psa_data(context: DemoContext) -> None:
    """Send customers, a service and a ticket as the PSA does.

    One customer is spelled differently than in Xero, and two could both be the same contact in Xero, whose name neither
    has letter by letter. This comes before the first sync, because the PSA's customers exist before Xero is connected.
    """
    context.begin_step("Send the PSA's customers, services and tickets")
    context.followed_customer, context.ambiguous_customer = await _choose_customers(context)
    customers = [
        {"external_id": FOLLOWED_EXTERNAL_ID, "name": f"{context.followed_customer.upper()} LTD."},
        {"external_id": "demo-ambiguous-1", "name": f"{context.ambiguous_customer} Ltd"},
        {"external_id": "demo-ambiguous-2", "name": f"The {context.ambiguous_customer} Limited"},
    ]
    service = {
        "external_id": "demo-service",
        "customer_external_id": FOLLOWED_EXTERNAL_ID,
        "name": "Managed desktop, 25 seats",
        "monthly_amount": "1450.00",
        "currency": "AUD",
        "starts_on": "2025-07-01",
    }
    ticket = {
        "external_id": "demo-ticket",
        "customer_external_id": FOLLOWED_EXTERNAL_ID,
        "at": (SystemClock().now() - timedelta(hours=3)).isoformat(),
        "kind": "ticket",
        "title": "Ticket #4821: printer offline",
    }
    for name, items in (("customers", customers), ("services", [service]), ("timeline-events", [ticket])):
        counts = await context.send("PUT", f"/api/psa/{name}", {"items": items})
        context.console.print(f"   {name}: {counts['created']} created, {counts['unchanged']} unchanged")


async def show_matches(context: DemoContext) -> str:
    """Show which contacts were matched and which wait for review; return the followed customer's id."""
    context.begin_step("Match Xero's contacts to the PSA's customers")
    matched = (await context.get("/api/matches", state="matched", limit="200"))["items"]
    suggested = (await context.get("/api/matches", state="suggested", limit="200"))["items"]
    for link in matched:
        customer = await context.get(f"/api/customers/{link['customer_id']}")
        tenant = context.tenant_names.get(link["tenant_id"], link["tenant_id"])
        context.console.print(f"   [green]✓[/] {link['name']} is {customer['name']}  [dim]{tenant}[/]")
    ambiguous = [link for link in suggested if link["name"] == context.ambiguous_customer]
    for link in ambiguous[:2]:
        candidates = ", ".join(f"{each['name']} ({float(each['score']):.2f})" for each in link["candidates"])
        context.console.print(f"   [yellow]?[/] {link['name']}: {candidates}  [dim]not matched automatically[/]")
    context.console.print(f"   {len(suggested)} wait in the review queue for a person to decide")
    followed = [link["customer_id"] for link in matched if link["name"] == context.followed_customer]
    if not followed or not ambiguous:
        raise DemoFailed("a unique name should have been matched, and an ambiguous one should wait for review")
    return str(followed[0])


async def receive_webhook(context: DemoContext, customer_id: str) -> None:
    """Pay an overdue invoice in the simulator: a webhook updates it here, and its alert is resolved."""
    context.begin_step("Receive a webhook, and see an alert resolved")
    probes = await context.control("POST", "/webhook/probe", {})
    context.console.print(f"   intent to receive: [green]{_check_probes(probes)}[/]")
    alert = await _find_overdue_alert(context, customer_id)
    context.console.print(f"   [yellow]![/] {alert['title']} [dim]{alert['severity']}, {alert['detail']}[/]")
    invoice = await context.get(f"/api/invoices/{alert['subject']['id']}")
    edit = {"edit": "pay", "invoice_id": invoice["external_id"], "webhook": True}
    await context.control("POST", f"/tenants/{invoice['tenant_id']}/edits", edit)
    seconds = await _wait_until_paid(context, invoice["id"])
    amount = f"{invoice['currency']} {invoice['balance']}"
    context.console.print(
        f"   {invoice['number']} over {amount}: [green]paid[/] here [bold]{seconds:.2f} s[/] after the webhook"
    )
    await context.finish_run(await context.send("POST", f"{INTEGRATION_PATH}/sync"))
    await _wait_until_resolved(context, customer_id, alert["id"])
    context.console.print("   [green]✓[/] the next tick resolved the alert")


async def show_summary(context: DemoContext, customer_id: str, timezone: str) -> None:
    """Show a customer's billing summary next to the outstanding amounts in the simulator's books."""
    context.begin_step("Show a customer's billing summary")
    customer = await context.get(f"/api/customers/{customer_id}")
    summary = await context.get(f"/api/customers/{customer_id}/billing")
    outstanding = await _outstanding_in_simulator(context, customer)
    table = Table(title=f"{customer['name']}, {summary['month']}", header_style="dim", title_justify="left")
    table.add_column("", min_width=3)
    for column in ("this month", "outstanding", "in Xero", "overdue", "credit", "MRR"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in summary["currencies"]:
        in_xero = f"{outstanding.get(row['currency'], Decimal(0)):.2f}"
        overdue = f"{row['overdue']} ({row['overdue_count']})"
        figures = (row["invoiced_this_month"], row["outstanding"], in_xero, overdue, row["unapplied_credit"])
        table.add_row(row["currency"], *figures, row["contracted_mrr"])
        if Decimal(row["outstanding"]) != Decimal(in_xero):
            raise DemoFailed(f"outstanding is {row['outstanding']} here and {in_xero} in the Xero simulator")
    context.console.print(table)
    context.console.print("   [dim]'in Xero' is the sum of the invoices in the simulator's books.[/]")
    context.console.print(f"   [dim]As of {summary['data_as_of']}, months in {timezone}.[/]")


async def show_timeline(context: DemoContext, customer_id: str) -> None:
    """Show a customer's newest timeline events, of Xero and of the PSA."""
    context.begin_step("Show the customer's timeline")
    events = (await context.get(f"/api/customers/{customer_id}/timeline", limit=str(TIMELINE_EVENTS)))["items"]
    for event in events:
        amount = f"{event['currency']} {event['amount']}" if event["amount"] else ""
        context.console.print(f"   {event['at'][:10]}  {event['source']:<5} {event['title']}  [dim]{amount}[/]")
    if "psa" not in {event["source"] for event in events}:
        raise DemoFailed("the PSA's ticket should be in the merged timeline")


async def _choose_customers(context: DemoContext) -> tuple[str, str]:
    """Return two names from the first organisation's books: a customer with overdue invoices, and another one."""
    tenants = [row for row in await context.control("GET", "/tenants") if row["tenant_type"] == "ORGANISATION"]
    state_path = f"/tenants/{tenants[0]['tenant_id']}/state"
    contacts = (await context.control("GET", f"{state_path}?resource=Contacts"))["Contacts"]
    invoices = (await context.control("GET", f"{state_path}?resource=Invoices"))["Invoices"]
    today = SystemClock().now().date().isoformat()
    overdue = Counter(row["contact_id"] for row in invoices if _is_outstanding(row) and str(row["due_on"]) < today)
    name_counts = Counter(row["name"].lower() for row in contacts)
    usable = [row for row in contacts if row["is_customer"] and name_counts[row["name"].lower()] == 1]
    usable.sort(key=lambda row: (-overdue[row["id"]], row["name"]))
    return str(usable[0]["name"]), str(usable[1]["name"])


def _check_probes(probes: Mapping[str, Any]) -> str:
    if not probes["ok"]:
        problems = {problem for delivery in probes["deliveries"] for problem in delivery["problems"]}
        raise DemoFailed(f"the webhook's probes were not answered as Xero requires: {', '.join(sorted(problems))}")
    return f"OK ({len(probes['deliveries'])} probes, most of them with a wrong signature on purpose)"


async def _find_overdue_alert(context: DemoContext, customer_id: str) -> Any:  # noqa: ANN401 - JSON
    """Wait for an alert of an overdue invoice; alerts are refreshed after a run has ended."""

    async def find() -> Any:  # noqa: ANN401 - JSON
        query = {"trigger": "invoice_overdue", "status": "open", "customer_id": customer_id}
        return next(iter((await context.get("/api/alerts", **query))["items"]), None)

    return await wait_for(find, "no alert was opened for an overdue invoice")


async def _wait_until_paid(context: DemoContext, invoice_id: str) -> float:
    """Return after how many seconds the invoice was paid here."""
    started_at = time.monotonic()

    async def find() -> float | None:
        invoice = await context.get(f"/api/invoices/{invoice_id}")
        return time.monotonic() - started_at if invoice["status"] == "paid" else None

    return await wait_for(find, "the paid invoice did not become visible")


async def _wait_until_resolved(context: DemoContext, customer_id: str, alert_id: str) -> None:
    """Wait for the alert's resolution; alerts are refreshed after a run has ended."""

    async def find() -> bool | None:
        resolved = await context.get("/api/alerts", status="resolved", customer_id=customer_id, limit="200")
        return True if alert_id in [each["id"] for each in resolved["items"]] else None

    await wait_for(find, "the alert of a paid invoice is still open after a tick")


async def _outstanding_in_simulator(context: DemoContext, customer: Mapping[str, Any]) -> dict[str, Decimal]:
    """Return what the customer owes according to the simulator's books, by currency."""
    outstanding: dict[str, Decimal] = {}
    for link in customer["links"]:
        state = await context.control("GET", f"/tenants/{link['tenant_id']}/state?resource=Invoices")
        for row in state["Invoices"]:
            if _is_outstanding(row) and row["contact_id"] == link["external_id"]:
                amount = Decimal(row["amount_due"])
                outstanding[row["currency"]] = outstanding.get(row["currency"], Decimal(0)) + amount
    return outstanding


def _is_outstanding(invoice: Mapping[str, Any]) -> bool:
    return bool(invoice["type"] == "ACCREC" and invoice["status"] == "AUTHORISED")
