"""The PSA's feed: its customers, which are the spine of matching, their contracted services, their tickets and alerts.

Every upsert may be repeated: what is already so is left alone. Where an id comes twice in one call, the last stands.

PsaError
├── TooManyItems         more than one call may carry
└── UnknownPsaCustomer   an item names a customer that the PSA has not sent; nothing of the call was written
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from sqlalchemy import Date, Integer, Text, and_, case, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import aliased

from app.billing.locks import lock_all_tenants
from app.billing.matching import review
from app.billing.matching.automatic import ANYWHERE, follow_merges, rematch
from app.billing.matching.name_key import name_key
from app.billing.recordset import Clause, Query, Relation, Types, encode, plain, rowset
from app.billing.tables import Customer, Money, Service, TimelineEvent
from app.db import Instant, Session, Table

SOURCE = "psa"
MOST_ITEMS = 1000


class PsaError(ValueError):
    """The feed sent something that cannot be taken; nothing of the call was written."""


class TooManyItems(PsaError):
    pass


class UnknownPsaCustomer(PsaError):
    """An item names a customer the PSA has not sent.

    Args:
        position: of the item, from 0.
        external_id: the customer it names.
    """

    def __init__(self, position: int, external_id: str) -> None:
        super().__init__(
            f"Item {position} belongs to the customer {external_id!r}, which the PSA has not sent. "
            "Nothing was written; send the customer first."
        )
        self.position = position
        self.external_id = external_id


@dataclass(frozen=True, slots=True)
class PsaCustomer:
    external_id: str
    name: str
    email: str | None = None


@dataclass(frozen=True, slots=True)
class PsaService:
    """A service billed monthly; active from `starts_on` to `ends_on`, both included."""

    external_id: str
    customer_external_id: str
    name: str
    monthly_amount: Decimal
    currency: str
    starts_on: date
    ends_on: date | None = None


@dataclass(frozen=True, slots=True)
class PsaEvent:
    """A ticket or a device alert."""

    external_id: str
    customer_external_id: str
    at: datetime
    kind: str
    title: str
    detail: str | None = None
    link: str | None = None


class Upserted(NamedTuple):
    created: int
    updated: int
    unchanged: int


async def upsert_customers(session: Session, items: Sequence[PsaCustomer]) -> Upserted:
    """Write customers of the PSA, then match the contacts that carry their names.

    Args:
        session: a transaction that has written no billing rows before; writers of them wait until it ends.
        items: at most 1,000.

    Raises:
        TooManyItems: more than that.
    """
    _check_size(items)
    await lock_all_tenants(session)
    newest = {item.external_id: item for item in items}
    rows = [{**asdict(item), "name_key": name_key(item.name)} for _, item in sorted(newest.items())]
    written = (await session.execute(_write_customers(), {"page": encode(rows)})).all()
    keys = {key for row in written for key in (*row.keys, *row.old_keys) if key}
    if keys:
        await rematch(session, ANYWHERE, ANYWHERE, keys, is_merging=True)
        await follow_merges(session, ANYWHERE, ANYWHERE)
    if any(row.verdict != "unchanged" for row in written):
        await review.review(session)
    return _count({row.verdict: row.rows for row in written})


async def upsert_services(session: Session, items: Sequence[PsaService]) -> Upserted:
    """Write contracted services.

    Raises:
        TooManyItems: more than 1,000.
        UnknownPsaCustomer: an item's customer was never sent.
    """
    return await _write(session, _write_services(), items)


async def upsert_timeline_events(session: Session, items: Sequence[PsaEvent]) -> Upserted:
    """Write tickets and device alerts.

    Raises:
        TooManyItems: more than 1,000.
        UnknownPsaCustomer: an item's customer was never sent.
    """
    return await _write(session, _write_events(), items)


async def _write(session: Session, statement: Query, items: Sequence[PsaService | PsaEvent]) -> Upserted:
    _check_size(items)
    named = [{"position": at, "customer_external_id": one.customer_external_id} for at, one in enumerate(items)]
    unknown = (await session.execute(_first_unknown(), {"named": encode(named)})).one_or_none()
    if unknown is not None:
        raise UnknownPsaCustomer(unknown.position, unknown.customer_external_id)
    newest = {item.external_id: asdict(item) for item in items}
    rows = [newest[external_id] for external_id in sorted(newest)]
    written = await session.execute(statement, {"page": encode(rows)})
    return _count({row.verdict: row.rows for row in written})


def _check_size(items: Sequence[object]) -> None:
    if len(items) > MOST_ITEMS:
        raise TooManyItems(f"A call may carry {MOST_ITEMS} items; this one carries {len(items)}. Send them in parts.")


def _count(verdicts: dict[str, int]) -> Upserted:
    return Upserted(*(verdicts.get(verdict, 0) for verdict in Upserted._fields))


@cache
def _first_unknown() -> Query:
    named = rowset("named", {"position": Integer(), "customer_external_id": Text()})
    return (
        select(named.c.position, named.c.customer_external_id)
        .select_from(named.outerjoin(Customer, Customer.psa_external_id == named.c.customer_external_id))
        .where(Customer.id.is_(None))
        .order_by(named.c.position)
        .limit(1)
    )


@cache
def _write_customers() -> Query:
    page = rowset("page", {"external_id": Text(), "name": Text(), "name_key": Text(), "email": Text()})
    values = {"psa_external_id": page.c.external_id, **{name: page.c[name] for name in ("name", "name_key", "email")}}
    judged = _judge(page, Customer, values, ("psa_external_id",))
    is_renamed = judged.c.name_key.is_distinct_from(judged.c.old_name_key)
    keys, old_keys = (
        func.coalesce(func.array_agg(key).filter(is_renamed), literal([], ARRAY(Text())))
        for key in (judged.c.name_key, judged.c.old_name_key)
    )
    return _upsert(judged, Customer, values, ("psa_external_id",)).add_columns(
        keys.label("keys"), old_keys.label("old_keys")
    )


@cache
def _write_services() -> Query:
    types: Types = {
        "external_id": Text(),
        "name": Text(),
        "monthly_amount": Money,
        "currency": Text(),
        "starts_on": Date(),
        "ends_on": Date(),
    }
    page = rowset("page", {**types, "customer_external_id": Text()})
    values = {"source": literal(SOURCE, Text()), "customer_id": Customer.id, **{name: page.c[name] for name in types}}
    judged = _judge(_with_customer(page), Service, values, ("source", "external_id"))
    return _upsert(judged, Service, values, ("source", "external_id"))


@cache
def _write_events() -> Query:
    types: Types = {"at": Instant, "kind": Text(), "title": Text(), "detail": Text(), "link": Text()}
    page = rowset("page", {**types, "external_id": Text(), "customer_external_id": Text()})
    values = {
        "source": literal(SOURCE, Text()),
        "dedupe_key": literal(f"{SOURCE}:", Text()) + page.c.external_id,
        "customer_id": Customer.id,
        **{name: page.c[name] for name in types},
    }
    judged = _judge(_with_customer(page), TimelineEvent, values, ("dedupe_key",))
    return _upsert(judged, TimelineEvent, values, ("dedupe_key",))


def _with_customer(page: Relation) -> Relation:
    return page.join(Customer, Customer.psa_external_id == page.c.customer_external_id)


def _judge(page: Relation, table: Relation, values: Mapping[str, Clause], key: tuple[str, ...]) -> Relation:
    """Say of each row whether it is new, changed or as it was, beside what it was."""
    known = aliased(table)
    is_same_row = and_(*(getattr(known, name) == values[name] for name in key))
    before = {name: getattr(known, name) for name in values}
    verdict = case(
        (known.id.is_(None), "created"),
        (tuple_(*values.values()).is_distinct_from(tuple_(*before.values())), "updated"),
        else_="unchanged",
    )
    columns = [
        *(value.label(name) for name, value in values.items()),
        *(value.label(f"old_{name}") for name, value in before.items()),
    ]
    joined = page.outerjoin(known, is_same_row)
    return select(*columns, verdict.label("verdict")).select_from(joined).cte("judged")


def _upsert(judged: Relation, table: type[Table], values: Mapping[str, Clause], key: tuple[str, ...]) -> Query:
    chosen = select(*(judged.c[name] for name in values)).where(judged.c.verdict != "unchanged")
    writing = insert(plain(table)).from_select(list(values), chosen.order_by(*(judged.c[name] for name in key)))
    changes: dict[str, Clause] = {name: writing.excluded[name] for name in values if name not in key}
    if table is not TimelineEvent:
        changes["updated_at"] = func.now()
    written = writing.on_conflict_do_update(index_elements=list(key), set_=changes).cte("written")
    return select(judged.c.verdict, func.count().label("rows")).group_by(judged.c.verdict).add_cte(written)
