"""Single values in Xero's spelling."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.xero.parsing import EPOCH, Unreadable, read_amount, read_date, read_id, read_instant


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("/Date(1518685950940+0000)/", datetime(2018, 2, 15, 9, 12, 30, 940000, tzinfo=UTC)),
        ("/Date(1552326816230)/", datetime(2019, 3, 11, 17, 53, 36, 230000, tzinfo=UTC)),
        # The offset is decoration.
        ("/Date(1518685950940+1300)/", datetime(2018, 2, 15, 9, 12, 30, 940000, tzinfo=UTC)),
        ("/Date(0+0000)/", EPOCH),
        ("/Date(-62135596800000)/", datetime(1, 1, 1, tzinfo=UTC)),
        ("2019-07-09T23:40:30.1833130", datetime(2019, 7, 9, 23, 40, 30, 183313, tzinfo=UTC)),
        ("2025-12-02T00:44:09.923", datetime(2025, 12, 2, 0, 44, 9, 923000, tzinfo=UTC)),
        ("2018-11-02T16:36:32Z", datetime(2018, 11, 2, 16, 36, 32, tzinfo=UTC)),
        ("2018-11-02 16:36:32", datetime(2018, 11, 2, 16, 36, 32, tzinfo=UTC)),
        ("2020-02-06T12:17:43.202-08:00", datetime(2020, 2, 6, 20, 17, 43, 202000, tzinfo=UTC)),
    ],
)
def test_every_recorded_form_of_an_instant_is_read(text, instant):
    assert read_instant(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/Date()/",
        "/Date(1e9)/",
        "/Date(99999999999999999999)/",
        "/Date(٣)/",
        "2018-11-02",
        "2018-02-30T00:00:00",
        "0001-01-01T00:00:00+14:00",
        "now",
    ],
)
def test_anything_else_is_no_instant(text):
    with pytest.raises(Unreadable):
        read_instant(text)


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))  # noqa: DTZ001 - made aware below
def test_every_instant_of_our_calendar_survives_both_forms_to_the_millisecond(naive):
    instant = naive.replace(tzinfo=UTC, microsecond=naive.microsecond // 1000 * 1000)
    assert read_instant(f"/Date({(instant - EPOCH) // timedelta(milliseconds=1)}+0000)/") == instant
    assert read_instant(instant.replace(tzinfo=None).isoformat(timespec="milliseconds")) == instant


@given(st.text(max_size=40))
def test_no_text_makes_a_parser_fail_in_another_way(text):
    for read in (read_instant, read_date, lambda value: read_id(value, "id")):
        with suppress(Unreadable):
            read(text)


def test_the_date_of_a_midnight_before_1970_is_its_own():
    assert read_date("/Date(-86400000+0000)/") == date(1969, 12, 31)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=6))
def test_amounts_come_through_untouched(amount):
    assert str(read_amount(amount, "Total")) == str(amount)


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "Infinity", "-Infinity", "1E+999999999", "1E-999999999", "0E+9999999", "1." + "0" * 2000]
)
def test_what_the_database_could_not_keep_is_no_amount(text):
    with pytest.raises(Unreadable, match="Total is not an amount"):
        read_amount(Decimal(text), "Total")
