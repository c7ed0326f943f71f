"""How many rows are asked for: the steps down, and one step up for each good day."""

import pytest

from app.billing.records import Resource
from app.connector import AnswerTooLarge, AnswerTooSlow, PageRequest, Traffic
from app.sync.client.page_size import explain_smallest, size_after, with_fewer_rows


@pytest.mark.parametrize(
    ("size", "smaller"),
    [(1000, 500), (501, 500), (500, 250), (400, 250), (250, 100), (101, 100)],
)
def test_each_step_down_asks_for_the_first_page_of_the_next_smaller_size(size, smaller):
    request = PageRequest(Resource.INVOICES, page=3, page_size=size, is_filtered=False)
    assert with_fewer_rows(request) == PageRequest(Resource.INVOICES, page=1, page_size=smaller, is_filtered=False)


@pytest.mark.parametrize("size", [100, 20, 1])
def test_no_size_below_a_hundred_rows_is_tried(size):
    assert with_fewer_rows(PageRequest(Resource.INVOICES, page_size=size)) is None


def test_a_read_by_ids_does_not_page():
    assert with_fewer_rows(PageRequest(Resource.INVOICES, ids=("a", "b"))) is None


@pytest.mark.parametrize(
    ("limit", "good_days", "largest", "size"),
    [
        (100, 0, 1000, 100),
        (100, 1, 1000, 250),
        (100, 2, 1000, 500),
        (100, 3, 1000, 1000),
        (100, 400, 1000, 1000),
        (500, 1, 1000, 1000),
        (250, 1, 400, 400),
        (250, 2, 400, 400),
        (100, 1, 700, 250),
        (500, 1, 700, 700),
        # The setting was lowered since.
        (500, 0, 200, 200),
        (500, 3, 200, 200),
        (100, 2, 100, 100),
    ],
)
def test_each_good_day_allows_one_step_up_to_the_configured_size(limit, good_days, largest, size):
    assert size_after(limit, good_days, largest) == size


@pytest.mark.parametrize("kind", [AnswerTooSlow, AnswerTooLarge])
def test_the_error_of_the_smallest_page_says_how_few_rows_were_asked_for(kind):
    error = kind("It took too long.", Traffic(calls=1))
    told = explain_smallest(error, PageRequest(Resource.INVOICES, page_size=100))
    assert type(told) is kind
    assert str(told) == "It took too long. That was so even for pages of 100 rows, the fewest we ask for."
    assert told.traffic == Traffic(calls=1)
    assert explain_smallest(error, PageRequest(Resource.INVOICES, ids=("a",))) is error
