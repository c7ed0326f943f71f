"""Contacts become links, and links have customers: the vendor's parties as the neutral tables know them."""

from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import Boolean, Select, Text, bindparam, case, exists, func, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import aliased

from app.billing.matching.automatic import follow_merges, rematch
from app.billing.matching.name_key import name_key
from app.billing.mirror.versions import ReadContext, is_older, lateral_lookup
from app.billing.records import Batch, ContactRecord, Counts, CreditMemoRecord, InvoiceRecord, PaymentRecord
from app.billing.recordset import Clause, Query, Relation, Types, encode, rowset
from app.billing.tables import Customer, CustomerLink
from app.db import Instant, Session

COLUMNS: Types = {
    "external_id": Text(),
    "name": Text(),
    "name_key": Text(),
    "email": Text(),
    "is_customer": Boolean(),
    "is_archived": Boolean(),
    "merged_into": Text(),
    "vendor_updated_at": Instant,
    "is_own_record": Boolean(),
}
TOLD = ("name", "name_key", "email", "is_archived", "merged_into", "vendor_updated_at")


async def write_contacts(session: Session, context: ReadContext, batch: Batch) -> Counts:
    """Make and renew links, make customers for new ones, and match what a name allows.

    A contact gets a link when the vendor calls it a customer or a document names it; from then on it keeps it. What is
    only seen inside a document never overwrites what the contact's own record said.

    Returns:
        The counts of `batch.contacts` alone.
    """
    named = await _unknown_of_documents(session, context, batch)
    rows = [*_own_rows(batch.contacts, named), *_named_rows(named, batch.contacts)]
    if not rows:
        return Counts()
    rows.sort(key=lambda row: str(row["external_id"]))
    result = await session.execute(_write(), {**context.parameters(), "page": encode(rows)})
    written = {row.verdict: row for row in result}
    if keys := {key for row in written.values() for key in row.keys_to_settle or ()}:
        await rematch(session, context.source, context.tenant_id, keys)
    if written.keys() & {"created", "updated"}:
        await follow_merges(session, context.source, context.tenant_id)
    return Counts(**{verdict: row.own for verdict, row in written.items()})


async def _unknown_of_documents(session: Session, context: ReadContext, batch: Batch) -> dict[str, ContactRecord]:
    contacts = {contact.external_id: contact for contact in _contacts_of_documents(batch)}
    if not contacts:
        return {}
    known = await session.scalars(_known(), {**context.parameters(), "ids": list(contacts)})
    return {key: contacts[key] for key in contacts.keys() - set(known)}


def _contacts_of_documents(batch: Batch) -> Iterable[ContactRecord]:
    # A document that is deleted when first seen is left out, so it makes nobody a customer.
    documents: list[InvoiceRecord | CreditMemoRecord | PaymentRecord]
    documents = [*batch.invoices, *batch.credit_memos, *batch.payments]
    for document in documents:
        if document.contact is not None and document.status != "deleted":
            yield document.contact


def _own_rows(contacts: Sequence[ContactRecord], named: dict[str, ContactRecord]) -> Iterable[dict[str, object]]:
    for contact in contacts:
        yield {
            **_row(contact, is_customer=bool(contact.is_customer) or contact.external_id in named),
            "is_own_record": True,
        }


def _named_rows(named: dict[str, ContactRecord], contacts: Sequence[ContactRecord]) -> Iterable[dict[str, object]]:
    own = {contact.external_id for contact in contacts}
    for external_id, contact in named.items():
        if external_id not in own:
            yield _row(contact, is_customer=True)


def _row(contact: ContactRecord, *, is_customer: bool) -> dict[str, object]:
    return {
        "external_id": contact.external_id,
        "name": contact.name,
        "name_key": name_key(contact.name),
        "email": contact.email,
        "is_customer": is_customer,
        "is_archived": contact.is_archived,
        "merged_into": contact.merged_into,
        "vendor_updated_at": contact.vendor_updated_at,
    }


@cache
def _known() -> Select[str]:
    return select(CustomerLink.external_id).where(
        CustomerLink.source == bindparam("of_source"),
        CustomerLink.source_tenant_id == bindparam("of_tenant"),
        CustomerLink.external_id == func.any(bindparam("ids", type_=ARRAY(Text()))),
    )


@cache
def _write() -> Query:
    """One statement: judge each row, make customers and links for the new, renew what changed."""
    judged = _judge()
    fresh = (
        select(judged, func.gen_random_uuid().label("new_customer_id"))
        .where(judged.c.verdict == "created")
        .order_by(judged.c.external_id)
        .cte("fresh")
    )
    changed = select(judged).where(judged.c.verdict == "updated").cte("changed")
    written = (_make_customers(fresh), _make_links(fresh), _renew_links(changed), _rename_customers(changed))
    is_renamed = tuple_(judged.c.name_key, judged.c.merged_into).is_distinct_from(
        tuple_(judged.c.old_key, judged.c.old_merge)
    )
    is_to_settle = judged.c.verdict.in_(("created", "updated")) & is_renamed
    keys, old_keys = (func.array_agg(key).filter(is_to_settle) for key in (judged.c.name_key, judged.c.old_key))
    own = func.count().filter(judged.c.is_own_record)
    return (
        select(judged.c.verdict, own.label("own"), func.array_cat(keys, old_keys).label("keys_to_settle"))
        .group_by(judged.c.verdict)
        .add_cte(*written)
    )


def _judge() -> Relation:
    page = rowset("page", COLUMNS)
    link = lateral_lookup(CustomerLink, {"external_id": page.c.external_id})
    told, kept = (tuple_(*(row.c[name] for name in TOLD)) for row in (page, link))
    verdict = case(
        (link.c.id.is_(None), case((page.c.is_customer, "created"), else_="skipped")),
        (is_older(page.c, link.c), "skipped"),
        (told.is_not_distinct_from(kept), "unchanged"),
        else_="updated",
    )
    judged = select(
        *page.c,
        link.c.id.label("link_id"),
        link.c.customer_id,
        link.c.matched_by,
        link.c.name_key.label("old_key"),
        link.c.merged_into.label("old_merge"),
        verdict.label("verdict"),
    ).select_from(page.outerjoin(link, true()))
    return judged.cte("judged")


def _make_customers(fresh: Relation) -> Clause:
    columns = fresh.c.new_customer_id, fresh.c.name, fresh.c.name_key, fresh.c.email
    return insert(Customer).from_select(["id", "name", "name_key", "email"], select(*columns)).cte("made")


def _make_links(fresh: Relation) -> Clause:
    columns = [
        "customer_id", "source", "source_tenant_id", "external_id", "vendor_read_at", *TOLD
    ]  # fmt: skip
    values = (
        fresh.c.new_customer_id,
        bindparam("of_source"),
        bindparam("of_tenant"),
        fresh.c.external_id,
        bindparam("answered_at", type_=Instant),
        *(fresh.c[name] for name in TOLD),
    )
    return insert(CustomerLink).from_select(columns, select(*values)).cte("linked")


def _renew_links(changed: Relation) -> Clause:
    values = {name: changed.c[name] for name in TOLD}
    return (
        update(CustomerLink)
        .where(CustomerLink.id == changed.c.link_id)
        .values(**values, vendor_read_at=bindparam("answered_at", type_=Instant), updated_at=func.now())
        .cte("renewed")
    )


def _rename_customers(changed: Relation) -> Clause:
    """Let a customer follow the rename of its contact, where the customer is of that contact's making alone."""
    other = aliased(CustomerLink)
    is_shared = exists().where(
        other.customer_id == changed.c.customer_id, other.id != changed.c.link_id, other.matched_by != "merged"
    )
    return (
        update(Customer)
        .where(
            Customer.id == changed.c.customer_id,
            Customer.psa_external_id.is_(None),
            changed.c.matched_by == "new",
            tuple_(Customer.name, Customer.email).is_distinct_from(tuple_(changed.c.name, changed.c.email)),
            ~is_shared,
        )
        .values(name=changed.c.name, name_key=changed.c.name_key, email=changed.c.email, updated_at=func.now())
        .cte("renamed")
    )
