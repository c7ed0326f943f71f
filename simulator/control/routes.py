"""The verbs of the control API, their routes, and the page that lists them."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.books.edits import AnyEdit
from simulator.control import books, surroundings, webhooks
from simulator.control.request import Ask, Refused
from simulator.faults import KINDS, Fault
from simulator.state import World

Verb = Callable[[Ask], Awaitable[object]]

VERBS: tuple[tuple[str, str, Verb], ...] = (
    ("GET", "/tenants", books.list_tenants),
    ("PATCH", "/tenants/{tenant_id}", books.switch_tenant),
    ("GET", "/tenants/{tenant_id}/state", books.read_state),
    ("POST", "/tenants/{tenant_id}/edits", books.edit),
    ("DELETE", "/tenants/{tenant_id}/connections", books.drop_tenant),
    ("POST", "/faults", surroundings.add_fault),
    ("GET", "/faults", surroundings.list_faults),
    ("DELETE", "/faults", surroundings.clear_faults),
    ("DELETE", "/faults/{fault_id}", surroundings.remove_fault),
    ("GET", "/ledger", surroundings.read_ledger),
    ("DELETE", "/ledger", surroundings.clear_ledger),
    ("GET", "/stats", surroundings.read_stats),
    ("GET", "/clock", surroundings.read_clock),
    ("POST", "/clock", surroundings.change_clock),
    ("POST", "/limits/use", surroundings.use_limits),
    ("DELETE", "/limits", surroundings.clear_limits),
    ("GET", "/options", surroundings.read_options),
    ("PATCH", "/options", surroundings.change_options),
    ("POST", "/reset", surroundings.reset),
    ("GET", "/users", surroundings.list_users),
    ("PUT", "/user", surroundings.choose_user),
    ("PUT", "/consent", surroundings.choose_consent),
    ("GET", "/tokens", surroundings.list_tokens),
    ("POST", "/tokens/expire", surroundings.expire_tokens),
    ("POST", "/tokens/revoke", surroundings.revoke_tokens),
    ("PUT", "/webhook", webhooks.configure),
    ("POST", "/webhook/probe", webhooks.probe),
    ("POST", "/webhook/send", webhooks.send),
    ("GET", "/webhook/deliveries", webhooks.list_deliveries),
    ("POST", "/webhook/deliveries/{delivery_id}", webhooks.redeliver),
)


def control_routes(world: World) -> list[Route]:
    routes = [_route(world, method, path, verb) for method, path, verb in VERBS]
    return [_route(world, "GET", "", _describe), *routes]


def _route(world: World, method: str, path: str, verb: Verb) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return _json(await verb(await _read(world, request)))
        except Refused as refusal:
            return _json({"error": str(refusal)}, HTTPStatus.BAD_REQUEST)

    return Route(f"/_control{path}", endpoint, methods=[method])


async def _read(world: World, request: Request) -> Ask:
    raw = await request.body()
    try:
        body = msgspec.json.decode(raw) if raw else {}
    except msgspec.DecodeError as error:
        raise Refused(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise Refused("The body must be a JSON object.")
    parts = {name: str(value) for name, value in request.path_params.items()}
    return Ask(world=world, parts=parts, query=dict(request.query_params), body=body)


def _json(document: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")


async def _describe(_ask: Ask) -> object:
    """This list."""
    return {
        "verbs": [
            {"method": method, "path": f"/_control{path}", "does": (verb.__doc__ or "").strip()}
            for method, path, verb in VERBS
        ],
        "edits": {edit.__struct_config__.tag: _shape(edit) for edit in get_args(AnyEdit)},
        "fault": _shape(Fault),
        "fault_kinds": list(KINDS),
    }


def _shape(struct: Any) -> dict[str, object]:  # noqa: ANN401 - any msgspec structure
    described = msgspec.json.schema(struct)["$defs"][struct.__name__]
    return {"does": struct.__doc__, "fields": described["properties"], "required": described.get("required", [])}
