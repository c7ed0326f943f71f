"""Connections: which tenants a grant reaches."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Struct

from app.connector import AccessExpired, AnswerUnreadable, ConnectorError, Organisation
from app.xero.client import PATIENCE, Answer, send
from app.xero.refusals import EXPIRED, refusal
from app.xero.values import Unreadable, read_instant
from app.xero.wire import UNREADABLE

OK, NO_CONTENT, UNAUTHORIZED, NOT_FOUND = 200, 204, 401, 404


class Connection(Struct):
    id: str
    tenantId: str  # noqa: N815 - Xero's spelling
    tenantType: str  # noqa: N815 - Xero's spelling
    tenantName: str | None = None  # noqa: N815 - Xero's spelling
    authEventId: str | None = None  # noqa: N815 - Xero's spelling
    updatedDateUtc: str | None = None  # noqa: N815 - Xero's spelling


async def list_connections(http: httpx.AsyncClient, api_url: str, access_token: str) -> Sequence[Organisation]:
    """Return every tenant the user ever connected and did not drop, practices included."""
    answer = await _ask_connections(http, "GET", f"{api_url}/connections", access_token)
    if answer.status != OK:
        raise _connections_refusal(answer)
    try:
        return [_organisation(row) for row in msgspec.json.decode(answer.body, type=list[Connection])]
    except UNREADABLE:
        raise AnswerUnreadable("Xero's list of connections is not in its form.", answer.traffic) from None


async def drop_connection(http: httpx.AsyncClient, api_url: str, access_token: str, connection_id: str) -> None:
    """Take one tenant out of the grant; the tokens stay good for the others."""
    address = f"{api_url}/connections/{quote(connection_id, safe='')}"
    answer = await _ask_connections(http, "DELETE", address, access_token)
    if answer.status not in (OK, NO_CONTENT, NOT_FOUND):
        raise _connections_refusal(answer)


async def _ask_connections(http: httpx.AsyncClient, method: str, url: str, access_token: str) -> Answer:
    headers = {
        "Authorization": f"Bearer {access_token}",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
    }
    return await send(http, http.build_request(method, url, headers=headers, timeout=PATIENCE))


def _connections_refusal(answer: Answer) -> ConnectorError:
    """No scope is needed for the list of connections, so a 401 there can only mean the token."""
    if answer.status == UNAUTHORIZED:
        return AccessExpired(EXPIRED, answer.traffic)
    return refusal(answer)


def _organisation(row: Connection) -> Organisation:
    tenant_id = row.tenantId.lower()
    return Organisation(
        tenant_id=tenant_id,
        name=(row.tenantName or "").replace("\0", "") or f"Organisation {tenant_id[:8]}",
        connection_id=row.id,
        has_billing=row.tenantType.upper() == "ORGANISATION",
        consent_id=row.authEventId and row.authEventId.lower(),
        updated_at=_read_stamp(row.updatedDateUtc),
    )


def _read_stamp(text: str | None) -> datetime | None:
    try:
        return read_instant(text or "")
    except Unreadable:
        return None
