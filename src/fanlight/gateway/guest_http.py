"""One HTTP request to an instance: small, strict, and without any trust in the answer.

HTTP/1.0, so that there is neither a second request on the connection nor a chunked body to parse. The head is bounded
in size and time, every read and write in time; what the guest says of itself is reduced to status, length and body.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

from fanlight.gateway.guest_socket import connect_guest
from fanlight.gateway.upgrades import MAX_GUEST_HEAD_IN_BYTES, GuestMisbehaves

PIECE_IN_BYTES = 64 * 1024
SILENCE_IN_SECONDS = 30.0  # Longest pause of a guest that takes or gives a file.
_STATUS = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})(?: |$)")
_LENGTH = re.compile(rb"[0-9]{1,15}")


@dataclass(slots=True)
class GuestAnswer:
    """`length` is None when the guest did not say; then the body ends with the connection."""

    status: int
    length: int | None
    _reader: asyncio.StreamReader

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body; exactly `length` bytes when that is known. Raises GuestMisbehaves if it comes short or stalls."""
        left = self.length
        while left is None or left > 0:
            async with _patience():
                piece = await self._reader.read(min(PIECE_IN_BYTES, left) if left is not None else PIECE_IN_BYTES)
            if not piece:
                if left is not None:
                    raise GuestMisbehaves("the body is shorter than announced")
                return
            if left is not None:
                left -= len(piece)
            yield piece

    async def whole(self, limit: int) -> bytes:
        """Return the body. Raises GuestMisbehaves when it is larger than `limit` bytes."""
        body = bytearray()
        async for piece in self.pieces():
            body += piece
            if len(body) > limit:
                raise GuestMisbehaves("the answer is too large")
        return bytes(body)


@asynccontextmanager
async def ask_guest(
    socket_path: str,
    stream_uid: int,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    body: AsyncIterator[bytes] | None = None,
) -> AsyncIterator[GuestAnswer]:
    """Send one request and hand out its answer. Raises GuestUnreachable, GuestMisbehaves.

    `path` is not yet percent-encoded. `headers` must hold Content-Length when there is a body.
    """
    connection = await connect_guest(socket_path, stream_uid)
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_GUEST_HEAD_IN_BYTES)
    try:
        lines = [f"{method} {quote(path)} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
        await _send(writer, body)
        yield await _answer(reader)
    except (ConnectionError, OSError) as error:
        raise GuestMisbehaves("the connection broke") from error
    finally:
        writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, body: AsyncIterator[bytes] | None) -> None:
    try:
        if body is not None:
            async for piece in body:
                writer.write(piece)
                async with _patience():
                    await writer.drain()
        async with _patience():
            await writer.drain()
    except ConnectionError:
        return  # A guest that refuses early closes while we still send: its answer says why.


async def _answer(reader: asyncio.StreamReader) -> GuestAnswer:
    try:
        async with _patience():
            head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise GuestMisbehaves("the answer has no head") from error
    status_line, *lines = head[:-4].split(b"\r\n")
    status = _STATUS.match(status_line)
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    length = fields.get(b"content-length")
    if not status or b"transfer-encoding" in fields or (length is not None and not _LENGTH.fullmatch(length)):
        raise GuestMisbehaves("the answer's head is wrong")
    return GuestAnswer(int(status[1]), int(length) if length is not None else None, reader)


@asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(SILENCE_IN_SECONDS):
            yield
    except TimeoutError as error:
        raise GuestMisbehaves("the instance is silent") from error
