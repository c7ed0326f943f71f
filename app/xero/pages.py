"""One page: from what is asked to Xero's address, and from Xero's answer to rows of ours."""

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
from app.xero.parsing import Unreadable, read_id, read_instant, read_text
from app.xero.profile import XERO_PROFILE

# The limit is the length of the address, about 52 UUIDs; past it Xero answers 404 as if nothing were there.
MOST_IDS = 40
# A quarantined row is for a person to look at; one with thousands of lines is not worth its bytes.
MOST_PAYLOAD = 20_000
MOST_NAME = 100
OK, NOT_MODIFIED = 200, 304

RowT = TypeVar("RowT")
RecordT = TypeVar("RecordT", ContactRecord, InvoiceRecord, CreditMemoRecord, PaymentRecord)


@dataclass(frozen=True, slots=True)
class Collection(Generic[RowT]):
    """How one resource is asked for and read.

    Attributes:
        path: the endpoint, and the key its rows stand under.
        id_field: the row's own id.
        kind_field: what tells customers' rows from suppliers', or None.
        kinds: which kinds there are; true is ours.
        filters: what to ask Xero to leave out, in a form it calls optimised.
        always: parameters of every read.
        takes_ids: whether one read may name many rows.
        row: Xero's form.
        record: ours, or None for a row we do not keep.
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
    """The rows of one answer, told apart."""

    keys: list[RowKey] = field(default_factory=list)
    records: dict[str, Any] = field(default_factory=dict)
    rejected: list[RejectedRow] = field(default_factory=list)
    row_count: int = 0


async def fetch_page(http: httpx.AsyncClient, api_url: str, access: Access, request: PageRequest) -> Page:
    """Read one page in one call.

    Raises:
        ConnectorError: as the answer says; `RequestRejected` without a call where the request cannot be one.
    """
    since = None if request.ids or request.changed_since is None else format_since(request.changed_since)
    answer = await client.read(http, f"{api_url}/api.xro/2.0/{build_target(request)}", access, since)
    # Xero documents no 304, and a proxy may make one. Where nothing was asked about change it is no answer: taken for
    # "no rows", like an empty body or a 204, it would end a first sync with nothing.
    if answer.status == NOT_MODIFIED and since:
        return _assemble(request, answer, wire.Envelope(), DecodedPage())
    if answer.status != OK:
        raise error_for(answer)
    return read_page(request, answer)


def ids_per_read(resource: Resource) -> int:
    """Return how many rows one read may name; credit notes and payments have no parameter for it."""
    return MOST_IDS if COLLECTIONS[resource].takes_ids else 1


def build_target(request: PageRequest) -> str:
    """Return the path and query of a request, below the API's root."""
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
    """Return the ids in lower case, each once. A webhook's are anybody's, so nothing else gets into an address."""
    try:
        ids = tuple(dict.fromkeys(read_id(text, "id") for text in request.ids))
    except Unreadable:
        raise RequestRejected("An id that is to be read is not a UUID; Xero was not asked.") from None
    if len(ids) > ids_per_read(request.resource):
        raise RequestRejected(f"{len(ids)} ids are more than one read may name; Xero was not asked.")
    return ids


def format_since(instant: datetime) -> str:
    """Return the one form of If-Modified-Since that Xero documents; fractions are of no use to it."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")


def read_page(request: PageRequest, answer: Response) -> Page:
    """Translate an answer; rows that cannot be read are set aside, and the page goes on.

    Raises:
        AnswerUnreadable: the whole of it is not what was asked for.
    """
    collection = COLLECTIONS[request.resource]
    try:
        envelope = wire.decode_envelope(answer.body)
        rows = wire.Rows(getattr(envelope, collection.path), collection.row)
        return _assemble(request, answer, envelope, sort_rows(collection, rows))
    except Unreadable as error:
        raise AnswerUnreadable(f"Xero's answer is not a page of {collection.path}: {error}", answer.traffic) from None


def sort_rows(collection: Collection[RowT], rows: wire.Rows[RowT]) -> DecodedPage:
    """Tell the rows we keep from those we do not and those that cannot be read."""
    decoded = rows.decode()
    found = DecodedPage(row_count=len(decoded))
    sources: Sequence[Any] = ()
    for place, row in enumerate(decoded):
        try:
            _keep(collection, row, found)
        except Unreadable as error:
            sources = sources or rows.sources()
            _set_aside(collection, bytes(sources[place]), str(error), found)
    return found


def _keep(collection: Collection[RowT], row: RowT | Unreadable, found: DecodedPage) -> None:
    if isinstance(row, Unreadable):
        raise row
    record = collection.record(row)
    if record is None:
        found.keys.append(_read_key(getattr(row, collection.id_field), getattr(row, "UpdatedDateUTC", "")))
        return
    found.keys.append(RowKey(record.external_id, record.vendor_updated_at))
    # Offset paging may deliver a row twice; the newest is the one to keep.
    twin = found.records.get(record.external_id)
    if twin is None or twin.vendor_updated_at <= record.vendor_updated_at:
        found.records[record.external_id] = record


def _set_aside(collection: Collection[RowT], source: bytes, reason: str, found: DecodedPage) -> None:
    """Keep what can be read of a row that cannot, unless it is plainly a supplier's: that is no loss to anybody."""
    loose = wire.decode_loosely(source)
    external_id, stamp = loose.get(collection.id_field), loose.get("UpdatedDateUTC")
    with suppress(Unreadable):
        found.keys.append(_read_key(str(external_id), str(stamp)))
    kind = loose.get(collection.kind_field) if collection.kind_field else None
    if isinstance(kind, str) and collection.kinds.get(kind) is False:
        return
    name = read_text(external_id[:MOST_NAME].lower()) if isinstance(external_id, str) else None
    payload = source.decode("utf-8", "replace").replace("\0", "")[:MOST_PAYLOAD]
    found.rejected.append(RejectedRow(name, reason, payload))


def _read_key(external_id: str, stamp: str) -> RowKey:
    return RowKey(read_id(external_id, "id"), read_instant(stamp))


def _assemble(request: PageRequest, answer: Response, envelope: wire.Envelope, found: DecodedPage) -> Page:
    pagination = envelope.pagination or wire.Pagination()
    return Page(
        batch=Batch(**{request.resource.value: tuple(found.records.values())}),
        keys=found.keys,
        rejected=found.rejected,
        row_count=found.row_count,
        total_rows=pagination.itemCount,
        is_last=_is_last(request, pagination, found.row_count),
        read_at=_read_at(envelope, answer),
        traffic=answer.traffic,
    )


def _is_last(request: PageRequest, pagination: wire.Pagination, row_count: int) -> bool:
    if request.ids:
        return True
    if pagination.pageCount is not None:
        return request.page >= pagination.pageCount
    return row_count < request.page_size


def _read_at(envelope: wire.Envelope, answer: Response) -> datetime:
    """Return the vendor's own instant of an answer; the cursor is built on it, so there is no page without one."""
    try:
        return read_instant(envelope.DateTimeUTC or "")
    except Unreadable:
        if spoken := read_http_date(answer.headers.get("Date", "")):
            return spoken
    raise AnswerUnreadable("Xero's answer does not say when it was made.", answer.traffic)
