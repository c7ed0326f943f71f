"""Lists as CSV, for people who go on in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from fastapi import Request, Response

MEDIA_TYPE = "text/csv"
# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def wants_csv(request: Request) -> bool:
    """Say whether the request asks for CSV rather than JSON, which it gets if it names both or neither."""
    accepted = request.headers.get("accept", "")
    return MEDIA_TYPE in accepted and "json" not in accepted


def render_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]], numbers: frozenset[str]) -> Response:
    """Return rows as CSV with a header, in UTF-8; the text after a formula's beginning stays text.

    Args:
        columns: the names, in order.
        rows: the values as JSON has them; None is an empty cell.
        numbers: columns whose values are numbers, which may begin with a minus.
    """
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[name], is_number=name in numbers) for name in columns])
    # The mark tells spreadsheets that it is UTF-8.
    return Response("\ufeff" + table.getvalue(), media_type=f"{MEDIA_TYPE}; charset=utf-8")


def _cell(value: object, *, is_number: bool) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not is_number and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value
