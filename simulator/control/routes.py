"""The operations of the control API, their routes, and the list of them."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from inspect import getdoc
from typing import Any, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.books.edits import AnyEdit
from simulator.control import books, call_log, faults, identity, settings, webhooks
from simulator.control.request import ControlRequest, InvalidControlRequest
from simulator.faults import FAULT_KINDS, Fault
from simulator.state import SimulatorState

Operation = Callable[[ControlRequest], Awaitable[object]]

OPERATIONS: tuple[tuple[str, str, Operation], ...] = (
    ("GET", "/tenants", books.list_tenants),
    ("PATCH", "/tenants/{tenant_id}", books.change_tenant),
    ("GET", "/tenants/{tenant_id}/state", books.read_state),
    ("POST", "/tenants/{tenant_id}/edits", books.edit_tenant),
    ("DELETE", "/tenants/{tenant_id}/connections", books.remove_tenant),
    ("POST", "/faults", faults.add_fault),
    ("GET", "/faults", faults.list_faults),
    ("DELETE", "/faults", faults.clear_faults),
    ("DELETE", "/faults/{fault_id}", faults.remove_fault),
    ("GET", "/ledger", call_log.read_call_log),
    ("DELETE", "/ledger", call_log.clear_call_log),
    ("GET", "/stats", call_log.read_stats),
    ("GET", "/clock", settings.read_clock),
    ("POST", "/clock", settings.change_clock),
    ("POST", "/limits/use", settings.add_usage),
    ("DELETE", "/limits", settings.reset_limits),
    ("GET", "/options", settings.read_options),
    ("PATCH", "/options", settings.change_options),
    ("POST", "/reset", settings.reset_state),
    ("GET", "/users", identity.list_users),
    ("PUT", "/user", identity.change_user),
    ("PUT", "/consent", identity.change_consent),
    ("GET", "/tokens", identity.list_tokens),
    ("POST", "/tokens/expire", identity.expire_tokens),
    ("POST", "/tokens/revoke", identity.revoke_tokens),
    ("PUT", "/webhook", webhooks.configure),
    ("POST", "/webhook/probe", webhooks.probe),
    ("POST", "/webhook/send", webhooks.send),
    ("GET", "/webhook/deliveries", webhooks.list_deliveries),
    ("POST", "/webhook/deliveries/{delivery_id}", webhooks.redeliver),
)


def control_routes(state: SimulatorState) -> list[Route]:
    """Return the routes of all operations."""
    routes = [_route(state, method, path, operation) for method, path, operation in OPERATIONS]
    return [_route(state, "GET", "", _list_operations), *routes]


def _route(state: SimulatorState, method: str, path: str, operation: Operation) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return _json(await operation(await _read_request(state, request)))
        except InvalidControlRequest as error:
            return _json({"error": str(error)}, HTTPStatus.BAD_REQUEST)

    return Route(f"/_control{path}", endpoint, methods=[method])


async def _read_request(state: SimulatorState, request: Request) -> ControlRequest:
    raw = await request.body()
    try:
        body = msgspec.json.decode(raw) if raw else {}
    except msgspec.DecodeError as error:
        raise InvalidControlRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise InvalidControlRequest("The body must be a JSON object.")
    path_params = {name: str(value) for name, value in request.path_params.items()}
    return ControlRequest(state=state, path_params=path_params, query=dict(request.query_params), body=body)


def _json(document: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")


async def _list_operations(_request: ControlRequest) -> object:
    """All operations, edits and faults."""
    return {
        "verbs": [
            {"method": method, "path": f"/_control{path}", "does": getdoc(operation)}
            for method, path, operation in OPERATIONS
        ],
        "edits": {edit.__struct_config__.tag: _describe_struct(edit) for edit in get_args(AnyEdit)},
        "fault": _describe_struct(Fault),
        "fault_kinds": list(FAULT_KINDS),
    }


def _describe_struct(struct: Any) -> dict[str, object]:  # noqa: ANN401 - any msgspec structure
    schema = msgspec.json.schema(struct)["$defs"][struct.__name__]
    return {"does": getdoc(struct), "fields": schema["properties"], "required": schema.get("required", [])}
