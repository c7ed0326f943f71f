"""Inferring the base currency of an organisation from its documents, since none of the vendor's lists names it.

A document in the base currency has the exchange rate 1 or none; in any other currency it has another rate. So every
live document, that is an open or paid one, either supports its currency as the base or rules it out. Drafts, voided and
deleted documents say nothing: a draft may have no rate yet, and what was voided may have been a mistake. A rate of zero
is an error of the vendor and counts as none.

A single document proves little, because a user may enter a foreign document at the rate 1 by mistake. So while two
currencies are possible the base currency is unknown, unless nearly all documents support one of them.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from sqlalchemy import Select, bindparam, func, or_, select, union_all
from sqlalchemy.dialects.postgresql import Insert, insert

from app.billing.locks import lock_all_tenants
from app.billing.mirror.versions import ReadContext
from app.billing.records import CreditMemoRecord, DocumentStatus, InvoiceRecord
from app.billing.recordset import core_table
from app.billing.tables import BillingOrganisation, CreditMemo, Invoice
from app.db import Session
from app.paging import AnySelect

Document = InvoiceRecord | CreditMemoRecord

LIVE_STATUSES = (DocumentStatus.OPEN, DocumentStatus.PAID)
SUPPORTING_RATES = (Decimal(1), Decimal(0))
# Of several possible currencies one is the base currency if it has this share of the documents that support any of
# them, of which there are at least so many.
MIN_SHARE = Decimal("0.9")
MIN_DOCUMENTS = 10


@dataclass(frozen=True, slots=True)
class CurrencyVotes:
    """How many live documents support a currency as the base currency, and how many rule it out."""

    currency: str
    supporting: int
    opposing: int


async def infer_base_currency(
    session: Session, context: ReadContext, created: Iterable[Document], updated: Iterable[Document]
) -> None:
    """Infer the tenant's base currency again, if the documents just created and updated may change it.

    A live document that becomes another currency's, or gets another rate, may free a currency that it had ruled out;
    that alone is noticed by the next `refresh_base_currencies`.
    """
    documents = [*updated, *(document for document in created if document.status in LIVE_STATUSES)]
    if not documents:
        return
    known = await session.scalar(_base_currency_statement(), context.parameters())
    if any(_may_change(known, document) for document in documents):
        await _reinfer(session, context.source, context.tenant_id)


async def refresh_base_currencies(session: Session) -> None:
    """Infer the base currency of every tenant again, whichever service wrote its documents and in whatever way.

    Args:
        session: a transaction that has locked all tenants, or none.
    """
    known = {(row.source, row.source_tenant_id): row.base_currency for row in await session.execute(_all_statement())}
    votes: dict[tuple[str, str], list[CurrencyVotes]] = defaultdict(list)
    for source, tenant_id, *vote in await session.execute(_currency_votes_statement(is_of_tenant=False)):
        votes[source, tenant_id].append(CurrencyVotes(*vote))
    changed = [one for one in known.keys() | votes.keys() if choose_base_currency(votes[one]) != known.get(one)]
    if changed:
        await lock_all_tenants(session)
    for source, tenant_id in sorted(changed):
        await _reinfer(session, source, tenant_id)


def choose_base_currency(votes: Iterable[CurrencyVotes]) -> str | None:
    """Return the only currency that is possible, or the one of several that nearly all documents support; else None."""
    possible = sorted(
        (vote for vote in votes if vote.supporting and not vote.opposing), key=lambda vote: vote.supporting
    )
    if len(possible) < 2:  # noqa: PLR2004 - a choice needs two
        return possible[0].currency if possible else None
    total = sum(vote.supporting for vote in possible)
    is_clear = total >= MIN_DOCUMENTS and possible[-1].supporting >= MIN_SHARE * total
    return possible[-1].currency if is_clear else None


def _may_change(known: str | None, document: Document) -> bool:
    """Say whether a document may change a base currency; a live one does not if it is as the known one lets expect."""
    if known is None or document.status not in LIVE_STATUSES:
        return True
    return (document.currency == known) != (document.exchange_rate in {None, *SUPPORTING_RATES})


async def _reinfer(session: Session, source: str, tenant_id: str) -> None:
    """Infer the tenant's base currency from all of its stored documents."""
    parameters = {"of_source": source, "of_tenant": tenant_id}
    known = await session.scalar(_base_currency_statement(), parameters)
    rows = await session.execute(_currency_votes_statement(is_of_tenant=True), parameters)
    inferred = choose_base_currency(CurrencyVotes(*vote) for _, _, *vote in rows)
    if inferred != known:
        await session.execute(_store_statement(source, tenant_id, inferred))


@cache
def _base_currency_statement() -> Select[str | None]:
    organisation = BillingOrganisation
    return select(organisation.base_currency).where(
        organisation.source == bindparam("of_source"), organisation.source_tenant_id == bindparam("of_tenant")
    )


@cache
def _all_statement() -> AnySelect:
    organisation = BillingOrganisation
    return select(organisation.source, organisation.source_tenant_id, organisation.base_currency)


@cache
def _currency_votes_statement(*, is_of_tenant: bool) -> AnySelect:
    """Return the statement that counts the votes; its columns are the tenant's and the fields of `CurrencyVotes`."""
    documents = union_all(
        *(_live_documents_statement(table, is_of_tenant=is_of_tenant) for table in (Invoice, CreditMemo))
    )
    document = documents.subquery().c
    is_supporting = or_(document.exchange_rate.is_(None), document.exchange_rate.in_(SUPPORTING_RATES))
    columns = (document.source, document.source_tenant_id, document.currency)
    counts = (func.count().filter(is_supporting), func.count().filter(~is_supporting))
    return select(*columns, *counts).group_by(*columns)


def _live_documents_statement(table: type[Invoice] | type[CreditMemo], *, is_of_tenant: bool) -> AnySelect:
    columns = (table.source, table.source_tenant_id, table.currency, table.exchange_rate)
    live = select(*columns).where(table.status.in_(LIVE_STATUSES))
    is_asked_for = (table.source == bindparam("of_source"), table.source_tenant_id == bindparam("of_tenant"))
    return live.where(*is_asked_for) if is_of_tenant else live


def _store_statement(source: str, tenant_id: str, base_currency: str | None) -> Insert:
    statement = insert(core_table(BillingOrganisation)).values(
        source=source, source_tenant_id=tenant_id, base_currency=base_currency
    )
    return statement.on_conflict_do_update(
        index_elements=["source", "source_tenant_id"], set_={"base_currency": statement.excluded.base_currency}
    )
