"""Matching: automatic where the name is unambiguous, candidates where it is not, and decisions that no sync undoes."""

import asyncio
import json
from datetime import date
from decimal import Decimal
from uuid import uuid4

import pytest

from app.billing.alerts import AlertPolicy
from app.billing.maintenance import refresh_derived
from app.billing.matching import review
from app.billing.matching.review import CustomerMissing, MatchAction, UnknownCustomer, UnknownLink
from app.billing.psa import PsaCustomer, PsaService, upsert_customers, upsert_services
from tests.support.factories import Ledger, at, contact, invoice, memo, payment
from tests.support.paths import ROOT


class PsaLedger(Ledger):
    """A ledger with a PSA that sends customers and a person who decides about links."""

    async def send(self, **names):
        """Send customers of the PSA, by external id."""
        customers = [
            PsaCustomer(external_id, *([name] if isinstance(name, str) else name))
            for external_id, name in names.items()
        ]
        async with self.db.transaction() as session:
            return await upsert_customers(session, customers)

    async def link(self, external_id="c1", tenant_id=None):
        tenant_id = tenant_id or self.tenant_id
        return await self.row("customer_links", f"external_id = '{external_id}' AND source_tenant_id = '{tenant_id}'")

    async def match_of(self, external_id="c1", tenant_id=None):
        """Return the PSA's id of the contact's customer or None, and the link's `matched_by` and `state`."""
        link = await self.link(external_id, tenant_id)
        customer = await self.row("customers", f"id = '{link['customer_id']}'")
        return customer["psa_external_id"], link["matched_by"], link["state"]

    async def decide(self, action, to=None, external_id="c1"):
        link = await self.link(external_id)
        async with self.db.transaction() as session:
            return await review.decide(session, link["id"], action, to, "an analyst")

    async def customer(self, psa_id):
        return (await self.row("customers", f"psa_external_id = '{psa_id}'"))["id"]

    async def candidates(self, external_id="c1"):
        link = await self.link(external_id)
        async with self.db.transaction() as session:
            return (await review.find_candidates(session, [link["id"]]))[link["id"]]

    async def refresh_derived(self, minute=60):
        async with self.db.transaction() as session:
            return await refresh_derived(session, at(minute), AlertPolicy())

    async def owners(self, table):
        """Return the customers that rows of a table belong to."""
        return {row["customer_id"] for row in await self.rows(table)}


@pytest.fixture
def ledger(db):
    return PsaLedger(db)


REPORT = json.loads((ROOT / "tests/inputs/06-names.json").read_text())
MATCHED, OWN = ("p1", "name", "matched"), (None, "new", "unmatched")
ASKED = (None, "new", "suggested")


async def test_a_contact_is_linked_to_the_one_customer_with_its_name(ledger):
    await ledger.send(p1="The ACME Pty. Ltd.", p2="Zenith")
    await ledger.write(contact(name="Acme", minute=0), contact("c2", "Solitary", 0))

    assert await ledger.match_of("c1") == MATCHED
    assert await ledger.match_of("c2") == OWN
    assert await ledger.count("customers") == 3


async def test_a_customer_that_is_sent_later_is_matched_then_with_all_rows_of_the_contact(ledger):
    await ledger.write(contact(minute=0), invoice(), payment(), memo())
    own = (await ledger.link())["customer_id"]
    await ledger.refresh_derived()
    await ledger.send(p1="Acme")

    customer = await ledger.customer("p1")
    assert await ledger.match_of() == MATCHED
    for table in ("billing_invoices", "billing_payments", "billing_credit_memos", "timeline_events", "billing_alerts"):
        assert await ledger.owners(table) == {customer}, table
    assert await ledger.count("customers", f"id = '{own}'") == 0


async def test_without_a_psa_every_contact_has_a_customer_of_its_own(ledger):
    await ledger.write(contact("c1", "Acme", 0), contact("c2", "Acme", 0))
    await ledger.refresh_derived()

    assert await ledger.match_of("c1") == await ledger.match_of("c2") == OWN
    assert await ledger.count("customers") == 2


@pytest.mark.parametrize("pages", [1, 2], ids=["on one page", "on two pages"])
async def test_two_contacts_of_one_name_are_not_matched(ledger, pages):
    contacts = [contact("c1", "Acme Ltd", 0), contact("c2", "ACME", 0)]
    await ledger.send(p1="Acme")
    for page in [contacts] if pages == 1 else [[one] for one in contacts]:
        await ledger.write(*page)

    assert await ledger.match_of("c1") == await ledger.match_of("c2") == ASKED


@pytest.mark.parametrize("is_first", [True, False], ids=["psa first", "contact first"])
async def test_two_customers_of_one_name_are_not_matched(ledger, is_first):
    if is_first:
        await ledger.send(p1="Acme", p2="Acme Ltd")
    await ledger.write(contact(name="ACME", minute=0), invoice())
    if not is_first:
        await ledger.send(p1="Acme")
        await ledger.send(p2="Acme Ltd")

    assert await ledger.match_of() == ASKED
    assert await ledger.owners("billing_invoices") == {(await ledger.link())["customer_id"]}


async def test_when_one_of_two_customers_of_a_name_is_renamed_the_contact_is_linked_to_the_other(ledger):
    await ledger.send(p1="Acme", p2="Acme Ltd")
    await ledger.write(contact(minute=0))
    await ledger.send(p2="Zenith")

    assert await ledger.match_of() == MATCHED


async def test_equal_names_are_matched_letter_by_letter_before_keys_are_compared(ledger):
    await ledger.send(**{f"p{at}": name for at, name in enumerate(REPORT["b"]["psa"])})
    await ledger.write(*(contact(f"c{at}", name, 0) for at, name in enumerate(REPORT["b"]["xero"])))

    assert [await ledger.match_of(f"c{at}") for at in range(2)] == [
        ("p0", "name", "matched"),
        ("p1", "name", "matched"),
    ]


@pytest.mark.parametrize("is_first", [True, False], ids=["psa first", "contact first"])
async def test_a_name_without_a_short_legal_form_is_suggested_and_the_signal_says_why(ledger, is_first):
    [psa], [xero] = REPORT["a"]["psa"], REPORT["a"]["xero"]
    steps = [ledger.send(p1=psa), ledger.write(contact(name=xero, minute=0))]
    for step in steps if is_first else reversed(steps):
        await step

    assert await ledger.match_of() == ASKED
    assert [(one.name, one.signals) for one in await ledger.candidates()] == [(psa, ("short_legal_form_differs",))]


async def test_a_rename_by_a_legal_form_alone_is_matched_again(ledger):
    await ledger.send(p1="Nexus", p2="Nexus SA")
    await ledger.write(contact(name="Nexus Ltd", minute=0))
    first = await ledger.match_of()
    await ledger.write(contact(name="Nexus SA", minute=1))
    renamed = await ledger.match_of()
    await ledger.send(p2="Nexus NV", p3="Nexus SA")

    assert (first, renamed) == (MATCHED, ("p2", "name", "matched"))
    assert await ledger.match_of() == ("p3", "name", "matched")


async def test_a_link_outlives_a_rename_to_a_name_with_a_short_legal_form(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact(name="Acme", minute=0))
    await ledger.send(p1="Acme SA")

    assert await ledger.match_of() == MATCHED


async def test_a_contact_that_waits_for_a_person_keeps_its_own_customer(ledger):
    await ledger.send(p1="Acme", p2="ACME")
    await ledger.write(contact(name="Acme Ltd", minute=0))
    own = (await ledger.link())["customer_id"]
    await ledger.send(p3="acme")

    assert await ledger.match_of() == ASKED
    assert (await ledger.link())["customer_id"] == own


async def test_a_nearer_name_that_comes_later_takes_the_customer(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact("c1", "ACME Ltd", 0))
    first = await ledger.match_of("c1")
    await ledger.write(contact("c2", "Acme", 0))

    assert (first, await ledger.match_of("c1"), await ledger.match_of("c2")) == (MATCHED, ASKED, MATCHED)


async def test_rows_of_other_services_move_with_their_customer_to_the_psas(ledger):
    await ledger.write(contact(minute=0))
    await ledger.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance) SELECT 'quickbooks', 'q1', 'i1', customer_id, 'open', 'USD', 10, 10 FROM customer_links"
    )
    await ledger.send(p1="Acme")

    assert await ledger.owners("billing_invoices") == {await ledger.customer("p1")}
    assert await ledger.count("customers") == 1


async def test_when_one_of_two_contacts_of_a_name_is_renamed_the_other_is_linked(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact("c1", "Acme", 0), contact("c2", "Acme", 0))
    await ledger.write(contact("c2", "Zenith", 1))

    assert await ledger.match_of("c1") == MATCHED
    assert (await ledger.match_of("c2"))[0] is None


async def test_a_supplier_of_the_same_name_does_not_prevent_a_match(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact("c1", "Acme", 0), contact("s1", "Acme", 0, is_customer=False))

    assert await ledger.match_of() == MATCHED


async def test_a_contact_is_linked_when_it_takes_a_customers_name(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact(name="Acem", minute=0), invoice())
    await ledger.write(contact(name="Acme", minute=1))

    assert await ledger.match_of() == MATCHED
    assert await ledger.owners("billing_invoices") == {await ledger.customer("p1")}


async def test_a_link_outlives_a_rename_to_a_name_of_no_other_customer(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact(minute=0))
    await ledger.write(contact(name="Acme Trading", minute=1))
    await ledger.send(p1="Acme International")

    assert await ledger.match_of() == MATCHED
    assert (await ledger.row("customers"))["name"] == "Acme International"


async def test_a_customer_created_for_a_contact_is_renamed_with_it_and_one_of_the_psa_is_not(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact("c1", "Acme", 0), contact("c2", "Solo", 0))
    await ledger.write(contact("c1", "Acme New", 1), contact("c2", "Solo New", 1, email="a@solo.example"))

    names = {row["name"]: row["email"] for row in await ledger.rows("customers")}
    assert names == {"Acme": None, "Solo New": "a@solo.example"}


async def test_a_customer_that_a_person_created_or_that_has_two_contacts_keeps_its_name(ledger):
    await ledger.write(contact("c1", "One", 0), contact("c2", "Two", 0), contact("c3", "Three", 0))
    await ledger.decide("create", external_id="c1")
    await ledger.decide("link", (await ledger.link("c2"))["customer_id"], external_id="c3")
    await ledger.write(contact("c1", "One New", 1), contact("c2", "Two New", 1))

    assert {row["name"] for row in await ledger.rows("customers")} == {"One", "Two"}


async def test_a_link_that_another_service_wrote_is_not_matched(ledger):
    await write_quickbooks(ledger)
    await ledger.run("UPDATE customer_links SET name_key = 'acme qb'")
    await ledger.send(p1="Acme QB")

    assert await ledger.match_of("7", "q1") == OWN


async def test_the_same_company_in_three_organisations_and_another_vendor_is_one_customer_with_four_links(ledger):
    await ledger.send(p1="Acme")
    for tenant_id in ("t1", "t2", "t3"):
        await ledger.of(tenant_id).write(contact(minute=0), invoice())
    await ledger.run(
        "INSERT INTO customer_links (customer_id, source, source_tenant_id, external_id, name, matched_by)"
        " SELECT id, 'quickbooks', 'q1', '7', 'Acme', 'name' FROM customers"
    )
    await ledger.write(contact(minute=1))

    assert await ledger.count("customers") == 1
    assert await ledger.count("customer_links") == 4
    assert await ledger.owners("billing_invoices") == {await ledger.customer("p1")}


async def test_similar_names_mail_domains_and_equal_names_elsewhere_are_candidates_with_their_signals(ledger):
    await ledger.send(
        p1="Acme Holdings", p2=("Zenith", "info@acme.example"), p3="Tui Brewing", p4=("Gmailers", "x@gmail.com")
    )
    await ledger.of("t2").write(contact("x9", "Acme", 0))
    await ledger.write(
        contact(name="Acme", minute=0, email="bills@acme.example"), contact("c2", "Lonely", 0, email="y@gmail.com")
    )
    await ledger.refresh_derived()

    found = await ledger.candidates()
    assert [(one.name, one.signals) for one in found] == [
        ("Acme Holdings", ("similar_name",)),
        ("Zenith", ("email_domain",)),
        ("Acme", ("same_name_in_other_organisation",)),
    ]
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0 < one.score < 1 for one in found)
    assert await ledger.match_of("c1") == ASKED
    assert await ledger.candidates("c2") == []
    assert await ledger.match_of("c2") == OWN


async def test_signals_add_up_and_put_the_likelier_candidate_first(ledger):
    await ledger.send(p1="Acme", p2=("Acme Ltd", "info@acme.example"))
    await ledger.write(contact(name="ACME", minute=0, email="bills@acme.example"))

    best, other = await ledger.candidates()
    assert (best.signals, other.signals) == (("same_name", "email_domain"), ("same_name",))
    assert best.score > other.score


async def test_the_present_customer_of_a_contact_is_not_a_candidate(ledger):
    await ledger.send(p1="Acme", p2="Acme Holdings")
    await ledger.write(contact(minute=0))

    assert [one.name for one in await ledger.candidates()] == ["Acme Holdings"]


async def test_another_vendors_contact_gives_a_candidate_although_it_has_no_name_key(ledger):
    await ledger.run("INSERT INTO customers (name) VALUES ('Acme (QB)')")
    await ledger.run(
        "INSERT INTO customer_links (customer_id, source, source_tenant_id, external_id, name, matched_by)"
        " SELECT id, 'quickbooks', 'q1', '7', 'ACME Inc', 'new' FROM customers"
    )
    await ledger.write(contact(minute=0))

    assert [(one.name, one.signals) for one in await ledger.candidates()] == [
        ("Acme (QB)", ("same_name_in_other_organisation",))
    ]


async def test_a_contact_loses_its_candidates_when_they_are_renamed_and_gains_new_ones(ledger):
    await ledger.write(contact(minute=0))
    await ledger.send(p1="Acme Holdings")
    asked = await ledger.match_of()
    await ledger.send(p1="Zenith")

    assert (asked, await ledger.match_of()) == (ASKED, OWN)


async def test_a_decision_moves_every_row_alert_and_event_at_once_and_is_audited(ledger):
    await ledger.send(p1="Zenith")
    await ledger.write(contact(minute=0), invoice(), payment(), payment("p2", to="i1", of=contact()), memo())
    await ledger.refresh_derived()
    left = (await ledger.link())["customer_id"]

    decision = await ledger.decide("link", await ledger.customer("p1"))

    customer = await ledger.customer("p1")
    assert (decision.customer_id, decision.state) == (customer, "matched")
    assert await ledger.match_of() == ("p1", "manual", "matched")
    for table in ("billing_invoices", "billing_payments", "billing_credit_memos", "timeline_events", "billing_alerts"):
        assert await ledger.owners(table) == {customer}, table
    assert await ledger.count("customers") == 1
    entry = await ledger.row("audit_entries")
    assert (entry["actor"], entry["action"]) == ("an analyst", "match_linked")
    assert entry["details"]["from_customer"] == str(left)
    assert (await ledger.link())["decided_by"] == "an analyst"


async def test_unlinking_undoes_a_decision_and_puts_the_contact_into_the_queue_again(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact(minute=0), invoice())
    await ledger.refresh_derived()
    await ledger.decide("unlink")
    undone, own = await ledger.match_of(), (await ledger.link())["customer_id"]
    left = [await ledger.owners(table) for table in ("billing_invoices", "timeline_events", "billing_alerts")]
    await ledger.decide("link", await ledger.customer("p1"))

    assert undone == (None, "manual", "suggested")
    assert left == [{own}] * 3
    assert await ledger.match_of() == ("p1", "manual", "matched")
    assert await ledger.owners("billing_invoices") == {await ledger.customer("p1")}


@pytest.mark.parametrize(
    ("action", "match_of"),
    [
        ("create", (None, "manual", "matched")),
        ("ignore", (None, "manual", "ignored")),
        ("unlink", (None, "manual", "suggested")),
    ],
)
async def test_every_decision_outlives_syncs_renames_and_the_psa(ledger, action, match_of):
    await ledger.send(p1="Acme")
    await ledger.write(contact(minute=0), invoice())
    await ledger.decide(action)
    for minute, name in enumerate(("Zenith", "Acme", "Acme Ltd"), 1):
        await ledger.write(contact(name=name, minute=minute), invoice(minute=minute))
        await ledger.send(p1="Acme", p2="Zenith")
        await ledger.refresh_derived()

    assert await ledger.match_of() == match_of
    assert await ledger.owners("billing_invoices") == {(await ledger.link())["customer_id"]}


async def test_a_manual_link_outlives_a_customer_of_the_contacts_own_name(ledger):
    await ledger.send(p2="Zenith")
    await ledger.write(contact(minute=0), invoice())
    await ledger.decide("link", await ledger.customer("p2"))
    await ledger.send(p1="Acme")
    await ledger.write(contact(minute=1, email="new@acme.example"))

    assert await ledger.match_of() == ("p2", "manual", "matched")


async def test_creating_a_customer_for_a_contact_that_has_its_own_keeps_that_one(ledger):
    await ledger.write(contact(minute=0))
    own = (await ledger.link())["customer_id"]

    assert (await ledger.decide("create")).customer_id == own
    assert (await ledger.decide("ignore")).customer_id == own
    assert await ledger.count("customers") == 1


async def test_separating_two_contacts_of_one_customer_moves_only_the_rows_of_the_one_moved(ledger):
    await ledger.send(p1="Zenith")
    await ledger.write(invoice("i1", of=contact("c1", "One")), invoice("i2", of=contact("c2", "Two")))
    for external_id in ("c1", "c2"):
        await ledger.decide("link", await ledger.customer("p1"), external_id)
    await ledger.decide("unlink", external_id="c1")

    first, second = await ledger.rows("billing_invoices", order="external_id")
    assert first["customer_id"] == (await ledger.link("c1"))["customer_id"] != second["customer_id"]
    assert second["customer_id"] == await ledger.customer("p1")


async def test_a_decision_moves_another_vendors_link_with_rows_that_name_no_contact(ledger):
    await ledger.send(p1="Acme")
    await write_quickbooks(ledger)
    qb = await ledger.row("customer_links")
    async with ledger.db.transaction() as session:
        await review.decide(session, qb["id"], MatchAction.LINK, await ledger.customer("p1"), "an analyst")

    assert await ledger.owners("billing_invoices") == {await ledger.customer("p1")}
    assert await ledger.count("customers") == 1


async def test_rows_that_name_no_contact_stay_when_their_customer_has_another_link(ledger):
    await ledger.send(p1="Acme")
    await write_quickbooks(ledger)
    await ledger.run(
        "INSERT INTO customer_links (customer_id, source, source_tenant_id, external_id, name, matched_by)"
        " SELECT customer_id, source, source_tenant_id, '8', 'Other', 'new' FROM customer_links"
    )
    qb = await ledger.link("7", "q1")
    async with ledger.db.transaction() as session:
        await review.decide(session, qb["id"], MatchAction.LINK, await ledger.customer("p1"), "an analyst")

    assert await ledger.owners("billing_invoices") == {(await ledger.link("8", "q1"))["customer_id"]}


async def write_quickbooks(ledger):
    await ledger.run("INSERT INTO customers (name) VALUES ('Acme QB')")
    at_it = "FROM customers WHERE name = 'Acme QB'"
    await ledger.run(
        "INSERT INTO customer_links (customer_id, source, source_tenant_id, external_id, name, matched_by)"
        f" SELECT id, 'quickbooks', 'q1', '7', 'Acme QB', 'new' {at_it}"
    )
    await ledger.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        f" balance) SELECT 'quickbooks', 'q1', 'i1', id, 'open', 'USD', 10, 10 {at_it}"
    )


async def test_rows_of_other_services_move_with_their_customer_when_a_person_links_it(ledger):
    await ledger.send(p1="Zenith")
    await ledger.write(contact(minute=0), invoice())
    await ledger.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance) SELECT 'quickbooks', 'q1', 'i1', customer_id, 'open', 'USD', 10, 10 FROM customer_links"
    )
    await ledger.decide("link", await ledger.customer("p1"))

    assert await ledger.owners("billing_invoices") == {await ledger.customer("p1")}
    assert await ledger.count("customers") == 1


async def test_automatic_matching_leaves_rows_of_other_services_at_their_customer(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact(name="Acem", minute=0), invoice())
    await ledger.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance) SELECT 'quickbooks', 'q1', 'i1', customer_id, 'open', 'USD', 10, 10 FROM customer_links"
    )
    own = (await ledger.link())["customer_id"]
    await ledger.write(contact(minute=1))

    assert await ledger.match_of() == MATCHED
    assert (await ledger.row("billing_invoices", "source = 'quickbooks'"))["customer_id"] == own


async def test_a_merged_contact_follows_the_one_it_was_merged_into(ledger):
    await ledger.send(p1="Zenith")
    await ledger.write(invoice("i1", of=contact("c1", "Loser")), invoice("i2", of=contact("c2", "Zenith")))
    await ledger.write(contact("c1", "Loser", 1, merged_into="c2", is_archived=True))
    merged = await ledger.match_of("c1")
    await ledger.write(invoice("i3", of=contact("c1", "Loser")))

    assert merged == ("p1", "merged", "matched")
    assert await ledger.owners("billing_invoices") == {await ledger.customer("p1")}
    assert await ledger.count("customers") == 1


async def test_a_merged_contact_waits_for_the_one_it_was_merged_into_and_follows_its_later_moves(ledger):
    await ledger.write(invoice("i1", of=contact("c1", "Loser")))
    await ledger.write(contact("c1", "Loser", 1, merged_into="c3"))
    waiting = await ledger.match_of("c1")
    await ledger.write(contact("c2", "Middle", 2, merged_into="c3"), contact("c3", "Winner", 2))
    followed = (await ledger.link("c1"))["customer_id"] == (await ledger.link("c3"))["customer_id"]
    await ledger.send(p1="Winner")

    assert waiting[0] is None
    assert followed
    assert (
        await ledger.owners("customer_links")
        == await ledger.owners("billing_invoices")
        == {await ledger.customer("p1")}
    )


async def test_a_merged_contact_follows_a_decision_about_the_one_it_was_merged_into(ledger):
    await ledger.send(p1="Zenith")
    await ledger.write(contact("c1", "Loser", 0, merged_into="c2"), contact("c2", "Winner", 0))
    await ledger.decide("link", await ledger.customer("p1"), "c2")

    assert await ledger.match_of("c1") == ("p1", "merged", "matched")


async def test_a_merge_does_not_undo_a_decision_by_hand(ledger):
    await ledger.send(p1="Zenith")
    await ledger.write(invoice("i1", of=contact("c1", "Loser")), contact("c2", "Winner", 0))
    await ledger.decide("link", await ledger.customer("p1"), "c1")
    await ledger.write(contact("c1", "Loser", 1, merged_into="c2"))

    assert await ledger.match_of("c1") == ("p1", "manual", "matched")


async def test_contacts_merged_into_each_other_keep_their_customers(ledger):
    await ledger.write(contact("c1", "One", 0, merged_into="c2"), contact("c2", "Two", 0, merged_into="c1"))

    assert await ledger.count("customers") == 2


async def test_a_merged_contact_does_not_prevent_a_match_by_its_name(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact("c1", "Acme", 0), contact("c2", "Acme", 0))
    await ledger.write(contact("c2", "Acme", 1, merged_into="c1"))

    assert await ledger.match_of("c1") == MATCHED
    assert await ledger.match_of("c2") == ("p1", "merged", "matched")


async def test_a_decision_about_an_unknown_link_or_customer_is_refused(ledger):
    await ledger.write(contact(minute=0))
    link = await ledger.link()
    for link_id, to, error in (
        (uuid4(), None, UnknownLink),
        (link["id"], uuid4(), UnknownCustomer),
        (link["id"], None, CustomerMissing),
    ):
        with pytest.raises(error):
            async with ledger.db.transaction() as session:
                await review.decide(session, link_id, MatchAction.LINK, to, "an analyst")

    assert await ledger.match_of() == OWN
    assert await ledger.count("audit_entries") == 0


async def test_a_decision_during_a_sync_leaves_no_row_at_the_old_customer(ledger):
    await ledger.send(p1="Zenith", p2="Tui")
    await ledger.write(contact(minute=0))

    async def write(number):
        await ledger.write(invoice(f"i{number}"), payment(f"p{number}", to=f"i{number}"))

    async def decide(number):
        await ledger.decide("link", await ledger.customer(f"p{number % 2 + 1}"))

    for number in range(10):
        await asyncio.gather(write(number), decide(number), write(number + 100), ledger.refresh_derived())

    owner = {(await ledger.link())["customer_id"]}
    await ledger.refresh_derived()
    for table in ("billing_invoices", "billing_payments", "timeline_events", "billing_alerts"):
        assert await ledger.owners(table) == owner, table


async def test_a_service_keeps_the_psas_customer_when_its_contact_leaves(ledger):
    await ledger.send(p1="Acme")
    await ledger.write(contact(minute=0), invoice())
    async with ledger.db.transaction() as session:
        await upsert_services(session, [PsaService("s1", "p1", "Backup", Decimal(10), "NZD", date(2026, 1, 1))])
    await ledger.decide("unlink")

    assert await ledger.owners("billing_services") == {await ledger.customer("p1")}
    assert await ledger.owners("billing_invoices") == {(await ledger.link())["customer_id"]}
