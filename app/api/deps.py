"""What routes ask for: the services, one transaction per request, and who may act."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, get_args

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from app.api.auth import Actor, Role, TokenVerifier
from app.api.errors import Problem
from app.api.metrics import Metrics
from app.api.pagination import CursorSigner
from app.clock import Clock
from app.crypto import Sealer
from app.db import Database, Session
from app.settings import Settings
from app.sync.engine import Engine


def always() -> bool:
    return True


@dataclass(frozen=True)
class Services:
    """Everything a route may need, made once by the composition root and kept at `app.state.services`.

    Attributes:
        cursors: signs the lists' cursors.
        metrics: of this application alone.
        is_alive: whether the loops that should make progress do.
        engines: one per vendor, by the word in its addresses.
    """

    settings: Settings
    db: Database
    clock: Clock
    sealer: Sealer
    verifier: TokenVerifier
    cursors: CursorSigner
    metrics: Metrics
    is_alive: Callable[[], bool] = always
    engines: Mapping[str, Engine] = field(default_factory=dict)


def get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]


async def open_session(services: ServicesDep) -> AsyncIterator[Session]:
    async with services.db.transaction() as session:
        yield session


# The scope makes the transaction end with the route's function: nobody is told of a write that is not committed.
SessionDep = Annotated[Session, Depends(open_session, scope="function")]


async def open_snapshot(session: SessionDep) -> Session:
    _connection = await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    return session


# For answers of several statements: all of them see the tables as they are at one moment, so that the parts agree.
SnapshotDep = Annotated[Session, Depends(open_snapshot)]

# The middleware has checked the token by now; this only puts it into the documentation.
BEARER = Security(HTTPBearer(auto_error=False, bearerFormat="JWT", description="Claim `role` says what it allows."))


def require(*roles: Role) -> Callable[[Request], Actor]:
    """Return a dependency that yields the actor, or refuses one whose role is not among these."""

    def authorise(request: Request, _token: Annotated[object, BEARER] = None) -> Actor:
        actor: Actor = request.state.actor
        if actor.role not in roles:
            raise Problem("not_allowed", f"This needs the role {' or '.join(roles)}; the token's is {actor.role}.")
        return actor

    return authorise


Reader = Annotated[Actor, Depends(require(*get_args(Role)))]
Analyst = Annotated[Actor, Depends(require("analyst", "admin"))]
Admin = Annotated[Actor, Depends(require("admin"))]
ServiceWriter = Annotated[Actor, Depends(require("service", "admin"))]


def get_engine(request: Request, services: ServicesDep) -> Engine:
    # The routers are included once per vendor, under addresses that end in its name's segment, so it is always there.
    return services.engines[request.url.path.split("/")[3]]


EngineDep = Annotated[Engine, Depends(get_engine)]
