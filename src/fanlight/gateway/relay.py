"""Copy bytes between a browser and an instance until one of them goes away. Parses nothing.

Two ends, each an asyncio protocol that writes what it reads to the other's transport. When a transport's buffer is full,
the other end stops reading, so that a slow browser slows the encoder instead of filling this process.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from aiohttp.web_protocol import RequestHandler

if TYPE_CHECKING:
    from aiohttp.http_websocket import WebSocketReader

# Beyond this much unsent, the other side is told to wait; uvloop's default of 64 KiB would do it on every key frame.
HIGH_WATER_IN_BYTES = 512 * 1024
LOW_WATER_IN_BYTES = 128 * 1024
# After one side has said its last byte, the other may finish what it is saying; not for ever, the guest is hostile.
HALF_CLOSE_GRACE_IN_SECONDS = 5.0


class _End(asyncio.Protocol):
    """One side of a splice: what arrives here leaves through `other`."""

    __slots__ = ("_on_eof", "_on_lost", "_transport", "bytes_in", "other")

    def __init__(
        self, transport: asyncio.Transport, on_eof: Callable[["_End"], None], on_lost: Callable[[], None]
    ) -> None:
        self.bytes_in = 0
        self._transport = transport
        self.other: asyncio.Transport = transport
        self._on_eof = on_eof
        self._on_lost = on_lost

    def data_received(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self.other.write(data)

    def pause_writing(self) -> None:
        if not self.other.is_closing():
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.is_closing():
            self.other.resume_reading()

    def eof_received(self) -> bool:
        self._on_eof(self)
        return self._transport.can_write_eof()  # TLS cannot half-close: the transport closes itself.

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it went does not matter
        self._on_lost()


class Splice:
    """A browser's and an instance's transport joined. Ends when either is lost, or by `cut`.

    Both transports must be connected, with reading allowed; whoever made them has read nothing that is not passed in as
    `from_browser` and `from_guest`. `on_done` is called once, after both are closed or told to close.
    """

    def __init__(
        self,
        browser: asyncio.Transport,
        guest: asyncio.Transport,
        *,
        on_done: Callable[["Splice"], None],
        from_browser: bytes = b"",
        from_guest: bytes = b"",
    ) -> None:
        self._browser, self._guest = browser, guest
        self._on_done = on_done
        self._is_done = False
        self._ended: set[_End] = set()
        self._grace: asyncio.TimerHandle | None = None
        self._browser_end = _End(browser, self._half_close, self._lost)
        self._guest_end = _End(guest, self._half_close, self._lost)
        self._browser_end.other, self._guest_end.other = guest, browser
        for transport, end in ((browser, self._browser_end), (guest, self._guest_end)):
            transport.set_write_buffer_limits(high=HIGH_WATER_IN_BYTES, low=LOW_WATER_IN_BYTES)
            transport.set_protocol(end)
        if from_browser:
            self._browser_end.data_received(from_browser)
        if from_guest:
            self._guest_end.data_received(from_guest)

    @property
    def is_done(self) -> bool:
        return self._is_done

    @property
    def bytes_from_browser(self) -> int:
        return self._browser_end.bytes_in

    @property
    def bytes_from_guest(self) -> int:
        return self._guest_end.bytes_in

    def cut(self) -> None:
        """End it now; what is still in the buffers is dropped."""
        self._finish(drop=True)

    def _half_close(self, end: _End) -> None:
        self._ended.add(end)
        if len(self._ended) == 2:  # noqa: PLR2004 - both sides have said their last byte
            self._finish(drop=False)
            return
        if not end.other.is_closing() and end.other.can_write_eof():
            end.other.write_eof()
        if self._grace is None:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(HALF_CLOSE_GRACE_IN_SECONDS, self.cut)

    def _lost(self) -> None:
        self._finish(drop=False)

    def _finish(self, *, drop: bool) -> None:
        if self._is_done:
            return
        self._is_done = True
        if self._grace:
            self._grace.cancel()
        for transport in (self._browser, self._guest):
            if drop:
                transport.abort()
            else:
                transport.close()  # flushes first; the peer that went away makes this the last of it
                _abort_if_stuck(transport)
        self._on_done(self)


def _abort_if_stuck(transport: asyncio.Transport) -> None:
    """A peer that does not read must not keep the flush waiting for ever."""
    asyncio.get_running_loop().call_later(HALF_CLOSE_GRACE_IN_SECONDS, transport.abort)


class _Taker:
    """Takes what aiohttp has read behind an upgrade head (see `take_over`)."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.taken += data
        return False, b""

    def feed_eof(self) -> None:
        """The browser went away; the transport says so by itself."""


def take_over(protocol: RequestHandler, transport: asyncio.Transport) -> bytes:
    """Take an upgraded connection away from aiohttp; return the bytes that it had read beyond the head.

    `protocol` is the request's. It is left believing that its connection was lost, so that it forgets the request
    without writing to, or closing, a transport that is no longer its own. The caller must give the transport another
    protocol before it next yields to the event loop.
    """
    taker = _Taker()
    protocol.set_parser(cast("WebSocketReader", taker))  # the same two methods as aiohttp's own reader
    protocol.transport = None
    protocol.connection_lost(None)
    transport.resume_reading()
    return bytes(taker.taken)
