"""Inferring the base currency of an organisation from its documents, since none of the vendor's lists names it.

A document in the base currency has the exchange rate 1 or none; in any other currency it has another rate. So every
document with the rate 1 or none supports its currency as the base, and one with another rate rules its currency out.
The known base currency is kept until it is ruled out, even where another currency has more documents.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from sqlalchemy import Select, bindparam, exists, func, or_, select, union_all
from sqlalchemy.dialects.postgresql import Insert, insert

from app.billing.mirror.versions import ReadContext
from app.billing.records import CreditMemoRecord, InvoiceRecord
from app.billing.recordset import core_table
from app.billing.tables import BillingOrganisation, CreditMemo, Invoice
from app.db import Session
from app.paging import AnySelect


@dataclass(frozen=True, slots=True)
class CurrencyVotes:
    """How many documents support a currency as the base currency, and how many rule it out."""

    currency: str
    supporting: int
    opposing: int


async def infer_base_currency(
    session: Session, context: ReadContext, documents: Iterable[InvoiceRecord | CreditMemoRecord]
) -> None:
    """Infer the tenant's base currency again, if these documents rule out the known one or none is known."""
    votes = {(document.currency, document.exchange_rate in {None, Decimal(1)}) for document in documents}
    if not votes:
        return
    known = await session.scalar(_base_currency_statement(), context.parameters())
    if (known, False) in votes or (known is None and any(is_supporting for _, is_supporting in votes)):
        await reinfer_base_currency(session, context.source, context.tenant_id)


async def reinfer_base_currency(session: Session, source: str, tenant_id: str) -> None:
    """Infer the tenant's base currency from all of its stored documents."""
    parameters = {"of_source": source, "of_tenant": tenant_id}
    known = await session.scalar(_base_currency_statement(), parameters)
    votes = [CurrencyVotes(*row) for row in await session.execute(_currency_votes_statement(), parameters)]
    inferred = choose_base_currency(votes, known)
    if inferred != known:
        await session.execute(_store_statement(source, tenant_id, inferred))


async def infer_missing_base_currencies(session: Session) -> None:
    """Infer the base currency of tenants whose documents other services write, where it is not known."""
    for source, tenant_id in (await session.execute(_tenants_without_base_currency_statement())).all():
        await reinfer_base_currency(session, source, tenant_id)


def choose_base_currency(votes: Iterable[CurrencyVotes], known: str | None) -> str | None:
    """Return the known base currency unless it is ruled out, else the currency that most documents support.

    None when no currency is possible, or when two have the most support.
    """
    possible = [vote for vote in votes if vote.supporting and not vote.opposing]
    if any(vote.currency == known for vote in possible):
        return known
    possible.sort(key=lambda vote: vote.supporting, reverse=True)
    is_tied = len(possible) > 1 and possible[0].supporting == possible[1].supporting
    return possible[0].currency if possible and not is_tied else None


@cache
def _base_currency_statement() -> Select[str | None]:
    organisation = BillingOrganisation
    return select(organisation.base_currency).where(
        organisation.source == bindparam("of_source"), organisation.source_tenant_id == bindparam("of_tenant")
    )


@cache
def _currency_votes_statement() -> AnySelect:
    """Return the statement whose columns are the fields of `CurrencyVotes`."""
    documents = union_all(
        *(
            select(table.currency, table.exchange_rate).where(
                table.source == bindparam("of_source"), table.source_tenant_id == bindparam("of_tenant")
            )
            for table in (Invoice, CreditMemo)
        )
    ).subquery()
    is_supporting = or_(documents.c.exchange_rate.is_(None), documents.c.exchange_rate == 1)
    supporting, opposing = func.count().filter(is_supporting), func.count().filter(~is_supporting)
    return select(documents.c.currency, supporting, opposing).group_by(documents.c.currency)


@cache
def _tenants_without_base_currency_statement() -> AnySelect:
    organisation = BillingOrganisation
    is_known = exists().where(
        organisation.source == Invoice.source,
        organisation.source_tenant_id == Invoice.source_tenant_id,
        organisation.base_currency.is_not(None),
    )
    is_of_other_service = Invoice.vendor_read_at.is_(None)
    tenants = select(Invoice.source, Invoice.source_tenant_id).where(is_of_other_service, ~is_known)
    return tenants.distinct().order_by(Invoice.source, Invoice.source_tenant_id)


def _store_statement(source: str, tenant_id: str, base_currency: str | None) -> Insert:
    statement = insert(core_table(BillingOrganisation)).values(
        source=source, source_tenant_id=tenant_id, base_currency=base_currency
    )
    return statement.on_conflict_do_update(
        index_elements=["source", "source_tenant_id"], set_={"base_currency": statement.excluded.base_currency}
    )
