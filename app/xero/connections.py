"""Xero's connections: the tenants a grant gives access to."""

from collections.abc import Sequence
from datetime import datetime

import httpx
import msgspec
from msgspec import Struct

from app.connector import AccessExpired, AnswerUnreadable, ConnectorError, Organisation
from app.xero.client import TIMEOUT, Response, send
from app.xero.errors import EXPIRED, error_for
from app.xero.parsing import Unreadable, read_instant
from app.xero.wire import UNREADABLE

OK, UNAUTHORIZED = 200, 401


class Connection(Struct):
    id: str
    tenantId: str  # noqa: N815 - Xero's spelling
    tenantType: str  # noqa: N815 - Xero's spelling
    tenantName: str | None = None  # noqa: N815 - Xero's spelling
    authEventId: str | None = None  # noqa: N815 - Xero's spelling
    updatedDateUtc: str | None = None  # noqa: N815 - Xero's spelling


async def list_connections(http: httpx.AsyncClient, api_url: str, access_token: str) -> Sequence[Organisation]:
    """Return every tenant the user has connected and not disconnected since, practices included."""
    headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json", "Accept-Encoding": "gzip"}
    request = http.build_request("GET", f"{api_url}/connections", headers=headers, timeout=TIMEOUT)
    response = await send(http, request)
    if response.status != OK:
        raise _connections_error(response)
    try:
        return [_organisation(row) for row in msgspec.json.decode(response.body, type=list[Connection])]
    except UNREADABLE:
        raise AnswerUnreadable("Xero's list of connections is not in its form.", response.traffic) from None


def _connections_error(response: Response) -> ConnectorError:
    """Return the error of a response; a 401 means the token, because the list of connections needs no scope."""
    if response.status == UNAUTHORIZED:
        return AccessExpired(EXPIRED, response.traffic)
    return error_for(response)


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
