"""The session's printer, for programs: what they print arrives in the browser as a PDF.

Programs that print through CUPS (GTK, Qt, Firefox, LibreOffice) speak the Internet Printing Protocol, over HTTP, with
the socket that CUPS_SERVER names. This is all there is behind it. It runs as the session's user and has no right that
the user's own programs lack. Whether a document leaves the session is decided where the spool ends: by Selkies, which
is another user's.

Started by the agent when a program first connects, with the listening socket as the descriptor given as the first
argument and the spool as the second; ends when nobody was connected for IDLE_IN_SECONDS.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from fanlight.agent import ipp
from fanlight.agent.printers import Printer, answer

log = logging.getLogger(__name__)

IDLE_IN_SECONDS = 60.0
SILENCE_IN_SECONDS = 60.0
LARGEST_ATTRIBUTES = 64 * 1024
LARGEST_HEAD = 16 * 1024


class BrokenConnection(Exception):
    """The peer went away or does not speak HTTP."""


class Connection:
    """One program's connection: HTTP/1.1 requests, one after another."""

    def __init__(self, printer: Printer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._printer, self._reader, self._writer = printer, reader, writer

    async def serve(self) -> None:
        try:
            while await self._serve_one():
                pass
        except (BrokenConnection, ConnectionError, asyncio.IncompleteReadError, TimeoutError) as reason:
            log.debug("connection ends: %s", reason)
        finally:
            self._writer.close()

    async def _serve_one(self) -> bool:
        """Return whether the connection goes on."""
        head = await self._head()
        if head is None:
            return False
        method, headers = head
        if method != "POST":
            await self._say(404, b"", "text/plain")  # a printer without a PPD has none to show
            return "content-length" not in headers and "transfer-encoding" not in headers
        if headers.get("expect", "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        pieces = self._body(headers)
        message = b""
        while True:
            try:
                request, document_at = ipp.read_request(message)
                break
            except ipp.MalformedMessage:
                piece = await anext(pieces, b"")
                if not piece or len(message) > LARGEST_ATTRIBUTES:
                    await self._say(400, b"", "text/plain")
                    return False
                message += piece
        said = await answer(self._printer, request, _following(message[document_at:], pieces))
        async for _ in pieces:
            pass  # what a refused document still had to say
        await self._say(200, said, "application/ipp")
        return headers.get("connection", "").lower() != "close"

    async def _head(self) -> tuple[str, dict[str, str]] | None:
        try:
            async with asyncio.timeout(SILENCE_IN_SECONDS):
                raw = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                return None
            raise
        except asyncio.LimitOverrunError as error:
            raise BrokenConnection("the head is too large") from error
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return first.partition(" ")[0], headers

    async def _body(self, headers: dict[str, str]) -> AsyncIterator[bytes]:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := await self._chunk_size():
                async for piece in self._exactly(size):
                    yield piece
                await self._line()
            await self._line()
        else:
            length = headers.get("content-length", "0")
            if not length.isascii() or not length.isdigit():
                raise BrokenConnection("the length is no number")
            async for piece in self._exactly(int(length)):
                yield piece

    async def _chunk_size(self) -> int:
        try:
            return int((await self._line()).partition(b";")[0], 16)
        except ValueError as error:
            raise BrokenConnection("a chunk has no length") from error

    async def _line(self) -> bytes:
        async with asyncio.timeout(SILENCE_IN_SECONDS):
            return (await self._reader.readuntil(b"\r\n"))[:-2]

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size > 0:
            async with asyncio.timeout(SILENCE_IN_SECONDS):
                piece = await self._reader.read(min(size, LARGEST_HEAD))
            if not piece:
                raise BrokenConnection("the body is cut off")
            size -= len(piece)
            yield piece

    async def _say(self, status: int, body: bytes, kind: str) -> None:
        words = {200: "OK", 400: "Bad Request", 404: "Not Found"}[status]
        head = f"HTTP/1.1 {status} {words}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        await self._writer.drain()


async def _following(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in rest:
        yield piece


async def serve(listener: socket.socket, spool: Path, *, idle_in_seconds: float = IDLE_IN_SECONDS) -> None:
    """Serve until nobody was connected for a while."""
    printer = Printer(spool)
    open_connections = 0
    is_idle = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        open_connections += 1
        try:
            await Connection(printer, reader, writer).serve()
        finally:
            open_connections -= 1
            is_idle.set()

    async with await asyncio.start_server(connected, sock=listener, limit=LARGEST_HEAD):
        while True:
            is_idle.clear()
            try:
                await asyncio.wait_for(is_idle.wait(), idle_in_seconds)
            except TimeoutError:
                if open_connections == 0:
                    return


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    listener = socket.socket(fileno=int(sys.argv[1]))
    asyncio.run(serve(listener, Path(sys.argv[2])))
