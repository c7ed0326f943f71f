"""The choice of the base currency: which counts of documents decide it, and which leave it open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing.mirror.base_currency import CurrencyVotes, choose_base_currency

COUNTS = st.integers(0, 30)
VOTES = st.dictionaries(st.sampled_from(["NZD", "USD", "AUD", "EUR"]), st.tuples(COUNTS, COUNTS)).map(
    lambda votes: [CurrencyVotes(currency, *counts) for currency, counts in votes.items()]
)


@pytest.mark.parametrize(
    ("votes", "base"),
    [
        ({}, None),
        ({"NZD": (1, 0)}, "NZD"),
        ({"NZD": (0, 0)}, None),
        ({"NZD": (0, 1)}, None),
        ({"NZD": (99, 1)}, None),
        ({"NZD": (1, 0), "USD": (99, 1)}, "NZD"),
        ({"NZD": (1, 0), "USD": (0, 99)}, "NZD"),
        ({"NZD": (1, 0), "USD": (1, 0)}, None),
        ({"NZD": (8, 0), "USD": (1, 0)}, None),
        ({"NZD": (9, 0), "USD": (1, 0)}, "NZD"),
        ({"NZD": (10, 0), "USD": (1, 0)}, "NZD"),
        ({"NZD": (10, 0), "USD": (2, 0)}, None),
        ({"NZD": (17, 0), "USD": (2, 0)}, None),
        ({"NZD": (18, 0), "USD": (1, 0), "EUR": (1, 0)}, "NZD"),
        ({"NZD": (9, 0), "USD": (1, 0), "EUR": (50, 1)}, "NZD"),
        ({"NZD": (9, 1), "USD": (1, 0)}, "USD"),
    ],
)
def test_one_possible_currency_is_the_base_and_of_several_only_a_clear_one(votes, base):
    counted = [CurrencyVotes(currency, *counts) for currency, counts in votes.items()]

    assert choose_base_currency(counted) == base
    assert choose_base_currency(reversed(counted)) == base


@given(VOTES)
def test_a_chosen_currency_is_supported_and_not_ruled_out_and_the_order_of_the_votes_is_nothing(votes):
    chosen = choose_base_currency(votes)

    assert chosen is None or [(vote.supporting > 0, vote.opposing) for vote in votes if vote.currency == chosen] == [
        (True, 0)
    ]
    assert choose_base_currency(sorted(votes, key=lambda vote: vote.currency)) == chosen


@given(VOTES)
def test_ruling_out_the_base_currency_always_takes_it_away(votes):
    chosen = choose_base_currency(votes)
    ruled_out = [CurrencyVotes(vote.currency, vote.supporting, int(vote.currency == chosen)) for vote in votes]

    assert chosen is None or choose_base_currency(ruled_out) != chosen
