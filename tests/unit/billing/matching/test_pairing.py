"""Pairing by name: what is matched without a person, and what is left to one."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing.matching.name_key import SHORT_FORMS, match_key
from app.billing.matching.pairing import find_namesakes, pair_by_name

NAMES = st.sampled_from(
    ["Acme", "ACME", "Acme Ltd", "Acme Limited", "Acme SA", "Acme S.A.", "Acme Inc", "Zenith", "zenith"]
)
SIDES = st.lists(NAMES, max_size=6)


def ids(names, start=0):
    return {UUID(int=at): name for at, name in enumerate(names, start)}


def paired_names(customers, contacts):
    customers, contacts = ids(customers), ids(contacts, 100)
    return {(contacts[link], customers[customer]) for link, customer in pair_by_name(customers, contacts).items()}


@pytest.mark.parametrize(
    ("customers", "contacts", "pairs"),
    [
        (["Acme"], ["Acme"], {("Acme", "Acme")}),
        (["Acme"], ["ACME Ltd"], {("ACME Ltd", "Acme")}),
        (["Acme"], ["Zenith"], set()),
        (["Nexus", "Nexus SA"], ["Nexus", "Nexus SA"], {("Nexus", "Nexus"), ("Nexus SA", "Nexus SA")}),
        (["Nexus", "Nexus Ltd"], ["Nexus", "Nexus Limited"], {("Nexus", "Nexus"), ("Nexus Limited", "Nexus Ltd")}),
        (["Nexus", "Nexus Ltd"], ["Nexus", "NEXUS"], {("Nexus", "Nexus")}),
        (["Nexus Ltd", "Nexus Inc"], ["Nexus Ltd", "Nexus"], {("Nexus Ltd", "Nexus Ltd")}),
        (["Nexus", "Nexus Ltd"], ["NEXUS"], set()),
        (["Nexus"], ["NEXUS", "Nexus Ltd"], set()),
        (["Nexus", "Nexus"], ["Nexus"], set()),
        (["Nexus"], ["Nexus", "Nexus"], set()),
        (["Nexus SA"], ["NEXUS S.A."], {("NEXUS S.A.", "Nexus SA")}),
        (["Nexus SA", "Nexus NV"], ["Nexus"], set()),
    ],
)
def test_names_are_paired_without_a_guess(customers, contacts, pairs):
    assert paired_names(customers, contacts) == pairs


@pytest.mark.parametrize("form", sorted(SHORT_FORMS))
def test_a_short_legal_form_never_pairs_on_its_own(form):
    assert paired_names([f"Surf Life Saving {form.upper()}"], ["Surf Life Saving"]) == set()
    assert paired_names(["Surf Life Saving"], [f"Surf Life Saving {form}"]) == set()
    assert paired_names([f"Hunter {form.upper()}"], [f"HUNTER {form}"]) == {
        (f"HUNTER {form}", f"Hunter {form.upper()}")
    }


def test_a_namesake_is_a_contact_whose_match_key_a_customer_has():
    assert find_namesakes(["Acme", "Nexus SA"], ids(["ACME Ltd", "Nexus", "Zenith"])) == {UUID(int=0)}


@given(SIDES, SIDES)
def test_every_pair_has_one_match_key_and_no_customer_has_two_contacts(customers, contacts):
    customers, contacts = ids(customers), ids(contacts, 100)
    pairs = pair_by_name(customers, contacts)

    assert len(set(pairs.values())) == len(pairs)
    assert all(match_key(contacts[link]) == match_key(customers[customer]) for link, customer in pairs.items())
    assert pairs.keys() <= find_namesakes(customers.values(), contacts)


@given(SIDES, SIDES)
def test_a_name_that_is_unique_on_both_sides_is_always_paired_with_itself(customers, contacts):
    unique = {name for name in contacts if contacts.count(name) == customers.count(name) == 1}

    assert {name for name in unique if (name, name) in paired_names(customers, contacts)} == unique


@given(SIDES, SIDES)
def test_a_further_customer_of_a_name_never_makes_a_new_pair(customers, contacts):
    for name in customers:
        assert paired_names([*customers, name], contacts) <= paired_names(customers, contacts)
