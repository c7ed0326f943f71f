"""A cursor leads on in the list it was given for, and nowhere else."""

import string

import pytest

from app.api.errors import Problem
from app.api.pagination import CursorSigner, Paging

SCOPE = '["/api/invoices",[]]'
SIGNER = CursorSigner(b"a secret all replicas share")
POSITION = ("2026-11-15", "8c0f4a5e-0000-4000-8000-000000000000")


def refused(scope, cursor, signer=SIGNER):
    with pytest.raises(Problem) as caught:
        signer.read(scope, cursor)
    return (caught.value.status_code, caught.value.code) == (400, "invalid_cursor")


@pytest.mark.parametrize("position", [POSITION, (None, "1"), ('Ü "quoted" \n name', "2"), ("", "")])
def test_a_position_survives_the_way_out_and_back_on_any_replica(position):
    cursor = SIGNER.write(SCOPE, position)
    assert CursorSigner(b"a secret all replicas share").read(SCOPE, cursor) == position


def test_no_letter_of_a_cursor_can_be_another():
    cursor = SIGNER.write(SCOPE, POSITION)
    for place, letter in enumerate(cursor):
        for other in f"{string.ascii_letters}{string.digits}-_.=é ":
            if other != letter:
                assert refused(SCOPE, cursor[:place] + other + cursor[place + 1 :])


@pytest.mark.parametrize("cursor", ["", ".", "x", "é", "\ud800", "a.b", "a" * 10_000])
def test_what_is_no_cursor_is_refused(cursor):
    assert refused(SCOPE, cursor)


def test_a_cut_or_longer_cursor_is_refused():
    cursor = SIGNER.write(SCOPE, POSITION)
    assert all(refused(SCOPE, cursor[:end]) for end in range(len(cursor)))
    assert refused(SCOPE, cursor + "A")
    assert refused(SCOPE, cursor + "=")


def test_a_cursor_of_another_list_or_other_filters_or_another_key_is_refused():
    cursor = SIGNER.write(SCOPE, POSITION)
    assert refused('["/api/payments",[]]', cursor)
    assert refused('["/api/invoices",[["status","open"]]]', cursor)
    assert refused(SCOPE, cursor, CursorSigner(b"another secret"))


@pytest.mark.parametrize(("rows", "more"), [(0, False), (1, False), (2, False), (3, True)])
def test_a_page_holds_the_limit_and_knows_whether_another_follows(rows, more):
    page = Paging(2, None, SCOPE, SIGNER).page(list(range(rows)), lambda row: (None, str(row)), str)
    assert page.items == ["0", "1"][:rows]
    assert (page.next_cursor and SIGNER.read(SCOPE, page.next_cursor)) == ((None, "1") if more else None)
