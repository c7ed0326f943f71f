"""The order in which the first pulls of a tenant store their pages: invoices before what refers to them.

All resources are read at once, in order of change. A payment changes its invoice, so that both have about the same time
stamp, but pages of payments are smaller and would arrive first. A payment that is stored before its invoice is written
twice: once without it, and once more when it comes. So whatever refers to invoices waits until the invoices have been
stored up to the same time stamp.
"""

import asyncio
from datetime import datetime

from app.billing.records import Resource

# What refers to invoices.
FOLLOWING = frozenset({Resource.PAYMENTS, Resource.CREDIT_MEMOS})


class StoreOrder:
    """How far the first pull of a tenant's invoices has come, for the pulls beside it.

    Args:
        has_invoices: whether the invoices are pulled in the same run; otherwise nothing waits.
    """

    def __init__(self, *, has_invoices: bool) -> None:
        self._is_reading = has_invoices
        self._reached: datetime | None = None
        self._progress = asyncio.Condition()

    async def advance(self, reached: datetime | None) -> None:
        """Tell that the invoices are stored up to this time stamp of the vendor's."""
        async with self._progress:
            self._reached = reached
            self._progress.notify_all()

    async def finish(self) -> None:
        """Tell that no more invoices are to be waited for: they are all stored, or their pull has ended early."""
        async with self._progress:
            self._is_reading = False
            self._progress.notify_all()

    async def wait_for(self, newest: datetime | None) -> None:
        """Return when the invoices are stored up to the newest time stamp of a page, or are not waited for."""
        async with self._progress:
            await self._progress.wait_for(lambda: not self._is_reading or newest is None or self._is_reached(newest))

    def _is_reached(self, newest: datetime) -> bool:
        return self._reached is not None and self._reached >= newest
