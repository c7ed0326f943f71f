"""Amounts are formatted exactly, with at least two decimals, and only web links are returned."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.schemas import format_money, keep_web_link


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("-0", "0.00"),
        ("-0.000", "0.00"),
        ("1234.5", "1234.50"),
        ("1234.5000", "1234.50"),
        ("0.125", "0.125"),
        ("-0.1", "-0.10"),
        ("1E+3", "1000.00"),
        ("1E-7", "0.0000001"),
        ("99999999999999999999999999999999.99", "99999999999999999999999999999999.99"),
    ],
)
def test_an_amount_is_formatted_with_at_least_two_decimals(amount, text):
    assert format_money(Decimal(amount)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_no_digit_of_an_amount_is_lost_and_its_format_is_always_the_same(amount):
    text = format_money(amount)
    assert Decimal(text) == amount
    assert re.fullmatch(r"-?\d+\.\d{2,}", text)


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("https://go.xero.com/x", True),
        ("http://psa.test", True),
        ("javascript:alert(1)", False),
        ("//evil.test", False),
        (" https://x", False),
        (None, False),
    ],
)
def test_only_http_urls_are_links(link, kept):
    assert keep_web_link(link) == (link if kept else None)
