"""The ASGI middlewares, outermost first: headers, metrics, problems, authentication, body, idempotency."""
