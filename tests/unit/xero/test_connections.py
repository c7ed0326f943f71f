"""The list of tenants a grant reaches."""

from datetime import UTC, datetime

import httpx
import pytest

from app.connector import (
    AccessExpired,
    AnswerUnreadable,
    ConnectorError,
    Organisation,
    OrganisationForbidden,
    RateLimited,
    VendorUnavailable,
)
from tests.support.xero_samples import API, connected

RECORDED = {
    "id": "e1eede29-f875-4a5d-8470-17f6a29a88b1",
    "authEventId": "D99ECDFE-391D-43D2-B834-17636BA90E8D",
    "tenantId": "70784a63-d24b-46a9-a4db-0e70a274b056",
    "tenantType": "ORGANISATION",
    "tenantName": "Maple Florist",
    "createdDateUtc": "2019-07-09T23:40:30.1833130",
    "updatedDateUtc": "2020-05-15T01:35:13.8491980",
}


async def list_organisations(*rows):
    async with connected(lambda _: httpx.Response(200, json=rows)) as xero:
        return await xero.list_organisations("token")


async def test_a_connection_is_an_organisation_with_its_consent_and_its_instant():
    assert await list_organisations(RECORDED) == [
        Organisation(
            tenant_id=RECORDED["tenantId"],
            name="Maple Florist",
            connection_id=RECORDED["id"],
            has_billing=True,
            consent_id=RECORDED["authEventId"].lower(),
            updated_at=datetime(2020, 5, 15, 1, 35, 13, 849198, tzinfo=UTC),
        )
    ]


@pytest.mark.parametrize(
    ("kind", "has_billing"), [("ORGANISATION", True), ("PRACTICE", False), ("PRACTICEMANAGER", False), ("NEW", False)]
)
async def test_only_organisations_carry_billing(kind, has_billing):
    (found,) = await list_organisations(RECORDED | {"tenantType": kind})
    assert found.has_billing is has_billing


async def test_old_connections_lack_a_name_a_consent_and_a_readable_date():
    row = {name: RECORDED[name] for name in ("id", "tenantId", "tenantType")}
    (found,) = await list_organisations(row | {"updatedDateUtc": "long ago"})
    assert (found.name, found.consent_id, found.updated_at) == ("Organisation 70784a63", None, None)


async def test_a_grant_that_reaches_nothing_is_an_empty_list():
    assert await list_organisations() == []


async def test_the_list_is_asked_for_without_an_organisation():
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(200, json=[])

    async with connected(handler) as xero:
        await xero.list_organisations("token-1")
    assert (seen[0].method, str(seen[0].url)) == ("GET", f"{API}/connections")
    assert seen[0].headers["Authorization"] == "Bearer token-1"
    assert "xero-tenant-id" not in seen[0].headers


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (401, '{"Detail":"TokenExpired"}', AccessExpired),
        (401, '{"Detail":"AuthorizationUnsuccessful"}', AccessExpired),
        (403, '{"Detail":"AuthenticationUnsuccessful"}', OrganisationForbidden),
        (429, "", RateLimited),
        (500, "", VendorUnavailable),
        (200, "<html></html>", AnswerUnreadable),
        (200, '{"id":1}', AnswerUnreadable),
        (200, '[{"id":"x"}]', AnswerUnreadable),
        (200, "", AnswerUnreadable),
    ],
)
async def test_a_list_that_does_not_come_says_why(status, body, meaning):
    async with connected(lambda _: httpx.Response(status, text=body)) as xero:
        with pytest.raises(ConnectorError) as raised:
            await xero.list_organisations("token")
    assert type(raised.value) is meaning
