"""Bring one WebSocket to the instance: build its head anew, check the answer's head, hand both transports to the relay.

The browser's head is not forwarded: of it only what a WebSocket needs is taken (no cookie, no credential, no address).
The guest's answer is not forwarded either: it must be the right 101, in time and of sane size, and the browser gets one
that is written here.
"""

import asyncio
import base64
import hashlib
import re
import socket
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from fanlight.gateway.guest_socket import GuestUnreachable, connect_guest

MAX_GUEST_HEAD_IN_BYTES = 16 * 1024
GUEST_HEAD_TIMEOUT_IN_SECONDS = 10.0
STREAM_PATH = "/api/websockets"
_ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
# Tokens, parameters and separators of Sec-WebSocket-Extensions and -Protocol; no control characters, hence no new line.
_NEGOTIATION = re.compile(r"[\x20-\x7e]{0,1024}")


class NotAnUpgrade(Exception):
    """The request is no WebSocket handshake of version 13."""


class GuestMisbehaves(Exception):
    """The guest's answer is no WebSocket handshake: wrong, endless, or late."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """What of a browser's upgrade request matters."""

    key: str
    protocols: str | None
    extensions: str | None

    @classmethod
    def of(cls, request: web.Request) -> "Handshake":
        """Raises NotAnUpgrade."""
        headers = request.headers
        connection = {token.strip().lower() for token in headers.get("Connection", "").split(",")}
        key = headers.get("Sec-WebSocket-Key", "")
        if (
            headers.get("Upgrade", "").lower() != "websocket"
            or "upgrade" not in connection
            or headers.get("Sec-WebSocket-Version") != "13"
            or not _KEY.fullmatch(key)
            or headers.get("Content-Length", "0") != "0"
            or "Transfer-Encoding" in headers
        ):
            raise NotAnUpgrade
        negotiated = [headers.get("Sec-WebSocket-Protocol"), headers.get("Sec-WebSocket-Extensions")]
        if any(value is not None and not _NEGOTIATION.fullmatch(value) for value in negotiated):
            raise NotAnUpgrade
        return cls(key=key, protocols=negotiated[0], extensions=negotiated[1])

    @property
    def accept(self) -> str:
        return base64.b64encode(hashlib.sha1(self.key.encode() + _ACCEPT_SALT, usedforsecurity=False).digest()).decode()

    def request_head(self, origin: str) -> bytes:
        """Return the head for the guest. `origin` is the gateway's own: the guest's Origin check compares it with Host."""
        lines = [
            f"GET {STREAM_PATH} HTTP/1.1",
            f"Host: {origin.partition('://')[2]}",
            f"Origin: {origin}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {self.key}",
        ]
        return _head(lines, self.protocols, self.extensions)

    def answer_head(self, guest_head: bytes) -> bytes:
        """Return the head for the browser. Raises GuestMisbehaves unless the guest's is the 101 that belongs to the key."""
        status_line, *lines = guest_head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        chosen = [fields.get("sec-websocket-protocol"), fields.get("sec-websocket-extensions")]
        is_answer = (
            re.match(r"HTTP/1\.1 101(\s|$)", status_line) is not None
            and fields.get("upgrade", "").lower() == "websocket"
            and fields.get("sec-websocket-accept") == self.accept
            and all(value is None or _NEGOTIATION.fullmatch(value) for value in chosen)
        )
        if not is_answer:
            raise GuestMisbehaves("the stream server refused the WebSocket")
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {self.accept}",
        ]
        return _head(lines, chosen[0], chosen[1])


def _head(lines: list[str], protocols: str | None, extensions: str | None) -> bytes:
    if protocols:
        lines = [*lines, f"Sec-WebSocket-Protocol: {protocols}"]
    if extensions:
        lines = [*lines, f"Sec-WebSocket-Extensions: {extensions}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _HeadReader(asyncio.Protocol):
    """Collects an answer's head, then stops reading; what came behind it is kept for the relay."""

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.rest = b""
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.head.done():
            self.rest += data
            return
        self._received += data
        head, separator, rest = bytes(self._received).partition(b"\r\n\r\n")
        if separator and len(head) <= MAX_GUEST_HEAD_IN_BYTES:
            self.rest = rest
            if self._transport:
                self._transport.pause_reading()
            self.head.set_result(head)
        elif len(head) > MAX_GUEST_HEAD_IN_BYTES:
            self._fail("the answer's head does not end")

    def eof_received(self) -> bool:
        self._fail("the stream server closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it went does not matter
        self._fail("the stream server closed the connection")

    def _fail(self, why: str) -> None:
        if not self.head.done():
            self.head.set_exception(GuestMisbehaves(why))


@dataclass(frozen=True, slots=True)
class UpgradedGuest:
    """An instance's side of a stream, upgraded and not being read: resume it once it has its next protocol."""

    transport: asyncio.Transport
    answer_head: bytes
    rest: bytes


async def upgrade_guest(path: str, stream_uid: int, handshake: Handshake, origin: str) -> UpgradedGuest:
    """Connect and upgrade. Raises GuestUnreachable, GuestMisbehaves."""
    connection = await connect_guest(path, stream_uid)
    try:
        transport, reader = await _wrap(connection)
    except BaseException:
        connection.close()
        raise
    try:
        transport.write(handshake.request_head(origin))
        async with asyncio.timeout(GUEST_HEAD_TIMEOUT_IN_SECONDS):
            head = await reader.head
        return UpgradedGuest(transport, handshake.answer_head(head), reader.rest)
    except TimeoutError as error:
        transport.abort()
        raise GuestMisbehaves("the stream server does not answer") from error
    except BaseException:
        transport.abort()
        raise


async def _wrap(connection: socket.socket) -> tuple[asyncio.Transport, _HeadReader]:
    loop = asyncio.get_running_loop()
    try:
        transport, reader = await loop.create_unix_connection(_HeadReader, sock=connection)
    except OSError as error:
        raise GuestUnreachable("the stream socket broke") from error
    return transport, reader
