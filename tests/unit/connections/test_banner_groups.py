"""Banners of one code are one, however many organisations they are about."""

from datetime import UTC, datetime, timedelta

import pytest

from app.connections.banner_groups import group_banners
from app.connections.snapshot import Action, Banner
from app.connections.states import BannerCode, Severity

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
CONNECT = Action("Reconnect Xero", "POST", "/connect")


def forbidden(number, **more):
    values = {"tenant_id": f"t{number:03}", "tenant_name": f"Books {number}", "since": NOON - timedelta(hours=number)}
    title, body = f"Books {number} no longer grants access", "Authorise it again."
    values |= {"action": CONNECT, **more}
    return Banner(BannerCode.TENANT_FORBIDDEN, Severity.CRITICAL, title, body, **values)


def test_a_banner_about_one_organisation_keeps_its_words_and_names_it():
    [group] = group_banners([forbidden(1)], "Xero")
    assert (group.title, group.body) == ("Books 1 no longer grants access", "Authorise it again.")
    assert (group.tenant_id, group.tenant_ids, group.count) == ("t001", ["t001"], 1)


def test_banners_about_many_organisations_are_one_that_counts_them_and_names_the_first():
    [group] = group_banners([forbidden(number) for number in range(1, 31)], "Xero")
    assert group.title == "30 organisations no longer grant access"
    assert group.body == "Books 1, Books 2, Books 3, Books 4, Books 5 and 25 more. Authorise it again."
    assert (group.tenant_id, group.count, len(group.tenant_ids)) == (None, 30, 20)
    assert (group.since, group.action) == (NOON - timedelta(hours=30), CONNECT)


def test_reasons_that_differ_are_told_by_the_first():
    banners = [forbidden(1), Banner(**{**_fields(forbidden(2)), "body": "Another reason."})]
    [group] = group_banners(banners, "Xero")
    assert group.body == "Books 1, Books 2. The first of them: Authorise it again."


def test_the_organisations_that_a_dead_grant_stops_are_counted_over_all_grants():
    banners = [
        Banner(BannerCode.RECONNECT_REQUIRED, Severity.CRITICAL, "Reconnect", f"Reason {ids}", concerned=frozenset(ids))
        for ids in ("ab", "bc")
    ]
    [group] = group_banners(banners, "Xero")
    assert (group.tenant_ids, group.count, group.tenant_id) == (["a", "b", "c"], 3, None)
    assert (group.title, group.body) == ("Reconnect", "Reason ab Reason bc")


def test_groups_keep_the_order_of_their_codes_and_a_banner_of_the_connection_counts_nobody():
    mismatch = Banner(BannerCode.WEBHOOK_SIGNATURE_MISMATCH, Severity.WARNING, "Wrong key", "Copy it again.")
    groups = group_banners([forbidden(1), mismatch, forbidden(2)], "Xero")
    assert [group.code for group in groups] == [BannerCode.TENANT_FORBIDDEN, BannerCode.WEBHOOK_SIGNATURE_MISMATCH]
    assert (groups[1].count, groups[1].tenant_ids, groups[1].tenant_id) == (0, [], None)


@pytest.mark.parametrize(
    ("severity", "action", "until", "needs_person"),
    [
        (Severity.CRITICAL, CONNECT, None, True),
        (Severity.WARNING, CONNECT, NOON, True),
        (Severity.WARNING, None, None, True),
        (Severity.WARNING, None, NOON, False),
        (Severity.INFO, None, None, False),
    ],
)
def test_a_person_is_needed_where_waiting_does_not_help(severity, action, until, needs_person):
    banner = Banner(BannerCode.PARTIAL_SYNC, severity, "", "", "t", action=action, until=until)
    assert group_banners([banner], "Xero")[0].needs_person is needs_person


def test_a_group_ends_when_its_last_banner_does_and_never_while_one_does_not():
    ends = [NOON, NOON + timedelta(hours=1), None]
    banners = [forbidden(number, until=until) for number, until in enumerate(ends)]
    assert group_banners(banners[:2], "Xero")[0].until == ends[1]
    assert group_banners(banners, "Xero")[0].until is None


def _fields(banner):
    return {name: getattr(banner, name) for name in Banner.__dataclass_fields__}
