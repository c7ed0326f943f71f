"""Control operations on organisations and their books: list, read, edit, change, disconnect."""

from typing import Any

import msgspec

from simulator.books.editor import BooksEditor, Change, InvalidEdit
from simulator.books.edits import parse_edit
from simulator.books.organisation import RESOURCES, Organisation
from simulator.control.instants import parse_instant
from simulator.control.request import ControlRequest, InvalidControlRequest
from simulator.control.serialization import organisation_json, row_json, rows_json


class TenantChange(msgspec.Struct, forbid_unknown_fields=True):
    """The attributes of an organisation that may be changed; those left out stay."""

    name: str | None = None
    is_high_volume: bool | None = None
    is_offline: bool | None = None


async def list_tenants(request: ControlRequest) -> object:
    """All tenants with their row counts."""
    return [organisation_json(books) for books in request.state.organisations.values()]


async def change_tenant(request: ControlRequest) -> object:
    """Set name, is_high_volume, is_offline of a tenant."""
    books, change = request.books(), request.parse_body(TenantChange)
    for field in change.__struct_fields__:
        value = getattr(change, field)
        if value is not None:
            setattr(books, field, value)
    return organisation_json(books)


async def read_state(request: ControlRequest) -> object:
    """All rows of a tenant by resource, or only those of `?resource=`."""
    books = request.books()
    wanted = request.query.get("resource")
    if wanted is not None and wanted not in RESOURCES:
        raise InvalidControlRequest(f"There is no resource {wanted}; there are {', '.join(RESOURCES)}.")
    resources = [resource for resource in RESOURCES if wanted in (None, resource)]
    return {resource: rows_json(books, resource) for resource in resources}


async def edit_tenant(request: ControlRequest) -> object:
    """Make one edit, or the list `edits`; `webhook: true` sends the webhook at once, `at` sets UpdatedDateUTC."""
    books = request.books()
    body = dict(request.body)
    webhook, at = bool(body.pop("webhook", False)), body.pop("at", None)
    edits = body.get("edits", [body])
    now = request.state.clock.now_ms() if at is None else parse_instant(at)
    changes = [change for document in edits for change in _apply(request, books, document, now)]
    events = request.state.webhooks.build_events(books, changes) if webhook else []
    delivery = await request.state.webhooks.send(events) if events else None
    return {"changes": [_change_json(change) for change in changes], "delivery": delivery}


async def remove_tenant(request: ControlRequest) -> object:
    """Remove a tenant from /connections for every user, as its administrator can within Xero."""
    return {"removed": request.state.connections.remove_tenant(request.books().tenant_id)}


def _apply(request: ControlRequest, books: Organisation, document: object, now: int) -> list[Change]:
    editor = BooksEditor(books, request.state.options, request.state.rng, now)
    try:
        return parse_edit(document).apply(editor)
    except InvalidEdit as error:
        raise InvalidControlRequest(str(error)) from error


def _change_json(change: Change) -> dict[str, Any]:
    row = row_json(change.resource, change.row)
    return {"resource": change.resource, "event_type": change.event_type, "id": change.row.id, "row": row}
