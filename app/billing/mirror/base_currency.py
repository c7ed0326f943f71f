"""What an organisation's documents tell of it: the currency its books are kept in.

A document in the base currency has the rate 1 or none, and one in any other has another rate. So a currency speaks for
itself with every rate of 1 or none, and one other rate rules it out for good. Once known, the base currency is kept
until it is ruled out: it does not turn with the majority.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from sqlalchemy import Select, bindparam, exists, func, or_, select, union_all
from sqlalchemy.dialects.postgresql import insert

from app.billing.mirror.versions import ReadContext
from app.billing.records import CreditMemoRecord, InvoiceRecord
from app.billing.recordset import Query, plain
from app.billing.tables import BillingOrganisation, CreditMemo, Invoice
from app.db import Session


@dataclass(frozen=True, slots=True)
class CurrencyVotes:
    """How many documents of a currency speak for it and how many against."""

    currency: str
    speaking_for: int
    speaking_against: int


async def infer_base_currency(
    session: Session, context: ReadContext, documents: Iterable[InvoiceRecord | CreditMemoRecord]
) -> None:
    """Learn the base currency, where these documents have something to say about it."""
    heard = {(document.currency, document.exchange_rate in {None, Decimal(1)}) for document in documents}
    if not heard:
        return
    known = await session.scalar(_known(), context.parameters())
    if (known, False) in heard or (known is None and any(speaks_for for _, speaks_for in heard)):
        await reinfer(session, context.source, context.tenant_id)


async def reinfer(session: Session, source: str, tenant_id: str) -> None:
    """Ask every document of the organisation."""
    parameters = {"of_source": source, "of_tenant": tenant_id}
    known = await session.scalar(_known(), parameters)
    voices = [CurrencyVotes(*row) for row in await session.execute(_voices(), parameters)]
    base = choose(voices, known)
    if base != known:
        await _keep(session, parameters, base)


async def infer_unknown(session: Session) -> None:
    """Learn the base currency of organisations whose documents others wrote."""
    for source, tenant_id in (await session.execute(_unknown())).all():
        await reinfer(session, source, tenant_id)


def choose(voices: Iterable[CurrencyVotes], known: str | None) -> str | None:
    """Choose the base currency: the known one while nothing rules it out, else the one most documents speak for.

    None when no document says it, or two currencies are spoken for equally often.
    """
    possible = [voice for voice in voices if voice.speaking_for and not voice.speaking_against]
    if any(voice.currency == known for voice in possible):
        return known
    possible.sort(key=lambda voice: voice.speaking_for, reverse=True)
    is_tied = len(possible) > 1 and possible[0].speaking_for == possible[1].speaking_for
    return possible[0].currency if possible and not is_tied else None


async def _keep(session: Session, parameters: dict[str, str], base: str | None) -> None:
    row = {"source": parameters["of_source"], "source_tenant_id": parameters["of_tenant"], "base_currency": base}
    writing = insert(plain(BillingOrganisation)).values(row)
    await session.execute(
        writing.on_conflict_do_update(
            index_elements=["source", "source_tenant_id"], set_={"base_currency": writing.excluded.base_currency}
        )
    )


@cache
def _known() -> Select[str | None]:
    organisation = BillingOrganisation
    return select(organisation.base_currency).where(
        organisation.source == bindparam("of_source"), organisation.source_tenant_id == bindparam("of_tenant")
    )


@cache
def _voices() -> Query:
    documents = union_all(
        *(
            select(table.currency, table.exchange_rate).where(
                table.source == bindparam("of_source"), table.source_tenant_id == bindparam("of_tenant")
            )
            for table in (Invoice, CreditMemo)
        )
    ).subquery()
    is_for = or_(documents.c.exchange_rate.is_(None), documents.c.exchange_rate == 1)
    return select(documents.c.currency, func.count().filter(is_for), func.count().filter(~is_for)).group_by(
        documents.c.currency
    )


@cache
def _unknown() -> Query:
    organisation = BillingOrganisation
    is_known = exists().where(
        organisation.source == Invoice.source,
        organisation.source_tenant_id == Invoice.source_tenant_id,
        organisation.base_currency.is_not(None),
    )
    named = select(Invoice.source, Invoice.source_tenant_id).where(Invoice.vendor_read_at.is_(None), ~is_known)
    return named.distinct().order_by(Invoice.source, Invoice.source_tenant_id)
