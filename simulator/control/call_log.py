"""Control operations on the call log: read, clear, statistics."""

from simulator.control.request import ControlRequest


async def read_call_log(request: ControlRequest) -> object:
    """All calls in order of arrival, or only those of `?tenant_id=` or after `?since=` (a seq)."""
    tenant, since = request.query.get("tenant_id"), int(request.query.get("since", 0))
    entries = (entry for entry in request.state.call_log.entries if entry.seq > since)
    return [entry.as_json() for entry in entries if tenant in (None, entry.tenant_id)]


async def clear_call_log(request: ControlRequest) -> object:
    """Delete all entries of the call log."""
    request.state.call_log.clear()
    return []


async def read_stats(request: ControlRequest) -> object:
    """Calls, the most in any 60 seconds and in flight per tenant, 429s, bytes, token calls by outcome."""
    return request.state.call_log.stats()
