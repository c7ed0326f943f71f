"""What a response is written to."""

import asyncio
from collections.abc import Callable


class ResponseOutput:
    """Stands for the connection's transport while one response is written.

    uvicorn writes the head of a response, then its body, and the transport sends each at once. The head is kept until
    the body comes or the application waits for something, so that most responses are sent as one.

    Args:
        transport: of the connection.
        loop: the event loop.
        close: closes the connection as its protocol does.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._close = close
        self._has_begun = False
        self._kept = b""

    def write(self, data: bytes) -> None:
        """Send data, with what was kept before it; of the first data of the response only keep them."""
        if self._has_begun:
            self._transport.write(self._kept + data)
            self._kept = b""
        else:
            self._has_begun = True
            self._kept = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what was kept, unless the connection is closed."""
        kept, self._kept = self._kept, b""
        if kept and not self.is_closing():
            self._transport.write(kept)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self.flush()
        self._close()
