"""The connection to the host: for ever, level-triggered, one line a message.

The agent says its status on connecting, on every change and every STATUS_INTERVAL_IN_SECONDS, and acts on what the
host asks. The host may restart at any time; the session goes on meanwhile.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from fanlight.agent.image_requests import ImageRequests
from fanlight.agentwire import (
    AGENT_SOCKET_NAME,
    HOST_SOCKETS,
    MAX_LINE_BYTES,
    MAX_MESSAGES_PER_SECOND,
    STATUS_INTERVAL_IN_SECONDS,
)
from fanlight.agentwire.messages import MalformedMessage, Message, Status, decode, encode

log = logging.getLogger(__name__)

SOCKET = f"{HOST_SOCKETS}/{AGENT_SOCKET_NAME}"
# The host begins to listen when it learns of the launch, at about the time the agent starts: look often at first.
FIRST_RETRY_IN_SECONDS, LAST_RETRY_IN_SECONDS = 0.02, 1.0
# The host drops whom it hears more often than MAX_MESSAGES_PER_SECOND; half of that is left for its rounding.
STATUSES_AT_ONCE = MAX_MESSAGES_PER_SECOND // 2
REQUEST_PARTS_PER_SECOND = 20


class HostChannel:
    def __init__(
        self,
        *,
        status: Callable[[], Awaitable[Status]],
        handle: Callable[[Message], None],
        requests: ImageRequests | None = None,
        path: str = SOCKET,
    ) -> None:
        self._requests = requests
        self._status = status
        self._handle = handle
        self._path = path
        self._changed = asyncio.Event()

    def status_changed(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Never returns; cancel it."""
        pause = FIRST_RETRY_IN_SECONDS
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(self._path, limit=MAX_LINE_BYTES)
                pause = FIRST_RETRY_IN_SECONDS
                try:
                    await self._converse(reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, LAST_RETRY_IN_SECONDS)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak and listen until either side ends."""
        sides = [asyncio.ensure_future(self._report(writer)), asyncio.ensure_future(self._listen(reader))]
        if self._requests is not None:
            sides.append(asyncio.ensure_future(self._deliver(writer, self._requests)))
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        said_at: deque[float] = deque(maxlen=STATUSES_AT_ONCE)
        loop = asyncio.get_running_loop()
        while True:
            if len(said_at) == STATUSES_AT_ONCE:
                await asyncio.sleep(max(0.0, said_at[0] + 1.0 - loop.time()))
            self._changed.clear()
            writer.write(encode(await self._status()))
            said_at.append(loop.time())
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATUS_INTERVAL_IN_SECONDS):
                    await self._changed.wait()

    async def _deliver(self, writer: asyncio.StreamWriter, requests: ImageRequests) -> None:
        """Send what the host has not answered, once over each connection."""
        while True:
            await requests.is_waiting.wait()
            for message in requests.unanswered():
                writer.write(encode(message))
                await writer.drain()
                await asyncio.sleep(1 / REQUEST_PARTS_PER_SECOND)
            await requests.until_over()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await reader.readuntil(b"\n")
                self._handle(decode(line))
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                return
            except MalformedMessage as error:
                log.warning("message not understood", extra={"reason": str(error)})
                return
