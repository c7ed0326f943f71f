"""The review queue: contacts with their candidates, and decisions by hand."""

import pytest
from sqlalchemy import select

from app.audit import AuditEntry
from app.billing.tables import CustomerLink
from app.connections.tables import Grant, Tenant
from tests.support.api import NOON, add, add_customer, add_invoice

NOBODY = "8c0f4a5e-0000-4000-8000-000000000000"


async def add_link(session, customer, name, **values):
    row = {"source": "xero", "source_tenant_id": "org-1", "external_id": f"c-{name}", "name": name}
    return await add(session, CustomerLink, customer_id=customer, **{**row, **values})


@pytest.fixture
async def queue(db, api):
    """Two PSA customers of one name, and a contact that could be either; returns their ids."""
    twins = [{"external_id": f"psa-{number}", "name": "Acme Ltd"} for number in (1, 2)]
    assert (await api.put("/api/psa/customers", {"items": twins}, role="service")).status_code == 200
    customers = [each["id"] for each in await api.items("/api/customers")]
    async with db.transaction() as session:
        own = await add_customer(session, "ACME Limited")
        link = await add_link(session, own, "ACME Limited", state="suggested", vendor_read_at=NOON)
        await add_invoice(session, own, contact_external_id="c-ACME Limited")
    return str(link), str(own), customers


async def test_a_contact_in_the_queue_shows_its_candidates(api, queue):
    link, own, customers = queue
    shown = (await api.items("/api/matches"))[0]
    candidates = shown.pop("candidates")
    assert shown == {
        "link_id": link,
        "source": "xero",
        "tenant_id": "org-1",
        "tenant_name": None,
        "external_id": "c-ACME Limited",
        "name": "ACME Limited",
        "group": "acme",
        "state": "suggested",
        "customer_id": own,
    }
    assert {each["customer_id"] for each in candidates} == set(customers)
    assert all(each["name"] == "Acme Ltd" and 0 < each["score"] <= 1 and each["signals"] for each in candidates)


async def test_linking_moves_the_contact_with_its_invoices_and_is_audited(api, db, queue):
    link, own, customers = queue
    body = {"action": "link", "customer_id": customers[0]}
    decided = await api.put(f"/api/matches/{link}", body, role="analyst", subject="ann")
    assert decided.status_code == 200, decided.text
    shown = decided.json()
    assert (shown["state"], shown["customer_id"], shown["candidates"]) == ("matched", customers[0], [])
    assert [each["number"] for each in await api.items("/api/invoices", params={"customer_id": customers[0]})] == [
        "INV-1"
    ]
    assert (await api.get(f"/api/customers/{customers[0]}")).json()["links"][0]["matched_by"] == "manual"
    async with db.transaction() as session:
        entry = (await session.scalars(select(AuditEntry).where(AuditEntry.action.startswith("match")))).one()
    assert (entry.actor, entry.action, entry.target) == ("ann", "match_linked", link)
    assert (entry.details["from_customer"], entry.details["to_customer"]) == (own, customers[0])


async def test_a_decision_can_be_undone(api, queue):
    link, _, customers = queue
    await api.put(f"/api/matches/{link}", {"action": "link", "customer_id": customers[0]}, role="admin")
    undone = (await api.put(f"/api/matches/{link}", {"action": "unlink"}, role="admin")).json()
    assert undone["customer_id"] not in customers
    assert undone["state"] == "suggested"
    ignored = (await api.put(f"/api/matches/{link}", {"action": "ignore"}, role="admin")).json()
    created = (await api.put(f"/api/matches/{link}", {"action": "create"}, role="admin")).json()
    assert (ignored["state"], created["state"]) == ("ignored", "matched")


async def test_the_queue_is_filtered_by_state_and_paged_by_name(api, db):
    async with db.transaction() as session:
        own = await add_customer(session)
        for name, state in [
            ("b", "unmatched"),
            ("A", "suggested"),
            ("c", "matched"),
            ("a", "ignored"),
            ("B", "unmatched"),
        ]:
            await add_link(session, own, name, state=state)
    names = [each["name"] for each in await api.read_all("/api/matches", limit=1)]
    assert [name.lower() for name in names] == ["a", "a", "b", "b", "c"]
    found = {
        state: {each["name"] for each in await api.items("/api/matches", params={"state": state})}
        for state in ("unmatched", "suggested", "matched", "ignored")
    }
    assert found == {"unmatched": {"b", "B"}, "suggested": {"A"}, "matched": {"c"}, "ignored": {"a"}}
    assert (await api.get("/api/matches", params={"state": "odd"})).status_code == 422


async def test_contacts_are_found_by_name_mail_and_organisation_and_grouped_by_name(api, db):
    async with db.transaction() as session:
        own = await add_customer(session)
        grant = await add(session, Grant, vendor="xero", vendor_user_id="u", scope_set="broad", connected_by="ann")
        books = {"tenant_id": "org-2", "name": "Second books", "connection_id": "c", "grant_id": grant}
        await add(session, Tenant, vendor="xero", **books)
        await add_link(session, own, "Tui Ltd", email="bills@brewery.example")
        await add_link(session, own, "TUI LIMITED", source_tenant_id="org-2")
        await add_link(session, own, "100% Kea", state="matched")
    everything = await api.items("/api/matches")
    assert {one["name"]: (one["tenant_name"], one["group"]) for one in everything} == {
        "Tui Ltd": (None, "tui"),
        "TUI LIMITED": ("Second books", "tui"),
        "100% Kea": (None, "100 kea"),
    }
    for filters, names in (
        ({"search": "tui"}, {"Tui Ltd", "TUI LIMITED"}),
        ({"search": "BREWERY"}, {"Tui Ltd"}),
        ({"search": "0%"}, {"100% Kea"}),
        ({"tenant_id": "org-2"}, {"TUI LIMITED"}),
        ({"tenant_id": "org-2", "state": "matched"}, set()),
    ):
        assert {one["name"] for one in await api.items("/api/matches", params=filters)} == names
    counts = (await api.get("/api/matches/counts")).json()
    assert counts == {"suggested": 0, "unmatched": 2, "matched": 1, "ignored": 0}


@pytest.fixture
async def suggested(db, api):
    """Contacts whose names are like those of one or of two PSA customers; returns the customers' ids by name."""
    names = ["Kea Holdings", "Weka Services", "Weka Service", "Moa Works"]
    items = [{"external_id": f"psa-{name}", "name": name} for name in names]
    await api.put("/api/psa/customers", {"items": items}, role="service")
    async with db.transaction() as session:
        for name in ("Kea Holding", "Weka Servicing", "Lonely"):
            own = await add_customer(session, name)
            state = "unmatched" if name == "Lonely" else "suggested"
            await add_link(session, own, name, state=state, vendor_read_at=NOON)
            await add_invoice(session, own, number=name, contact_external_id=f"c-{name}")
    return {one["name"]: one["id"] for one in await api.items("/api/customers")}


async def test_linking_in_bulk_shows_first_and_links_only_where_one_candidate_stands_alone(api, db, suggested):
    scores = {
        one["name"]: sorted((each["score"] for each in one["candidates"]), reverse=True)
        for one in await api.items("/api/matches")
    }
    lower = min(scores["Kea Holding"][0], scores["Weka Servicing"][1])
    assert len(scores["Weka Servicing"]) == 2
    before = await api.items("/api/matches")
    shown = (await api.post("/api/matches/bulk", {"min_score": lower, "dry_run": True}, role="analyst")).json()
    assert await api.items("/api/matches") == before
    assert [(one["name"], one["customer_name"], one["score"]) for one in shown["would_link"]] == [
        ("Kea Holding", "Kea Holdings", scores["Kea Holding"][0])
    ]
    assert shown["linked"] == 0

    body = {"min_score": lower, "dry_run": False}
    done = (await api.post("/api/matches/bulk", body, role="analyst", subject="ann")).json()
    assert done == {"would_link": shown["would_link"], "linked": 1}
    states = {one["name"]: (one["state"], one["customer_id"]) for one in await api.items("/api/matches")}
    assert states["Kea Holding"] == ("matched", suggested["Kea Holdings"])
    assert (states["Weka Servicing"][0], states["Lonely"][0]) == ("suggested", "unmatched")
    moved = await api.items("/api/invoices", params={"customer_id": suggested["Kea Holdings"]})
    assert [one["number"] for one in moved] == ["Kea Holding"]
    async with db.transaction() as session:
        entry = (await session.scalars(select(AuditEntry).where(AuditEntry.action.startswith("match")))).one()
    link = done["would_link"][0]["link_id"]
    assert (entry.actor, entry.action, entry.target) == ("ann", "match_linked", link)
    undone = (await api.put(f"/api/matches/{link}", {"action": "unlink"}, role="analyst")).json()
    assert undone["state"] == "suggested"


@pytest.mark.parametrize(
    "body", [{}, {"min_score": 0.9}, {"min_score": 0, "dry_run": True}, {"min_score": 1.1, "dry_run": True}]
)
async def test_linking_in_bulk_needs_a_score_and_an_explicit_choice(api, body):
    assert (await api.post("/api/matches/bulk", body, role="analyst")).status_code == 422
    for role in ("viewer", "service"):
        refused = await api.post("/api/matches/bulk", {"min_score": 0.9, "dry_run": True}, role=role)
        assert refused.status_code == 403


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"action": "link"}, "validation_failed", "/customer_id"),
        ({"action": "link", "customer_id": "x"}, "validation_failed", "/customer_id"),
        ({"action": "link", "customer_id": NOBODY}, "unknown_customer", None),
        ({"action": "merge"}, "validation_failed", "/action"),
        ({}, "validation_failed", "/action"),
    ],
)
async def test_an_invalid_decision_changes_nothing(api, queue, body, code, pointer):
    before = await api.items("/api/matches")
    refused = await api.put(f"/api/matches/{queue[0]}", body, role="admin")
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert [each["pointer"] for each in refused.json().get("errors", [])] == ([pointer] if pointer else [])
    assert await api.items("/api/matches") == before


async def test_an_unknown_contact_is_404_and_a_reader_may_not_decide(api, queue):
    for link in (NOBODY, "x"):
        assert (await api.put(f"/api/matches/{link}", {"action": "ignore"}, role="admin")).status_code == 404
    for role in ("viewer", "service"):
        assert (await api.put(f"/api/matches/{queue[0]}", {"action": "ignore"}, role=role)).status_code == 403
