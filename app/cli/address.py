"""Whether the service can listen at an address, found out before anything is started."""

import socket

from app.settings import SettingsError


def check_address(host: str, port: int) -> None:
    """Bind the address once and let it go.

    Raises:
        SettingsError: it cannot be used; the message says why.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"Port {port} of {host} cannot be used ({reason}); choose another with --port.") from error
