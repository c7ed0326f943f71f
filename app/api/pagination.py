"""Pages of a list in the API: one response model, and signed cursors that are valid for one list and its filters."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.errors import Problem
from app.paging import PagePosition

DEFAULT_LIMIT = 50
HIGHEST_LIMIT = 200

Item = TypeVar("Item")
Row = TypeVar("Row")


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    items: list[Item]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null at the end.")]


class CursorSigner:
    """Writes and reads cursors of the form `<position>.<signature>`, both base64url.

    Args:
        secret: bytes that all replicas share; the signing key is derived from it and used for nothing else.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"vectis list cursors v1", hashlib.sha256)

    def write(self, scope: str, position: PagePosition) -> str:
        """Return the cursor of a position; `scope` identifies the list with its filters."""
        payload = _encode(json.dumps(position, separators=(",", ":")).encode())
        return f"{payload}.{self._sign(scope, payload)}"

    def read(self, scope: str, cursor: str) -> PagePosition:
        """Return the position that a cursor holds.

        Raises:
            Problem: `invalid_cursor`, when it was altered, or written for another list or other filters.
        """
        payload, _, signature = cursor.partition(".")
        # The text is compared, not the decoded bytes: the last letter of base64 has unused bits that could be changed.
        if not hmac.compare_digest(self._sign(scope, payload).encode(), signature.encode("utf-8", "replace")):
            raise Problem("invalid_cursor", "Take `next_cursor` as it came, with the same filters, or start again.")
        value, key = json.loads(base64.urlsafe_b64decode(payload + "=="))
        return value, key

    def _sign(self, scope: str, payload: str) -> str:
        signed = f"{scope}\n{payload}".encode("utf-8", "replace")
        return _encode(hmac.digest(self._key, signed, hashlib.sha256)[:16])


@dataclass(frozen=True, slots=True)
class Paging:
    """The page that a request asks for.

    Attributes:
        limit: the most items of the page.
        after: where the page before ended, or None for the first page.
        scope: the list with its filters, which the cursors are valid for.
    """

    limit: int
    after: PagePosition | None
    scope: str
    signer: CursorSigner

    def page(
        self, rows: Sequence[Row], position: Callable[[Row], PagePosition], item: Callable[[Row], Item]
    ) -> Page[Item]:
        """Return the page of rows fetched with `limit` + 1; the extra row tells whether another page follows."""
        kept = rows[: self.limit]
        more = len(rows) > self.limit
        return Page[Item](
            items=[item(row) for row in kept],
            next_cursor=self.signer.write(self.scope, position(kept[-1])) if more else None,
        )


async def get_paging(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=HIGHEST_LIMIT)] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Paging:
    signer: CursorSigner = request.app.state.services.cursors
    scope = _scope(request)
    return Paging(limit, signer.read(scope, cursor) if cursor is not None else None, scope, signer)


PagingDep = Annotated[Paging, Depends(get_paging)]


def _scope(request: Request) -> str:
    filters = sorted(pair for pair in request.query_params.multi_items() if pair[0] not in {"limit", "cursor"})
    return json.dumps([request.url.path, filters])


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
