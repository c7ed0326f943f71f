"""The HTTP API: middlewares, and one router per resource. `setup.configure_api` puts them together."""
