"""Matching: linked on its own where there is nothing to guess, proposed where there is, decided by hand for good."""

import asyncio
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


class Desk(Ledger):
    """A ledger with a PSA beside it and a person who decides."""

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

    async def standing(self, external_id="c1", tenant_id=None):
        """Return whom a contact stands for and why: the PSA's id or None, and how and in what state it is matched."""
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
def desk(db):
    return Desk(db)


MATCHED, OWN = ("p1", "name", "matched"), (None, "new", "unmatched")
ASKED = (None, "new", "suggested")


async def test_a_contact_is_linked_to_the_one_customer_with_its_name(desk):
    await desk.send(p1="The ACME Pty. Ltd.", p2="Zenith")
    await desk.write(contact(name="Acme", minute=0), contact("c2", "Solitary", 0))

    assert await desk.standing("c1") == MATCHED
    assert await desk.standing("c2") == OWN
    assert await desk.count("customers") == 3


async def test_a_customer_that_comes_later_is_matched_then_and_takes_everything_over(desk):
    await desk.write(contact(minute=0), invoice(), payment(), memo())
    own = (await desk.link())["customer_id"]
    await desk.refresh_derived()
    await desk.send(p1="Acme")

    customer = await desk.customer("p1")
    assert await desk.standing() == MATCHED
    for table in ("billing_invoices", "billing_payments", "billing_credit_memos", "timeline_events", "billing_alerts"):
        assert await desk.owners(table) == {customer}, table
    assert await desk.count("customers", f"id = '{own}'") == 0


async def test_without_a_psa_every_contact_has_a_customer_of_its_own(desk):
    await desk.write(contact("c1", "Acme", 0), contact("c2", "Acme", 0))
    await desk.refresh_derived()

    assert await desk.standing("c1") == await desk.standing("c2") == OWN
    assert await desk.count("customers") == 2


@pytest.mark.parametrize("pages", [1, 2], ids=["on one page", "on two pages"])
async def test_two_contacts_of_one_name_are_not_guessed(desk, pages):
    contacts = [contact("c1", "Acme Ltd", 0), contact("c2", "ACME", 0)]
    await desk.send(p1="Acme")
    for page in [contacts] if pages == 1 else [[one] for one in contacts]:
        await desk.write(*page)

    assert await desk.standing("c1") == await desk.standing("c2") == ASKED


@pytest.mark.parametrize("is_first", [True, False], ids=["psa first", "contact first"])
async def test_two_customers_of_one_name_are_not_guessed(desk, is_first):
    if is_first:
        await desk.send(p1="Acme", p2="Acme Ltd")
    await desk.write(contact(minute=0), invoice())
    if not is_first:
        await desk.send(p1="Acme")
        await desk.send(p2="Acme Ltd")

    assert await desk.standing() == ASKED
    assert await desk.owners("billing_invoices") == {(await desk.link())["customer_id"]}


async def test_when_a_customers_namesake_is_renamed_the_contact_is_linked_to_the_other(desk):
    await desk.send(p1="Acme", p2="Acme Ltd")
    await desk.write(contact(minute=0))
    await desk.send(p2="Zenith")

    assert await desk.standing() == MATCHED


async def test_rows_that_others_put_at_a_customer_go_with_it_when_the_psas_comes(desk):
    await desk.write(contact(minute=0))
    await desk.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance) SELECT 'quickbooks', 'q1', 'i1', customer_id, 'open', 'USD', 10, 10 FROM customer_links"
    )
    await desk.send(p1="Acme")

    assert await desk.owners("billing_invoices") == {await desk.customer("p1")}
    assert await desk.count("customers") == 1


async def test_when_a_namesake_is_renamed_the_other_is_linked(desk):
    await desk.send(p1="Acme")
    await desk.write(contact("c1", "Acme", 0), contact("c2", "Acme", 0))
    await desk.write(contact("c2", "Zenith", 1))

    assert await desk.standing("c1") == MATCHED
    assert (await desk.standing("c2"))[0] is None


async def test_a_supplier_of_the_same_name_is_no_namesake(desk):
    await desk.send(p1="Acme")
    await desk.write(contact("c1", "Acme", 0), contact("s1", "Acme", 0, is_customer=False))

    assert await desk.standing() == MATCHED


async def test_a_contact_is_linked_when_it_takes_a_customers_name(desk):
    await desk.send(p1="Acme")
    await desk.write(contact(name="Acem", minute=0), invoice())
    await desk.write(contact(name="Acme", minute=1))

    assert await desk.standing() == MATCHED
    assert await desk.owners("billing_invoices") == {await desk.customer("p1")}


async def test_a_link_outlives_a_rename_to_a_name_nobody_else_has(desk):
    await desk.send(p1="Acme")
    await desk.write(contact(minute=0))
    await desk.write(contact(name="Acme Trading", minute=1))
    await desk.send(p1="Acme International")

    assert await desk.standing() == MATCHED
    assert (await desk.row("customers"))["name"] == "Acme International"


async def test_a_customer_of_the_contacts_making_is_renamed_with_it_and_one_of_the_psa_is_not(desk):
    await desk.send(p1="Acme")
    await desk.write(contact("c1", "Acme", 0), contact("c2", "Solo", 0))
    await desk.write(contact("c1", "Acme New", 1), contact("c2", "Solo New", 1, email="a@solo.example"))

    names = {row["name"]: row["email"] for row in await desk.rows("customers")}
    assert names == {"Acme": None, "Solo New": "a@solo.example"}


async def test_a_customer_of_a_persons_making_or_of_two_contacts_keeps_its_name(desk):
    await desk.write(contact("c1", "One", 0), contact("c2", "Two", 0), contact("c3", "Three", 0))
    await desk.decide("create", external_id="c1")
    await desk.decide("link", (await desk.link("c2"))["customer_id"], external_id="c3")
    await desk.write(contact("c1", "One New", 1), contact("c2", "Two New", 1))

    assert {row["name"] for row in await desk.rows("customers")} == {"One", "Two"}


async def test_a_link_that_another_vendors_writer_made_is_not_matched_behind_its_back(desk):
    await write_quickbooks(desk)
    await desk.run("UPDATE customer_links SET name_key = 'acme qb'")
    await desk.send(p1="Acme QB")

    assert await desk.standing("7", "q1") == OWN


async def test_the_same_company_in_three_organisations_and_another_vendor_is_one_customer_with_four_links(desk):
    await desk.send(p1="Acme")
    for tenant_id in ("t1", "t2", "t3"):
        await desk.of(tenant_id).write(contact(minute=0), invoice())
    await desk.run(
        "INSERT INTO customer_links (customer_id, source, source_tenant_id, external_id, name, matched_by)"
        " SELECT id, 'quickbooks', 'q1', '7', 'Acme', 'name' FROM customers"
    )
    await desk.write(contact(minute=1))

    assert await desk.count("customers") == 1
    assert await desk.count("customer_links") == 4
    assert await desk.owners("billing_invoices") == {await desk.customer("p1")}


async def test_near_names_mail_domains_and_namesakes_elsewhere_are_proposed_with_what_speaks_for_them(desk):
    await desk.send(
        p1="Acme Holdings", p2=("Zenith", "info@acme.example"), p3="Tui Brewing", p4=("Gmailers", "x@gmail.com")
    )
    await desk.of("t2").write(contact("x9", "Acme", 0))
    await desk.write(
        contact(name="Acme", minute=0, email="bills@acme.example"), contact("c2", "Lonely", 0, email="y@gmail.com")
    )
    await desk.refresh_derived()

    found = await desk.candidates()
    assert [(one.name, one.signals) for one in found] == [
        ("Acme Holdings", ("similar_name",)),
        ("Zenith", ("email_domain",)),
        ("Acme", ("same_name_in_other_organisation",)),
    ]
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0 < one.score < 1 for one in found)
    assert await desk.standing("c1") == ASKED
    assert await desk.candidates("c2") == []
    assert await desk.standing("c2") == OWN


async def test_signals_add_up_and_put_the_likelier_namesake_first(desk):
    await desk.send(p1="Acme", p2=("Acme Ltd", "info@acme.example"))
    await desk.write(contact(minute=0, email="bills@acme.example"))

    best, other = await desk.candidates()
    assert (best.signals, other.signals) == (("same_name", "email_domain"), ("same_name",))
    assert best.score > other.score


async def test_the_customer_a_contact_stands_for_already_is_not_proposed(desk):
    await desk.send(p1="Acme", p2="Acme Holdings")
    await desk.write(contact(minute=0))

    assert [one.name for one in await desk.candidates()] == ["Acme Holdings"]


async def test_another_vendors_contact_is_proposed_by_its_name_although_it_has_no_key(desk):
    await desk.run("INSERT INTO customers (name) VALUES ('Acme (QB)')")
    await desk.run(
        "INSERT INTO customer_links (customer_id, source, source_tenant_id, external_id, name, matched_by)"
        " SELECT id, 'quickbooks', 'q1', '7', 'ACME Inc', 'new' FROM customers"
    )
    await desk.write(contact(minute=0))

    assert [(one.name, one.signals) for one in await desk.candidates()] == [
        ("Acme (QB)", ("same_name_in_other_organisation",))
    ]


async def test_a_contact_loses_its_proposals_when_they_go_and_gains_new_ones(desk):
    await desk.write(contact(minute=0))
    await desk.send(p1="Acme Holdings")
    asked = await desk.standing()
    await desk.send(p1="Zenith")

    assert (asked, await desk.standing()) == (ASKED, OWN)


async def test_a_decision_moves_every_row_alert_and_event_at_once_and_is_audited(desk):
    await desk.send(p1="Zenith")
    await desk.write(contact(minute=0), invoice(), payment(), payment("p2", to="i1", of=contact()), memo())
    await desk.refresh_derived()
    left = (await desk.link())["customer_id"]

    decision = await desk.decide("link", await desk.customer("p1"))

    customer = await desk.customer("p1")
    assert (decision.customer_id, decision.state) == (customer, "matched")
    assert await desk.standing() == ("p1", "manual", "matched")
    for table in ("billing_invoices", "billing_payments", "billing_credit_memos", "timeline_events", "billing_alerts"):
        assert await desk.owners(table) == {customer}, table
    assert await desk.count("customers") == 1
    entry = await desk.row("audit_entries")
    assert (entry["actor"], entry["action"]) == ("an analyst", "match_linked")
    assert entry["details"]["from_customer"] == str(left)
    assert (await desk.link())["decided_by"] == "an analyst"


async def test_a_decision_is_undone_and_the_contact_waits_in_the_queue_again(desk):
    await desk.send(p1="Acme")
    await desk.write(contact(minute=0), invoice())
    await desk.refresh_derived()
    await desk.decide("unlink")
    undone, own = await desk.standing(), (await desk.link())["customer_id"]
    left = [await desk.owners(table) for table in ("billing_invoices", "timeline_events", "billing_alerts")]
    await desk.decide("link", await desk.customer("p1"))

    assert undone == (None, "manual", "suggested")
    assert left == [{own}] * 3
    assert await desk.standing() == ("p1", "manual", "matched")
    assert await desk.owners("billing_invoices") == {await desk.customer("p1")}


@pytest.mark.parametrize(
    ("action", "standing"),
    [
        ("create", (None, "manual", "matched")),
        ("ignore", (None, "manual", "ignored")),
        ("unlink", (None, "manual", "suggested")),
    ],
)
async def test_every_decision_outlives_syncs_renames_and_the_psa(desk, action, standing):
    await desk.send(p1="Acme")
    await desk.write(contact(minute=0), invoice())
    await desk.decide(action)
    for minute, name in enumerate(("Zenith", "Acme", "Acme Ltd"), 1):
        await desk.write(contact(name=name, minute=minute), invoice(minute=minute))
        await desk.send(p1="Acme", p2="Zenith")
        await desk.refresh_derived()

    assert await desk.standing() == standing
    assert await desk.owners("billing_invoices") == {(await desk.link())["customer_id"]}


async def test_a_link_by_hand_outlives_a_customer_of_the_contacts_own_name(desk):
    await desk.send(p2="Zenith")
    await desk.write(contact(minute=0), invoice())
    await desk.decide("link", await desk.customer("p2"))
    await desk.send(p1="Acme")
    await desk.write(contact(minute=1, email="new@acme.example"))

    assert await desk.standing() == ("p2", "manual", "matched")


async def test_deciding_for_its_own_customer_keeps_the_customer_it_has(desk):
    await desk.write(contact(minute=0))
    own = (await desk.link())["customer_id"]

    assert (await desk.decide("create")).customer_id == own
    assert (await desk.decide("ignore")).customer_id == own
    assert await desk.count("customers") == 1


async def test_two_contacts_at_one_customer_part_without_taking_each_others_rows(desk):
    await desk.send(p1="Zenith")
    await desk.write(invoice("i1", of=contact("c1", "One")), invoice("i2", of=contact("c2", "Two")))
    for external_id in ("c1", "c2"):
        await desk.decide("link", await desk.customer("p1"), external_id)
    await desk.decide("unlink", external_id="c1")

    first, second = await desk.rows("billing_invoices", order="external_id")
    assert first["customer_id"] == (await desk.link("c1"))["customer_id"] != second["customer_id"]
    assert second["customer_id"] == await desk.customer("p1")


async def test_another_vendors_link_is_moved_by_hand_with_rows_that_name_no_contact(desk):
    await desk.send(p1="Acme")
    await write_quickbooks(desk)
    qb = await desk.row("customer_links")
    async with desk.db.transaction() as session:
        await review.decide(session, qb["id"], MatchAction.LINK, await desk.customer("p1"), "an analyst")

    assert await desk.owners("billing_invoices") == {await desk.customer("p1")}
    assert await desk.count("customers") == 1


async def test_rows_that_name_no_contact_stay_when_it_cannot_be_told_whose_they_are(desk):
    await desk.send(p1="Acme")
    await write_quickbooks(desk)
    await desk.run(
        "INSERT INTO customer_links (customer_id, source, source_tenant_id, external_id, name, matched_by)"
        " SELECT customer_id, source, source_tenant_id, '8', 'Other', 'new' FROM customer_links"
    )
    qb = await desk.link("7", "q1")
    async with desk.db.transaction() as session:
        await review.decide(session, qb["id"], MatchAction.LINK, await desk.customer("p1"), "an analyst")

    assert await desk.owners("billing_invoices") == {(await desk.link("8", "q1"))["customer_id"]}


async def write_quickbooks(desk):
    await desk.run("INSERT INTO customers (name) VALUES ('Acme QB')")
    at_it = "FROM customers WHERE name = 'Acme QB'"
    await desk.run(
        "INSERT INTO customer_links (customer_id, source, source_tenant_id, external_id, name, matched_by)"
        f" SELECT id, 'quickbooks', 'q1', '7', 'Acme QB', 'new' {at_it}"
    )
    await desk.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        f" balance) SELECT 'quickbooks', 'q1', 'i1', id, 'open', 'USD', 10, 10 {at_it}"
    )


async def test_rows_that_others_put_at_a_customer_go_with_it_when_a_person_merges_it(desk):
    await desk.send(p1="Zenith")
    await desk.write(contact(minute=0), invoice())
    await desk.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance) SELECT 'quickbooks', 'q1', 'i1', customer_id, 'open', 'USD', 10, 10 FROM customer_links"
    )
    await desk.decide("link", await desk.customer("p1"))

    assert await desk.owners("billing_invoices") == {await desk.customer("p1")}
    assert await desk.count("customers") == 1


async def test_a_sync_that_links_leaves_rows_of_others_and_the_customer_they_are_at(desk):
    await desk.send(p1="Acme")
    await desk.write(contact(name="Acem", minute=0), invoice())
    await desk.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance) SELECT 'quickbooks', 'q1', 'i1', customer_id, 'open', 'USD', 10, 10 FROM customer_links"
    )
    own = (await desk.link())["customer_id"]
    await desk.write(contact(minute=1))

    assert await desk.standing() == MATCHED
    assert (await desk.row("billing_invoices", "source = 'quickbooks'"))["customer_id"] == own


async def test_a_merged_contact_follows_the_one_it_went_into(desk):
    await desk.send(p1="Zenith")
    await desk.write(invoice("i1", of=contact("c1", "Loser")), invoice("i2", of=contact("c2", "Zenith")))
    await desk.write(contact("c1", "Loser", 1, merged_into="c2", is_archived=True))
    merged = await desk.standing("c1")
    await desk.write(invoice("i3", of=contact("c1", "Loser")))

    assert merged == ("p1", "merged", "matched")
    assert await desk.owners("billing_invoices") == {await desk.customer("p1")}
    assert await desk.count("customers") == 1


async def test_a_merged_contact_waits_for_the_one_it_went_into_and_follows_its_later_moves(desk):
    await desk.write(invoice("i1", of=contact("c1", "Loser")))
    await desk.write(contact("c1", "Loser", 1, merged_into="c3"))
    waiting = await desk.standing("c1")
    await desk.write(contact("c2", "Middle", 2, merged_into="c3"), contact("c3", "Winner", 2))
    followed = (await desk.link("c1"))["customer_id"] == (await desk.link("c3"))["customer_id"]
    await desk.send(p1="Winner")

    assert waiting[0] is None
    assert followed
    assert await desk.owners("customer_links") == await desk.owners("billing_invoices") == {await desk.customer("p1")}


async def test_a_merged_contact_follows_a_decision_about_the_one_it_went_into(desk):
    await desk.send(p1="Zenith")
    await desk.write(contact("c1", "Loser", 0, merged_into="c2"), contact("c2", "Winner", 0))
    await desk.decide("link", await desk.customer("p1"), "c2")

    assert await desk.standing("c1") == ("p1", "merged", "matched")


async def test_a_merge_does_not_undo_a_decision_by_hand(desk):
    await desk.send(p1="Zenith")
    await desk.write(invoice("i1", of=contact("c1", "Loser")), contact("c2", "Winner", 0))
    await desk.decide("link", await desk.customer("p1"), "c1")
    await desk.write(contact("c1", "Loser", 1, merged_into="c2"))

    assert await desk.standing("c1") == ("p1", "manual", "matched")


async def test_contacts_merged_in_a_circle_stay_where_they_are(desk):
    await desk.write(contact("c1", "One", 0, merged_into="c2"), contact("c2", "Two", 0, merged_into="c1"))

    assert await desk.count("customers") == 2


async def test_a_merged_contact_is_no_namesake(desk):
    await desk.send(p1="Acme")
    await desk.write(contact("c1", "Acme", 0), contact("c2", "Acme", 0))
    await desk.write(contact("c2", "Acme", 1, merged_into="c1"))

    assert await desk.standing("c1") == MATCHED
    assert await desk.standing("c2") == ("p1", "merged", "matched")


async def test_what_is_not_there_cannot_be_decided_about(desk):
    await desk.write(contact(minute=0))
    link = await desk.link()
    for link_id, to, error in (
        (uuid4(), None, UnknownLink),
        (link["id"], uuid4(), UnknownCustomer),
        (link["id"], None, CustomerMissing),
    ):
        with pytest.raises(error):
            async with desk.db.transaction() as session:
                await review.decide(session, link_id, MatchAction.LINK, to, "an analyst")

    assert await desk.standing() == OWN
    assert await desk.count("audit_entries") == 0


async def test_a_decision_amid_writing_leaves_no_row_behind(desk):
    await desk.send(p1="Zenith", p2="Tui")
    await desk.write(contact(minute=0))

    async def write(number):
        await desk.write(invoice(f"i{number}"), payment(f"p{number}", to=f"i{number}"))

    async def decide(number):
        await desk.decide("link", await desk.customer(f"p{number % 2 + 1}"))

    for number in range(10):
        await asyncio.gather(write(number), decide(number), write(number + 100), desk.refresh_derived())

    owner = {(await desk.link())["customer_id"]}
    await desk.refresh_derived()
    for table in ("billing_invoices", "billing_payments", "timeline_events", "billing_alerts"):
        assert await desk.owners(table) == owner, table


async def test_a_service_keeps_the_psas_customer_when_its_contact_leaves(desk):
    await desk.send(p1="Acme")
    await desk.write(contact(minute=0), invoice())
    async with desk.db.transaction() as session:
        await upsert_services(session, [PsaService("s1", "p1", "Backup", Decimal(10), "NZD", date(2026, 1, 1))])
    await desk.decide("unlink")

    assert await desk.owners("billing_services") == {await desk.customer("p1")}
    assert await desk.owners("billing_invoices") == {(await desk.link())["customer_id"]}
