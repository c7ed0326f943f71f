"""The review queue's side of matching: candidates for a person to choose from, and the decisions a person makes.

A decision by hand outlives every later sync and rename, because what matching does on its own passes manual links over.
It is undone by another decision; `unlink` sends a contact back into the queue with a customer of its own.

MatchError
├── UnknownLink        no such contact
├── UnknownCustomer    no such customer to link to
└── CustomerMissing    `link` was asked for without saying to whom
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, Text, Update, Uuid, bindparam, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased

from app import audit
from app.billing.locks import lock_all_tenants
from app.billing.matching.automatic import ANYWHERE, create_own_customers, follow_merges
from app.billing.matching.candidates import Candidate, CandidateCustomer, CandidateIndex, Contact
from app.billing.matching.name_key import name_key
from app.billing.matching.relink import LinkMove, move_links
from app.billing.recordset import Clause, Query, encode, plain, rowset
from app.billing.tables import Customer, CustomerLink
from app.db import Session

_Row = Row[*tuple[Any, ...]]
Action = Literal["link", "create", "ignore", "unlink"]
DEEDS: Mapping[Action, str] = {
    "link": "match_linked",
    "create": "match_created",
    "ignore": "match_ignored",
    "unlink": "match_unlinked",
}
STATES: Mapping[Action, str] = {"link": "matched", "create": "matched", "ignore": "ignored", "unlink": "unmatched"}


class MatchError(LookupError):
    """A decision names something that is not there; nothing was changed."""


class UnknownLink(MatchError):
    pass


class UnknownCustomer(MatchError):
    pass


class CustomerMissing(MatchError):
    pass


@dataclass(frozen=True, slots=True)
class Decision:
    """What a link is after a decision."""

    link_id: UUID
    customer_id: UUID
    state: str


async def decide(session: Session, link_id: UUID, action: Action, customer_id: UUID | None, actor: str) -> Decision:
    """Carry out what a person decided about a contact, moving all that belongs to it, and note it in the audit trail.

    Args:
        session: a transaction that has written no billing rows before; writers of them wait until it ends.
        link_id: the contact.
        action: `link` to the customer named; `create` or keep a customer of its own; `ignore` it, with a customer of
            its own; `unlink` it, back into the queue with a customer of its own.
        customer_id: for `link` alone.
        actor: who decided.

    Raises:
        UnknownLink: no such contact.
        UnknownCustomer: no such customer.
        CustomerMissing: `link` without a customer.
    """
    await lock_all_tenants(session)
    link = (await session.execute(_find_link(), {"link_id": link_id})).one_or_none()
    if link is None:
        raise UnknownLink("There is no contact of this id to decide about.")
    goal = await _check_customer(session, customer_id) if action == "link" else await _own_customer(session, link)
    await move_links(session, [LinkMove(link_id, goal, "manual", STATES[action])], is_merging=action == "link")
    await session.execute(_sign(), {"link": link_id, "actor": actor})
    await follow_merges(session, ANYWHERE, ANYWHERE)
    await review(session, [link_id])
    details = {"contact": f"{link.source}:{link.source_tenant_id}:{link.external_id}", "name": link.name}
    ways = {"from_customer": str(link.customer_id), "to_customer": str(goal)}
    await audit.append_audit_entry(session, actor, DEEDS[action], str(link_id), {**details, **ways})
    state = await session.scalar(select(CustomerLink.state).where(CustomerLink.id == link_id))
    return Decision(link_id, goal, state or STATES[action])


async def candidates(session: Session, link_ids: Collection[UUID]) -> dict[UUID, list[Candidate]]:
    """Find whom each contact could stand for: at most five customers each, likeliest first, with what speaks for them.

    Proposed are the PSA's customers, and those of contacts with the same name in other organisations, whatever vendor.
    """
    rows = (await session.execute(_contacts_named(), {"ids": list(link_ids)})).all()
    return await _rank(session, rows) if rows else {}


async def review(session: Session, link_ids: Collection[UUID] | None = None) -> int:
    """Say `suggested` of the contacts in the queue that have candidates and `unmatched` of the others.

    Args:
        session: a transaction that holds every turn, or no turn at all.
        link_ids: the contacts, or None for the whole queue.

    Returns:
        How many contacts changed their state.
    """
    parameters: dict[str, object] = {} if link_ids is None else {"ids": list(link_ids)}
    waiting = (await session.execute(_queue(is_whole=link_ids is None), parameters)).all()
    ranked = await _rank(session, waiting)
    states = {row.id: "suggested" if ranked[row.id] else "unmatched" for row in waiting}
    changed = [{"link_id": row.id, "state": states[row.id]} for row in waiting if row.state != states[row.id]]
    if changed:
        await lock_all_tenants(session)
        await session.execute(_restate(), {"states": encode(changed)})
    return len(changed)


async def _check_customer(session: Session, customer_id: UUID | None) -> UUID:
    if customer_id is None:
        raise CustomerMissing("Say which customer to link the contact to: `customer_id` is missing.")
    if await session.get(Customer, customer_id) is None:
        raise UnknownCustomer("There is no customer of this id to link the contact to.")
    return customer_id


async def _own_customer(session: Session, link: _Row) -> UUID:
    """Return the customer that is the contact's alone, made now if it has none."""
    alone_at: UUID | None = await session.scalar(_alone_at(), {"link_id": link.id})
    return alone_at or (await create_own_customers(session, [link.id]))[link.id]


async def _rank(session: Session, contacts: Sequence[_Row]) -> dict[UUID, list[Candidate]]:
    keys = {row.id: row.name_key or name_key(row.name) for row in contacts}
    namesakes = await _find_namesakes(session, set(keys.values()) - {""})
    prospects = [CandidateCustomer(*row) for row in await session.execute(_prospects())]
    asked = [
        (
            Contact(row.id, keys[row.id], row.email, row.customer_id),
            {one.customer_id: one.customer for one in namesakes.get(keys[row.id], ()) if _is_elsewhere(one, row)},
        )
        for row in contacts
    ]
    return await asyncio.to_thread(_rank_all, prospects, asked)


def _rank_all(
    prospects: Sequence[CandidateCustomer], asked: Sequence[tuple[Contact, Mapping[UUID, str]]]
) -> dict[UUID, list[Candidate]]:
    directory = CandidateIndex(prospects)
    return {contact.link_id: directory.rank(contact, elsewhere) for contact, elsewhere in asked}


async def _find_namesakes(session: Session, keys: Collection[str]) -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = defaultdict(list)
    for row in await session.execute(_links_with_keys(), {"keys": list(keys)}):
        # Others write links without a key, and their rows are not ours to complete.
        found[row.name_key or name_key(row.name)].append(row)
    return found


def _is_elsewhere(one: _Row, other: _Row) -> bool:
    return (one.source, one.source_tenant_id) != (other.source, other.source_tenant_id)


@cache
def _find_link() -> Query:
    link = CustomerLink
    columns = (link.id, link.source, link.source_tenant_id, link.external_id, link.name, link.customer_id)
    return select(*columns).where(link.id == bindparam("link_id"))


@cache
def _alone_at() -> Query:
    """Select the contact's customer, if it is not the PSA's and no other contact but aliases stands at it."""
    link, other = CustomerLink, aliased(CustomerLink)
    is_shared = exists().where(other.customer_id == link.customer_id, other.id != link.id, other.matched_by != "merged")
    return (
        select(link.customer_id)
        .join(Customer, Customer.id == link.customer_id)
        .where(link.id == bindparam("link_id"), Customer.psa_external_id.is_(None), ~is_shared)
    )


def _contacts() -> Query:
    link = CustomerLink
    return select(
        link.id, link.name, link.name_key, link.email, link.customer_id, link.source, link.source_tenant_id, link.state
    )


def _is_named() -> Clause:
    return CustomerLink.id == func.any(bindparam("ids", type_=ARRAY(Uuid())))


@cache
def _contacts_named() -> Query:
    return _contacts().where(_is_named())


@cache
def _queue(*, is_whole: bool) -> Query:
    waiting = _contacts().where(
        CustomerLink.state.in_(("suggested", "unmatched")), CustomerLink.vendor_read_at.is_not(None)
    )
    return waiting if is_whole else waiting.where(_is_named())


@cache
def _prospects() -> Query:
    return select(Customer.id, Customer.name, Customer.name_key, Customer.email).where(
        Customer.psa_external_id.is_not(None)
    )


@cache
def _links_with_keys() -> Query:
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
def _sign() -> Update:
    link = plain(CustomerLink)
    signed = {"decided_by": bindparam("actor"), "decided_at": func.wall_clock()}
    return update(link).where(link.c.id == bindparam("link")).values(signed)


@cache
def _restate() -> Update:
    link, states = plain(CustomerLink), rowset("states", {"link_id": Uuid(), "state": Text()})
    return (
        update(link)
        .where(link.c.id == states.c.link_id, link.c.state.in_(("suggested", "unmatched")))
        .values(state=states.c.state, updated_at=func.now())
    )
