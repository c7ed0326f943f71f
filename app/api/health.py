"""Health checks: whether this process makes progress (live) and whether it can serve requests (ready)."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from app.api.deps import ServicesDep
from app.api.errors import Problem, document_problems

router = APIRouter(prefix="/health", tags=["operations"])


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/live", responses=document_problems("not_ready", is_public=True))
async def check_live(services: ServicesDep) -> Health:
    """Say whether the process's own loops make progress; nothing outside it can make this fail."""
    if not services.is_alive():
        raise Problem("not_ready", "The scheduler makes no progress; this process should be restarted.")
    return Health()


@router.get("/ready", responses=document_problems("not_ready", is_public=True))
async def check_ready(services: ServicesDep) -> Health:
    """Say whether the database answers and carries the newest migration; a vendor's outage changes nothing here.

    A process that is about to stop is not ready, although it still answers requests.
    """
    if services.drain.has_begun:
        raise Problem("not_ready", "This process is about to stop; send requests to another one.")
    if not await services.db.is_ready():
        raise Problem("not_ready", "The database does not carry the newest migration; run `vectis-xero migrate`.")
    return Health()
