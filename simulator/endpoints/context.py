"""The context of one request: the simulator's state, the request and its entry in the call log."""

from asyncio import sleep
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import uuid4

from simulator.call_log import CallEntry
from simulator.faults import ResponseProducer, apply_fault
from simulator.http import Request, Response
from simulator.identity.model import AccessToken
from simulator.state import SimulatorState
from simulator.wire.errors import XeroError, bad_token, token_expired


@dataclass(slots=True)
class RequestContext:
    """What an endpoint receives. `correlation_id` is sent as Xero-Correlation-Id and as the envelope's Id."""

    state: SimulatorState
    request: Request
    log_entry: CallEntry
    correlation_id: str = field(default_factory=lambda: str(uuid4()))

    def access_token(self) -> AccessToken:
        """Return the request's valid access token. Raises XeroError with the 401 that Xero sends for it."""
        scheme, _, text = self.request.headers.get("authorization", "").partition(" ")
        token = self.state.tokens.access_tokens.get(text)
        if token is None or scheme.lower() != "bearer":
            raise XeroError(bad_token())
        if token.expires_at <= self.state.clock.now():
            raise XeroError(token_expired(token.expires_at))
        return token

    async def produce_with_faults(self, produce: ResponseProducer) -> Response:
        """Return the response, changed or replaced by the first fault that matches this request."""
        fault = self.state.faults.take_match(self.request)
        if fault is not None:
            self.log_entry.fault = fault.kind
            await sleep(fault.seconds)
        return await apply_fault(fault, produce)


Endpoint = Callable[[RequestContext], Awaitable[Response]]
