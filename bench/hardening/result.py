"""One line of the table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured, beside what is promised.

    Attributes:
        name: what was done to the service.
        measured: the figure with its unit, for people.
        promise: what the figure should be, for people.
        is_kept: whether it is.
    """

    name: str
    measured: str
    promise: str
    is_kept: bool
