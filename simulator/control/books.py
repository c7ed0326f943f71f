"""Control of what organisations hold: list, read, edit, switch, disconnect."""

from typing import Any

import msgspec

from simulator.books.editor import Change, Desk, EditRefused
from simulator.books.edits import parse_edit
from simulator.books.organisation import RESOURCES, Organisation
from simulator.control.instants import parse_instant
from simulator.control.request import Ask, Refused
from simulator.control.serialization import plain_organisation, plain_row, plain_rows


class Switches(msgspec.Struct, forbid_unknown_fields=True):
    """What may be set for one organisation; what is left out stays."""

    name: str | None = None
    is_high_volume: bool | None = None
    is_offline: bool | None = None


async def list_tenants(ask: Ask) -> object:
    """All tenants with their row counts."""
    return [plain_organisation(books) for books in ask.world.organisations.values()]


async def switch_tenant(ask: Ask) -> object:
    """Set name, is_high_volume, is_offline of a tenant."""
    books, switches = ask.books(), ask.read(Switches)
    for field in switches.__struct_fields__:
        value = getattr(switches, field)
        if value is not None:
            setattr(books, field, value)
    return plain_organisation(books)


async def read_state(ask: Ask) -> object:
    """Every row of a tenant by resource, or of `?resource=` alone, as an oracle wants them."""
    books = ask.books()
    wanted = ask.query.get("resource")
    if wanted is not None and wanted not in RESOURCES:
        raise Refused(f"There is no resource {wanted}; there are {', '.join(RESOURCES)}.")
    resources = [resource for resource in RESOURCES if wanted in (None, resource)]
    return {resource: plain_rows(books, resource) for resource in resources}


async def edit(ask: Ask) -> object:
    """Do one edit, or the list `edits`; `webhook: true` tells of them at once, `at` sets the stamp they get."""
    books = ask.books()
    envelope = dict(ask.body)
    webhook, at = bool(envelope.pop("webhook", False)), envelope.pop("at", None)
    edits = envelope.get("edits", [envelope])
    now = ask.world.clock.now_ms() if at is None else parse_instant(at)
    changes = [change for document in edits for change in _apply(ask, books, document, now)]
    events = ask.world.webhooks.events_of(books, changes) if webhook else []
    delivery = await ask.world.webhooks.send(events) if events else None
    return {"changes": [_plain_change(change) for change in changes], "delivery": delivery}


async def drop_tenant(ask: Ask) -> object:
    """Take a tenant from /connections for every user, as its administrator can within Xero."""
    return {"removed": ask.world.connections.drop_tenant(ask.books().tenant_id)}


def _apply(ask: Ask, books: Organisation, document: object, now: int) -> list[Change]:
    desk = Desk(books, ask.world.options, ask.world.rng, now)
    try:
        return parse_edit(document).apply(desk)
    except EditRefused as refusal:
        raise Refused(str(refusal)) from refusal


def _plain_change(change: Change) -> dict[str, Any]:
    row = plain_row(change.resource, change.row)
    return {"resource": change.resource, "event_type": change.event_type, "id": change.row.id, "row": row}
