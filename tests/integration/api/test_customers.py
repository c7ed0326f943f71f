"""Customers over HTTP: found by name, with their links."""

import pytest

from app.billing.tables import CustomerLink
from tests.support.api import add, add_customer


async def test_a_customer_has_its_links(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session, "Acme Ltd", psa_external_id="psa-7")
        link = await add(
            session,
            CustomerLink,
            customer_id=acme,
            source="xero",
            source_tenant_id="org-1",
            external_id="c-1",
            name="ACME Limited",
            matched_by="name",
        )
    expected = {
        "id": str(acme),
        "name": "Acme Ltd",
        "psa_external_id": "psa-7",
        "links": [
            {
                "id": str(link),
                "source": "xero",
                "tenant_id": "org-1",
                "external_id": "c-1",
                "name": "ACME Limited",
                "matched_by": "name",
            }
        ],
        "outstanding": [],
        "overdue": [],
        "overdue_count": 0,
        "oldest_overdue_days": None,
        "open_alerts": {"critical": 0, "warning": 0, "info": 0},
    }
    assert (await api.get(f"/api/customers/{acme}")).json() == expected
    assert await api.items("/api/customers") == [expected]


@pytest.mark.parametrize("customer_id", ["8c0f4a5e-0000-4000-8000-000000000000", "not-an-id", "1"])
async def test_an_unknown_customer_is_404(api, customer_id):
    for path in ("", "/billing", "/billing/months", "/billing/aging", "/timeline"):
        answer = await api.get(f"/api/customers/{customer_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_customers_are_sorted_by_name_in_any_case_and_no_page_repeats_or_loses_one(api, db):
    names = ["beta", "Alpha", "alpha", "Ümlaut", "Zeta", "ähnlich", "", "Beta", "alpha"]
    async with db.transaction() as session:
        for name in names:
            await add_customer(session, name)
    found = [each["name"] for each in await api.read_all("/api/customers", limit=2)]
    assert sorted(found) == sorted(names)
    assert [name.lower() for name in found] == sorted(name.lower() for name in names)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("acme", {"ACME 100% Ltd", "acme_two"}),
        ("%", {"ACME 100% Ltd"}),
        ("_", {"acme_two"}),
        ("\\", {"back\\slash"}),
        ("ÉCLAIR", {"Éclair"}),
        ("linked contact", {"back\\slash"}),
        ("nobody", set()),
        ("", {"ACME 100% Ltd", "acme_two", "back\\slash", "Éclair"}),
    ],
)
async def test_search_has_no_wildcards(api, db, search, found):
    async with db.transaction() as session:
        for name in ("ACME 100% Ltd", "acme_two", "Éclair"):
            await add_customer(session, name)
        other = await add_customer(session, "back\\slash")
        await add(
            session,
            CustomerLink,
            customer_id=other,
            source="xero",
            source_tenant_id="org-1",
            external_id="c-1",
            name="Linked Contact",
        )
    assert {each["name"] for each in await api.items("/api/customers", params={"search": search})} == found


async def test_linked_separates_customers_with_a_link_from_those_without(api, db):
    async with db.transaction() as session:
        await add_customer(session, "PSA only")
        known = await add_customer(session, "Known")
        contact = {"source": "xero", "source_tenant_id": "org-1", "external_id": "c-1", "name": "Known"}
        await add(session, CustomerLink, customer_id=known, **contact)
    linked = await api.items("/api/customers", params={"linked": "true"})
    others = await api.items("/api/customers", params={"linked": "false"})
    assert ([each["name"] for each in linked], [each["name"] for each in others]) == (["Known"], ["PSA only"])
