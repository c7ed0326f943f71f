"""The ASGI middlewares, outermost first.

Headers, metrics, problems, deadline, authentication, body, concurrency, deliveries, idempotency.
"""
