"""The ASGI middlewares, outermost first: headers, metrics, problems, deadline, authentication, body, idempotency."""
