"""Pairing contacts with customers of the PSA by their names alone, without a guess.

A contact and a customer are a pair when the two have one name, and neither another contact nor another customer has it.
Names that are equal letter by letter come first. Of the others, those are pairs whose match keys are equal; where
others of the same key are pairs already, their legal forms must be equal too: of the contacts "Nexus" and "Nexus
Limited" and the customers "Nexus" and "Nexus Ltd", the second two are a pair, but "NEXUS" and "Nexus Ltd" are not.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from app.billing.matching.name_key import full_name_key, match_key


def pair_by_name(customers: Mapping[UUID, str], contacts: Mapping[UUID, str]) -> dict[UUID, UUID]:
    """Return the customer of each contact that has one by its name.

    Args:
        customers: the names of the PSA's customers, by id.
        contacts: the names of one tenant's contacts, by the ids of their links.
    """
    exact = _pair_unique(customers, contacts, str)
    other_customers = {each: name for each, name in customers.items() if each not in exact.values()}
    other_contacts = {each: name for each, name in contacts.items() if each not in exact}
    keys_of_exact = {match_key(contacts[link_id]) for link_id in exact}
    by_key = {
        link_id: customer_id
        for link_id, customer_id in _pair_unique(other_customers, other_contacts, match_key).items()
        if match_key(contacts[link_id]) not in keys_of_exact
        or full_name_key(contacts[link_id]) == full_name_key(customers[customer_id])
    }
    return exact | by_key


def find_namesakes(customers: Iterable[str], contacts: Mapping[UUID, str]) -> set[UUID]:
    """Return the contacts whose match key a customer has, whether they are pairs or not."""
    keys = {match_key(name) for name in customers}
    return {link_id for link_id, name in contacts.items() if match_key(name) in keys}


def _pair_unique(
    customers: Mapping[UUID, str], contacts: Mapping[UUID, str], compare: Callable[[str], str]
) -> dict[UUID, UUID]:
    """Return the contacts and customers that are alone on their sides with what `compare` makes of their names."""
    customer_ids, link_ids = _ids_by_name(customers, compare), _ids_by_name(contacts, compare)
    return {ids[0]: customer_ids[name][0] for name, ids in link_ids.items() if len(ids) == len(customer_ids[name]) == 1}


def _ids_by_name(names: Mapping[UUID, str], compare: Callable[[str], str]) -> dict[str, list[UUID]]:
    ids: dict[str, list[UUID]] = defaultdict(list)
    for each, name in names.items():
        ids[compare(name)].append(each)
    return ids
