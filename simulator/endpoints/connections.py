"""GET /connections and DELETE /connections/{id}: the tenants that a user has connected."""

from datetime import datetime
from http import HTTPStatus

import msgspec

from simulator.endpoints.context import RequestContext
from simulator.http import Response
from simulator.identity.model import Connection
from simulator.wire.errors import not_found

_JSON = "application/json; charset=utf-8"
_TICK_DIGIT = "0"


async def handle_connections(context: RequestContext) -> Response:
    """List the signed-in user's connections, or delete one."""
    return await context.produce_with_faults(lambda: _handle(context))


async def _handle(context: RequestContext) -> Response:
    user = context.access_token().consent.user
    connection_id = context.request.path.strip("/").partition("/")[2]
    if context.request.method == "DELETE" and connection_id:
        dropped = context.state.connections.remove(user.id, connection_id)
        return Response(HTTPStatus.NO_CONTENT) if dropped else not_found()
    if context.request.method != "GET" or connection_id:
        return not_found()
    rows = context.state.connections.list_of_user(user.id, context.request.query.get("autheventid"))
    return Response(body=msgspec.json.encode([_connection_fields(context, row) for row in rows]), content_type=_JSON)


def _connection_fields(context: RequestContext, row: Connection) -> dict[str, str]:
    organisation = context.state.organisations[row.tenant_id]
    return {
        "id": row.id,
        "authEventId": row.auth_event_id,
        "tenantId": row.tenant_id,
        "tenantType": organisation.tenant_type,
        "tenantName": organisation.name,
        "createdDateUtc": format_timestamp(row.created),
        "updatedDateUtc": format_timestamp(row.updated),
    }


def format_timestamp(instant: datetime) -> str:
    """Return `2019-07-09T23:40:30.1833130`: UTC without a zone, with seven decimals (100 nanoseconds)."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%f") + _TICK_DIGIT
