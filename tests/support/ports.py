"""Ports for servers that a test starts."""

import contextlib
import random
import socket

PORTS = range(20_000, 32_000)


def free_port():
    """Return a port that nobody listens at.

    Ports that the system hands out by itself, to every outgoing connection too, begin higher: one of those might be
    taken between this check and the moment a replica listens.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")
