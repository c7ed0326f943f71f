"""What a control request brings, and how it may be refused."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from simulator.books.organisation import Organisation
from simulator.state import World

T = TypeVar("T")


class Refused(Exception):
    """The request cannot be done; the message says why and what to do."""


@dataclass(slots=True, kw_only=True)
class Ask:
    """`parts` are the placeholders of the path, `body` the decoded JSON object (empty if none was sent)."""

    world: World
    parts: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)

    def books(self, tenant_id: str | None = None) -> Organisation:
        wanted = self.parts["tenant_id"] if tenant_id is None else tenant_id
        found = self.world.organisation(wanted)
        if found is None:
            raise Refused(f"There is no tenant {wanted}; GET /_control/tenants lists them.")
        return found

    def read(self, shape: type[T]) -> T:
        """The body as the given structure."""
        try:
            return msgspec.convert(self.body, shape, strict=False)
        except msgspec.ValidationError as error:
            raise Refused(f"This body does not fit: {error}. GET /_control shows what does.") from error
