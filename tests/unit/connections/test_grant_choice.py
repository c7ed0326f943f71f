"""The choice of a grant: which one a tenant is read through, which one is renewed, and who has chosen wrongly."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID

import pytest

from app.connections.grant_choice import (
    Candidate,
    TenantReach,
    choose_grant,
    choose_grant_to_renew,
    find_last_to_expire,
    reaches_wrong_tenants,
)
from app.connections.states import GrantState

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))


def candidate(grant_id, state=GrantState.ACTIVE, missing=(), age_days=0, **more):
    connected_at = NOON - timedelta(days=age_days)
    return Candidate(grant_id, state, "broad", frozenset(missing), connected_at, **more)


def chosen(*candidates, in_use=None, tried=()):
    """Return the chosen grant's id, which must not depend on the order of the candidates."""
    choices = {getattr(choose_grant(order, in_use, tried), "grant_id", None) for order in permutations(candidates)}
    [choice] = choices
    return choice


def to_renew(*candidates, in_use=None):
    choices = {getattr(choose_grant_to_renew(order, in_use), "grant_id", None) for order in permutations(candidates)}
    [choice] = choices
    return choice


@pytest.mark.parametrize(
    "unusable",
    [
        candidate(FIRST, GrantState.RECONNECT_REQUIRED),
        candidate(FIRST, GrantState.DISCONNECTED),
        candidate(FIRST, is_listed=False),
    ],
    ids=["dead", "disconnected", "lost"],
)
def test_a_grant_that_cannot_be_used_is_never_chosen_not_even_when_it_is_in_use(unusable):
    assert chosen(unusable, in_use=FIRST) is None
    assert chosen(unusable, candidate(SECOND, missing={"a", "b"}, is_refused=True), in_use=FIRST) == SECOND


def test_no_candidates_give_no_grant():
    assert choose_grant([], FIRST) is None


def test_the_grant_in_use_stays_while_no_better_one_is_there():
    assert chosen(candidate(FIRST, age_days=9), candidate(SECOND), in_use=FIRST) == FIRST


def test_a_consent_that_lacks_a_scope_takes_no_tenant_over():
    assert chosen(candidate(FIRST, age_days=9), candidate(SECOND, missing={"a"}), in_use=FIRST) == FIRST


def test_a_complete_grant_takes_over_from_one_that_lacks_a_scope():
    assert chosen(candidate(FIRST, missing={"a"}), candidate(SECOND, age_days=9), in_use=FIRST) == SECOND


def test_of_two_that_lack_scopes_the_one_that_lacks_fewer_is_chosen():
    assert chosen(candidate(FIRST, missing={"a", "b"}), candidate(SECOND, missing={"c"}), in_use=FIRST) == SECOND


def test_a_refused_grant_comes_after_every_other():
    refused = candidate(FIRST, is_refused=True)
    assert chosen(refused, candidate(SECOND, missing={"a"}, age_days=9), in_use=FIRST) == SECOND
    assert chosen(refused, in_use=FIRST) == FIRST


def test_without_one_in_use_the_newest_consent_is_chosen():
    candidates = (candidate(FIRST, age_days=2), candidate(SECOND, age_days=1), candidate(THIRD, age_days=3))
    assert chosen(*candidates) == SECOND
    assert chosen(*candidates, in_use=UUID(int=9)) == SECOND


def test_equal_consents_are_chosen_by_their_id():
    assert chosen(candidate(SECOND), candidate(FIRST), candidate(THIRD)) == FIRST


def test_a_grant_that_was_tried_makes_room_for_the_next_until_none_is_left():
    candidates = (candidate(FIRST), candidate(SECOND, age_days=1), candidate(THIRD, missing={"a"}))
    assert chosen(*candidates, in_use=FIRST, tried=[FIRST]) == SECOND
    assert chosen(*candidates, in_use=FIRST, tried=[FIRST, SECOND]) == THIRD
    assert chosen(*candidates, in_use=FIRST, tried=[FIRST, SECOND, THIRD]) is None


def test_nobody_is_asked_while_a_living_grant_is_left():
    dead = candidate(FIRST, GrantState.RECONNECT_REQUIRED)
    assert to_renew(dead, candidate(SECOND, missing={"a"}, is_refused=True), in_use=FIRST) is None


def test_nobody_is_asked_where_no_grant_lists_the_tenant_any_more():
    lost = candidate(FIRST, GrantState.RECONNECT_REQUIRED, is_listed=False)
    assert to_renew(lost, candidate(SECOND, is_listed=False)) is None
    assert to_renew() is None


def test_the_user_of_the_grant_in_use_is_asked_first_then_the_newest():
    dead = [candidate(one, GrantState.RECONNECT_REQUIRED, age_days=age) for one, age in ((FIRST, 1), (SECOND, 2))]
    assert to_renew(*dead, in_use=SECOND) == SECOND
    assert to_renew(*dead) == FIRST


def test_a_dead_grant_is_renewed_rather_than_a_disconnected_one():
    dead = candidate(FIRST, GrantState.RECONNECT_REQUIRED, age_days=9)
    assert to_renew(dead, candidate(SECOND, GrantState.DISCONNECTED), in_use=SECOND) == FIRST
    assert to_renew(candidate(SECOND, GrantState.DISCONNECTED)) == SECOND


def test_a_tenant_is_lost_only_with_its_last_equal_grant():
    soon = candidate(FIRST, refresh_expires_at=NOON)
    later = candidate(SECOND, refresh_expires_at=NOON + timedelta(days=1))
    lesser = candidate(THIRD, missing={"a"}, refresh_expires_at=NOON + timedelta(days=9))
    dead = candidate(THIRD, GrantState.RECONNECT_REQUIRED, refresh_expires_at=NOON + timedelta(days=9))
    assert find_last_to_expire([soon, later, lesser], soon) == later
    assert find_last_to_expire([later, soon, dead], soon) == later
    assert find_last_to_expire([candidate(FIRST)], candidate(FIRST)) == candidate(FIRST)
    assert find_last_to_expire([candidate(THIRD), soon, later], candidate(THIRD)) == later


def test_the_reach_of_a_tenant_chooses_among_its_own_grants():
    reach = TenantReach(SECOND, [candidate(FIRST), candidate(SECOND, age_days=9), candidate(THIRD, age_days=8)])
    assert reach.choose() == reach.candidates[1]
    assert reach.choose([SECOND]) == reach.candidates[0]
    assert reach.choose_to_renew() is None
    dead = [candidate(one, GrantState.RECONNECT_REQUIRED, age_days=age) for one, age in ((FIRST, 1), (SECOND, 2))]
    assert TenantReach(SECOND, dead).choose_to_renew() == dead[1]
    assert TenantReach().choose() is None


ALIVE, DEAD, ENDED = GrantState.ACTIVE, GrantState.RECONNECT_REQUIRED, GrantState.DISCONNECTED


def known(**grants_by_tenant):
    """Return the reach of tenants whose grants are written as `x=[(FIRST, DEAD)]`."""
    return {
        tenant_id: TenantReach(found[0][0], [candidate(grant_id, state) for grant_id, state in found])
        for tenant_id, found in grants_by_tenant.items()
    }


@pytest.mark.parametrize(
    ("stored", "own", "reached", "is_wrong"),
    [
        # The selection is {x}; who consents has the grant `own` and reaches `reached` afterwards.
        (known(), None, {"y"}, False),
        (known(x=[(FIRST, DEAD)]), None, {"y"}, True),
        (known(x=[(FIRST, DEAD)]), None, {"x", "y"}, False),
        (known(x=[(FIRST, DEAD)]), FIRST, {"x"}, False),
        (known(x=[(FIRST, DEAD)], y=[(FIRST, DEAD)]), FIRST, {"y"}, True),
        (known(x=[(FIRST, ALIVE)]), None, {"y"}, False),
        (known(x=[(FIRST, ENDED)]), None, {"y"}, False),
        (known(x=[(FIRST, DEAD), (SECOND, ALIVE)]), None, {"y"}, False),
        (known(x=[(FIRST, DEAD)], y=[(SECOND, ALIVE)]), SECOND, {"y"}, False),
        (known(x=[(FIRST, DEAD)], y=[(SECOND, ALIVE)]), SECOND, {"z"}, False),
        (known(x=[(FIRST, DEAD)], y=[(SECOND, ALIVE)]), None, {"y"}, True),
        (known(x=[(FIRST, DEAD)], y=[(SECOND, DEAD)]), SECOND, {"y"}, False),
        (known(x=[(FIRST, DEAD)], y=[(SECOND, DEAD)]), SECOND, {"z"}, True),
        (known(x=[(FIRST, DEAD)], y=[(SECOND, ENDED)]), SECOND, {"y", "z"}, False),
    ],
)
def test_a_consent_is_wrong_only_where_a_reconnect_is_needed_and_it_leaves_every_picked_tenant_unreached(
    stored, own, reached, is_wrong
):
    assert reaches_wrong_tenants(stored, {"x"}, own, reached) is is_wrong


def test_one_picked_tenant_that_somebody_reaches_is_enough_to_add_others():
    stored = known(x=[(FIRST, DEAD)], z=[(SECOND, ALIVE)])
    assert reaches_wrong_tenants(stored, {"x", "z"}, None, {"y"}) is False
    assert reaches_wrong_tenants(stored, {"x"}, None, {"y"}) is True
    assert reaches_wrong_tenants(stored, set(), None, {"y"}) is False
