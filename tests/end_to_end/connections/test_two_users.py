"""Several users of Xero reach one organisation: the next grant takes over by itself, and a person is asked at the end.

`tests/inputs/04-two-users.json` holds the four reports that these tests began with.
"""

import json
from dataclasses import replace

import pytest

from tests.support.oracle import assert_mirror_equals
from tests.support.paths import ROOT
from tests.support.service import INTEGRATION

REPORTS = json.loads((ROOT / "tests" / "inputs" / "04-two-users.json").read_text())
ANNA = "aaaaaaaa-0000-4000-8000-000000000001"
BEN = "bbbbbbbb-0000-4000-8000-000000000002"
CLEO = "cccccccc-0000-4000-8000-000000000003"
BROAD_SCOPE = "accounting.transactions.read"


class Users:
    """The users of Xero who consent in a test, and what happens to their access.

    Attributes:
        x, y, z: the ids of three organisations.
    """

    def __init__(self, harness, tenant_ids):
        self.harness = harness
        self.state = harness.simulator.simulator_state
        self.x, self.y, self.z = tenant_ids

    async def consent(self, user, tenant_ids, without=""):
        """Let a user allow some organisations, and return the outcome; the consent leaves out the scope `without`."""
        everything = [self.x, self.y, self.z]
        await self.harness.control("PUT", "/user", {"id": user, "name": user[:4], "tenants": everything})
        await self.harness.control("PUT", "/consent", {"automatic": True, "tenants": list(tenant_ids)})
        started = await self.harness.call("POST", f"{INTEGRATION}/connect", json={})
        url = started.json()["authorization_url"]
        assert without in url
        page = await self.harness.xero.get(url.replace(without, "") if without else url)
        back = await self.harness.client.get(page.headers["location"])
        return back.headers["location"].rpartition("=")[2]

    async def revoke(self, user):
        """Let a user's tokens end, as when the user leaves the firm."""
        await self.harness.control("POST", "/tokens/revoke", {"user_id": user})
        for token in self.state.tokens.access_tokens.values():
            if token.consent.user.id == user:
                token.expires_at = self.state.clock.now()

    def remove_connection(self, user, tenant_id):
        """Remove one user's connection to an organisation, as the user can within Xero."""
        [row] = [row for row in self.state.connections.list_of_user(user) if row.tenant_id == tenant_id]
        self.state.connections.remove(user, row.id)

    def take_scope(self, user, scope):
        """Let a user's tokens no longer hold a scope."""
        tokens = [*self.state.tokens.access_tokens.values(), *self.state.tokens.refresh_tokens.values()]
        for token in tokens:
            if token.consent.user.id == user:
                left = tuple(one for one in token.consent.scopes if one != scope)
                token.consent = replace(token.consent, scopes=left)

    async def user_in_use(self, tenant_id):
        [row] = await self.harness.query(
            "SELECT vendor_user_id FROM tenants JOIN grants ON grants.id = grant_id WHERE tenant_id = :t", t=tenant_id
        )
        return row["vendor_user_id"]


@pytest.fixture
async def users(harness):
    """The organisations of a simulated Xero that nobody has connected yet."""
    organisations = harness.simulator.simulator_state.organisations.values()
    return Users(harness, [row.tenant_id for row in organisations if row.tenant_type == "ORGANISATION"][:3])


async def tick(harness):
    """Open the scheduled run that is due, and execute it."""
    await harness.execute("UPDATE sync_schedules SET due_at = wall_clock()")
    run_id = await harness.engine.tick()
    await harness.run_until_idle()
    return await harness.read(f"{INTEGRATION}/runs/{run_id}") if run_id else None


async def change_something(harness, tenant_id):
    await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=5)


async def assert_healthy(harness, *tenant_ids):
    status = await harness.integration_status()
    assert (status["state"], status["missing_scopes"], status["banners"]) == ("connected", [], [])
    now = await harness.selected_tenants()
    assert {
        tenant_id: (now[tenant_id]["health"], now[tenant_id]["reason"]) for tenant_id in tenant_ids
    } == dict.fromkeys(tenant_ids, ("healthy", None))
    for tenant_id in tenant_ids:
        await assert_mirror_equals(harness, tenant_id)


async def checks(harness):
    answer = (await harness.call("POST", f"{INTEGRATION}/check")).json()
    return answer, [check["name"] for check in answer["checks"] if not check["ok"]]


async def connect_both_to_x(users):
    """Let Anna and Ben reach organisation X, Anna's grant in use, and sync it."""
    assert await users.consent(ANNA, [users.x]) == "connected"
    assert await users.consent(BEN, [users.x]) == "connected"
    await users.harness.select_tenants(users.x)
    await users.harness.run_until_idle()
    assert await users.user_in_use(users.x) == ANNA


def test_the_reports_are_those_that_the_tests_are_about():
    assert set(REPORTS) == {"why", "a", "b", "c", "d"}


async def test_when_one_user_is_gone_the_other_takes_over_within_the_tick_and_nobody_is_asked(harness, users):
    await connect_both_to_x(users)
    await users.revoke(ANNA)
    await change_something(harness, users.x)

    run = await tick(harness)

    assert run["status"] == "succeeded"
    assert await users.user_in_use(users.x) == BEN
    await assert_healthy(harness, users.x)
    answer, failed = await checks(harness)
    assert (answer["ok"], failed) == (True, [])
    [gone] = [check["detail"] for check in answer["checks"] if "cannot be used" in check["detail"]]
    assert gone.endswith("No picked organisation depends on it.")


async def test_when_both_users_are_gone_a_person_is_asked_once_and_the_return_of_one_heals_it(harness, users):
    await connect_both_to_x(users)
    await users.revoke(ANNA)
    await users.revoke(BEN)

    await tick(harness)

    status = await harness.integration_status()
    assert (status["state"], [banner["code"] for banner in status["banners"]]) == (
        "reconnect_required",
        ["reconnect_required"],
    )
    tenant = (await harness.selected_tenants())[users.x]
    assert (tenant["health"], tenant["reason"]["code"]) == ("failing", "reconnect_required")
    _, failed = await checks(harness)
    assert failed == ["connection", "grant", "grant", "organisations"]
    await harness.control("DELETE", "/ledger")
    await tick(harness)
    assert await harness.xero_calls() == []

    assert await users.consent(ANNA, [users.x]) == "connected"
    await change_something(harness, users.x)
    assert (await tick(harness))["status"] == "succeeded"
    assert await users.user_in_use(users.x) == ANNA
    await assert_healthy(harness, users.x)


async def test_a_user_who_dies_outside_a_run_shows_in_the_health_of_the_organisation(harness, users):
    await users.consent(ANNA, [users.x])
    await users.consent(BEN, [users.y])
    await harness.select_tenants(users.x, users.y)
    await harness.run_until_idle()
    await harness.execute("UPDATE grants SET state = 'reconnect_required' WHERE vendor_user_id = :u", u=ANNA)

    now = await harness.selected_tenants()
    assert (now[users.x]["health"], now[users.x]["reason"]["code"]) == ("failing", "reconnect_required")
    assert now[users.x]["next_attempt_at"] is None
    assert now[users.y]["health"] == "healthy"


async def test_an_organisation_that_one_user_loses_in_xero_is_read_through_the_other(harness, users):
    """Report a, with the connection removed within Xero."""
    await users.consent(ANNA, [users.x, users.y])
    await users.consent(BEN, [users.x])
    await harness.select_tenants(users.x, users.y)
    await harness.run_until_idle()
    users.remove_connection(ANNA, users.x)
    await change_something(harness, users.x)

    run = await tick(harness)

    assert {row["status"] for row in run["resources"]} == {"succeeded"}
    assert (await users.user_in_use(users.x), await users.user_in_use(users.y)) == (BEN, ANNA)
    await assert_healthy(harness, users.x, users.y)

    users.remove_connection(BEN, users.x)
    await tick(harness)
    assert await harness.banner_codes() == ["tenant_removed"]
    assert (await harness.selected_tenants())[users.x]["health"] == "removed"
    assert (await checks(harness))[1] == ["organisations"]


@pytest.mark.parametrize("loss", ["connection", "user"])
async def test_a_grant_that_is_not_known_to_reach_the_organisation_is_asked_before_it_is_given_up(harness, users, loss):
    """Before `tenant_grants` a second consent took the organisation over; that the first reaches it was not stored."""
    await connect_both_to_x(users)
    await harness.execute(
        "DELETE FROM tenant_grants USING grants WHERE grants.id = grant_id AND vendor_user_id = :u", u=BEN
    )
    await harness.execute("UPDATE grants SET listed_at = NULL")
    # An organisation that counted as removed for a moment would have its other pulls ended.
    await harness.execute("ALTER TABLE tenants ADD CONSTRAINT never_removed CHECK (removed_at IS NULL)")
    if loss == "connection":
        users.remove_connection(ANNA, users.x)
    else:
        await users.revoke(ANNA)
    await harness.start_sync()
    await change_something(harness, users.x)

    await harness.run_until_idle()

    assert await users.user_in_use(users.x) == BEN
    await assert_healthy(harness, users.x)


async def test_an_organisation_whose_user_died_long_ago_is_found_at_the_next_tick(harness, users):
    await connect_both_to_x(users)
    await harness.execute(
        "DELETE FROM tenant_grants USING grants WHERE grants.id = grant_id AND vendor_user_id = :u", u=BEN
    )
    await harness.execute("UPDATE grants SET listed_at = wall_clock() - interval '16 minutes'")
    await harness.execute("UPDATE grants SET state = 'reconnect_required' WHERE vendor_user_id = :u", u=ANNA)
    await harness.execute(
        "UPDATE tenants SET health = 'failing', reason_code = 'reconnect_required', reason_message = 'Connect again.'"
    )
    await change_something(harness, users.x)
    await harness.execute("UPDATE sync_schedules SET due_at = wall_clock()")

    assert await harness.engine.tick()

    tenant = (await harness.selected_tenants())[users.x]
    assert (tenant["health"], tenant["reason"]) == ("healthy", None)
    await harness.run_until_idle()
    await assert_healthy(harness, users.x)


async def test_a_webhook_event_is_read_through_the_grant_that_is_left(harness, users):
    await connect_both_to_x(users)
    await users.revoke(ANNA)
    [invoice, *_] = [row for row in await harness.xero_rows(users.x, "Invoices") if row["type"] == "ACCREC"]
    await harness.edit_books(users.x, edit="change_reference", id=invoice["id"], reference="new", webhook=True)

    await harness.run_until_idle()

    [event] = (await harness.read(f"{INTEGRATION}/webhook-events"))["items"]
    assert event["status"] == "processed"
    await assert_healthy(harness, users.x)


async def test_a_consent_that_lacks_a_scope_takes_no_organisation_from_a_complete_one(harness, users):
    """Report b."""
    await users.consent(BEN, [users.x])
    await harness.select_tenants(users.x)
    await harness.run_until_idle()

    assert await users.consent(ANNA, [users.x], without=BROAD_SCOPE) == "missing_scope"

    assert await users.user_in_use(users.x) == BEN
    await change_something(harness, users.x)
    assert (await tick(harness))["status"] == "succeeded"
    await assert_healthy(harness, users.x)
    assert (await checks(harness))[1] == []


async def test_a_grant_that_lacks_a_scope_does_not_colour_a_connection_that_has_a_complete_one(harness, users):
    """Report c."""
    assert await users.consent(ANNA, [users.x], without=BROAD_SCOPE) == "missing_scope"
    assert (await harness.integration_status())["state"] == "needs_permission"
    await harness.select_tenants(users.x)
    await harness.run_until_idle()
    status = await harness.integration_status()
    assert (status["state"], status["missing_scopes"]) == ("needs_permission", [BROAD_SCOPE])

    assert await users.consent(BEN, [users.x, users.y]) == "connected"

    assert await users.user_in_use(users.x) == BEN
    assert (await tick(harness))["status"] == "succeeded"
    await assert_healthy(harness, users.x)
    assert (await checks(harness))[1] == []


async def test_a_scope_that_is_lost_in_the_middle_is_made_good_by_the_other_user(harness, users):
    await connect_both_to_x(users)
    users.take_scope(ANNA, BROAD_SCOPE)
    await change_something(harness, users.x)

    assert (await tick(harness))["status"] == "succeeded"

    assert await users.user_in_use(users.x) == BEN
    await assert_healthy(harness, users.x)

    users.take_scope(BEN, BROAD_SCOPE)
    await tick(harness)
    status = await harness.integration_status()
    assert (status["state"], await harness.banner_codes()) == ("needs_permission", ["needs_permission"])


async def test_a_403_for_one_user_is_answered_through_the_other(harness, users):
    """The tenant stays in the list of connections: Xero refuses this user alone."""
    await connect_both_to_x(users)
    connections = users.state.connections

    class RefusingAnna:
        def __getattr__(self, name):
            return getattr(connections, name)

        def is_connected(self, user_id, tenant_id):
            return user_id != ANNA and connections.is_connected(user_id, tenant_id)

    users.state.connections = RefusingAnna()
    await change_something(harness, users.x)

    assert (await tick(harness))["status"] == "succeeded"

    assert await users.user_in_use(users.x) == BEN
    await assert_healthy(harness, users.x)
    await harness.control("DELETE", "/ledger")
    await tick(harness)
    assert {call["status"] for call in await harness.xero_calls()} == {200}


async def test_a_user_with_a_living_grant_renews_it_and_adds_organisations_beside_a_dead_one(harness, users):
    """Report d."""
    await users.consent(ANNA, [users.x])
    await users.consent(BEN, [users.z])
    await harness.select_tenants(users.x, users.z)
    await harness.run_until_idle()
    await users.revoke(ANNA)
    await tick(harness)
    assert (await harness.integration_status())["state"] == "reconnect_required"

    assert await users.consent(BEN, [users.z]) == "connected"
    assert await users.consent(BEN, [users.y, users.z]) == "connected"
    assert await users.consent(CLEO, [users.y]) == "connected"

    assert (await harness.integration_status())["state"] == "reconnect_required"
    assert await users.consent(ANNA, [users.x]) == "connected"
    await tick(harness)
    await assert_healthy(harness, users.x, users.z)


async def test_a_stranger_is_refused_where_nobody_who_is_left_reaches_a_picked_organisation(harness, users):
    await users.consent(ANNA, [users.x])
    await users.consent(BEN, [users.z])
    await harness.select_tenants(users.x)
    await harness.run_until_idle()
    await users.revoke(ANNA)
    await tick(harness)

    assert await users.consent(CLEO, [users.y]) == "different_tenants"
    assert await users.consent(BEN, [users.y]) == "connected"
    assert len(await harness.query("SELECT 1 FROM grants")) == 2
    assert await users.consent(CLEO, [users.x]) == "connected"
    await tick(harness)
    await assert_healthy(harness, users.x)


async def test_a_token_about_to_expire_is_shown_only_where_an_organisation_depends_on_it(harness, users):
    await connect_both_to_x(users)
    await harness.execute(
        "UPDATE grants SET refresh_expires_at = wall_clock() + interval '1 day' WHERE vendor_user_id = :u", u=ANNA
    )
    assert await harness.banner_codes() == []

    users.remove_connection(BEN, users.x)
    await checks(harness)
    assert await harness.banner_codes() == ["token_expiring_2d"]


async def test_disconnecting_ends_the_grants_of_every_user(harness, users):
    await connect_both_to_x(users)

    status = (await harness.call("POST", f"{INTEGRATION}/disconnect")).json()

    assert (status["state"], status["banners"]) == ("not_connected", [])
    grants = await harness.query("SELECT state, access_token_sealed, refresh_token_sealed FROM grants")
    assert [tuple(grant.values()) for grant in grants] == [("disconnected", None, None)] * 2
    await harness.control("DELETE", "/ledger")
    assert await tick(harness) is None
    assert await harness.control("GET", "/ledger") == []
    assert await users.consent(BEN, [users.x]) == "connected"
    assert (await tick(harness))["status"] == "succeeded"
    await assert_healthy(harness, users.x)
