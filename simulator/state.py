"""Everything the pretend Xero knows at one moment, and how to begin again."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

import httpx

from simulator.books.generator import generate_organisations
from simulator.books.organisation import Organisation
from simulator.call_log import Ledger
from simulator.clock import Clock
from simulator.faults import Faults
from simulator.identity.connections import Connections
from simulator.identity.model import User
from simulator.identity.tokens import Tokens
from simulator.limits import Limits
from simulator.options import SimulatorOptions
from simulator.webhooks import Webhooks


@dataclass(slots=True)
class ConsentRule:
    """What the login page does: ask, or decide at once. `tenants` None means all that the user may connect."""

    automatic: bool = False
    decision: str = "allow"
    tenants: frozenset[str] | None = None


class World:
    """The state behind every door. Doors read it at each call, so `reset` and `choose` work while it runs."""

    def __init__(
        self,
        options: SimulatorOptions,
        source: Callable[[], datetime],
        webhook_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._source = source
        self._webhook_transport = webhook_transport
        self.clock = Clock(source, options.clock_rate)
        self.options = options
        self.reset(options)

    def reset(self, options: SimulatorOptions) -> None:
        """Books made anew, everything issued or recorded forgotten, the clock set right."""
        self.options = options
        self.clock = Clock(self._source, options.clock_rate)
        self.rng = Random(options.seed)  # noqa: S311 - a pretend Xero wants repeatable chance
        self.organisations = generate_organisations(options, self.clock.now_ms())
        self.users = {row.id: row for row in (_user(0), _user(1))}
        self.user = next(iter(self.users.values()))
        self.consent = ConsentRule(automatic=options.auto_consent)
        self.connections = Connections()
        self.tokens = Tokens(self.clock, options)
        self.limits = Limits(self.clock, options)
        self.faults = Faults(Random(options.seed))  # noqa: S311 - as above
        self.ledger = Ledger(self.clock)
        self.webhooks = Webhooks(self.clock, options, self.rng, self._webhook_transport)

    def choose(self, **changes: Any) -> None:  # noqa: ANN401 - any field of the options
        """Change options without a reset; sizes and the seed take effect at the next one."""
        self.options = replace(self.options, **changes)
        for part in (self.tokens, self.limits, self.webhooks):
            part.options = self.options
        # Some options change how rows look.
        for organisation in self.organisations.values():
            organisation.forget_rendered()

    def organisation(self, tenant_id: str) -> Organisation | None:
        return self.organisations.get(tenant_id.lower())


def _user(number: int) -> User:
    name = ("Alex Admin", "Billie Bookkeeper")[number]
    row_id = str(UUID(int=Random(f"user/{number}").getrandbits(128), version=4))  # noqa: S311 - the same id every time
    return User(row_id, name, f"{name.split(' ')[0].lower()}@tasman.example")
