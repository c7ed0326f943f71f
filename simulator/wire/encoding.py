r"""Encodes JSON as Xero does: two spaces, CRLF, `\/` for slashes, decimals with their trailing zeros."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from simulator.clock import from_ms, to_ms

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_ROW_INDENT = b"\r\n    "


def encode(document: object, newline: bytes = b"\r\n") -> bytes:
    """Encode any document in Xero's style."""
    # In formatted JSON, a slash occurs only within strings and a newline only between tokens, so both may be replaced.
    text = msgspec.json.format(_ENCODER.encode(document), indent=2)
    return text.replace(b"/", b"\\/").replace(b"\n", newline)


def encode_row(row: Mapping[str, object]) -> bytes:
    """Encode a row, indented as an element of its list."""
    return b"    " + encode(row, _ROW_INDENT)


def encode_envelope(head: Mapping[str, object], resource: str, rows: Sequence[bytes]) -> bytes:
    """Encode a whole response: the fields of `head`, then the rows encoded by `encode_row`."""
    opening = encode(head).removesuffix(b"\r\n}")
    if not rows:
        return b'%b,\r\n  "%b": []\r\n}' % (opening, resource.encode())
    return b'%b,\r\n  "%b": [\r\n%b\r\n  ]\r\n}' % (opening, resource.encode(), b",\r\n".join(rows))


def money(cents: int) -> Decimal:
    """Return 40.00 for `4000` cents, with its zeros."""
    return Decimal(cents).scaleb(-2)


def ms_date(timestamp_ms: int) -> str:
    """Return Xero's date format (Microsoft's JSON date), such as `/Date(1539993600000+0000)/`."""
    return f"/Date({timestamp_ms}+0000)/"


def ms_date_without_offset(instant: datetime) -> str:
    """Return the date format of the envelope, which has no offset: `/Date(1539993600000)/`."""
    return f"/Date({to_ms(instant)})/"


def date_string(timestamp_ms: int) -> str:
    """Return the format of DateString and DueDateString, `2018-10-20T00:00:00`."""
    return from_ms(timestamp_ms).strftime("%Y-%m-%dT00:00:00")


def timestamp_string(timestamp_ms: int) -> str:
    """Return the format of UpdatedDateUTCString, `2018-10-20T08:30:15Z`."""
    return from_ms(timestamp_ms).strftime("%Y-%m-%dT%H:%M:%SZ")
