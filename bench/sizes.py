"""How much is measured: in minutes with QUICK=1, else as much as the targets name."""

from collections.abc import Mapping
from dataclasses import dataclass

# Of the simulator's invoices 69 in 100 are a customer's, and of its payments 67 in 100; the others are suppliers'.
INVOICES_PER_KEPT = 1.45
PAYMENTS_PER_INVOICE = 1.1
INVOICES_PER_CONTACT = 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a run.

    Attributes:
        repetitions: how often each figure is measured.
        first_loads: invoices of each organisation that is loaded for the first time.
        invoices, few_invoices: what the tables hold where many rows are compared with few.
        quiet_organisations: how many take part in a quiet tick.
        many_organisations, few_organisations: how many take part where the tick's growth is measured.
        memory_invoices: invoices of the organisation whose sync's memory is compared with that of `few_invoices`.
        deliveries: webhook deliveries in each repetition.
        requests: requests in each repetition, where they are answered one after the other.
    """

    repetitions: int
    first_loads: tuple[int, ...]
    invoices: int
    few_invoices: int
    quiet_organisations: int
    many_organisations: int
    few_organisations: int
    memory_invoices: int
    deliveries: int
    requests: int


FULL = Sizes(
    repetitions=5,
    first_loads=(20_000, 100_000),
    invoices=1_000_000,
    few_invoices=10_000,
    quiet_organisations=100,
    many_organisations=1_000,
    few_organisations=100,
    memory_invoices=1_000_000,
    deliveries=5_000,
    requests=500,
)
QUICK = Sizes(
    repetitions=3,
    first_loads=(20_000,),
    invoices=100_000,
    few_invoices=10_000,
    quiet_organisations=30,
    many_organisations=100,
    few_organisations=10,
    memory_invoices=100_000,
    deliveries=2_000,
    requests=300,
)


def simulated_rows(invoices: int) -> Mapping[str, int]:
    """Return the simulator's options for an organisation with about so many invoices of customers."""
    return {
        "contacts": invoices // INVOICES_PER_CONTACT,
        "invoices": int(invoices * INVOICES_PER_KEPT),
        "payments": int(invoices * PAYMENTS_PER_INVOICE),
        "credit_notes": invoices // INVOICES_PER_CONTACT,
    }
