"""The accounting API: authorization, rate limits, lists and single rows."""

from collections.abc import Sequence
from html import escape

from simulator.books.model import Resource
from simulator.books.organisation import RESOURCES, Organisation
from simulator.endpoints.context import RequestContext
from simulator.http import Response
from simulator.identity.scopes import SCOPES_BY_RESOURCE, can_read
from simulator.options import SimulatorOptions
from simulator.wire.encoding import encode_envelope, encode_row, ms_date_without_offset
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
from simulator.wire.rows import RenderContext, render_row

_PREFIX_SEGMENTS = 2
_RESOURCE_NAMES = {name.lower(): name for name in SCOPES_BY_RESOURCE}
_JSON = "application/json; charset=utf-8"
_XML = "text/xml; charset=utf-8"


async def handle_accounting(context: RequestContext) -> Response:
    """Check the query string, authorization and rate limits, in Xero's order, then read.

    Every response to an authorized request carries the remaining calls in its headers.
    """
    if len(context.request.raw_query) > context.state.options.query_string_limit:
        return not_found()
    books = _authorize(context)
    problem = context.state.limits.admit(books.tenant_id, context.log_entry.in_flight)
    if problem:
        name, seconds = problem
        response = rate_limited(name, None if seconds is None else str(seconds))
    else:
        response = await context.produce_with_faults(lambda: _read_or_error(context, books))
    response.headers += context.state.limits.headers(books.tenant_id)
    return response


def _authorize(context: RequestContext) -> Organisation:
    """Return the organisation that the request may read. Raises XeroError with 401, 403 or 404."""
    token = context.access_token()
    resource = _RESOURCE_NAMES.get(_path_segments(context)[0].lower())
    books = context.state.organisation(context.request.tenant_id or "")
    if books is None or not context.state.connections.is_connected(token.consent.user.id, books.tenant_id):
        raise XeroError(forbidden())
    if books.tenant_type != "ORGANISATION":
        raise XeroError(forbidden())
    if resource is None:
        raise XeroError(not_found())
    if not can_read(token.consent.scopes, resource):
        raise XeroError(scope_missing())
    return books


def _path_segments(context: RequestContext) -> list[str]:
    """Return `["Invoices", "{id}"]` for `/api.xro/2.0/Invoices/{id}`."""
    return context.request.path.strip("/").split("/")[_PREFIX_SEGMENTS:] or [""]


async def _read_or_error(context: RequestContext, books: Organisation) -> Response:
    try:
        return _read_resource(context, books)
    except XeroError as error:
        return error.response


def _read_resource(context: RequestContext, books: Organisation) -> Response:
    if context.request.method != "GET":
        return not_implemented()
    if books.is_offline:
        return unavailable(ORGANISATION_OFFLINE)
    name, *rest = _path_segments(context)
    resource = next((resource for resource in RESOURCES if resource.lower() == name.lower()), None)
    if resource is None:
        return _envelope_response(context, "Organisations", [encode_row(_organisation_fields(books))])
    if not rest:
        return _list_rows(context, books, resource)
    return _get_row(context, books, resource, rest)


def _list_rows(context: RequestContext, books: Organisation, resource: Resource) -> Response:
    options = context.state.options
    selection = select(books, read_query(context.request, resource, options), options)
    return _rows_response(context, books, resource, selection)


def _get_row(context: RequestContext, books: Organisation, resource: Resource, rest: Sequence[str]) -> Response:
    """Return one row by its id, or an invoice by its number."""
    row = books.table(resource).get(rest[0])
    if row is None and resource == "Invoices":
        row = next((invoice for invoice in books.invoices if invoice.number == rest[0]), None)
    if row is None or len(rest) > 1:
        return not_found()
    return _rows_response(context, books, resource, Selection([row], "single", None))


def _rows_response(context: RequestContext, books: Organisation, resource: Resource, selection: Selection) -> Response:
    state = context.state
    page = RenderContext(books, selection.detail, state.clock.today_ms(), state.options)
    rows = [render_row(page, resource, row) for row in selection.rows]
    return _envelope_response(context, resource, rows, selection.pagination)


def _envelope_response(
    context: RequestContext, resource: str, rows: list[bytes], pagination: dict[str, int] | None = None
) -> Response:
    head: dict[str, object] = {
        "Id": context.correlation_id,
        "Status": "OK",
        "ProviderName": context.state.options.app_name,
        "DateTimeUTC": ms_date_without_offset(context.state.clock.now()),
    }
    if "application/json" not in context.request.headers.get("accept", "").lower():
        return Response(body=_xml_envelope(head, resource), content_type=_XML)
    if pagination is not None:
        head |= _paging_block(pagination, context.state.options)
    return Response(body=encode_envelope(head, resource, rows), content_type=_JSON)


def _paging_block(pagination: dict[str, int], options: SimulatorOptions) -> dict[str, object]:
    """Return the paging block under its name, in the form that the option names."""
    left_out = {"item_count": "pageCount", "page_count": "itemCount"}.get(options.paging_block)
    match options.paging_block:
        case "absent":
            return {}
        case "renamed":
            return {"PageInfo": pagination}
        case "text":
            return {"pagination": {name: str(number) for name, number in pagination.items()}}
        case _:
            return {"pagination": {name: number for name, number in pagination.items() if name != left_out}}


def _xml_envelope(head: dict[str, object], resource: str) -> bytes:
    """Return an XML envelope, Xero's default format; its rows are left out, so that a missing Accept header shows."""
    fields = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in head.items())
    return f'<Response xmlns:xsd="http://www.w3.org/2001/XMLSchema">{fields}<{resource} /></Response>'.encode()


def _organisation_fields(books: Organisation) -> dict[str, object]:
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
