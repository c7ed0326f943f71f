"""Parses single values as Xero writes them: ids, texts, amounts and dates; each is exact or raises `Unreadable`."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Clamped, Context, Decimal, DecimalException, InvalidOperation, Overflow, Rounded, Subnormal
from functools import lru_cache
from typing import TypeVar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UUID_SHAPE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CURRENCY_SHAPE = re.compile(r"[A-Z]{3}")
# The offset after the milliseconds has no effect: they count from the epoch in UTC with or without it.
MILLISECONDS = re.compile(r"/Date\((-?\d{1,16})(?:[+-]\d{4})?\)/", re.ASCII)
ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?", re.ASCII)
# PostgreSQL's NUMERIC has at most 131,072 digits before the point and 16,383 after it; a value beyond this bound would
# make the write of the whole page fail. The context only checks: it raises instead of changing a digit.
KEEPABLE = Context(prec=1000, Emin=-1000, Emax=1000, traps=[InvalidOperation, Overflow, Rounded, Subnormal, Clamped])

NOTHING = Decimal(0)
# An organisation's documents are of a few hundred dates, which are remembered.
REMEMBERED_DATES = 5000

ValueT = TypeVar("ValueT")


class Unreadable(ValueError):
    """A row, or a value in it, is not in Xero's form; the message says which and why."""


def require(value: ValueT | None, name: str) -> ValueT:
    """Return a value that may not be missing.

    Raises:
        Unreadable: it is; so for every function here.
    """
    if value is None:
        raise Unreadable(f"{name} is missing")
    return value


def look_up(meanings: Mapping[str, ValueT], word: str, name: str) -> ValueT:
    """Return the meaning of one of Xero's words."""
    try:
        return meanings[word]
    except KeyError:
        raise Unreadable(f"{name} {word[:40]!r} is unknown") from None


def read_id(text: str, name: str) -> str:
    """Return an id in lower case; Xero's are UUIDs, and some of its producers write them in capitals."""
    lowered = text.lower()
    if not UUID_SHAPE.fullmatch(lowered):
        raise Unreadable(f"{name} is not a UUID")
    return lowered


def read_text(text: str | None) -> str | None:
    """Return a text without the character PostgreSQL cannot store (NUL), or None for an empty one."""
    return text.replace("\0", "") or None if text else None


@lru_cache(maxsize=200)
def read_currency(text: str | None) -> str:
    """Return an ISO 4217 code."""
    code = require(text, "CurrencyCode")
    if not CURRENCY_SHAPE.fullmatch(code):
        raise Unreadable(f"CurrencyCode {code[:40]!r} is not a currency")
    return code


def read_amount(amount: Decimal | None, name: str) -> Decimal | None:
    """Return an amount unchanged if it is a number that can be stored."""
    if amount is None:
        return None
    try:
        is_number = KEEPABLE.create_decimal(amount).is_finite()
    except DecimalException:
        is_number = False
    if not is_number:
        raise Unreadable(f"{name} is not an amount")
    return amount


def read_rate(rate: Decimal | None) -> Decimal | None:
    """Return foreign units per base unit unchanged; None for zero or less, by which nothing can be divided."""
    known = read_amount(rate, "CurrencyRate")
    return known if known and known > NOTHING else None


def read_instant(text: str) -> datetime:
    """Read `/Date(ms+0000)/`, or ISO 8601 with any number of fractional digits, where no zone means UTC."""
    try:
        if found := MILLISECONDS.fullmatch(text):
            return EPOCH + timedelta(microseconds=int(found[1]) * 1000)
        if found := ISO.fullmatch(text):
            fraction = f"{found[3] or '':0<6.6}"
            zone = (found[4] or "Z").replace("Z", "+00:00")
            return datetime.fromisoformat(f"{found[1]}T{found[2]}.{fraction}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Unreadable(f"{text[:40]!r} is no date")


@lru_cache(REMEMBERED_DATES)
def read_date(text: str | None) -> date | None:
    """Read a calendar date in either form; Xero writes it as midnight UTC of the organisation's own date.

    The least date of .NET, on which no document was issued, stands for none.
    """
    if text is None:
        return None
    try:
        found = read_instant(text).date() if text.startswith("/") else date.fromisoformat(text[:10])
    except ValueError:
        raise Unreadable(f"{text[:40]!r} is no date") from None
    return None if found == date.min else found
