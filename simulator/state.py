"""The state of the simulator, and its reset."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

import httpx

from simulator.books.generator import generate_organisations
from simulator.books.organisation import Organisation
from simulator.call_log import CallLog
from simulator.clock import Clock
from simulator.faults import FaultInjector
from simulator.identity.connections import Connections
from simulator.identity.model import User
from simulator.identity.tokens import TokenIssuer
from simulator.limits import Limits
from simulator.options import SimulatorOptions
from simulator.webhooks import WebhookSender


@dataclass(slots=True)
class ConsentPolicy:
    """Whether the login page asks the user or decides at once. `tenants` None: all that the user may connect."""

    automatic: bool = False
    decision: str = "allow"
    tenants: frozenset[str] | None = None


class SimulatorState:
    """The state that all endpoints read on each request, so that it may be changed while the simulator runs."""

    def __init__(
        self,
        options: SimulatorOptions,
        time_source: Callable[[], datetime],
        webhook_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._time_source = time_source
        self._webhook_transport = webhook_transport
        self.clock = Clock(time_source, options.clock_rate)
        self.options = options
        self.reset(options)

    def reset(self, options: SimulatorOptions) -> None:
        """Generate new books, forget all tokens, faults and recorded calls, and reset the clock."""
        self.options = options
        self.clock = Clock(self._time_source, options.clock_rate)
        self.rng = Random(options.seed)  # noqa: S311 - the simulator needs repeatable random numbers
        self.organisations = generate_organisations(options, self.clock.now_ms())
        self.users = {row.id: row for row in (_make_user(0), _make_user(1))}
        self.user = next(iter(self.users.values()))
        self.consent = ConsentPolicy(automatic=options.auto_consent)
        self.connections = Connections()
        self.tokens = TokenIssuer(self.clock, options)
        self.limits = Limits(self.clock, options)
        self.faults = FaultInjector(Random(options.seed))  # noqa: S311 - as above
        self.call_log = CallLog(self.clock)
        self.webhooks = WebhookSender(self.clock, options, self.rng, self._webhook_transport)

    def change_options(self, **changes: Any) -> None:  # noqa: ANN401 - any field of the options
        """Change options without a reset; row counts and the seed take effect at the next reset."""
        self.options = replace(self.options, **changes)
        for component in (self.tokens, self.limits, self.webhooks):
            component.options = self.options
        # Some options change the JSON of rows.
        for organisation in self.organisations.values():
            organisation.clear_rendered()

    def organisation(self, tenant_id: str) -> Organisation | None:
        """Return the tenant with this id, in any letter case, or None."""
        return self.organisations.get(tenant_id.lower())


def _make_user(number: int) -> User:
    name = ("Alex Admin", "Billie Bookkeeper")[number]
    row_id = str(UUID(int=Random(f"user/{number}").getrandbits(128), version=4))  # noqa: S311 - the same id every time
    return User(row_id, name, f"{name.split(' ')[0].lower()}@tasman.example")
