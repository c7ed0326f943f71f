"""How the doors hang together: the middlewares in their order, the handlers, and what holds for every route."""

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.api.auth import is_protected
from app.api.errors import FieldError, add_exception_handlers, json_pointer, validation_failed
from app.api.middleware.authentication import AuthenticationMiddleware
from app.api.middleware.body import BodyMiddleware
from app.api.middleware.headers import HeadersMiddleware
from app.api.middleware.idempotency import IdempotencyMiddleware
from app.api.middleware.metrics import MetricsMiddleware
from app.api.middleware.problems import ProblemMiddleware
from app.api.openapi import describe_common


def configure_api(app: FastAPI, *, is_https: bool) -> None:
    """Hang the doors; call it before the routers are included. `app.state.services` must be there by the first request.

    Args:
        app: made with `redirect_slashes=False`, because a redirect would repeat the request's own Host header.
        is_https: whether `PUBLIC_URL` is.
    """
    add_exception_handlers(app)
    describe_common(app)
    app.router.generate_unique_id_function = name_operation
    app.router.dependencies.append(Depends(refuse_unknown_parameters))
    # The last one added is the first one a request meets.
    app.add_middleware(IdempotencyMiddleware)
    app.add_middleware(BodyMiddleware)
    app.add_middleware(AuthenticationMiddleware)
    app.add_middleware(ProblemMiddleware)
    app.add_middleware(MetricsMiddleware)
    app.add_middleware(HeadersMiddleware, is_https=is_https)


def refuse_unknown_parameters(request: Request) -> None:
    """Refuse a query parameter the route does not declare, or one given twice: a typo must not widen an answer."""
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
    own = frozenset(field.alias for field in dependant.query_params)
    return own.union(*(declared_parameters(inner) for inner in dependant.dependencies))


def name_operation(route: APIRoute) -> str:
    """Return the operation id: the function's own name, so that generated clients read well."""
    return route.name


def _unknown(name: str) -> FieldError:
    return FieldError(pointer=json_pointer("query", name), message="There is no such parameter here.")


def _repeated(name: str) -> FieldError:
    return FieldError(pointer=json_pointer("query", name), message="Give this parameter once.")
