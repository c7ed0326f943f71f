"""Adds security and caching headers to every response."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLOSE = (b"connection", b"close")
STRICT_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
CONSOLE_POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"

SWAGGER_UI_POLICY = (
    "default-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
)
# ReDoc adds two inline style elements, which are allowed by their hashes: an empty one, whose rules it then fills in by
# script, and the one of its scroll bar. It searches in a worker that it makes from a part of its own script.
REDOC_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
)
REDOC_POLICY = f"{SWAGGER_UI_POLICY}; style-src 'self' {REDOC_STYLES}; worker-src blob:"
# Content security policies by path prefix; every other path has the strict one.
POLICIES = {"/docs": SWAGGER_UI_POLICY, "/redoc": REDOC_POLICY, "/console": CONSOLE_POLICY}

# Cache-Control by path prefix. The console's file names contain no version, so a browser must ask whether a file has
# changed; it gets a 304 when not.
CACHING = {
    "/api/": b"no-store",
    "/console": b"no-cache",
    "/docs/assets": b"public, max-age=604800",
    "/docs": b"no-cache",
    "/redoc": b"no-cache",
}

COMMON = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")


def headers_below(path: str) -> Sequence[tuple[bytes, bytes]]:
    """Return the headers of the responses at a path and below it."""
    policy = next((policy for start, policy in POLICIES.items() if path.startswith(start)), STRICT_POLICY)
    caching = next((rule for start, rule in CACHING.items() if path.startswith(start)), None)
    common = (*COMMON, (b"content-security-policy", policy.encode()))
    return (*common, (b"cache-control", caching)) if caching else common


# Made once, because every response has them; the first prefix that fits decides.
HEADERS = {start: headers_below(start) for start in (*CACHING, *POLICIES)}
STRICT_HEADERS = headers_below("/")


class HeadersMiddleware:
    """Adds the security and caching headers that a response does not have yet.

    The outermost middleware, so that every response has them, whichever middleware or route made it.

    Args:
        app: the next ASGI application.
        is_https: whether `PUBLIC_URL` is an https URL; adds Strict-Transport-Security.
    """

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self.app = app
        self._optional = [HSTS] if is_https else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        common = next((headers for start, headers in HEADERS.items() if path.startswith(start)), STRICT_HEADERS)
        added = [*common, *self._optional]
        drain = scope["app"].state.services.drain

        async def add_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The next request of this client has to go to another process. Asked only now: the drain may have begun
                # while the request was being worked on.
                if drain.has_begun:
                    added.append(CLOSE)
                present = {name.lower() for name, _ in message["headers"]}
                missing = [header for header in added if header[0] not in present]
                message = {**message, "headers": [*message["headers"], *missing]}
            await send(message)

        await self.app(scope, receive, add_and_send)
