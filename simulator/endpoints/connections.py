"""GET /connections and DELETE /connections/{id}: which tenants a user connected."""

from datetime import datetime
from http import HTTPStatus

import msgspec

from simulator.endpoints.context import Visit
from simulator.identity.model import Connection
from simulator.http import Answer
from simulator.wire.errors import not_found

_JSON = "application/json; charset=utf-8"
_MICROSECOND_DIGITS = "0"


async def answer_connections(visit: Visit) -> Answer:
    return await visit.faulty(lambda: _answer(visit))


async def _answer(visit: Visit) -> Answer:
    user = visit.token().consent.user
    connection_id = visit.call.path.strip("/").partition("/")[2]
    if visit.call.method == "DELETE" and connection_id:
        dropped = visit.world.connections.drop(user.id, connection_id)
        return Answer(HTTPStatus.NO_CONTENT) if dropped else not_found()
    if visit.call.method != "GET" or connection_id:
        return not_found()
    rows = visit.world.connections.of(user.id, visit.call.query.get("autheventid"))
    return Answer(body=msgspec.json.encode([_connection(visit, row) for row in rows]), content_type=_JSON)


def _connection(visit: Visit, row: Connection) -> dict[str, str]:
    organisation = visit.world.organisations[row.tenant_id]
    return {
        "id": row.id,
        "authEventId": row.auth_event_id,
        "tenantId": row.tenant_id,
        "tenantType": organisation.tenant_type,
        "tenantName": organisation.name,
        "createdDateUtc": seven_digits(row.created),
        "updatedDateUtc": seven_digits(row.updated),
    }


def seven_digits(moment: datetime) -> str:
    """`2019-07-09T23:40:30.1833130`: UTC without a Z, in units of 100 nanoseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + _MICROSECOND_DIGITS
