"""Control operations on faults: add, list, remove."""

from typing import Any

import msgspec

from simulator.control.request import ControlRequest, InvalidControlRequest
from simulator.faults import Fault, FaultRule


async def add_fault(request: ControlRequest) -> object:
    """Add a fault; its fields are listed under `fault`, its kinds under `fault_kinds`."""
    try:
        return _fault_rule_json(request.state.faults.add(request.parse_body(Fault)))
    except ValueError as error:
        raise InvalidControlRequest(str(error)) from error


async def list_faults(request: ControlRequest) -> object:
    """All faults, and how often each was injected."""
    return [_fault_rule_json(rule) for rule in request.state.faults.rules]


async def clear_faults(request: ControlRequest) -> object:
    """Remove all faults."""
    request.state.faults.clear()
    return []


async def remove_fault(request: ControlRequest) -> object:
    """Remove one fault."""
    request.state.faults.remove(int(request.path_params["fault_id"]))
    return await list_faults(request)


def _fault_rule_json(rule: FaultRule) -> dict[str, Any]:
    return {"id": rule.id, "struck": rule.injected_count, **msgspec.to_builtins(rule.fault)}
