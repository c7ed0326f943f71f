"""Automatic matching: which links get a customer of the PSA by their name alone.

A link is matched when exactly one PSA customer and exactly one contact of its tenant have the link's name key. The
result follows the names as they are now, in whatever order they came: a second contact or customer of the same key
undoes the match, and a key that no PSA customer has any more leaves it as it is. Links that a person decided about, and
links that another service wrote, are never changed.

A contact that was merged into another at the vendor is an alias: it is not counted as a contact of its name, and its
customer is that of the contact it was merged into, unless a person decided otherwise.
"""

from collections.abc import Collection
from functools import cache
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
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from app.billing.matching.relink import LinkMove, move_links
from app.billing.recordset import core_table, encode_rows, json_recordset
from app.billing.tables import Customer, CustomerLink, LinkState, MatchedBy
from app.db import Session
from app.paging import AnySelect

# As `source` and `tenant_id`: every tenant of every vendor.
WILDCARD = ""


async def rematch(
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
    rows = (await session.execute(_links_to_rematch_statement(), parameters)).all()
    await session.execute(_suggest_statement(), parameters)
    unmatched = [row for row in rows if row.psa_customer_id is None]
    own_customers = await create_own_customers(session, [row.id for row in unmatched])
    moves = [
        LinkMove(row.id, row.psa_customer_id, MatchedBy.NAME, LinkState.MATCHED)
        for row in rows
        if row.psa_customer_id is not None
    ]
    moves += [LinkMove(row.id, own_customers[row.id], MatchedBy.NEW, LinkState.SUGGESTED) for row in unmatched]
    await move_links(session, moves, is_merging=is_merging)
    return len(moves)


async def follow_merges(session: Session, source: str, tenant_id: str) -> int:
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


def _is_in_scope(link: FromClause) -> ColumnElement[bool]:
    """Return the condition that a link is of the tenant asked for, and not written by another service."""
    source, tenant_id = bindparam("of_source", type_=Text()), bindparam("of_tenant", type_=Text())
    is_of_tenant = and_(link.c.source == source, link.c.source_tenant_id == tenant_id)
    return and_(or_(is_of_tenant, source == WILDCARD), link.c.vendor_read_at.is_not(None))


def _psa_customers_by_key_cte() -> CTE:
    """Return, for each of the keys, how many PSA customers have it, and the id of one of them."""
    customer = core_table(Customer).c
    is_asked_for = customer.name_key == func.any(bindparam("keys", type_=ARRAY(Text())))
    return (
        select(
            customer.name_key,
            func.count().label("count"),
            func.array_agg(customer.id, type_=ARRAY(Uuid()))[1].label("customer_id"),
        )
        .where(customer.psa_external_id.is_not(None), is_asked_for)
        .group_by(customer.name_key)
        .cte("psa_customers")
    )


def _contacts_by_key_cte() -> CTE:
    """Return, for each tenant and key, how many contacts have it; aliases are not counted."""
    link = core_table(CustomerLink)
    is_asked_for = link.c.name_key == func.any(bindparam("keys", type_=ARRAY(Text())))
    columns = (link.c.source, link.c.source_tenant_id, link.c.name_key)
    return (
        select(*columns, func.count().label("count"))
        .where(is_asked_for, link.c.merged_into.is_(None), _is_in_scope(link))
        .group_by(*columns)
        .cte("contacts")
    )


@cache
def _links_to_rematch_statement() -> AnySelect:
    """Return the links whose customer has to change: to `psa_customer_id`, or where that is null to one of its own."""
    psa, contacts, link = _psa_customers_by_key_cte(), _contacts_by_key_cte(), core_table(CustomerLink)
    is_unique = and_(psa.c.count == 1, contacts.c.count == 1)
    is_not_matched_yet = or_(link.c.customer_id != psa.c.customer_id, link.c.matched_by != MatchedBy.NAME)
    has_to_change = or_(and_(is_unique, is_not_matched_yet), and_(~is_unique, link.c.matched_by != MatchedBy.NEW))
    is_same_key = and_(
        contacts.c.source == link.c.source,
        contacts.c.source_tenant_id == link.c.source_tenant_id,
        contacts.c.name_key == link.c.name_key,
    )
    is_automatic = and_(_is_in_scope(link), link.c.matched_by != MatchedBy.MANUAL, link.c.merged_into.is_(None))
    psa_customer_id = case((is_unique, psa.c.customer_id), else_=None)
    return (
        select(link.c.id, psa_customer_id.label("psa_customer_id"))
        .select_from(link.join(psa, psa.c.name_key == link.c.name_key).join(contacts, is_same_key))
        .where(is_automatic, has_to_change)
        .order_by(link.c.id)
    )


@cache
def _suggest_statement() -> Update:
    """Return the statement that suggests the unmatched links that have the name of a PSA customer."""
    psa, link = _psa_customers_by_key_cte(), core_table(CustomerLink)
    is_namesake = and_(link.c.name_key == psa.c.name_key, link.c.merged_into.is_(None))
    return (
        update(link)
        .where(is_namesake, link.c.state == LinkState.UNMATCHED, _is_in_scope(link))
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
