"""Xero's error answers, word for word as far as they are known."""

from datetime import datetime
from http import HTTPStatus
from typing import Literal
from uuid import uuid4

import msgspec

from simulator.http import Answer

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
    """An error answer on its way out."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def token_expired(at: datetime) -> Answer:
    return _problem(HTTPStatus.UNAUTHORIZED, f"TokenExpired: token expired at {at:%m/%d/%Y %H:%M:%S}")


def bad_token() -> Answer:
    return _problem(HTTPStatus.UNAUTHORIZED, "AuthenticationUnsuccessful")


def scope_missing() -> Answer:
    answer = _problem(HTTPStatus.UNAUTHORIZED, "AuthorizationUnsuccessful")
    answer.headers.append(("WWW-Authenticate", "insufficient_scope"))
    return answer


def forbidden() -> Answer:
    return _problem(HTTPStatus.FORBIDDEN, "AuthenticationUnsuccessful")


def not_found() -> Answer:
    return Answer(HTTPStatus.NOT_FOUND, NOT_FOUND.encode(), _HTML)


def not_implemented() -> Answer:
    body = (
        '<ApiException xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><ErrorNumber>20</ErrorNumber>'
        "<Type>ApiMethodNotImplementedException</Type>"
        "<Message>The Api Method called is not implemented</Message></ApiException>"
    )
    return Answer(HTTPStatus.NOT_IMPLEMENTED, body.encode(), "text/xml; charset=utf-8")


def query_error(message: str) -> Answer:
    return _exception(16, "QueryParseException", message)


def validation_error(message: str) -> Answer:
    document = {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": [{"ValidationErrors": [{"Message": message}]}],
    }
    return Answer(HTTPStatus.BAD_REQUEST, msgspec.json.encode(document), _JSON)


def high_volume(resource: str) -> Answer:
    return _exception(51, "HighVolumeException", _HIGH_VOLUME.format(resource, resource.removesuffix("s")))


def rate_limited(problem: str, retry_after: str | None) -> Answer:
    """The body is not JSON; what counts is in the headers. Retry-After comes with minute and day alone."""
    headers = [("X-Rate-Limit-Problem", problem)]
    if retry_after is not None:
        headers.append(("Retry-After", retry_after))
    return Answer(HTTPStatus.TOO_MANY_REQUESTS, b"", _TEXT, headers, note=problem)


def server_error() -> Answer:
    return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, SERVER_ERROR.encode(), _TEXT)


def unavailable(text: str = UNAVAILABLE) -> Answer:
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, text.encode(), _TEXT)


def html(status: int = HTTPStatus.OK) -> Answer:
    page = b"<!DOCTYPE html><html><head><title>Xero</title></head><body>Please wait</body></html>"
    return Answer(status, page, _HTML)


def oauth_error(code: str) -> Answer:
    """The token endpoint's errors: one word and, as a rule, no description."""
    return Answer(HTTPStatus.BAD_REQUEST, msgspec.json.encode({"error": code}), "application/json", note=code)


def _problem(status: HTTPStatus, detail: str) -> Answer:
    document: dict[str, object] = {
        "Type": None,
        "Title": status.phrase,
        "Status": status.value,
        "Detail": detail,
        "Instance": str(uuid4()),
        "Extensions": {},
    }
    return Answer(status, msgspec.json.encode(document), _JSON)


def _exception(number: int, kind: str, message: str) -> Answer:
    document = {"ErrorNumber": number, "Type": kind, "Message": message}
    return Answer(HTTPStatus.BAD_REQUEST, msgspec.json.encode(document), _JSON)
