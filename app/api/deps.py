"""Dependencies of routes: the services, the vendor's engine, one transaction per request, and the caller's role.

All of them are coroutines: FastAPI calls anything else in a thread, and waiting for a thread's turn takes longer than
everything they do.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, TypeVar, get_args

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from app.api.auth import Actor, Role, TokenVerifier
from app.api.concurrency_limits import ConcurrencyLimits
from app.api.errors import Problem
from app.api.metrics import Metrics
from app.api.pagination import CursorSigner
from app.api.server.draining import Drain
from app.clock import Clock
from app.crypto import Sealer
from app.db import Database, Session
from app.settings import Settings
from app.sync.engine import Engine

Model = TypeVar("Model")


def always_alive() -> bool:
    return True


@dataclass(frozen=True)
class Services:
    """Everything routes use, made once by the composition root and stored at `app.state.services`.

    Attributes:
        cursors: signs the cursors of lists.
        metrics: this application's own metrics.
        is_alive: returns whether the workers of this replica poll for work.
        deliveries_db: the database as webhook deliveries use it, with connections of their own.
        sync_db: the database as the engines use it, with connections of their own.
        concurrency_limits: how many requests of each kind are processed at once.
        drain: tells whether this process has been asked to stop.
        engines: one per vendor, by the vendor's word in `source`, which its URLs carry too.
    """

    settings: Settings
    db: Database
    clock: Clock
    sealer: Sealer
    verifier: TokenVerifier
    cursors: CursorSigner
    metrics: Metrics
    is_alive: Callable[[], bool] = always_alive
    deliveries_db: Database | None = None
    sync_db: Database | None = None
    concurrency_limits: ConcurrencyLimits = field(default_factory=ConcurrencyLimits)
    drain: Drain = field(default_factory=Drain)
    engines: Mapping[str, Engine] = field(default_factory=dict)

    @property
    def databases(self) -> tuple[Database, ...]:
        """Return every pool of connections."""
        return tuple(filter(None, (self.db, self.sync_db, self.deliveries_db)))

    async def close(self) -> None:
        """Write what the engines hold in memory, and close the databases."""
        for engine in self.engines.values():
            await engine.receiver.close()
        for database in self.databases:
            await database.close()


async def get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]


async def open_session(services: ServicesDep) -> AsyncIterator[Session]:
    async with services.db.transaction() as session:
        yield session


# The scope ends the transaction with the route's function, so that no response reports a write that is not committed.
SessionDep = Annotated[Session, Depends(open_session, scope="function")]


async def open_snapshot(session: SessionDep) -> Session:
    _connection = await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    return session


# For responses read by several statements: all of them see the tables at one moment, so that the parts agree.
SnapshotDep = Annotated[Session, Depends(open_snapshot)]

# The middleware has checked the token by now; this only adds it to the OpenAPI schema.
BEARER = Security(HTTPBearer(auto_error=False, bearerFormat="JWT", description="Claim `role` says what it allows."))


def require_role(*roles: Role) -> Callable[[Request], Awaitable[Actor]]:
    """Return a dependency that returns the caller, or raises 403 when the caller's role is not among these."""

    async def authorise(request: Request, _token: Annotated[object, BEARER] = None) -> Actor:
        actor: Actor = request.state.actor
        if actor.role not in roles:
            raise Problem("not_allowed", f"This needs the role {' or '.join(roles)}; the token's is {actor.role}.")
        return actor

    return authorise


Reader = Annotated[Actor, Depends(require_role(*get_args(Role)))]
Analyst = Annotated[Actor, Depends(require_role("analyst", "admin"))]
Admin = Annotated[Actor, Depends(require_role("admin"))]
ServiceWriter = Annotated[Actor, Depends(require_role("service", "admin"))]


def from_query(model: Callable[..., Model]) -> Callable[..., Awaitable[Model]]:
    """Return a dependency that makes a model of query parameters, which are the parameters of its constructor."""

    async def make(**parameters: object) -> Model:
        return model(**parameters)

    # Where FastAPI looks for the parameters.
    make.__signature__ = inspect.signature(model)  # type: ignore[attr-defined]
    return make


def bind_engine(engine: Engine) -> Callable[[Request], Awaitable[None]]:
    """Return the dependency that a vendor's routers are included with, so that its engine serves their routes."""

    async def bind(request: Request) -> None:
        request.state.engine = engine

    return bind


async def get_engine(request: Request) -> Engine:
    engine: Engine = request.state.engine
    return engine


EngineDep = Annotated[Engine, Depends(get_engine)]
