"""The match review: candidates for the links that wait for a person, and the decisions a person makes.

A decision outlives every later sync and rename, because automatic matching leaves links with `matched_by` manual alone.
Another decision replaces it; `unlink` puts the link back into the queue with a customer of its own.

MatchError
├── UnknownLink        there is no such link
├── UnknownCustomer    there is no such customer to link to
└── CustomerMissing    the action `link` was given no customer
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, Update, Uuid, bindparam, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased

from app import audit
from app.billing.locks import lock_all_tenants
from app.billing.matching.automatic import WILDCARD, create_own_customers, move_links_of_merged_contacts
from app.billing.matching.candidates import Candidate, CandidateCustomer, CandidateIndex, Contact
from app.billing.matching.name_key import name_key
from app.billing.matching.relink import LinkMove, move_links
from app.billing.recordset import core_table, encode_rows, json_recordset
from app.billing.tables import Customer, CustomerLink, LinkState, MatchedBy
from app.db import Session
from app.paging import AnyRow, AnySelect


class MatchAction(StrEnum):
    """What a person decides about a link."""

    LINK = "link"
    CREATE = "create"
    IGNORE = "ignore"
    UNLINK = "unlink"


AUDIT_ACTIONS: Mapping[MatchAction, str] = {
    MatchAction.LINK: "match_linked",
    MatchAction.CREATE: "match_created",
    MatchAction.IGNORE: "match_ignored",
    MatchAction.UNLINK: "match_unlinked",
}
STATE_AFTER: Mapping[MatchAction, LinkState] = {
    MatchAction.LINK: LinkState.MATCHED,
    MatchAction.CREATE: LinkState.MATCHED,
    MatchAction.IGNORE: LinkState.IGNORED,
    MatchAction.UNLINK: LinkState.UNMATCHED,
}
# The states that wait for a decision; which of the two depends on whether there are candidates.
QUEUED_STATES = (LinkState.SUGGESTED, LinkState.UNMATCHED)


class MatchError(LookupError):
    """A decision names something that does not exist; nothing was changed."""


class UnknownLink(MatchError):
    pass


class UnknownCustomer(MatchError):
    pass


class CustomerMissing(MatchError):
    pass


@dataclass(frozen=True, slots=True)
class Decision:
    """The link after a decision."""

    link_id: UUID
    customer_id: UUID
    state: LinkState


@dataclass(frozen=True, slots=True)
class Proposal:
    """A contact that waits for a decision, and the one customer that scores high enough."""

    link_id: UUID
    source: str
    source_tenant_id: str
    name: str
    customer_id: UUID
    customer_name: str
    score: float


async def decide(
    session: Session, link_id: UUID, action: MatchAction, customer_id: UUID | None, actor: str
) -> Decision:
    """Carry out a person's decision about a link, moving what belongs to it, and append it to the audit trail.

    Args:
        session: a transaction that has written no billing rows before; writers of them wait until it ends.
        link_id: the link decided about.
        action: `link` to the customer given; `create` or keep a customer of its own; `ignore`, with a customer of its
            own; `unlink`, back into the queue with a customer of its own.
        customer_id: for `link` alone.
        actor: who decided.

    Raises:
        UnknownLink: there is no such link.
        UnknownCustomer: there is no such customer.
        CustomerMissing: `link` without a customer.
    """
    await lock_all_tenants(session)
    link = (await session.execute(_links_statement(), {"ids": [link_id]})).one_or_none()
    if link is None:
        raise UnknownLink("There is no contact of this id to decide about.")
    is_linking = action == MatchAction.LINK
    target = await _existing_customer(session, customer_id) if is_linking else await _own_customer(session, link_id)
    move = LinkMove(link_id, target, MatchedBy.MANUAL, STATE_AFTER[action])
    await move_links(session, [move], is_merging=is_linking)
    await session.execute(_record_decisions_statement(), {"links": [link_id], "actor": actor})
    await move_links_of_merged_contacts(session, WILDCARD, WILDCARD)
    await refresh_review_states(session, [link_id])
    await _append_audit_entry(session, actor, action, link, target)
    state = await session.scalar(select(CustomerLink.state).where(CustomerLink.id == link_id))
    return Decision(link_id, target, LinkState(state) if state else move.state)


async def link_all(session: Session, min_score: float, actor: str | None) -> list[Proposal]:
    """Link every suggested contact that has exactly one candidate at or above a score, as `decide` would.

    Args:
        session: a transaction that has written no billing rows before; writers of them wait until it ends.
        min_score: between 0 and 1.
        actor: who decided; None changes nothing.

    Returns:
        What was linked, or would be, by the contact's name.
    """
    if actor is not None:
        await lock_all_tenants(session)
    queued = (await session.execute(_queue_statement(is_whole=True))).all()
    suggested = [row for row in queued if row.state == LinkState.SUGGESTED]
    candidates = await _rank(session, suggested)
    good = {row.id: [one for one in candidates[row.id] if one.score >= min_score] for row in suggested}
    proposals = [
        Proposal(row.id, row.source, row.source_tenant_id, row.name, found.customer_id, found.name, found.score)
        for row in sorted(suggested, key=lambda row: (row.name.lower(), str(row.id)))
        if len(good[row.id]) == 1
        for found in good[row.id]
    ]
    if actor is not None and proposals:
        await _carry_out(session, proposals, actor)
    return proposals


async def _carry_out(session: Session, proposals: Sequence[Proposal], actor: str) -> None:
    link_ids = [one.link_id for one in proposals]
    links = {link.id: link for link in await session.execute(_links_statement(), {"ids": link_ids})}
    moves = [LinkMove(one.link_id, one.customer_id, MatchedBy.MANUAL, LinkState.MATCHED) for one in proposals]
    await move_links(session, moves, is_merging=True)
    await session.execute(_record_decisions_statement(), {"links": link_ids, "actor": actor})
    for one in proposals:
        await _append_audit_entry(session, actor, MatchAction.LINK, links[one.link_id], one.customer_id)
    await move_links_of_merged_contacts(session, WILDCARD, WILDCARD)
    await refresh_review_states(session)


async def find_candidates(session: Session, link_ids: Collection[UUID]) -> dict[UUID, list[Candidate]]:
    """Return the customers that each contact could belong to, best first, at most `MAX_CANDIDATES` each.

    Considered are the PSA's customers, and the customers of contacts of the same name in other tenants of any vendor.
    """
    rows = (await session.execute(_contacts_by_id_statement(), {"ids": list(link_ids)})).all()
    return await _rank(session, rows) if rows else {}


async def refresh_review_states(session: Session, link_ids: Collection[UUID] | None = None) -> int:
    """Set the links that wait for a decision to `suggested` when they have candidates, and to `unmatched` otherwise.

    Args:
        session: a transaction that has locked all tenants, or none.
        link_ids: the links, or None for the whole queue.

    Returns:
        How many links changed their state.
    """
    parameters: dict[str, object] = {} if link_ids is None else {"ids": list(link_ids)}
    queued = (await session.execute(_queue_statement(is_whole=link_ids is None), parameters)).all()
    if not queued:
        return 0
    candidates = await _rank(session, queued)
    states = {row.id: LinkState.SUGGESTED if candidates[row.id] else LinkState.UNMATCHED for row in queued}
    changed = [{"link_id": row.id, "state": states[row.id]} for row in queued if row.state != states[row.id]]
    if changed:
        await lock_all_tenants(session)
        await session.execute(_set_states_statement(), {"states": encode_rows(changed)})
    return len(changed)


async def _existing_customer(session: Session, customer_id: UUID | None) -> UUID:
    if customer_id is None:
        raise CustomerMissing("Say which customer to link the contact to: `customer_id` is missing.")
    if await session.get(Customer, customer_id) is None:
        raise UnknownCustomer("There is no customer of this id to link the contact to.")
    return customer_id


async def _own_customer(session: Session, link_id: UUID) -> UUID:
    """Return the customer that the contact shares with no other, created now if it has none."""
    own_customer = await session.scalar(_own_customer_statement(), {"link_id": link_id})
    return own_customer or (await create_own_customers(session, [link_id]))[link_id]


async def _append_audit_entry(session: Session, actor: str, action: MatchAction, link: AnyRow, target: UUID) -> None:
    details = {
        "contact": f"{link.source}:{link.source_tenant_id}:{link.external_id}",
        "name": link.name,
        "from_customer": str(link.customer_id),
        "to_customer": str(target),
    }
    await audit.append_audit_entry(session, actor, AUDIT_ACTIONS[action], str(link.id), details)


async def _rank(session: Session, links: Sequence[AnyRow]) -> dict[UUID, list[Candidate]]:
    """Return each link's candidates; the ranking is pure computation and runs in a thread, off the event loop."""
    keys = {link.id: link.name_key or name_key(link.name) for link in links}
    links_by_key = await _find_links_by_key(session, set(keys.values()) - {""})
    psa_customers = [CandidateCustomer(*row) for row in await session.execute(_psa_customers_statement())]
    contacts = [
        (
            Contact(link.id, link.name, keys[link.id], link.email, link.customer_id),
            _customers_in_other_tenants(link, links_by_key.get(keys[link.id], ())),
        )
        for link in links
    ]
    return await asyncio.to_thread(_rank_all, psa_customers, contacts)


def _rank_all(
    psa_customers: Sequence[CandidateCustomer], contacts: Sequence[tuple[Contact, Mapping[UUID, str]]]
) -> dict[UUID, list[Candidate]]:
    index = CandidateIndex(psa_customers)
    return {contact.link_id: index.rank(contact, same_name) for contact, same_name in contacts}


async def _find_links_by_key(session: Session, keys: Collection[str]) -> dict[str, list[AnyRow]]:
    found: dict[str, list[AnyRow]] = defaultdict(list)
    for row in await session.execute(_links_by_key_statement(), {"keys": list(keys)}):
        # Other services write links without a key; theirs is computed here, since their rows are not ours to change.
        found[row.name_key or name_key(row.name)].append(row)
    return found


def _customers_in_other_tenants(link: AnyRow, same_name: Sequence[AnyRow]) -> dict[UUID, str]:
    """Return the ids and names of the customers that contacts of the same name have in other tenants."""
    tenant = (link.source, link.source_tenant_id)
    return {one.customer_id: one.customer for one in same_name if (one.source, one.source_tenant_id) != tenant}


@cache
def _links_statement() -> AnySelect:
    link = CustomerLink
    columns = (link.id, link.source, link.source_tenant_id, link.external_id, link.name, link.customer_id)
    return select(*columns).where(_is_asked_for())


@cache
def _own_customer_statement() -> Select[UUID]:
    """Return the contact's customer if it is not the PSA's and no other contact has it; aliases do not count."""
    link, other = CustomerLink, aliased(CustomerLink)
    is_shared = exists().where(
        other.customer_id == link.customer_id, other.id != link.id, other.matched_by != MatchedBy.MERGED
    )
    return (
        select(link.customer_id)
        .join(Customer, Customer.id == link.customer_id)
        .where(link.id == bindparam("link_id"), Customer.psa_external_id.is_(None), ~is_shared)
    )


def _contacts_statement() -> AnySelect:
    link = CustomerLink
    return select(
        link.id, link.name, link.name_key, link.email, link.customer_id, link.source, link.source_tenant_id, link.state
    )


def _is_asked_for() -> ColumnElement[bool]:
    return CustomerLink.id == func.any(bindparam("ids", type_=ARRAY(Uuid())))


@cache
def _contacts_by_id_statement() -> AnySelect:
    return _contacts_statement().where(_is_asked_for())


@cache
def _queue_statement(*, is_whole: bool) -> AnySelect:
    queued = _contacts_statement().where(
        CustomerLink.state.in_(QUEUED_STATES), CustomerLink.vendor_read_at.is_not(None)
    )
    return queued if is_whole else queued.where(_is_asked_for())


@cache
def _psa_customers_statement() -> AnySelect:
    """Return the statement whose columns are the fields of `CandidateCustomer`."""
    return select(Customer.id, Customer.name, Customer.name_key, Customer.email).where(
        Customer.psa_external_id.is_not(None)
    )


@cache
def _links_by_key_statement() -> AnySelect:
    """Return the links that have one of the keys, or none, with their customers' names."""
    link = CustomerLink
    is_asked_for = or_(link.name_key == func.any(bindparam("keys", type_=ARRAY(Text()))), link.name_key == "")
    return (
        select(
            link.customer_id,
            link.source,
            link.source_tenant_id,
            link.name,
            link.name_key,
            Customer.name.label("customer"),
        )
        .join(Customer, Customer.id == link.customer_id)
        .where(is_asked_for)
    )


@cache
def _record_decisions_statement() -> Update:
    link = core_table(CustomerLink)
    values = {"decided_by": bindparam("actor"), "decided_at": func.wall_clock()}
    return update(link).where(link.c.id == func.any(bindparam("links", type_=ARRAY(Uuid())))).values(values)


@cache
def _set_states_statement() -> Update:
    link, states = core_table(CustomerLink), json_recordset("states", {"link_id": Uuid(), "state": Text()})
    return (
        update(link)
        .where(link.c.id == states.c.link_id, link.c.state.in_(QUEUED_STATES))
        .values(state=states.c.state, updated_at=func.now())
    )
