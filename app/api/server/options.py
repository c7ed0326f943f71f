"""How uvicorn is set up wherever the service is served."""

from functools import partial
from typing import Any

from app.api.server.limits import BACKLOG, ConnectionLimits, usable_connections
from app.api.server.protocol import LimitedProtocol
from app.api.server.refusals import RefusalLog

# From the end of the drain on, requests under way have this long to end, in seconds.
END_REQUESTS_SECONDS = 2
# The parent of several worker processes kills one that does not answer it for so long, in seconds. A worker answers
# only once it has imported everything, which on a busy machine takes longer than uvicorn's 5 seconds: each would be
# killed before it served anything, and so would the next. A worker that dies while the parent waits for its answer is
# replaced after this time, so it must not be much longer.
WORKER_START_SECONDS = 30


def server_options(max_connections: int) -> dict[str, Any]:
    """Return the arguments of `uvicorn.Config` that hold for every server of the service.

    They can be sent to the worker processes of `serve --workers`.

    Args:
        max_connections: the connections that one process serves at once.
    """
    limits = ConnectionLimits(connections=usable_connections(max_connections))
    return {
        "http": partial(LimitedProtocol, limits=limits, refusal_log=RefusalLog()),
        "ws": "none",
        "backlog": BACKLOG,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": END_REQUESTS_SECONDS,
        "timeout_worker_healthcheck": WORKER_START_SECONDS,
    }
