"""`vectis-xero status` and `vectis-xero check`: how the connection stands, on one screen or as JSON."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from app.api.deps import Services
from app.api.integrations.status import IntegrationStatus, PreflightResponse, describe_status
from app.api.integrations.tenants import TenantResponse
from app.clock import SystemClock
from app.connections import tenants
from app.connections.states import ConnectionState, TenantHealth
from app.main import make_services
from app.settings import Settings
from app.sync.engine import Engine

# What is worst comes first; whoever reads one screen sees it.
WORST_FIRST = (
    TenantHealth.REMOVED,
    TenantHealth.FORBIDDEN,
    TenantHealth.FAILING,
    TenantHealth.PAUSED,
    TenantHealth.RATE_LIMITED,
    TenantHealth.PARTIAL,
    TenantHealth.FIRST_SYNC,
    TenantHealth.SYNCING,
    TenantHealth.HEALTHY,
)
MOST_ORGANISATIONS = 15
STATES: Mapping[str, str] = {
    ConnectionState.NOT_CONFIGURED: "not set up: client id and secret are missing",
    ConnectionState.NOT_CONNECTED: "not connected: nobody has signed in yet",
    ConnectionState.CHOOSE_TENANTS: "connected, but no organisation is picked",
    ConnectionState.CONNECTED: "connected",
    ConnectionState.RECONNECT_REQUIRED: "the connection has ended: connect again",
    ConnectionState.NEEDS_PERMISSION: "connected, but a permission is missing",
}
MARKS = {"passed": "passed", "failed": "FAILED", "not_yet": "not yet"}


async def report_from_settings(settings: Settings, report: Callable[[Services], Awaitable[int]]) -> int:
    """Make services from the settings, and return the exit status of a report on them."""
    async with httpx.AsyncClient(follow_redirects=False) as http:
        services = make_services(settings, SystemClock(), http)
        try:
            return await report(services)
        finally:
            await services.close()


async def print_status(services: Services, *, as_json: bool) -> int:
    """Print how every vendor's connection stands; return 0 when all are healthy, 1 when something needs a person."""
    found = {engine.profile.name: await _read_status(services, engine) for engine in services.engines.values()}
    is_healthy = all(_is_healthy(status) for status, _ in found.values())
    if as_json:
        print_json({"healthy": is_healthy, "vendors": [_as_json(*each) for each in found.values()]})
    else:
        for name, (status, picked) in found.items():
            _print_vendor(name, status, picked)
    return 0 if is_healthy else 1


async def print_check(services: Services, *, as_json: bool) -> int:
    """Run the pre-flight check of every vendor and print it; return 0 exactly when everything passed."""
    found = {
        vendor: PreflightResponse.model_validate(await engine.check(), from_attributes=True)
        for vendor, engine in services.engines.items()
    }
    is_ok = all(one.ok for one in found.values())
    if as_json:
        checks = [{"vendor": vendor, **each.model_dump()} for vendor, one in found.items() for each in one.checks]
        print_json({"ok": is_ok, "summary": " ".join(one.summary for one in found.values()), "checks": checks})
    else:
        for one in found.values():
            _print_checks(one)
    return 0 if is_ok else 1


def print_json(value: object) -> None:
    """Print a value as JSON for another program."""
    _print_line(json.dumps(value, indent=2, ensure_ascii=False))


def _print_line(text: str, style: str | None = None) -> None:
    """Print a line as it is: neither wrapped nor coloured by what it holds."""
    Console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)


async def _read_status(services: Services, engine: Engine) -> tuple[IntegrationStatus, list[TenantResponse]]:
    async with services.db.transaction() as session:
        status = describe_status(engine, await engine.status.read_overview(session), is_admin=True)
        rows = [row for row in await tenants.list_all_tenants(session, engine.vendor) if row.is_selected]
        views = [TenantResponse.model_validate(view) for view in await engine.status.read_tenants(session, rows)]
    return status, sorted(views, key=lambda view: (WORST_FIRST.index(TenantHealth(view.health)), view.name.lower()))


def _is_healthy(status: IntegrationStatus) -> bool:
    return status.state == ConnectionState.CONNECTED and status.needs_attention == 0


def _as_json(status: IntegrationStatus, picked: Sequence[TenantResponse]) -> dict[str, Any]:
    return {**status.model_dump(mode="json"), "organisations": [view.model_dump(mode="json") for view in picked]}


def _print_vendor(name: str, status: IntegrationStatus, picked: Sequence[TenantResponse]) -> None:
    _print_line(f"{name}: {STATES[status.state]}", style="bold")
    as_of = f"{status.data_as_of:%d %b %Y, %H:%M} UTC" if status.data_as_of else "not known yet"
    until = f"{status.refresh_token_expires_at:%d %b %Y}" if status.refresh_token_expires_at else "not known yet"
    queue = status.webhook
    for label, value in (
        ("Figures as of", as_of),
        ("Webhook events", f"{queue.pending} waiting, {queue.failed} failed"),
        ("Reconnect before", until),
    ):
        _print_line(f"  {label + ':':<18}{value}")
    for banner in status.banners:
        _print_line(f"  [{banner.severity}] {banner.title}. {banner.body}")
    if picked:
        Console().print(_organisations(picked))
    if len(picked) > MOST_ORGANISATIONS:
        _print_line(f"  and {len(picked) - MOST_ORGANISATIONS} more; --json lists all.")


def _organisations(picked: Sequence[TenantResponse]) -> Table:
    table = Table(box=None, header_style="dim")
    for column in ("organisation", "health", "figures as of", "calls today"):
        table.add_column(column, no_wrap=True)
    for view in picked[:MOST_ORGANISATIONS]:
        as_of = f"{view.data_as_of:%d %b %H:%M}" if view.data_as_of else "never"
        calls = f"{view.calls_today:,} of {view.daily_cap:,}"
        health = view.health.replace("_", " ")
        table.add_row(view.name, health, as_of, calls)
    return table


def _print_checks(found: PreflightResponse) -> None:
    _print_line(found.summary, style="bold")
    for each in found.checks:
        _print_line(f"  {MARKS[each.state]:<8} {each.name}: {each.detail}")
        if each.fix and not each.ok:
            _print_line(f"           {each.fix}")
