"""Automatic matching: which links get a customer of the PSA by their name alone.

A link is matched when its contact and one PSA customer are a pair, as `pair_by_name` decides among all that have the
same name key. The result follows the names as they are now, in whatever order they came: a second contact or customer
of the same match key undoes the match, unless the names of the pair are nearer, and a match key that no PSA customer
has any more leaves it as it is. Links that a person decided about, and links that another service wrote, are never
changed.

A contact that was merged into another at the vendor is an alias: it is not counted as a contact of its name, and its
customer is that of the contact it was merged into, unless a person decided otherwise.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from uuid import UUID, uuid4

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Insert,
    Text,
    Update,
    Uuid,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from app.billing.matching.pairing import find_namesakes, pair_by_name
from app.billing.matching.relink import LinkMove, move_links
from app.billing.recordset import core_table, encode_rows, json_recordset
from app.billing.tables import Customer, CustomerLink, LinkState, MatchedBy
from app.db import Session
from app.paging import AnyRow, AnySelect

# As `source` and `tenant_id`: every tenant of every vendor.
WILDCARD = ""


async def match_contacts(
    session: Session, source: str, tenant_id: str, name_keys: Collection[str], *, is_merging: bool = False
) -> int:
    """Match again the links that have one of these name keys.

    Args:
        session: a transaction that has locked the tenant, or all tenants.
        source: the vendor, or `WILDCARD` for every tenant of every vendor.
        tenant_id: the tenant, or `WILDCARD`.
        name_keys: as `name_key` returns them; the empty key matches nothing and is ignored.
        is_merging: see `move_links`.

    Returns:
        How many links changed their customer.
    """
    parameters = {"of_source": source, "of_tenant": tenant_id, "keys": [key for key in name_keys if key]}
    moves = await _find_moves(session, parameters)
    await session.execute(_suggest_statement(), parameters)
    unmatched = [link_id for link_id, customer_id in moves.items() if customer_id is None]
    own_customers = await create_own_customers(session, unmatched)
    await move_links(session, [_make_move(*move, own_customers) for move in moves.items()], is_merging=is_merging)
    return len(moves)


async def move_links_of_merged_contacts(session: Session, source: str, tenant_id: str) -> int:
    """Move every alias to the customer of the contact it was merged into, where that contact is stored.

    Args:
        session: a transaction that has locked the tenant, or all tenants.
        source: the vendor, or `WILDCARD`.
        tenant_id: the tenant, or `WILDCARD`.

    Returns:
        How many links changed their customer.
    """
    parameters = {"of_source": source, "of_tenant": tenant_id}
    rows = (await session.execute(_misplaced_aliases_statement(), parameters)).all()
    await move_links(session, [LinkMove(row.id, row.customer_id, MatchedBy.MERGED, LinkState.MATCHED) for row in rows])
    return len(rows)


async def create_own_customers(session: Session, link_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Create a customer for each link, with the link's name; the links themselves are moved by the caller.

    Returns:
        The ids of the new customers by link.
    """
    customer_ids = {link_id: uuid4() for link_id in link_ids}
    if customer_ids:
        rows = [{"link_id": link_id, "customer_id": customer_id} for link_id, customer_id in customer_ids.items()]
        await session.execute(_insert_own_customers_statement(), {"own_customers": encode_rows(rows)})
    return customer_ids


async def _find_moves(session: Session, parameters: Mapping[str, object]) -> dict[UUID, UUID | None]:
    """Return the links whose customer has to change: to that customer of the PSA, or where None to one of its own."""
    names_by_key: dict[str, dict[UUID, str]] = defaultdict(dict)
    for customer in await session.execute(_psa_customers_statement(), parameters):
        names_by_key[customer.name_key][customer.id] = customer.name
    groups: dict[tuple[str, str, str], list[AnyRow]] = defaultdict(list)
    for link in await session.execute(_links_statement(), {**parameters, "keys": list(names_by_key)}):
        groups[link.name_key, link.source, link.source_tenant_id].append(link)
    moves = [move for (key, *_), links in groups.items() for move in _moves_of_group(names_by_key[key], links)]
    return dict(sorted(moves, key=itemgetter(0)))


def _moves_of_group(customers: Mapping[UUID, str], links: Sequence[AnyRow]) -> Iterable[tuple[UUID, UUID | None]]:
    """Yield the links of one tenant and name key whose customer has to change, each with the PSA's customer or None."""
    names = {link.id: link.name for link in links}
    pairs, namesakes = pair_by_name(customers, names), find_namesakes(customers.values(), names)
    for link in links:
        customer_id = pairs.get(link.id)
        is_matched = link.customer_id == customer_id and link.matched_by == MatchedBy.NAME
        is_to_be_undone = link.id in namesakes and link.matched_by != MatchedBy.NEW
        has_to_change = is_to_be_undone if customer_id is None else not is_matched
        if has_to_change and link.matched_by != MatchedBy.MANUAL:
            yield link.id, customer_id


def _make_move(link_id: UUID, customer_id: UUID | None, own_customers: Mapping[UUID, UUID]) -> LinkMove:
    if customer_id is None:
        return LinkMove(link_id, own_customers[link_id], MatchedBy.NEW, LinkState.SUGGESTED)
    return LinkMove(link_id, customer_id, MatchedBy.NAME, LinkState.MATCHED)


def _is_in_scope(link: FromClause) -> ColumnElement[bool]:
    """Return the condition that a link is of the tenant asked for, and not written by another service."""
    source, tenant_id = bindparam("of_source", type_=Text()), bindparam("of_tenant", type_=Text())
    is_of_tenant = and_(link.c.source == source, link.c.source_tenant_id == tenant_id)
    return and_(or_(is_of_tenant, source == WILDCARD), link.c.vendor_read_at.is_not(None))


@cache
def _psa_customers_statement() -> AnySelect:
    customer = core_table(Customer).c
    return select(customer.id, customer.name, customer.name_key).where(
        customer.psa_external_id.is_not(None), _has_key(customer.name_key)
    )


@cache
def _links_statement() -> AnySelect:
    """Return the links that have one of the keys; aliases are left out."""
    link = core_table(CustomerLink)
    names = ("id", "source", "source_tenant_id", "name", "name_key", "customer_id", "matched_by")
    return select(*(link.c[name] for name in names)).where(
        _has_key(link.c.name_key), link.c.merged_into.is_(None), _is_in_scope(link)
    )


def _has_key(name_key: ColumnElement[str]) -> ColumnElement[bool]:
    return name_key == func.any(bindparam("keys", type_=ARRAY(Text())))


@cache
def _suggest_statement() -> Update:
    """Return the statement that suggests the unmatched links that have the name of a PSA customer."""
    psa, link = core_table(Customer), core_table(CustomerLink)
    has_namesake = exists().where(psa.c.psa_external_id.is_not(None), psa.c.name_key == link.c.name_key)
    return (
        update(link)
        .where(_has_key(link.c.name_key), link.c.merged_into.is_(None), has_namesake)
        .where(link.c.state == LinkState.UNMATCHED, _is_in_scope(link))
        .values(state=LinkState.SUGGESTED, updated_at=func.now())
    )


@cache
def _misplaced_aliases_statement() -> AnySelect:
    """Return the aliases that are not at the customer of the contact at the end of their chain of merges.

    A chain that leads back to itself has no end, so its aliases are not returned.
    """
    alias, chain = core_table(CustomerLink).alias("alias"), _merge_chain_cte()
    target = core_table(CustomerLink).alias("target")
    is_end_of_chain = and_(
        target.c.source == chain.c.source,
        target.c.source_tenant_id == chain.c.source_tenant_id,
        target.c.external_id == chain.c.next_external_id,
        target.c.merged_into.is_(None),
    )
    is_misplaced = or_(alias.c.customer_id != target.c.customer_id, alias.c.matched_by != MatchedBy.MERGED)
    return (
        select(alias.c.id, target.c.customer_id)
        .select_from(alias.join(chain, chain.c.alias_id == alias.c.id).join(target, is_end_of_chain))
        .where(is_misplaced)
        .order_by(alias.c.id)
    )


def _merge_chain_cte() -> CTE:
    """Return each alias with every contact on its chain of merges, by external id, the last one included."""
    alias, link = core_table(CustomerLink).alias("alias"), core_table(CustomerLink).alias("next_link")
    is_automatic_alias = and_(
        alias.c.merged_into.is_not(None), alias.c.matched_by != MatchedBy.MANUAL, _is_in_scope(alias)
    )
    chain = (
        select(
            alias.c.id.label("alias_id"),
            alias.c.source,
            alias.c.source_tenant_id,
            alias.c.merged_into.label("next_external_id"),
        )
        .where(is_automatic_alias)
        .cte("merge_chain", recursive=True)
    )
    is_next = and_(
        link.c.source == chain.c.source,
        link.c.source_tenant_id == chain.c.source_tenant_id,
        link.c.external_id == chain.c.next_external_id,
    )
    return chain.union(
        select(chain.c.alias_id, link.c.source, link.c.source_tenant_id, link.c.merged_into).where(
            is_next, link.c.merged_into.is_not(None)
        )
    )


@cache
def _insert_own_customers_statement() -> Insert:
    own_customers = json_recordset("own_customers", {"link_id": Uuid(), "customer_id": Uuid()})
    link = core_table(CustomerLink)
    chosen = select(own_customers.c.customer_id, link.c.name, link.c.name_key, link.c.email).select_from(
        own_customers.join(link, link.c.id == own_customers.c.link_id)
    )
    return insert(core_table(Customer)).from_select(["id", "name", "name_key", "email"], chosen)
