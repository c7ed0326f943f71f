"""Xero's error responses, word for word as far as they are known."""

from datetime import datetime
from http import HTTPStatus
from typing import Literal
from uuid import uuid4

import msgspec

from simulator.http import Response

LimitProblem = Literal["minute", "day", "concurrent", "appminute"]

_JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"

MAINTENANCE = "The Xero API is currently offline for maintenance"
UNAVAILABLE = "The Xero API is temporarily unavailable"
ORGANISATION_OFFLINE = "The Organisation is offline"
NOT_FOUND = "The resource you're looking for cannot be found"
SERVER_ERROR = "An unhandled error with the Xero API occurred. Contact the Xero API team if problems persist."
_HIGH_VOLUME = (
    "Your request is not filtering {0} efficiently, given the extremely high volume for this organisation. "
    "Please check https://developer.xero.com/documentation/api/efficient-data-retrieval "
    "for tips on making {1} retrieval more efficient."
)


class XeroError(Exception):
    """Raised by an endpoint to send this error response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def token_expired(at: datetime) -> Response:
    return _problem(HTTPStatus.UNAUTHORIZED, f"TokenExpired: token expired at {at:%m/%d/%Y %H:%M:%S}")


def bad_token() -> Response:
    return _problem(HTTPStatus.UNAUTHORIZED, "AuthenticationUnsuccessful")


def scope_missing() -> Response:
    response = _problem(HTTPStatus.UNAUTHORIZED, "AuthorizationUnsuccessful")
    response.headers.append(("WWW-Authenticate", "insufficient_scope"))
    return response


def forbidden() -> Response:
    return _problem(HTTPStatus.FORBIDDEN, "AuthenticationUnsuccessful")


def not_found() -> Response:
    return Response(HTTPStatus.NOT_FOUND, NOT_FOUND.encode(), _HTML)


def not_implemented() -> Response:
    body = (
        '<ApiException xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><ErrorNumber>20</ErrorNumber>'
        "<Type>ApiMethodNotImplementedException</Type>"
        "<Message>The Api Method called is not implemented</Message></ApiException>"
    )
    return Response(HTTPStatus.NOT_IMPLEMENTED, body.encode(), "text/xml; charset=utf-8")


def query_error(message: str) -> Response:
    return _exception(16, "QueryParseException", message)


def validation_error(message: str) -> Response:
    document = {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": [{"ValidationErrors": [{"Message": message}]}],
    }
    return Response(HTTPStatus.BAD_REQUEST, msgspec.json.encode(document), _JSON)


def high_volume(resource: str) -> Response:
    return _exception(51, "HighVolumeException", _HIGH_VOLUME.format(resource, resource.removesuffix("s")))


def rate_limited(problem: str, retry_after: str | None) -> Response:
    """Return a 429 whose details are in its headers; Xero sends Retry-After for the minute and day limits only."""
    headers = [("X-Rate-Limit-Problem", problem)]
    if retry_after is not None:
        headers.append(("Retry-After", retry_after))
    return Response(HTTPStatus.TOO_MANY_REQUESTS, b"", _TEXT, headers, note=problem)


def server_error() -> Response:
    return Response(HTTPStatus.INTERNAL_SERVER_ERROR, SERVER_ERROR.encode(), _TEXT)


def unavailable(text: str = UNAVAILABLE) -> Response:
    return Response(HTTPStatus.SERVICE_UNAVAILABLE, text.encode(), _TEXT)


def html(status: int = HTTPStatus.OK) -> Response:
    page = b"<!DOCTYPE html><html><head><title>Xero</title></head><body>Please wait</body></html>"
    return Response(status, page, _HTML)


def oauth_error(code: str) -> Response:
    """Return an error of the token endpoint: a code and, as usually at Xero, no description."""
    return Response(HTTPStatus.BAD_REQUEST, msgspec.json.encode({"error": code}), "application/json", note=code)


def _problem(status: HTTPStatus, detail: str) -> Response:
    document: dict[str, object] = {
        "Type": None,
        "Title": status.phrase,
        "Status": status.value,
        "Detail": detail,
        "Instance": str(uuid4()),
        "Extensions": {},
    }
    return Response(status, msgspec.json.encode(document), _JSON)


def _exception(number: int, kind: str, message: str) -> Response:
    document = {"ErrorNumber": number, "Type": kind, "Message": message}
    return Response(HTTPStatus.BAD_REQUEST, msgspec.json.encode(document), _JSON)
