"""A simulated guest: the agent of one instance, speaking the real wire over the instance's real sockets."""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fanlight import __version__
from fanlight.agentwire import (
    AGENT_SOCKET_NAME,
    MAX_LINE_BYTES,
    PROTOCOL,
    STATUS_INTERVAL_IN_SECONDS,
)
from fanlight.agentwire.messages import (
    BeginSession,
    EndSession,
    LaunchApplication,
    MalformedMessage,
    Message,
    Status,
    decode,
    encode,
)
from fanlight.domain.ports import AgentPhase
from fanlight.drivers.simulated.faults import Faults
from fanlight.drivers.simulated.records import Record
from fanlight.drivers.simulated.stream import PictureStream
from fanlight.unix_sockets import connect_in

log = logging.getLogger(__name__)

# The host's socket appears when the reconciler has seen the instance; a real agent also knocks until it does.
_FIRST_RETRY_IN_SECONDS, _LAST_RETRY_IN_SECONDS = 0.005, 0.5
_MAX_LAUNCH_IDS = 100


class SimulatedGuest:
    """Runs as long as `run` does. `save` makes the record durable."""

    def __init__(self, record: Record, home: Path, faults: Faults, save: Callable[[], None]) -> None:
        self._record, self._home, self._faults, self._save = record, home, faults, save
        self._phase = AgentPhase.BOOTING
        self._stream: PictureStream | None = None
        self._has_news = asyncio.Event()

    async def run(self) -> None:
        """Boot, speak and serve until cancelled."""
        speaking = asyncio.create_task(self._speak())
        try:
            await self._boot()
            await speaking
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
            if self._stream is not None:
                await self._stream.stop()

    async def _boot(self) -> None:
        await asyncio.sleep(max(self._record.launched_at + self._record.boot_seconds - time.time(), 0))
        if self._faults.fails_to_boot:
            self._become(AgentPhase.FAILED)
        elif self._record.has_ended:
            self._become(AgentPhase.ENDED)
        elif self._record.begun is not None:
            await self._serve()
        elif not self._faults.never_ready:
            self._become(AgentPhase.READY)

    def _become(self, phase: AgentPhase) -> None:
        self._phase = phase
        self._has_news.set()

    async def _speak(self) -> None:
        """Connect and reconnect for ever."""
        pause = _FIRST_RETRY_IN_SECONDS
        while True:
            try:
                connection = await connect_in(self._home / "host", AGENT_SOCKET_NAME)
                reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_LINE_BYTES)
            except OSError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LAST_RETRY_IN_SECONDS)
                continue
            pause = _FIRST_RETRY_IN_SECONDS
            reporting = asyncio.create_task(self._report(writer))
            try:
                await self._listen(reader)
            except (OSError, ValueError) as error:
                log.warning("simulated agent dropped the host", extra={"why": str(error)})
            finally:
                writer.transport.abort()
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)
            await asyncio.sleep(_FIRST_RETRY_IN_SECONDS)

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        while True:
            self._has_news.clear()
            writer.write(encode(self._status()))
            with contextlib.suppress(OSError):
                await writer.drain()
            # Not wait_for: in Python 3.11 it may swallow a cancellation, and this loop would never end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATUS_INTERVAL_IN_SECONDS):
                    await self._has_news.wait()

    def _status(self) -> Status:
        begun = self._record.begun
        return Status(
            protocol=PROTOCOL,
            runtime_version=f"simulated-{__version__}",
            phase=self._phase,
            session_id=str(begun["session_id"]) if begun else None,
            idle_seconds=time.monotonic() - self._stream.last_input_at if self._stream else -1.0,
            detail="a fault was injected" if self._phase is AgentPhase.FAILED else "",
        )

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            await self._obey(decode(line))

    async def _obey(self, message: Message) -> None:
        match message:
            case BeginSession():
                await self._begin(message)
            case LaunchApplication():
                self._launch(message)
            case EndSession(session_id=session_id):
                await self._end(session_id)
            case _:
                raise MalformedMessage("a host does not send a status")

    async def _begin(self, message: BeginSession) -> None:
        if self._phase is not AgentPhase.READY or self._faults.never_begins:
            self._has_news.set()  # Repeated or refused: the status says what is true.
            return
        if self._faults.fails_to_begin:
            self._become(AgentPhase.FAILED)
            return
        members: dict[str, Any] = dataclasses.asdict(message)
        self._record.begun = members
        if message.application is not None:
            self._record.launched.append(message.application.name)
        self._save()
        await self._serve()

    async def _serve(self) -> None:
        self._become(AgentPhase.STARTING_SESSION)
        self._stream = PictureStream(self._record, self._home / "guest", self._save)
        await self._stream.start()
        self._become(AgentPhase.IN_SESSION)

    def _launch(self, message: LaunchApplication) -> None:
        begun = self._record.begun
        if begun is None or begun["session_id"] != message.session_id or message.launch_id in self._record.launch_ids:
            return
        self._record.launch_ids = [*self._record.launch_ids, message.launch_id][-_MAX_LAUNCH_IDS:]
        self._record.launched.append(message.application.name)
        self._save()
        if self._stream is not None:
            self._stream.redraw()

    async def _end(self, session_id: str) -> None:
        if self._record.begun is None or self._record.begun["session_id"] != session_id:
            return
        self._record.has_ended = True
        self._save()
        if self._stream is not None:
            await self._stream.stop()
            self._stream = None
        self._become(AgentPhase.ENDED)
