"""Adds the headers that keep browsers and caches from harm to every response."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

STRICT = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"


CONSOLE = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"


# The documentation page is the framework's: it brings a script of its own and draws from a public CDN.
DOCS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; img-src 'self' data: https://fastapi.tiangolo.com; "
    "frame-ancestors 'none'; base-uri 'none'"
)


POLICIES = {"/docs": DOCS, "/redoc": DOCS, "/console": CONSOLE}


# The console's files carry no version in their names: a browser asks whether they changed, and is told 304.
CACHING = {"/api/": b"no-store", "/console": b"no-cache"}


HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")


class HeadersMiddleware:
    """Adds what keeps browsers and caches from harm.

    Args:
        app: what comes next.
        is_https: whether the public address is, so that browsers may be told to insist on it.
    """

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self.app = app
        self._extra = [HSTS] if is_https else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        added = [*_headers(scope["path"]), *self._extra]

        async def decorate(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                missing = [header for header in added if header[0] not in present]
                message = {**message, "headers": [*message["headers"], *missing]}
            await send(message)

        await self.app(scope, receive, decorate)


def _headers(path: str) -> Sequence[tuple[bytes, bytes]]:
    policy = next((policy for start, policy in POLICIES.items() if path.startswith(start)), STRICT)
    common = [
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
        (b"content-security-policy", policy.encode()),
    ]
    caching = next((rule for start, rule in CACHING.items() if path.startswith(start)), None)
    return [*common, (b"cache-control", caching)] if caching else common
