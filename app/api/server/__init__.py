"""The HTTP server, uvicorn with limits of its own: what a connection may take, and how a process stops serving."""
