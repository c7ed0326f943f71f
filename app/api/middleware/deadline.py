"""Bounds how long a request waits for the database."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.db_deadline import answers_within

# A vendor that delivers a webhook and whoever probes this replica want to know within 3 seconds that the database does
# not answer, a caller of the API within 5. The rest of that time is for dropping connections that hang.
IMPATIENT_PREFIXES = ("/api/webhooks/", "/health/", "/metrics")
IMPATIENT_SECONDS, API_SECONDS = 1.8, 3.5


class DeadlineMiddleware:
    """Lets the transactions of a request fail when the database falls silent, with 503 as the response.

    Comes after `ProblemMiddleware`, which makes that response, and before every middleware that opens a transaction.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with answers_within(IMPATIENT_SECONDS if scope["path"].startswith(IMPATIENT_PREFIXES) else API_SECONDS):
            await self.app(scope, receive, send)
