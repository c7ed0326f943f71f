"""Reads the pages of one resource in the order that the cursor asks for, one page ahead of whoever stores them."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import timedelta

from app.concurrency import cancel_and_wait
from app.connector import PageRequest
from app.sync.client.rate_limiter import Priority
from app.sync.client.tenant_client import Fetched, TenantClient
from app.sync.pull.cursor import CursorState, advance, follow_request


@dataclass(frozen=True, slots=True)
class PageStep:
    """One page that was read.

    Attributes:
        state: the cursor's state in which the page was asked for.
        next_state: the state once the page is stored.
    """

    state: CursorState
    next_state: CursorState
    fetched: Fetched


async def read_pages(
    client: TenantClient,
    state: CursorState,
    request: PageRequest,
    overlap: timedelta = timedelta(0),
    priority: Priority = Priority.SYNC,
) -> AsyncGenerator[PageStep, None]:
    """Yield page after page until the pull is complete. Use it with `aclosing`, which ends the call under way.

    Which page comes next follows from the rows of the one before, so that it is asked for before that one is yielded
    and read while the caller stores it.

    Args:
        client: reads the vendor's pages.
        state: where to begin; active.
        request: resource, page size and filter of the first page; those answered apply to the next.
        overlap: how far before the newest time stamp the next pull starts.
        priority: what share of the limits the calls may use.

    Raises:
        Paused, ConnectorError, LeaseLost: as `TenantClient.fetch`, after the page before was stored.
    """
    request = _request_of(state, request)
    fetching = asyncio.create_task(client.fetch(request, priority))
    try:
        while state.is_active:
            fetched = await fetching
            state = follow_request(state, request, fetched.request)
            next_state = advance(state, fetched.page, overlap)
            if next_state.is_active:
                request = _request_of(next_state, fetched.request)
                fetching = asyncio.create_task(client.fetch(request, priority))
            yield PageStep(state, next_state, fetched)
            state = next_state
    finally:
        await cancel_and_wait([fetching])


def _request_of(state: CursorState, request: PageRequest) -> PageRequest:
    return replace(request, changed_since=state.since, page=state.page)
