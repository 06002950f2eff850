"""Before a connection costs anything: at most so many at once, in all and of one address, and its first head in good time.

aiohttp would hold a connection that says nothing, or says it a byte at a time, for as long as one that is kept alive
between two requests. So a connection is handed to it only when the first head is complete.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

from fanlight.forwarding import Network, is_among

FIRST_HEAD_IN_SECONDS = 10.0
MAX_FIRST_HEAD_IN_BYTES = 128 * 1024
MAX_CONNECTIONS = 4096
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
_MANY = b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_END = b"\r\n\r\n"
_COUNT_AGAIN_IN_SECONDS = 0.25
_IPV6_PREFIX = 64  # what one customer gets


class Addresses:
    """Counts the open connections of each address. `limit` 0: none; `trusted` are proxies, which speak for many.

    Who closes is not told here, and passes through several hands: the closed ones are found a few times a second.
    """

    def __init__(self, limit: int, trusted: Sequence[Network] = ()) -> None:
        self._limit, self._trusted = limit, trusted
        self._open: dict[asyncio.Transport, str] = {}
        self._counts: Counter[str] = Counter()
        self._counted_at = float("-inf")

    def admits(self, transport: asyncio.Transport, now: float) -> bool:
        """Count the connection, or return False because its address has as many as it may."""
        peer = transport.get_extra_info("peername")
        if not self._limit or not peer or is_among(peer[0], self._trusted):
            return True
        if now - self._counted_at >= _COUNT_AGAIN_IN_SECONDS:
            self._open = {one: address for one, address in self._open.items() if not one.is_closing()}
            self._counts, self._counted_at = Counter(self._open.values()), now
        address = _customer(peer[0])
        if self._counts[address] >= self._limit:
            return False
        self._open[transport] = address
        self._counts[address] += 1
        return True


def _customer(address: str) -> str:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if parsed.version == 4:  # noqa: PLR2004
        return address
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))


class Door:
    """Makes the protocol of each new connection. `behind` counts those that have come through and are still open."""

    def __init__(
        self, make_handler: Callable[[], asyncio.Protocol], behind: Callable[[], int], addresses: Addresses
    ) -> None:
        self.make_handler = make_handler
        self.addresses = addresses
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
        if not self._door.addresses.admits(self._transport, asyncio.get_running_loop().time()):
            self._refuse(_MANY)
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
