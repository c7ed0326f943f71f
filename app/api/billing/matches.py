"""The match review: the links of contacts to customers, their candidates, and a person's decisions."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import Analyst, Reader, SessionDep, SnapshotDep, from_query
from app.api.errors import FieldError, document_problems, not_found, validation_failed
from app.api.pagination import Page, PagingDep
from app.api.schemas import Id, ResponseModel, Source, TenantId
from app.billing import queries
from app.billing.matching import review
from app.billing.matching.candidates import Signal
from app.billing.matching.name_key import name_key
from app.billing.tables import LinkState
from app.connections.tenants import read_source_details
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
    """A contact, the customer it stands for now, and, unless that is settled, whom else it could stand for.

    `tenant_name`: the organisation's name; null where another service writes its rows. `group`: equal for contacts of
    the same name, so that one of several organisations can be shown and decided as one.
    """

    link_id: Id
    source: Source
    tenant_id: TenantId
    tenant_name: str | None
    external_id: str
    name: str
    group: Annotated[str, Field(examples=["acme"])]
    state: LinkState
    customer_id: Id
    candidates: list[Candidate]


class MatchDecision(BaseModel):
    """`link` to the customer named; `create` a customer of its own; `ignore` it; `unlink` it, back into the queue."""

    model_config = ConfigDict(extra="forbid")

    action: review.MatchAction
    customer_id: Annotated[UUID | None, Field(description="For `link` alone.")] = None


class MatchCounts(ResponseModel):
    """How many contacts are in each state; `suggested` and `unmatched` wait for a decision."""

    suggested: int
    unmatched: int
    matched: int
    ignored: int


class BulkLink(BaseModel):
    """Links every waiting contact whose one good candidate scores at least `min_score`; `dry_run` only shows them."""

    model_config = ConfigDict(extra="forbid")

    min_score: Annotated[float, Field(strict=True, gt=0, le=1, examples=[0.9])]
    state: Literal["suggested"] = "suggested"
    dry_run: Annotated[bool, Field(strict=True)]


class ProposedLink(ResponseModel):
    """A contact and the one customer that stands alone at or above the score asked for."""

    link_id: Id
    source: Source
    tenant_id: TenantId
    name: str
    customer_id: Id
    customer_name: str
    score: Annotated[float, Field(ge=0, le=1, examples=[0.93])]


class BulkLinked(ResponseModel):
    """What a bulk decision would link, or has linked; `linked` is 0 for a dry run."""

    would_link: list[ProposedLink]
    linked: int


@router.get("", responses=document_problems("invalid_cursor"))
async def list_matches(
    _actor: Reader,
    session: SnapshotDep,
    paging: PagingDep,
    filters: Annotated[queries.MatchFilter, Depends(from_query(queries.MatchFilter))],
) -> Page[Match]:
    """List contacts by name; `state=suggested` and `state=unmatched` are what waits for a decision.

    `search` looks into their names and e-mail addresses.
    """
    rows = await queries.list_matches(session, filters, paging.after, paging.limit + 1)
    matches = await _describe(session, rows)
    return paging.page(rows, queries.MATCH_ORDER.position, lambda row: matches[row.id])


@router.get("/counts", responses=document_problems())
async def count_matches(_actor: Reader, session: SessionDep) -> MatchCounts:
    """Count the contacts in each state."""
    return MatchCounts.model_validate(await queries.count_matches(session))


@router.post("/bulk", responses=document_problems())
async def link_matches(actor: Analyst, session: SessionDep, request: BulkLink) -> BulkLinked:
    """Link all waiting contacts that have exactly one candidate at or above a score, or show which those are.

    Each link is a decision by hand: it outlives every later sync, is written into the audit trail, and can be undone.
    """
    proposals = await review.link_all(session, request.min_score, None if request.dry_run else actor.subject)
    return BulkLinked.model_validate({"would_link": proposals, "linked": 0 if request.dry_run else len(proposals)})


@router.put("/{link_id}", responses=document_problems("not_found", "unknown_customer"))
async def decide_match(actor: Analyst, session: SessionDep, link_id: UUID, decision: MatchDecision) -> Match:
    """Decide about a contact; the decision outlives every later sync and rename, and another one undoes it."""
    if decision.action is review.MatchAction.LINK and decision.customer_id is None:
        raise validation_failed([FieldError(pointer="/customer_id", message="Say which customer to link to.")])
    await review.decide(session, link_id, decision.action, decision.customer_id, actor.subject)
    row = await queries.find_match(session, link_id)
    if row is None:
        raise not_found("match")
    return (await _describe(session, [row]))[link_id]


async def _describe(session: Session, rows: Sequence[Any]) -> dict[UUID, Match]:
    """Return the answer for each row, by the link's id."""
    link_ids = [row.id for row in rows if row.state != LinkState.MATCHED]
    candidates = await review.find_candidates(session, link_ids) if link_ids else {}
    names = await _read_tenant_names(session, {row.source_tenant_id for row in rows})
    return {
        row.id: Match.model_validate(
            {
                **row._asdict(),
                "link_id": row.id,
                "tenant_name": names.get((row.source, row.source_tenant_id)),
                "group": row.name_key or name_key(row.name) or str(row.id),
                "candidates": candidates.get(row.id, []),
            }
        )
        for row in rows
    }


async def _read_tenant_names(session: Session, tenant_ids: Collection[str]) -> dict[tuple[str, str], str | None]:
    return {(one.source, one.tenant_id): one.name for one in await read_source_details(session, tenant_ids)}
