r"""Xero's JSON as its bytes really are: two spaces, CRLF, `\/` for slashes, decimals with their trailing zeros."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from simulator.clock import from_ms, to_ms

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_ROW_INDENT = b"\r\n    "


def encode(document: object, newline: bytes = b"\r\n") -> bytes:
    """Any document in Xero's style. Raw slashes and newlines occur in JSON only where they may be replaced."""
    text = msgspec.json.format(_ENCODER.encode(document), indent=2)
    return text.replace(b"/", b"\\/").replace(b"\n", newline)


def encode_row(row: Mapping[str, object]) -> bytes:
    """A row as it stands within its list."""
    return b"    " + encode(row, _ROW_INDENT)


def encode_envelope(head: Mapping[str, object], resource: str, rows: Sequence[bytes]) -> bytes:
    """The whole answer: the head's fields, then the rows that `encode_row` made."""
    opening = encode(head).removesuffix(b"\r\n}")
    if not rows:
        return b'%b,\r\n  "%b": []\r\n}' % (opening, resource.encode())
    return b'%b,\r\n  "%b": [\r\n%b\r\n  ]\r\n}' % (opening, resource.encode(), b",\r\n".join(rows))


def money(cents: int) -> Decimal:
    """`4000` as 40.00, the zeros kept."""
    return Decimal(cents).scaleb(-2)


def ms_date(stamp: int) -> str:
    return f"/Date({stamp}+0000)/"


def plain_ms_date(moment: datetime) -> str:
    """The form without an offset, which the envelope uses."""
    return f"/Date({to_ms(moment)})/"


def date_string(stamp: int) -> str:
    return from_ms(stamp).strftime("%Y-%m-%dT00:00:00")


def stamp_string(stamp: int) -> str:
    return from_ms(stamp).strftime("%Y-%m-%dT%H:%M:%SZ")
