"""Configures the API: the middlewares in their order, the exception handlers, and what holds for every route."""

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.api.auth import is_protected
from app.api.errors import FieldError, add_exception_handlers, json_pointer, validation_failed
from app.api.integrations import webhooks
from app.api.middleware.authentication import AuthenticationMiddleware
from app.api.middleware.body import BodyMiddleware
from app.api.middleware.concurrency import ConcurrencyMiddleware
from app.api.middleware.deadline import DeadlineMiddleware
from app.api.middleware.deliveries import DeliveriesMiddleware
from app.api.middleware.headers import HeadersMiddleware
from app.api.middleware.idempotency import IdempotencyMiddleware
from app.api.middleware.metrics import MetricsMiddleware
from app.api.middleware.problems import ProblemMiddleware
from app.api.openapi import describe_common, name_operation


def configure_api(app: FastAPI, *, is_https: bool) -> None:
    """Add middlewares, exception handlers and common dependencies; to be called before the routers are included.

    Args:
        app: has `app.state.services` by the first request. It is made with `redirect_slashes=False`, because a
            redirect would repeat the request's own Host header.
        is_https: whether `PUBLIC_URL` is.
    """
    add_exception_handlers(app)
    describe_common(app)
    app.router.generate_unique_id_function = name_operation
    app.router.dependencies.append(Depends(refuse_unknown_parameters))
    # A request passes the middleware added last first.
    app.add_middleware(IdempotencyMiddleware)
    app.add_middleware(DeliveriesMiddleware, endpoint=webhooks.receive_webhook)
    app.add_middleware(ConcurrencyMiddleware)
    app.add_middleware(BodyMiddleware)
    app.add_middleware(AuthenticationMiddleware)
    app.add_middleware(DeadlineMiddleware)
    app.add_middleware(ProblemMiddleware)
    app.add_middleware(MetricsMiddleware)
    app.add_middleware(HeadersMiddleware, is_https=is_https)


async def refuse_unknown_parameters(request: Request) -> None:
    """Refuse a query parameter the route does not declare, or one given twice: a misspelt filter is an error."""
    route = request.scope.get("route")
    if not is_protected(request.url.path) or not isinstance(route, APIRoute):
        return
    declared = declared_parameters(route.dependant)
    given = [name for name, _ in request.query_params.multi_items()]
    errors = [_unknown(name) for name in dict.fromkeys(given) if name not in declared]
    errors += [_repeated(name) for name in dict.fromkeys(given) if name in declared and given.count(name) > 1]
    if errors:
        raise validation_failed(errors)


def declared_parameters(dependant: Dependant) -> frozenset[str]:
    """Return the names of the query parameters of a route, those of its dependencies included."""
    own = frozenset(field.alias for field in dependant.query_params)
    return own.union(*(declared_parameters(inner) for inner in dependant.dependencies))


def _unknown(name: str) -> FieldError:
    return FieldError(pointer=json_pointer("query", name), message="There is no such parameter here.")


def _repeated(name: str) -> FieldError:
    return FieldError(pointer=json_pointer("query", name), message="Give this parameter once.")
