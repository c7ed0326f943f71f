"""The status of a connection with several grants: only those that a selected tenant depends on show in it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.connections.grant_choice import TenantReach
from app.connections.reach import candidate_of
from app.connections.snapshot import ConnectionSnapshot
from app.connections.states import CredentialsSource, GrantState
from app.connections.status import determine_state, find_main_grant, list_banners
from app.connections.tables import Grant, Tenant, TenantGrant
from app.connections.vendor_app import App

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
APP = App("id", "secret", "broad", CredentialsSource.API)
ALIVE, DEAD, ENDED = GrantState.ACTIVE, GrantState.RECONNECT_REQUIRED, GrantState.DISCONNECTED


def grant(number, state=ALIVE, missing=(), expires_in_days=60):
    """Return a grant; a higher number consented later."""
    return Grant(
        id=UUID(int=number),
        state=state,
        scope_set="broad",
        missing_scopes=list(missing),
        state_since=NOON,
        connected_at=NOON + timedelta(minutes=number),
        refresh_expires_at=NOON + timedelta(days=expires_in_days),
    )


def snapshot_of(grants, selected=(), not_selected=(), removed=()):
    """Return a connection whose tenants are each given as the grants that reach it, the one in use first."""
    tenants: list[Tenant] = []
    reach: dict[str, TenantReach] = {}
    for reached in (*selected, *not_selected, *removed):
        tenant_id = f"tenant {len(tenants)}"
        is_removed = len(tenants) >= len(selected) + len(not_selected)
        tenants.append(
            Tenant(
                tenant_id=tenant_id,
                name=tenant_id,
                is_selected=reached not in not_selected,
                removed_at=NOON if is_removed else None,
                data_as_of=NOON,
            )
        )
        entry = TenantGrant(lost_at=NOON if is_removed else None, connection_id="")
        reach[tenant_id] = TenantReach(reached[0].id, [candidate_of(one, entry) for one in reached])
    newest_first = sorted(grants, key=lambda one: one.connected_at, reverse=True)
    return ConnectionSnapshot(APP, newest_first, tenants, 0, None, None, "", "Xero", reach)


def shown(snapshot):
    """Return the state, the codes of the banners, and the number of the grant that the status is about."""
    main = find_main_grant(snapshot)
    codes = [str(banner.code) for banner in list_banners(snapshot, NOON)]
    return str(determine_state(snapshot)), codes, main and main.id.int


ALL_IS_WELL: tuple[str, list[str]] = ("connected", [])


@pytest.mark.parametrize(
    "other",
    [grant(2, DEAD), grant(2, missing=["a"]), grant(2, expires_in_days=1), grant(2, ENDED)],
    ids=["dead", "lacks a scope", "expires", "disconnected"],
)
def test_a_grant_on_which_no_selected_tenant_depends_shows_nowhere(other):
    good = grant(1)
    assert shown(snapshot_of([good, other], [[good]], [[other]])) == (*ALL_IS_WELL, 1)
    assert shown(snapshot_of([good, other], [[good, other]])) == (*ALL_IS_WELL, 1)
    assert shown(snapshot_of([good, other], [[other, good]]))[:2] == ALL_IS_WELL


@pytest.mark.parametrize(
    ("needed", "state", "code"),
    [
        (grant(1, DEAD), "reconnect_required", "reconnect_required"),
        (grant(1, ENDED), "reconnect_required", "reconnect_required"),
        (grant(1, missing=["a"]), "needs_permission", "needs_permission"),
        (grant(1, expires_in_days=1), "connected", "token_expiring_2d"),
        (grant(1, expires_in_days=6), "connected", "token_expiring_7d"),
    ],
)
def test_a_grant_on_which_a_selected_tenant_depends_alone_is_shown(needed, state, code):
    good = grant(2)
    found, codes, main = shown(snapshot_of([needed, good], [[needed], [good]]))
    assert (found, codes) == (state, [code])
    assert main == 1 or state == "connected"


def test_several_dead_users_of_one_tenant_are_one_banner():
    first, second = grant(1, DEAD), grant(2, DEAD)
    assert shown(snapshot_of([first, second], [[first, second]])) == ("reconnect_required", ["reconnect_required"], 1)
    assert len(list_banners(snapshot_of([first, second], [[first], [second]]), NOON)) == 2


def test_a_removed_tenant_has_its_own_banner_and_asks_for_no_reconnect():
    good, dead = grant(1), grant(2, DEAD)
    assert shown(snapshot_of([good, dead], [[good]], removed=[[dead]])) == ("connected", ["tenant_removed"], 1)


def test_two_that_expire_together_are_shown_once_by_the_later_one():
    first, second = grant(1, expires_in_days=1), grant(2, expires_in_days=5)
    assert shown(snapshot_of([first, second], [[first, second]]))[:2] == ("connected", ["token_expiring_7d"])


def test_where_nothing_is_selected_the_connection_is_as_good_as_its_best_grant():
    assert shown(snapshot_of([grant(1, DEAD), grant(2, missing=["a"]), grant(3)])) == ("choose_tenants", [], 3)
    assert shown(snapshot_of([grant(1, DEAD), grant(2, missing=["a"])])) == (
        "needs_permission",
        ["needs_permission"],
        2,
    )
    assert shown(snapshot_of([grant(1, DEAD), grant(2, ENDED)])) == ("reconnect_required", ["reconnect_required"], 1)


def test_a_connection_that_was_ended_here_shows_no_banner():
    ended = grant(1, ENDED)
    assert shown(snapshot_of([ended], [[ended]])) == ("not_connected", [], None)
    assert shown(snapshot_of([])) == ("not_connected", [], None)
