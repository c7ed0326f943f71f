"""Lists in pages: one shape, and cursors that nobody can forge or carry to another list."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.errors import Problem

DEFAULT_LIMIT = 50
HIGHEST_LIMIT = 200

Item = TypeVar("Item")
Row = TypeVar("Row")
# Where a page ended, as text: the value the list is ordered by, and the key that tells equals apart.
Position = tuple[str | None, str]


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    items: list[Item]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null at the end.")]


class CursorSigner:
    """Writes and reads cursors of the form `<position>.<signature>`, both base64url.

    Args:
        secret: any bytes that all replicas share; a key for this purpose alone is derived from it.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"vectis list cursors v1", hashlib.sha256)

    def write(self, scope: str, position: Position) -> str:
        """Return the cursor of a position in the list that `scope` names, filters included."""
        payload = _encode(json.dumps(position, separators=(",", ":")).encode())
        return f"{payload}.{self._sign(scope, payload)}"

    def read(self, scope: str, cursor: str) -> Position:
        """Return the position.

        Raises:
            Problem: `invalid_cursor`, when it was altered or is of another list or other filters.
        """
        payload, _, signature = cursor.partition(".")
        # As text, so that the spare bits of base64's last letter cannot be changed either.
        if not hmac.compare_digest(self._sign(scope, payload).encode(), signature.encode("utf-8", "replace")):
            raise Problem("invalid_cursor", "Take `next_cursor` as it came, with the same filters, or start again.")
        value, key = json.loads(base64.urlsafe_b64decode(payload + "=="))
        return value, key

    def _sign(self, scope: str, payload: str) -> str:
        signed = f"{scope}\n{payload}".encode("utf-8", "replace")
        return _encode(hmac.digest(self._key, signed, hashlib.sha256)[:16])


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page is asked for.

    Attributes:
        limit: items a page.
        after: where the page before ended, or None for the first page.
    """

    limit: int
    after: Position | None
    scope: str
    signer: CursorSigner

    @property
    def after_instant(self) -> tuple[datetime, UUID] | None:
        """Where the page before ended, of a list that is ordered by an instant and an id."""
        if self.after is None:
            return None
        instant, row_id = self.after
        return datetime.fromisoformat(str(instant)), UUID(str(row_id))

    def page(self, rows: Sequence[Row], position: Callable[[Row], Position], item: Callable[[Row], Item]) -> Page[Item]:
        """Make the page of rows that were fetched with one more than the limit, to know whether another follows."""
        kept = rows[: self.limit]
        more = len(rows) > self.limit
        return Page[Item](
            items=[item(row) for row in kept],
            next_cursor=self.signer.write(self.scope, position(kept[-1])) if more else None,
        )


def get_paging(
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
