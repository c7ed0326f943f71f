"""The match review: the links of contacts to customers, their candidates, and a person's decisions."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import Analyst, Reader, SessionDep, SnapshotDep
from app.api.errors import FieldError, document_problems, not_found, validation_failed
from app.api.pagination import Page, PagingDep
from app.api.schemas import Id, ResponseModel, Source, TenantId
from app.billing import queries
from app.billing.matching import review
from app.billing.matching.candidates import Candidate as RankedCandidate
from app.billing.matching.candidates import Signal
from app.billing.tables import LinkState
from app.db import Session

router = APIRouter(prefix="/api/matches", tags=["matching"])


class Candidate(ResponseModel):
    """A customer the contact could stand for; `signals` are what speaks for it, strongest first.

    `short_legal_form_differs`: the names are equal but for a short word at the end, such as SA, that may be a legal
    form, a region or a trade; so a person has to decide.
    """

    customer_id: Id
    name: str
    score: Annotated[float, Field(ge=0, le=1, examples=[0.93])]
    signals: Annotated[
        list[str], Field(description=f"Among {', '.join(Signal)}.", examples=[["similar_name", "email_domain"]])
    ]


class Match(ResponseModel):
    """A contact, the customer it stands for now, and, unless that is settled, whom else it could stand for."""

    link_id: Id
    source: Source
    tenant_id: TenantId
    external_id: str
    name: str
    state: LinkState
    customer_id: Id
    candidates: list[Candidate]


class MatchDecision(BaseModel):
    """`link` to the customer named; `create` a customer of its own; `ignore` it; `unlink` it, back into the queue."""

    model_config = ConfigDict(extra="forbid")

    action: review.MatchAction
    customer_id: Annotated[UUID | None, Field(description="For `link` alone.")] = None


@router.get("", responses=document_problems("invalid_cursor"))
async def list_matches(
    _actor: Reader, session: SnapshotDep, paging: PagingDep, state: LinkState | None = None
) -> Page[Match]:
    """List contacts by name; `state=suggested` and `state=unmatched` are what waits for a decision."""
    rows = await queries.list_matches(session, state, paging.after, paging.limit + 1)
    candidates = await _find_candidates(session, rows)
    return paging.page(rows, queries.MATCH_ORDER.position, lambda row: _answer(row, candidates))


@router.put("/{link_id}", responses=document_problems("not_found", "unknown_customer"))
async def decide_match(actor: Analyst, session: SessionDep, link_id: UUID, decision: MatchDecision) -> Match:
    """Decide about a contact; the decision outlives every later sync and rename, and another one undoes it."""
    if decision.action is review.MatchAction.LINK and decision.customer_id is None:
        raise validation_failed([FieldError(pointer="/customer_id", message="Say which customer to link to.")])
    await review.decide(session, link_id, decision.action, decision.customer_id, actor.subject)
    row = await queries.find_match(session, link_id)
    if row is None:
        raise not_found("match")
    return _answer(row, await _find_candidates(session, [row]))


async def _find_candidates(session: Session, rows: Sequence[Any]) -> dict[UUID, list[RankedCandidate]]:
    link_ids = [row.id for row in rows if row.state != LinkState.MATCHED]
    return await review.find_candidates(session, link_ids) if link_ids else {}


def _answer(row: Any, candidates: dict[UUID, list[RankedCandidate]]) -> Match:  # noqa: ANN401 - a row of queries
    return Match.model_validate({**row._asdict(), "link_id": row.id, "candidates": candidates.get(row.id, [])})
