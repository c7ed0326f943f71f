"""The feed of the PSA: its customers, which contacts are matched to, its contracted services, its tickets and alerts.

Every upsert can be repeated: rows that are equal already are not written. Where an id comes twice in one call, the last
item counts.

PsaError
├── TooManyItems         more items than one call may have
└── UnknownPsaCustomer   an item names a customer that the PSA has not sent; nothing of the call was written
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Integer,
    TableValuedAlias,
    Text,
    and_,
    case,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from app.billing.locks import lock_all_tenants
from app.billing.matching import review
from app.billing.matching.automatic import WILDCARD, match_contacts, move_links_of_merged_contacts
from app.billing.matching.name_key import name_key
from app.billing.records import UpsertOutcome
from app.billing.recordset import column_types, core_table, encode_rows, json_recordset
from app.billing.tables import PSA_SOURCE, Customer, Service, TimelineEventKind
from app.billing.timeline import ExternalTimelineEvent
from app.db import Session, Table
from app.paging import AnySelect

MAX_ITEMS = 1000


class PsaEventKind(StrEnum):
    """The kinds of timeline events that the PSA sends."""

    TICKET = TimelineEventKind.TICKET
    DEVICE_ALERT = TimelineEventKind.DEVICE_ALERT


class PsaError(ValueError):
    """A call cannot be accepted; nothing of it was written."""


class TooManyItems(PsaError):
    pass


class UnknownPsaCustomer(PsaError):
    """An item names a customer that the PSA has not sent.

    Args:
        position: the item's, from 0.
        external_id: the customer's id in the PSA.
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
    kind: PsaEventKind
    title: str
    detail: str | None = None
    link: str | None = None


class UpsertCounts(NamedTuple):
    """How many items had each outcome; the fields are the outcomes' values."""

    created: int
    updated: int
    unchanged: int


async def upsert_customers(session: Session, items: Sequence[PsaCustomer]) -> UpsertCounts:
    """Write customers of the PSA, then match the contacts that have their names.

    Args:
        session: a transaction that has written no billing rows before; writers of them wait until it ends.
        items: at most `MAX_ITEMS`.

    Raises:
        TooManyItems: more than that.
    """
    _check_size(items)
    await lock_all_tenants(session)
    newest = {item.external_id: item for item in items}
    rows = [{**asdict(item), "name_key": name_key(item.name)} for _, item in sorted(newest.items())]
    written = (await session.execute(_customers_upsert_statement(), {"page": encode_rows(rows)})).all()
    changed_keys = {key for row in written for key in (*row.keys, *row.old_keys) if key}
    if changed_keys:
        await match_contacts(session, WILDCARD, WILDCARD, changed_keys, is_merging=True)
        await move_links_of_merged_contacts(session, WILDCARD, WILDCARD)
    if any(row.outcome != UpsertOutcome.UNCHANGED for row in written):
        await review.refresh_review_states(session)
    return _count({row.outcome: row.rows for row in written})


async def upsert_services(session: Session, items: Sequence[PsaService]) -> UpsertCounts:
    """Write contracted services.

    Raises:
        TooManyItems: more than `MAX_ITEMS`.
        UnknownPsaCustomer: an item names a customer that the PSA has not sent.
    """
    return await _upsert(session, _services_upsert_statement(), items)


async def upsert_timeline_events(session: Session, items: Sequence[PsaEvent]) -> UpsertCounts:
    """Write tickets and device alerts.

    Raises:
        TooManyItems: more than `MAX_ITEMS`.
        UnknownPsaCustomer: an item names a customer that the PSA has not sent.
    """
    return await _upsert(session, _events_upsert_statement(), items)


async def _upsert(session: Session, statement: AnySelect, items: Sequence[PsaService | PsaEvent]) -> UpsertCounts:
    _check_size(items)
    named = [{"position": at, "customer_external_id": one.customer_external_id} for at, one in enumerate(items)]
    unknown = (await session.execute(_first_unknown_statement(), {"named": encode_rows(named)})).one_or_none()
    if unknown is not None:
        raise UnknownPsaCustomer(unknown.position, unknown.customer_external_id)
    newest = {item.external_id: asdict(item) for item in items}
    rows = [newest[external_id] for external_id in sorted(newest)]
    written = await session.execute(statement, {"page": encode_rows(rows)})
    return _count({row.outcome: row.rows for row in written})


def _check_size(items: Sequence[object]) -> None:
    if len(items) > MAX_ITEMS:
        raise TooManyItems(f"A call may carry {MAX_ITEMS} items; this one carries {len(items)}. Send them in parts.")


def _count(rows_by_outcome: Mapping[str, int]) -> UpsertCounts:
    return UpsertCounts(*(rows_by_outcome.get(outcome, 0) for outcome in UpsertCounts._fields))


@cache
def _first_unknown_statement() -> AnySelect:
    """Return the first item whose customer is not stored."""
    named = json_recordset("named", {"position": Integer(), "customer_external_id": Text()})
    customer = core_table(Customer)
    return (
        select(named.c.position, named.c.customer_external_id)
        .select_from(named.outerjoin(customer, customer.c.psa_external_id == named.c.customer_external_id))
        .where(customer.c.id.is_(None))
        .order_by(named.c.position)
        .limit(1)
    )


@cache
def _customers_upsert_statement() -> AnySelect:
    """Return the upsert of customers; it also returns the old and the new name keys of those renamed."""
    columns = column_types(Customer, ["name", "name_key", "email"])
    page = json_recordset("page", {"external_id": Text(), **columns})
    values = {"psa_external_id": page.c.external_id, **{name: page.c[name] for name in columns}}
    compared = _compare_cte(page, Customer, values, ("psa_external_id",))
    is_renamed = compared.c.name.is_distinct_from(compared.c.old_name)
    keys, old_keys = (
        func.coalesce(func.array_agg(key).filter(is_renamed), literal([], ARRAY(Text())))
        for key in (compared.c.name_key, compared.c.old_name_key)
    )
    statement = _upsert_statement(compared, Customer, values, ("psa_external_id",))
    return statement.add_columns(keys.label("keys"), old_keys.label("old_keys"))


@cache
def _services_upsert_statement() -> AnySelect:
    columns = column_types(Service, [field.name for field in fields(PsaService)])
    page = json_recordset("page", {**columns, "customer_external_id": Text()})
    values = {
        "source": literal(PSA_SOURCE, Text()),
        "customer_id": core_table(Customer).c.id,
        **{name: page.c[name] for name in columns},
    }
    key = ("source", "external_id")
    return _upsert_statement(_compare_cte(_with_customer(page), Service, values, key), Service, values, key)


@cache
def _events_upsert_statement() -> AnySelect:
    columns = column_types(ExternalTimelineEvent, [field.name for field in fields(PsaEvent)])
    page = json_recordset("page", {**columns, "external_id": Text(), "customer_external_id": Text()})
    values = {
        "source": literal(PSA_SOURCE, Text()),
        "dedupe_key": literal(f"{PSA_SOURCE}:", Text()) + page.c.external_id,
        "customer_id": core_table(Customer).c.id,
        **{name: page.c[name] for name in columns},
    }
    key = ("dedupe_key",)
    compared = _compare_cte(_with_customer(page), ExternalTimelineEvent, values, key)
    return _upsert_statement(compared, ExternalTimelineEvent, values, key)


def _with_customer(page: TableValuedAlias) -> FromClause:
    customer = core_table(Customer)
    return page.join(customer, customer.c.psa_external_id == page.c.customer_external_id)


def _compare_cte(
    page: FromClause, model: type[Table], values: Mapping[str, ColumnElement[Any]], key: tuple[str, ...]
) -> CTE:
    """Return each row's values, the stored values as `old_…`, and an `UpsertOutcome`."""
    stored = core_table(model).alias()
    is_same_row = and_(*(stored.c[name] == values[name] for name in key))
    old_values = {name: stored.c[name] for name in values}
    outcome = case(
        (stored.c.id.is_(None), UpsertOutcome.CREATED.value),
        (tuple_(*values.values()).is_distinct_from(tuple_(*old_values.values())), UpsertOutcome.UPDATED.value),
        else_=UpsertOutcome.UNCHANGED.value,
    )
    columns = [
        *(value.label(name) for name, value in values.items()),
        *(value.label(f"old_{name}") for name, value in old_values.items()),
    ]
    joined = page.outerjoin(stored, is_same_row)
    return select(*columns, outcome.label("outcome")).select_from(joined).cte("compared")


def _upsert_statement(
    compared: CTE, model: type[Table], values: Mapping[str, ColumnElement[Any]], key: tuple[str, ...]
) -> AnySelect:
    """Return the statement that writes the rows that are new or changed; it counts rows by outcome."""
    chosen = select(*(compared.c[name] for name in values)).where(compared.c.outcome != UpsertOutcome.UNCHANGED)
    table = core_table(model)
    statement = insert(table).from_select(list(values), chosen.order_by(*(compared.c[name] for name in key)))
    updates: dict[str, ColumnElement[Any]] = {name: statement.excluded[name] for name in values if name not in key}
    if "updated_at" in table.c:
        updates["updated_at"] = func.now()
    written = statement.on_conflict_do_update(index_elements=list(key), set_=updates).cte("written")
    return select(compared.c.outcome, func.count().label("rows")).group_by(compared.c.outcome).add_cte(written)
