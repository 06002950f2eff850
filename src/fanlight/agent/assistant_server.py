"""Where the Image Assistant finds the agent: one request a connection, from root of the builder only."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fanlight.agent.assistant.agent_socket import MAX_LINE_BYTES, SOCKET
from fanlight.agent.image_requests import ImageRequests
from fanlight.agent.sessions import Refused
from fanlight.agentwire.image_requests import MAX_PARTS, PART_CHARACTERS
from fanlight.agentwire.messages import ApplicationToLaunch

log = logging.getLogger(__name__)

FAILED = 255
Answer = tuple[int, str]


class AssistantServer:
    """`try_application` starts one as template or test user; raises Refused or OSError."""

    def __init__(
        self,
        requests: ImageRequests,
        try_application: Callable[[str, ApplicationToLaunch], Any],
        *,
        path: str = SOCKET,
        owner: int = 0,
    ) -> None:
        self._requests, self._try, self._path, self._owner = requests, try_application, path, owner

    async def run(self) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_unix_server(self._converse, sock=self._listener(), limit=MAX_LINE_BYTES)
        async with server:
            await server.serve_forever()

    def _listener(self) -> socket.socket:
        """Without a pause: the mask is the whole process's, and others write files too."""
        Path(self._path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(self._path)
        finally:
            os.umask(before)
        return listener

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            try:
                status, message = await self._answer(reader, writer)
                writer.write(json.dumps({"status": status, "message": message}).encode() + b"\n")
                await writer.drain()
            finally:
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        link = writer.get_extra_info("socket")
        _, uid, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            line = await reader.readline()
            if uid != self._owner:
                return FAILED, "Only root may ask."
            asked = json.loads(line)
            if asked["operation"] == "create_image":
                return await self._create(str(asked["request_id"]), [str(part) for part in asked["parts"]])
            if asked["operation"] == "try_application":
                wanted = ApplicationToLaunch(**{name: str(value) for name, value in asked["application"].items()})
                await self._try(str(asked["account"]), wanted)
                return 0, "Success"
        except (Refused, OSError) as error:
            return FAILED, str(error)
        except (ValueError, KeyError, TypeError, AttributeError):
            return FAILED, "The request is not understood."
        return FAILED, f"There is no operation {asked['operation']}."

    async def _create(self, request_id: str, parts: list[str]) -> Answer:
        if not 0 < len(parts) <= MAX_PARTS or any(len(part) > PART_CHARACTERS for part in parts):
            return FAILED, "The catalog is too large for an image."
        answer = await self._requests.ask(request_id, parts)
        log.info("image requested", extra={"status": answer.status, "answer": answer.message})
        return answer.status, answer.message
