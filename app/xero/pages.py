"""Reads one page: builds the request's address, and translates the response into vendor-neutral records."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import httpx

from app.billing.records import Batch, ContactRecord, CreditMemoRecord, InvoiceRecord, PaymentRecord, Resource
from app.connector import Access, AnswerUnreadable, Page, PageRequest, RejectedRow, RequestRejected, RowKey
from app.xero import client, mapping, wire
from app.xero.client import Response
from app.xero.errors import error_for, read_http_date
from app.xero.parsing import EPOCH, Unreadable, read_id, read_instant, read_text
from app.xero.profile import XERO_PROFILE

# The limit is the length of the URL, about 52 UUIDs; Xero answers a longer one with 404, as if nothing existed.
MAX_IDS = 40
# Quarantined rows are stored for a person to examine; of a very long one the beginning is enough.
MAX_PAYLOAD = 20_000
MAX_ID_LENGTH = 100
# Rows of a page whose request names no size or whose `pageSize` has no effect: Xero's OpenAPI file.
DEFAULT_PAGE_SIZE = 100
OK, NOT_MODIFIED = 200, 304

RowT = TypeVar("RowT")
RecordT = TypeVar("RecordT", ContactRecord, InvoiceRecord, CreditMemoRecord, PaymentRecord)


@dataclass(frozen=True, slots=True)
class Collection(Generic[RowT]):
    """How one resource is requested and read.

    Attributes:
        path: the endpoint, and the key of its rows in the response.
        id_field: the field with the row's id.
        kind_field: the field that distinguishes customers' rows from suppliers', or None.
        kinds: the values of `kind_field`; true for those that are kept.
        filters: parameters that make Xero leave out rows that are not kept, in a form its pages call optimised.
        always: parameters of every request.
        takes_ids: whether one request may name several rows.
        row: the row as Xero delivers it.
        record: translates a row; None for a row that is not kept.
    """

    path: str
    id_field: str
    row: type[RowT]
    record: Callable[[RowT], Any]
    kind_field: str | None = None
    kinds: Mapping[str, bool] = field(default_factory=dict)
    filters: Mapping[str, str] = field(default_factory=dict)
    always: Mapping[str, str] = field(default_factory=dict)
    takes_ids: bool = False


COLLECTIONS: Mapping[Resource, Collection[Any]] = MappingProxyType(
    {
        # Never summaryOnly: it drops IsCustomer and Balances. Archived ones too, or archiving would never be seen.
        Resource.CONTACTS: Collection(
            "Contacts",
            "ContactID",
            wire.Contact,
            mapping.contact_record,
            always={"includeArchived": "true"},
            takes_ids=True,
        ),
        # A summary leaves out lines, payments and attachments, none of which is kept: a third of the bytes.
        Resource.INVOICES: Collection(
            "Invoices",
            "InvoiceID",
            wire.Invoice,
            mapping.invoice_record,
            kind_field="Type",
            kinds=mapping.INVOICE_TYPES,
            filters={"where": 'Type=="ACCREC"'},
            always={"summaryOnly": "true"},
            takes_ids=True,
        ),
        Resource.CREDIT_MEMOS: Collection(
            "CreditNotes",
            "CreditNoteID",
            wire.CreditNote,
            mapping.credit_memo_record,
            kind_field="Type",
            kinds=mapping.CREDIT_NOTE_TYPES,
            filters={"where": 'Type=="ACCRECCREDIT"'},
        ),
        Resource.PAYMENTS: Collection(
            "Payments",
            "PaymentID",
            wire.Payment,
            mapping.payment_record,
            kind_field="PaymentType",
            kinds=mapping.PAYMENT_TYPES,
            filters={"where": 'PaymentType=="ACCRECPAYMENT"'},
        ),
    }
)


@dataclass(slots=True)
class DecodedPage:
    """The rows of one response: those that are kept, those rejected, and the keys of all that have one."""

    keys: list[RowKey] = field(default_factory=list)
    records: dict[str, Any] = field(default_factory=dict)
    rejected: list[RejectedRow] = field(default_factory=list)
    row_count: int = 0


async def fetch_page(http: httpx.AsyncClient, api_url: str, access: Access, request: PageRequest) -> Page:
    """Read one page in one call.

    Raises:
        ConnectorError: as the response says; `RequestRejected`, without a call, where the request is not valid.
    """
    since = None if request.ids or request.changed_since is None else format_since(request.changed_since)
    response = await client.read(http, f"{api_url}/api.xro/2.0/{build_target(request)}", access, since)
    # Xero documents no 304, but a proxy may send one. Without If-Modified-Since it is an error, like an empty body or a
    # 204: read as "no rows", it would end a first sync without any data.
    if response.status == NOT_MODIFIED and since:
        return _assemble(request, response, wire.Envelope({}), DecodedPage())
    if response.status != OK:
        raise error_for(response)
    return read_page(request, response)


def ids_per_read(resource: Resource) -> int:
    """Return how many rows one request may name; credit notes and payments have no parameter for ids."""
    return MAX_IDS if COLLECTIONS[resource].takes_ids else 1


def build_target(request: PageRequest) -> str:
    """Return the path and query of a request, relative to the API's root."""
    collection = COLLECTIONS[request.resource]
    ids = _check_ids(request)
    if ids and not collection.takes_ids:
        return f"{collection.path}/{ids[0]}"
    query = {"page": str(request.page), "pageSize": str(request.page_size), **collection.always}
    if ids:
        query |= {"IDs": ",".join(ids), "page": "1", "pageSize": str(XERO_PROFILE.largest_page)}
    elif request.is_filtered:
        query |= collection.filters
    return f"{collection.path}?{urlencode(query, quote_via=quote, safe=',')}"


def _check_ids(request: PageRequest) -> tuple[str, ...]:
    """Return the ids in lower case, each once. Those of webhooks are untrusted, so only UUIDs are put into a URL."""
    try:
        ids = tuple(dict.fromkeys(read_id(text, "id") for text in request.ids))
    except Unreadable:
        raise RequestRejected("An id that is to be read is not a UUID; Xero was not asked.") from None
    if len(ids) > ids_per_read(request.resource):
        raise RequestRejected(f"{len(ids)} ids are more than one read may name; Xero was not asked.")
    return ids


def format_since(instant: datetime) -> str:
    """Return the form of If-Modified-Since that Xero documents, which is accurate to the second."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")


def read_page(request: PageRequest, response: Response) -> Page:
    """Translate a response; rows that cannot be read are rejected one by one, and the others kept.

    Raises:
        AnswerUnreadable: the response is not a page of the resource.
    """
    collection = COLLECTIONS[request.resource]
    try:
        envelope = wire.decode_envelope(response.body)
        rows = wire.Rows(envelope.rows(collection.path), collection.row)
        return _assemble(request, response, envelope, decode_rows(collection, rows))
    except Unreadable as error:
        raise AnswerUnreadable(f"Xero's answer is not a page of {collection.path}: {error}", response.traffic) from None


def decode_rows(collection: Collection[RowT], rows: wire.Rows[RowT]) -> DecodedPage:
    """Decode every row, translate those that are kept, and reject those that cannot be read."""
    decoded = rows.decode()
    found = DecodedPage(row_count=len(decoded))
    sources: Sequence[Any] = ()
    for index, row in enumerate(decoded):
        try:
            _add_record(collection, row, found)
        except Unreadable as error:
            sources = sources or rows.sources()
            _add_rejected(collection, bytes(sources[index]), str(error), found)
    return found


def _add_record(collection: Collection[RowT], row: RowT | Unreadable, found: DecodedPage) -> None:
    if isinstance(row, Unreadable):
        raise row
    record = collection.record(row)
    if record is None:
        found.keys.append(_read_key(getattr(row, collection.id_field), getattr(row, "UpdatedDateUTC", "")))
        return
    found.keys.append(RowKey(record.external_id, record.vendor_updated_at))
    # Offset paging may deliver a row twice; the newest is kept.
    previous = found.records.get(record.external_id)
    if previous is None or previous.vendor_updated_at <= record.vendor_updated_at:
        found.records[record.external_id] = record


def _add_rejected(collection: Collection[RowT], source: bytes, reason: str, found: DecodedPage) -> None:
    """Add the key and the source of a row that cannot be read, unless it is a supplier's, which is not kept anyway."""
    loose = wire.decode_loosely(source)
    external_id, stamp = loose.get(collection.id_field), loose.get("UpdatedDateUTC")
    with suppress(Unreadable):
        found.keys.append(_read_key(str(external_id), str(stamp)))
    kind = loose.get(collection.kind_field) if collection.kind_field else None
    if isinstance(kind, str) and collection.kinds.get(kind) is False:
        return
    name = read_text(external_id[:MAX_ID_LENGTH].lower()) if isinstance(external_id, str) else None
    payload = source.decode("utf-8", "replace").replace("\0", "")[:MAX_PAYLOAD]
    found.rejected.append(RejectedRow(name, reason, payload))


def _read_key(external_id: str, stamp: str) -> RowKey:
    return RowKey(read_id(external_id, "id"), read_instant(stamp))


def _assemble(request: PageRequest, response: Response, envelope: wire.Envelope, found: DecodedPage) -> Page:
    pagination = envelope.pagination
    return Page(
        batch=Batch(**{request.resource.value: tuple(found.records.values())}),
        keys=found.keys,
        rejected=found.rejected,
        row_count=found.row_count,
        total_rows=pagination.itemCount,
        is_last=_is_last_page(request, pagination, found.row_count),
        read_at=_read_at(envelope, response),
        traffic=response.traffic,
    )


def _is_last_page(request: PageRequest, pagination: wire.Pagination, row_count: int) -> bool:
    """Say whether no page follows: by the counts, or without any, where the page is empty or too short to be full.

    A page may hold fewer rows than were asked for and still not be the last: in July 2024 `pageSize` had no effect, and
    every page had the default size. An empty page ends a list whatever the counts say; the cursor compares the two.
    """
    if request.ids or not row_count:
        return True
    says = []
    if pagination.pageCount is not None:
        says.append(request.page >= pagination.pageCount)
    if pagination.itemCount is not None:
        size = pagination.pageSize or request.page_size
        # Xero may name a size that had no effect. No page before this one was shorter than it, which gives a bound.
        is_end = (request.page - 1) * size + row_count == pagination.itemCount
        says.append(is_end or request.page * row_count >= pagination.itemCount)
    return all(says) if says else row_count < min(request.page_size, DEFAULT_PAGE_SIZE)


def _read_at(envelope: wire.Envelope, response: Response) -> datetime:
    """Return Xero's own instant of the response, on which the cursor depends.

    Raises:
        AnswerUnreadable: the response does not say it.
    """
    with suppress(Unreadable):
        answered_at = read_instant(envelope.answered_at)
        # An earlier one, such as the least date of .NET, stands for none.
        if answered_at >= EPOCH:
            return answered_at
    if sent_at := read_http_date(response.headers.get("Date", "")):
        return sent_at
    raise AnswerUnreadable("Xero's answer does not say when it was made.", response.traffic)
