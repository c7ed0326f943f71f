"""Writing contacts: each contact that is a customer becomes a link, and each new link gets a customer."""

from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Select,
    Text,
    bindparam,
    case,
    exists,
    func,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from app.billing.matching.automatic import match_contacts, move_links_of_merged_contacts
from app.billing.matching.name_key import name_key
from app.billing.mirror.versions import ReadContext, is_older, lateral_lookup, stamp_to_compare
from app.billing.records import (
    Batch,
    ContactRecord,
    Counts,
    CreditMemoRecord,
    DocumentStatus,
    InvoiceRecord,
    PaymentRecord,
    UpsertOutcome,
)
from app.billing.recordset import ColumnTypes, column_types, core_table, encode_rows, json_recordset
from app.billing.tables import Customer, CustomerLink, MatchedBy
from app.db import Instant, Session
from app.paging import AnySelect

# What a link stores of its contact: the fields of the record that the table has, and the key derived from the name.
CONTACT_COLUMNS: ColumnTypes = column_types(
    CustomerLink, ({*ContactRecord.__struct_fields__, "name_key"}) - {"external_id"}
)
PAGE_COLUMNS: ColumnTypes = {
    **column_types(CustomerLink, ["external_id"]),
    **CONTACT_COLUMNS,
    "is_customer": Boolean(),
    "is_own_record": Boolean(),
}
WRITTEN = (UpsertOutcome.CREATED, UpsertOutcome.UPDATED)


async def write_contacts(session: Session, context: ReadContext, batch: Batch) -> Counts:
    """Create and update links, create the customers of new ones, and match those whose names changed.

    A contact gets a link when the vendor marks it as a customer or a document names it, and keeps it from then on. What
    a document says of a contact never overwrites what the contact's own record said.

    Returns:
        The counts of `batch.contacts`; contacts seen in documents alone are not counted.
    """
    named = await _unknown_contacts_of_documents(session, context, batch)
    rows = [*_contact_rows(batch.contacts, named), *_document_contact_rows(named, batch.contacts)]
    if not rows:
        return Counts()
    rows.sort(key=lambda row: str(row["external_id"]))
    result = await session.execute(_upsert_statement(), {**context.parameters(), "page": encode_rows(rows)})
    by_outcome = {row.outcome: row for row in result}
    if changed_keys := {key for row in by_outcome.values() for key in row.changed_name_keys or ()}:
        await match_contacts(session, context.source, context.tenant_id, changed_keys)
    if by_outcome.keys() & set(WRITTEN):
        await move_links_of_merged_contacts(session, context.source, context.tenant_id)
    return Counts(**{outcome: row.own_records for outcome, row in by_outcome.items()})


async def _unknown_contacts_of_documents(
    session: Session, context: ReadContext, batch: Batch
) -> dict[str, ContactRecord]:
    """Return the contacts that the batch's documents name and that have no link yet, by external id."""
    contacts = {contact.external_id: contact for contact in _contacts_of_documents(batch)}
    if not contacts:
        return {}
    known = await session.scalars(_known_contacts_statement(), {**context.parameters(), "ids": list(contacts)})
    return {key: contacts[key] for key in contacts.keys() - set(known)}


def _contacts_of_documents(batch: Batch) -> Iterable[ContactRecord]:
    # A document that is deleted when first seen is not stored, so its contact needs no link.
    documents: list[InvoiceRecord | CreditMemoRecord | PaymentRecord]
    documents = [*batch.invoices, *batch.credit_memos, *batch.payments]
    for document in documents:
        if document.contact is not None and document.status != DocumentStatus.DELETED:
            yield document.contact


def _contact_rows(contacts: Sequence[ContactRecord], named: dict[str, ContactRecord]) -> Iterable[dict[str, object]]:
    for contact in contacts:
        is_customer = bool(contact.is_customer) or contact.external_id in named
        yield {**_row(contact, is_customer=is_customer), "is_own_record": True}


def _document_contact_rows(
    named: dict[str, ContactRecord], contacts: Sequence[ContactRecord]
) -> Iterable[dict[str, object]]:
    own_records = {contact.external_id for contact in contacts}
    for external_id, contact in named.items():
        if external_id not in own_records:
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
def _known_contacts_statement() -> Select[str]:
    return select(CustomerLink.external_id).where(
        CustomerLink.source == bindparam("of_source"),
        CustomerLink.source_tenant_id == bindparam("of_tenant"),
        CustomerLink.external_id == func.any(bindparam("ids", type_=ARRAY(Text()))),
    )


@cache
def _upsert_statement() -> AnySelect:
    """Return the statement that compares the page with the stored links, and writes links and customers.

    Its rows are the outcomes, each with how many own records it had (`own_records`) and the name keys, old and new,
    of written links whose name or merge changed (`changed_name_keys`), for matching to look at again.
    """
    compared = _compare_cte()
    created = (
        select(compared, func.gen_random_uuid().label("new_customer_id"))
        .where(compared.c.outcome == UpsertOutcome.CREATED)
        .order_by(compared.c.external_id)
        .cte("created_links")
    )
    updated = select(compared).where(compared.c.outcome == UpsertOutcome.UPDATED).cte("updated_links")
    writes = (
        _insert_customers_cte(created),
        _insert_links_cte(created),
        _update_links_cte(updated),
        _rename_customers_cte(updated),
    )
    is_to_rematch = compared.c.outcome.in_(WRITTEN) & _is_renamed_or_merged(compared)
    keys, old_keys = (
        func.array_agg(key).filter(is_to_rematch) for key in (compared.c.name_key, compared.c.old_name_key)
    )
    return (
        select(
            compared.c.outcome,
            func.count().filter(compared.c.is_own_record).label("own_records"),
            func.array_cat(keys, old_keys).label("changed_name_keys"),
        )
        .group_by(compared.c.outcome)
        .add_cte(*writes)
    )


def _is_renamed_or_merged(compared: CTE) -> ColumnElement[bool]:
    now = tuple_(compared.c.name, compared.c.merged_into)
    return now.is_distinct_from(tuple_(compared.c.old_name, compared.c.old_merged_into))


def _compare_cte() -> CTE:
    """Return the page's rows, each with its stored link's columns and an `UpsertOutcome`."""
    page = json_recordset("page", PAGE_COLUMNS)
    link = lateral_lookup(CustomerLink, {"external_id": page.c.external_id})
    compared_values = {**dict(page.c.items()), "vendor_updated_at": stamp_to_compare(page, link)}
    incoming = tuple_(*(compared_values[name] for name in CONTACT_COLUMNS))
    stored = tuple_(*(link.c[name] for name in CONTACT_COLUMNS))
    outcome = case(
        (
            link.c.id.is_(None),
            case((page.c.is_customer, UpsertOutcome.CREATED.value), else_=UpsertOutcome.SKIPPED.value),
        ),
        (is_older(page, link), UpsertOutcome.SKIPPED.value),
        (incoming.is_not_distinct_from(stored), UpsertOutcome.UNCHANGED.value),
        else_=UpsertOutcome.UPDATED.value,
    )
    compared = select(
        *page.c,
        link.c.id.label("link_id"),
        link.c.customer_id,
        link.c.matched_by,
        link.c.name.label("old_name"),
        link.c.name_key.label("old_name_key"),
        link.c.merged_into.label("old_merged_into"),
        outcome.label("outcome"),
    ).select_from(page.outerjoin(link, true()))
    return compared.cte("compared")


def _insert_customers_cte(created: CTE) -> CTE:
    columns = (created.c.new_customer_id, created.c.name, created.c.name_key, created.c.email)
    names = ["id", "name", "name_key", "email"]
    return insert(core_table(Customer)).from_select(names, select(*columns)).cte("inserted_customers")


def _insert_links_cte(created: CTE) -> CTE:
    values = {
        "customer_id": created.c.new_customer_id,
        "source": bindparam("of_source"),
        "source_tenant_id": bindparam("of_tenant"),
        "external_id": created.c.external_id,
        "vendor_read_at": bindparam("answered_at", type_=Instant),
        **{name: created.c[name] for name in CONTACT_COLUMNS},
    }
    return insert(core_table(CustomerLink)).from_select(list(values), select(*values.values())).cte("inserted_links")


def _update_links_cte(updated: CTE) -> CTE:
    link = core_table(CustomerLink)
    values = {name: updated.c[name] for name in CONTACT_COLUMNS}
    return (
        update(link)
        .where(link.c.id == updated.c.link_id)
        .values(**values, vendor_read_at=bindparam("answered_at", type_=Instant), updated_at=func.now())
        .cte("refreshed_links")
    )


def _rename_customers_cte(updated: CTE) -> CTE:
    """Rename the customer with its contact, where the customer was created for that contact and has no other."""
    customer, other = core_table(Customer), core_table(CustomerLink).alias()
    is_shared = exists().where(
        other.c.customer_id == updated.c.customer_id,
        other.c.id != updated.c.link_id,
        other.c.matched_by != MatchedBy.MERGED,
    )
    return (
        update(customer)
        .where(
            customer.c.id == updated.c.customer_id,
            customer.c.psa_external_id.is_(None),
            updated.c.matched_by == MatchedBy.NEW,
            tuple_(customer.c.name, customer.c.email).is_distinct_from(tuple_(updated.c.name, updated.c.email)),
            ~is_shared,
        )
        .values(name=updated.c.name, name_key=updated.c.name_key, email=updated.c.email, updated_at=func.now())
        .cte("renamed_customers")
    )
