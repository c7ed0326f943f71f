"""The accounting API: who may read what, the limits, then lists and single rows."""

from collections.abc import Sequence
from html import escape

from simulator.books.model import Resource
from simulator.books.organisation import RESOURCES, Organisation
from simulator.endpoints.context import Visit
from simulator.identity.scopes import SCOPES_FOR, may_read
from simulator.http import Answer
from simulator.wire.encoding import encode_envelope, encode_row, plain_ms_date
from simulator.wire.errors import (
    ORGANISATION_OFFLINE,
    XeroError,
    forbidden,
    not_found,
    not_implemented,
    rate_limited,
    scope_missing,
    unavailable,
)
from simulator.wire.query import Selection, read_query, select
from simulator.wire.rows import Page, render

_PREFIX_PARTS = 2
_NAMES = {name.lower(): name for name in SCOPES_FOR}
_JSON = "application/json; charset=utf-8"
_XML = "text/xml; charset=utf-8"


async def answer_accounting(visit: Visit) -> Answer:
    """Refuse in Xero's order, count the call, and tell what remains on every answer that was counted."""
    if len(visit.call.raw_query) > visit.world.options.query_string_limit:
        return not_found()
    books = _admit_user(visit)
    problem = visit.world.limits.admit(books.tenant_id, visit.entry.in_flight)
    if problem:
        name, seconds = problem
        answer = rate_limited(name, None if seconds is None else str(seconds))
    else:
        answer = await visit.faulty(lambda: _read(visit, books))
    answer.headers += visit.world.limits.headers(books.tenant_id)
    return answer


def _admit_user(visit: Visit) -> Organisation:
    """The organisation that the call may read. Raises XeroError with 401, 403 or 404."""
    token = visit.token()
    resource = _NAMES.get(_parts(visit)[0].lower())
    books = visit.world.organisation(visit.call.tenant_id or "")
    if books is None or not visit.world.connections.has(token.consent.user.id, books.tenant_id):
        raise XeroError(forbidden())
    if books.tenant_type != "ORGANISATION":
        raise XeroError(forbidden())
    if resource is None:
        raise XeroError(not_found())
    if not may_read(token.consent.scopes, resource):
        raise XeroError(scope_missing())
    return books


def _parts(visit: Visit) -> list[str]:
    """`["Invoices", "{id}"]` of `/api.xro/2.0/Invoices/{id}`."""
    return visit.call.path.strip("/").split("/")[_PREFIX_PARTS:] or [""]


async def _read(visit: Visit, books: Organisation) -> Answer:
    try:
        return _respond(visit, books)
    except XeroError as error:
        return error.answer


def _respond(visit: Visit, books: Organisation) -> Answer:
    if visit.call.method != "GET":
        return not_implemented()
    if books.is_offline:
        return unavailable(ORGANISATION_OFFLINE)
    name, *rest = _parts(visit)
    resource = next((resource for resource in RESOURCES if resource.lower() == name.lower()), None)
    if resource is None:
        return _envelope(visit, "Organisations", [encode_row(_organisation(books))])
    if not rest:
        return _list(visit, books, resource)
    return _single(visit, books, resource, rest)


def _list(visit: Visit, books: Organisation, resource: Resource) -> Answer:
    options = visit.world.options
    selection = select(books, read_query(visit.call, resource, options), options)
    return _rows(visit, books, resource, selection)


def _single(visit: Visit, books: Organisation, resource: Resource, rest: Sequence[str]) -> Answer:
    """One row by its id, or an invoice by its number."""
    row = books.shelf(resource).get(rest[0])
    if row is None and resource == "Invoices":
        row = next((invoice for invoice in books.invoices if invoice.number == rest[0]), None)
    if row is None or len(rest) > 1:
        return not_found()
    return _rows(visit, books, resource, Selection([row], "single", None))


def _rows(visit: Visit, books: Organisation, resource: Resource, selection: Selection) -> Answer:
    world = visit.world
    page = Page(books, selection.detail, world.clock.today_ms(), world.options)
    rows = [render(page, resource, row) for row in selection.rows]
    return _envelope(visit, resource, rows, selection.pagination)


def _envelope(visit: Visit, resource: str, rows: list[bytes], pagination: dict[str, int] | None = None) -> Answer:
    head: dict[str, object] = {
        "Id": visit.correlation_id,
        "Status": "OK",
        "ProviderName": visit.world.options.app_name,
        "DateTimeUTC": plain_ms_date(visit.world.clock.now()),
    }
    if "application/json" not in visit.call.headers.get("accept", "").lower():
        return Answer(body=_xml(head, resource), content_type=_XML)
    if pagination is not None:
        head["pagination"] = pagination
    return Answer(body=encode_envelope(head, resource, rows), content_type=_JSON)


def _xml(head: dict[str, object], resource: str) -> bytes:
    """Xero's default format, here without the rows: who forgot to ask for JSON shall notice."""
    fields = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in head.items())
    return f'<Response xmlns:xsd="http://www.w3.org/2001/XMLSchema">{fields}<{resource} /></Response>'.encode()


def _organisation(books: Organisation) -> dict[str, object]:
    return {
        "Name": books.name,
        "LegalName": books.name,
        "PaysTax": True,
        "Version": books.country,
        "OrganisationType": "COMPANY",
        "BaseCurrency": books.currency,
        "CountryCode": books.country,
        "IsDemoCompany": False,
        "OrganisationStatus": "ACTIVE",
        "OrganisationID": books.tenant_id,
        "Edition": "BUSINESS",
        "Class": "PREMIUM",
    }
