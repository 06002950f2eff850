"""Before a connection costs anything: at most so many at once, and its first request's head in good time.

aiohttp would hold a connection that says nothing, or says it a byte at a time, for as long as one that is kept alive
between two requests. So a connection is handed to it only when the first head is complete.
"""

import asyncio
from collections.abc import Callable
from typing import cast

FIRST_HEAD_IN_SECONDS = 10.0
MAX_FIRST_HEAD_IN_BYTES = 128 * 1024
MAX_CONNECTIONS = 4096
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_END = b"\r\n\r\n"


class Door:
    """Makes the protocol of each new connection. `behind` counts those that have come through and are still open."""

    def __init__(self, make_handler: Callable[[], asyncio.Protocol], behind: Callable[[], int]) -> None:
        self.make_handler = make_handler
        self.waiting: set[asyncio.Transport] = set()
        self._behind = behind

    def __call__(self) -> asyncio.Protocol:
        return _Newcomer(self)

    @property
    def is_full(self) -> bool:
        return len(self.waiting) + self._behind() >= MAX_CONNECTIONS

    def close(self) -> None:
        """Send away who has not come through."""
        for transport in tuple(self.waiting):
            transport.abort()


class _Newcomer(asyncio.Protocol):
    """Collects the first head, then leaves the connection to the handler."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._head = bytearray()
        self._patience: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._door.is_full:
            self._refuse(_FULL)
            return
        self._door.waiting.add(self._transport)
        self._patience = asyncio.get_running_loop().call_later(FIRST_HEAD_IN_SECONDS, self._refuse, _LATE)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        seen = max(0, len(self._head) - len(_END) + 1)
        self._head += data
        if self._head.find(_END, seen) >= 0:
            self._hand_over(self._transport)
        elif len(self._head) > MAX_FIRST_HEAD_IN_BYTES:
            self._refuse(_LARGE)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it went does not matter
        self._leave()

    def _hand_over(self, transport: asyncio.Transport) -> None:
        self._leave()
        handler = self._door.make_handler()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(bytes(self._head))

    def _refuse(self, words: bytes) -> None:
        if self._transport is None:
            return
        self._leave()
        self._transport.write(words)
        self._transport.close()

    def _leave(self) -> None:
        if self._patience:
            self._patience.cancel()
        if self._transport:
            self._door.waiting.discard(self._transport)
