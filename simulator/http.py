"""One call to the pretend Xero and its answer, free of any web framework."""

from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from urllib.parse import parse_qsl


class Cut(Enum):
    """How an answer breaks off on its way out."""

    MID_BODY = "mid_body"
    BEFORE_ANSWER = "before_answer"


@dataclass(slots=True, kw_only=True)
class Call:
    """A request as it arrived. Header names and query keys are lower case; of repeated ones the last counts."""

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
        """`Invoices` of `/api.xro/2.0/Invoices/{id}`; else the last two parts of the path."""
        parts = self.path.strip("/").split("/")
        if parts[0].lower() == "api.xro":
            return "/".join(parts[2:3])
        return "/".join(parts[-2:])


@dataclass(slots=True)
class Answer:
    """A response before it is compressed and sent."""

    status: int = HTTPStatus.OK
    body: bytes = b""
    content_type: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    compress: bool = True
    cut: Cut | None = None
    keep: float = 0.5
    """The share of the body that is sent before a cut within it."""
    note: str | None = None
    """What the ledger shall say of it, such as the OAuth error code."""
