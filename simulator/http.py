"""A request to the simulator and its response, independent of the web framework."""

from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from urllib.parse import parse_qsl


class ConnectionAbort(Enum):
    """Where in the response a fault closes the connection."""

    MID_BODY = "mid_body"
    BEFORE_RESPONSE = "before_answer"
    NEVER = "never"
    """It stays open, and nothing is sent until the client gives up."""


@dataclass(slots=True, kw_only=True)
class Request:
    """A request as received. Header names and query keys are in lower case; of repeated ones the last counts."""

    method: str
    path: str
    raw_query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def query(self) -> dict[str, str]:
        return {key.lower(): value for key, value in parse_qsl(self.raw_query, keep_blank_values=True)}

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @property
    def tenant_id(self) -> str | None:
        return self.headers.get("xero-tenant-id")

    @property
    def resource(self) -> str:
        """`Invoices` for `/api.xro/2.0/Invoices/{id}`; for other paths, their last two segments."""
        parts = self.path.strip("/").split("/")
        if parts[0].lower() == "api.xro":
            return "/".join(parts[2:3])
        return "/".join(parts[-2:])


@dataclass(slots=True)
class Response:
    """A response before it is compressed and sent."""

    status: int = HTTPStatus.OK
    body: bytes = b""
    content_type: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    compress: bool = True
    abort: ConnectionAbort | None = None
    sent_share: float = 0.5
    """The share of the body that is sent before an abort in the middle of it."""
    note: str | None = None
    """The reason the call log records with the status, such as the OAuth error code."""
