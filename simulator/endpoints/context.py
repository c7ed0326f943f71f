"""One call in progress: the world it came to, what it asked, its line in the ledger."""

from asyncio import sleep
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import uuid4

from simulator.call_log import Entry
from simulator.faults import Produce, with_fault
from simulator.identity.model import AccessToken
from simulator.http import Answer, Call
from simulator.state import World
from simulator.wire.errors import XeroError, bad_token, token_expired


@dataclass(slots=True)
class Visit:
    world: World
    call: Call
    entry: Entry
    correlation_id: str = field(default_factory=lambda: str(uuid4()))

    def token(self) -> AccessToken:
        """The live access token of the call. Raises XeroError with the 401 that fits."""
        scheme, _, text = self.call.headers.get("authorization", "").partition(" ")
        token = self.world.tokens.access.get(text)
        if token is None or scheme.lower() != "bearer":
            raise XeroError(bad_token())
        if token.expires_at <= self.world.clock.now():
            raise XeroError(token_expired(token.expires_at))
        return token

    async def faulty(self, produce: Produce) -> Answer:
        """The answer, unless a fault is on order for this call."""
        fault = self.world.faults.strike(self.call)
        if fault is not None:
            self.entry.fault = fault.kind
            await sleep(fault.seconds)
        return await with_fault(fault, produce)


Door = Callable[[Visit], Awaitable[Answer]]
