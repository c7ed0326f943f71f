"""The last pages of a run's pulls that bring nothing new, which are stored together at the end of the run.

At a quiet tick each list is answered with nothing, or with its newest rows once more. Four transactions for that cost
more than the calls. So such a page is held until the other pulls of the run have ended, for some seconds at most. When
the run is killed meanwhile, it reads the page again: its cursor has not moved.
"""

from app.billing.records import Resource
from app.sync.pull.pages import PageStep

# What is stored first: the rows that others refer to.
STORE_ORDER = tuple(Resource)


class LastPages:
    """Holds those pages of one run, until it is closed."""

    def __init__(self) -> None:
        self._held: list[PageStep] = []
        self._is_open = True

    def hold(self, step: PageStep) -> bool:
        """Hold a page if it brings nothing new and the others are still waited for; return whether it is held."""
        is_held = self._is_open and brings_nothing_new(step)
        if is_held:
            self._held.append(step)
        return is_held

    def close(self) -> list[PageStep]:
        """Hold no page from now on; return those held, in the order in which they are to be stored."""
        self._is_open = False
        held, self._held = self._held, []
        return sorted(held, key=lambda step: STORE_ORDER.index(step.fetched.request.resource))


def brings_nothing_new(step: PageStep) -> bool:
    """Say whether a page is the last of its pull and no row in it is newer than those that were seen before it.

    A row that appears late with an old stamp is among them; it is stored so much later.
    """
    page, newest = step.fetched.page, step.state.high_water
    is_known = not page.keys or (newest is not None and max(key.changed_at for key in page.keys) <= newest)
    return is_known and not step.next_state.is_active and not page.rejected and not step.fetched.is_limited
