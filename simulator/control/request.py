"""A request to the control API, and the error for one that is invalid."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from simulator.books.organisation import Organisation
from simulator.state import SimulatorState

T = TypeVar("T")


class InvalidControlRequest(Exception):
    """The request cannot be carried out; the message says why and what to do."""


@dataclass(slots=True, kw_only=True)
class ControlRequest:
    """A request to the control API: `path_params`, query parameters and the JSON object of the body, empty if none."""

    state: SimulatorState
    path_params: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)

    def books(self, tenant_id: str | None = None) -> Organisation:
        """Return the named organisation, by default the one in the path. Raises InvalidControlRequest."""
        wanted_id = self.path_params["tenant_id"] if tenant_id is None else tenant_id
        found = self.state.organisation(wanted_id)
        if found is None:
            raise InvalidControlRequest(f"There is no tenant {wanted_id}; GET /_control/tenants lists them.")
        return found

    def parse_body(self, struct: type[T]) -> T:
        """Return the body as the given structure. Raises InvalidControlRequest."""
        try:
            return msgspec.convert(self.body, struct, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidControlRequest(f"This body does not fit: {error}. GET /_control shows what does.") from error
