"""What one connection may take of a process, and how many connections a process serves."""

import resource
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

KIB = 1024
# Connections that wait to be accepted. The server takes all of them at once, before it can refuse any.
BACKLOG = 128
# File descriptors that connections leave to the rest of the process: those being accepted and refused, the pools of
# the database, calls to vendors, and files.
RESERVED_FILES = BACKLOG + 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The limits of a connection; times are in seconds.

    Attributes:
        connections: the most that are served at once; more are refused.
        refused_connections: of those refused, the most whose refusal is waited for; more are closed without a moment
            for the sender to read it.
        header_bytes: the size of a request's line and headers, and of what a body has beside its bytes.
        header_seconds: from the first byte of a request to the end of its headers.
        body_seconds: from the end of the headers, or from the start of the request's turn, to the end of the body.
        silence_seconds: without a byte, before the first request or between two.
        spare_silence_seconds: a connection that has been silent for longer is closed when another needs its place.
        stalled_seconds: in which the client takes nothing of what is sent to it.
        linger_seconds: for which a connection that is to be closed is read, so that the client can read the response:
            the network would drop it when bytes that nobody has read remain.
        linger_silence_seconds: the same, while the client sends nothing.
        pipelined_requests: the most that wait behind the one that is answered.
    """

    connections: int = 1000
    refused_connections: int = 32
    header_bytes: int = 32 * KIB
    header_seconds: float = 10
    body_seconds: float = 15
    silence_seconds: float = 20
    spare_silence_seconds: float = 5
    stalled_seconds: float = 30
    linger_seconds: float = 5
    linger_silence_seconds: float = 1
    pipelined_requests: int = 16


def usable_connections(wanted: int) -> int:
    """Return how many connections this process can serve, after raising its limit of open files where it may.

    Args:
        wanted: the number that is configured, MAX_CONNECTIONS.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_FILES
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < raised:
        soft = raised
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    # At least one in four files is for a connection, however low the limit is.
    usable = max(soft - RESERVED_FILES, soft // 4)
    log.warning("max_connections_lowered", max_connections=wanted, usable=usable, open_files=soft)
    return usable
