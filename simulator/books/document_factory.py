"""Generates single made-up documents: their dates, currency, line items and totals."""

from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from simulator.books import names
from simulator.books.documents import SALES_TYPES
from simulator.books.model import Line
from simulator.books.organisation import Organisation
from simulator.clock import DAY_MS

MINUTE_MS = 60_000
_PER_US_DOLLAR = {"AUD": 1.52, "NZD": 1.66, "GBP": 0.79, "USD": 1.0, "EUR": 0.92}
_QUANTITIES = tuple(Decimal(number).scaleb(-4) for number in (10_000, 10_000, 20_000, 50_000, 120_000))
_BASE_RATE = Decimal("1.000000")
_CENTS = 100


class DocumentFactory:
    """Draws random values for the documents of one organisation.

    All timestamps lie between `start` and `now`, in milliseconds since 1970.
    """

    def __init__(self, organisation: Organisation, rng: Random, start: int, now: int) -> None:
        self.books = organisation
        self.rng = rng
        self._start = start
        self.now = now

    def draw(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.rng.random() < probability

    def new_id(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def spread_instant(self, number: int, count: int) -> int:
        """Return the timestamp of row `number` of `count`: evenly spaced with jitter, at the latest an hour ago."""
        span = self.now - self._start - 60 * MINUTE_MS
        return self._start + int((number + self.rng.random()) / count * span)

    def later_instant(self, instant: int, days: float) -> int:
        """Return a random timestamp within the `days` after `instant`, but not in the future."""
        return min(instant + int(self.rng.random() * days * DAY_MS) + 1, self.now - self.rng.randrange(MINUTE_MS))

    def document_fields(self, instant: int, document_type: str, status: str, contact_id: str) -> dict[str, Any]:
        """Return the fields that every document has, as keyword arguments of its class."""
        lines = tuple(self._generate_line(document_type) for _ in range(self.rng.randrange(1, 4)))
        subtotal, tax = sum(line.amount for line in lines), sum(line.tax for line in lines)
        currency, rate = self._draw_currency()
        return {
            "id": self.new_id(),
            "updated_at": instant,
            "type": document_type,
            "contact_id": contact_id,
            "status": status,
            "issued_on": instant // DAY_MS * DAY_MS,
            "currency": currency,
            "rate": rate,
            "reference": f"PO {self.rng.randrange(1000, 9999)}" if self.draw(0.3) else "",
            "lines": lines,
            "subtotal": subtotal,
            "tax": tax,
            "total": subtotal + tax,
        }

    def _generate_line(self, document_type: str) -> Line:
        is_sale = document_type in SALES_TYPES
        quantity = self.rng.choice(_QUANTITIES)
        unit = self.rng.randrange(5 * _CENTS, 400 * _CENTS)
        amount = int(quantity * unit)
        tax = (amount + 5) // 10
        descriptions, account, tax_type = (
            (names.SERVICES, "200", "OUTPUT") if is_sale else (names.GOODS, "400", "INPUT")
        )
        return Line(self.new_id(), self.rng.choice(descriptions), quantity, unit, tax, amount, account, tax_type)

    def _draw_currency(self) -> tuple[str, Decimal | None]:
        """Return a currency and its rate: mostly the base currency, for which some documents have no rate."""
        base = self.books.currency
        if self.draw(0.8):
            return base, None if self.draw(0.2) else _BASE_RATE
        foreign = self.rng.choice([code for code in _PER_US_DOLLAR if code != base])
        rate = _PER_US_DOLLAR[foreign] / _PER_US_DOLLAR[base] * (0.95 + self.rng.random() / 10)
        return foreign, Decimal(f"{rate:.6f}")
