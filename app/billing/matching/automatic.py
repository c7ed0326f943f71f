"""What matching decides on its own, by the names alone, and only where there is nothing to guess.

A contact belongs to a customer of the PSA when exactly one such customer and exactly one contact of that organisation
carry the key. The decision follows the names as they are, in whatever order they came: a second bearer of the key takes
it back, and a name that nobody else in the PSA carries leaves it standing. What a person decided is never touched, and
neither are links that others wrote.

A contact that was merged into another at the vendor is an alias: it is no bearer of a name any more, and its customer
is that of the contact it went into, unless a person decided otherwise.
"""

from collections.abc import Collection
from functools import cache
from uuid import UUID, uuid4

from sqlalchemy import Text, Update, Uuid, and_, bindparam, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import aliased

from app.billing.matching.relink import LinkMove, move_links
from app.billing.recordset import Clause, Query, Relation, encode, plain, rowset
from app.billing.tables import Customer, CustomerLink
from app.db import Session

ANYWHERE = ""


async def rematch(
    session: Session, source: str, tenant_id: str, keys: Collection[str], *, is_merging: bool = False
) -> int:
    """Decide again about the links that carry one of these keys.

    Args:
        session: a transaction that has the turn of the organisation, or every turn.
        source: the vendor, or `ANYWHERE` for every organisation of every vendor.
        tenant_id: the organisation, or `ANYWHERE`.
        keys: as `name_key` makes them; the empty one is passed over.
        is_merging: see `move_links`.

    Returns:
        How many links changed their customer.
    """
    parameters = {"of_source": source, "of_tenant": tenant_id, "keys": [key for key in keys if key]}
    rows = (await session.execute(_plan(), parameters)).all()
    await session.execute(_suggest_bearers(), parameters)
    taken_back = [row for row in rows if row.wanted is None]
    owners = await create_own_customers(session, [row.id for row in taken_back])
    moves = [LinkMove(row.id, row.wanted, "name", "matched") for row in rows if row.wanted is not None]
    moves += [LinkMove(row.id, owners[row.id], "new", "suggested") for row in taken_back]
    await move_links(session, moves, is_merging=is_merging)
    return len(moves)


async def follow_merges(session: Session, source: str, tenant_id: str) -> int:
    """Give every alias the customer of the contact it was merged into, where that contact is known.

    Returns:
        How many links changed their customer.
    """
    rows = (await session.execute(_misplaced_aliases(), {"of_source": source, "of_tenant": tenant_id})).all()
    await move_links(session, [LinkMove(row.id, row.customer_id, "merged", "matched") for row in rows])
    return len(rows)


async def create_own_customers(session: Session, link_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Make a customer for each link, named like it; moving the link there is the caller's.

    Returns:
        The new customers' ids by link.
    """
    owners = {link_id: uuid4() for link_id in link_ids}
    if owners:
        rows = [{"link_id": link_id, "customer_id": customer_id} for link_id, customer_id in owners.items()]
        await session.execute(_make_customers(), {"owners": encode(rows)})
    return owners


def _is_here(link: Relation) -> Clause:
    source, tenant_id = bindparam("of_source", type_=Text()), bindparam("of_tenant", type_=Text())
    here = and_(link.source == source, link.source_tenant_id == tenant_id)
    return and_(or_(here, source == ANYWHERE), link.vendor_read_at.is_not(None))


def _count_name_keys() -> tuple[Relation, Relation]:
    """Count who carries each key: customers of the PSA, and contacts organisation by organisation."""
    has_key = func.any(bindparam("keys", type_=ARRAY(Text())))
    link = CustomerLink
    psa = (
        select(
            Customer.name_key,
            func.count().label("count"),
            func.array_agg(Customer.id, type_=ARRAY(Uuid()))[1].label("customer_id"),
        )
        .where(Customer.psa_external_id.is_not(None), Customer.name_key == has_key)
        .group_by(Customer.name_key)
        .cte("psa")
    )
    contacts = (
        select(link.source, link.source_tenant_id, link.name_key, func.count().label("count"))
        .where(link.name_key == has_key, link.merged_into.is_(None), _is_here(link))
        .group_by(link.source, link.source_tenant_id, link.name_key)
        .cte("contacts")
    )
    return psa, contacts


@cache
def _plan() -> Query:
    """Select the links whose customer should be another: the one in `wanted`, or where that is null one of its own."""
    psa, contacts = _count_name_keys()
    link = CustomerLink
    is_clear = and_(psa.c.count == 1, contacts.c.count == 1)
    wanted = case((is_clear, psa.c.customer_id), else_=None)
    return (
        select(link.id, wanted.label("wanted"))
        .join(psa, psa.c.name_key == link.name_key)
        .join(
            contacts,
            and_(
                contacts.c.source == link.source,
                contacts.c.source_tenant_id == link.source_tenant_id,
                contacts.c.name_key == link.name_key,
            ),
        )
        .where(
            _is_here(link),
            link.matched_by != "manual",
            link.merged_into.is_(None),
            or_(
                and_(is_clear, or_(link.customer_id != psa.c.customer_id, link.matched_by != "name")),
                and_(~is_clear, link.matched_by != "new"),
            ),
        )
        .order_by(link.id)
    )


@cache
def _suggest_bearers() -> Update:
    psa, _ = _count_name_keys()
    link = plain(CustomerLink)
    return (
        update(link)
        .where(
            link.c.name_key == psa.c.name_key,
            link.c.state == "unmatched",
            link.c.merged_into.is_(None),
            _is_here(link.c),
        )
        .values(state="suggested", updated_at=func.now())
    )


@cache
def _misplaced_aliases() -> Query:
    """Walk from each alias to the contact that stands at the end; a circle has no end and moves nobody."""
    start, link, end = aliased(CustomerLink), aliased(CustomerLink), aliased(CustomerLink)
    walk = (
        select(start.id.label("alias_id"), start.source, start.source_tenant_id, start.merged_into.label("next"))
        .where(start.merged_into.is_not(None), start.matched_by != "manual", _is_here(start))
        .cte("walk", recursive=True)
    )
    is_next = and_(
        link.source == walk.c.source,
        link.source_tenant_id == walk.c.source_tenant_id,
        link.external_id == walk.c.next,
    )
    walk = walk.union(
        select(walk.c.alias_id, link.source, link.source_tenant_id, link.merged_into).where(
            is_next, link.merged_into.is_not(None)
        )
    )
    alias_ = aliased(CustomerLink)
    return (
        select(alias_.id, end.customer_id)
        .join(walk, walk.c.alias_id == alias_.id)
        .join(
            end,
            and_(
                end.source == walk.c.source,
                end.source_tenant_id == walk.c.source_tenant_id,
                end.external_id == walk.c.next,
                end.merged_into.is_(None),
            ),
        )
        .where(or_(alias_.customer_id != end.customer_id, alias_.matched_by != "merged"))
        .order_by(alias_.id)
    )


@cache
def _make_customers() -> Clause:
    owners, link = rowset("owners", {"link_id": Uuid(), "customer_id": Uuid()}), CustomerLink
    chosen = select(owners.c.customer_id, link.name, link.name_key, link.email).join(link, link.id == owners.c.link_id)
    return insert(plain(Customer)).from_select(["id", "name", "name_key", "email"], chosen)
