"""A simulated guest: the agent of one instance, speaking the real wire over the instance's real sockets."""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path

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
    Maintain,
    MalformedMessage,
    Message,
    PrepareSnapshot,
    RefreshStorage,
    RunScript,
    SessionReport,
    Status,
    StorageReport,
    WorkReport,
    decode,
    encode,
)
from fanlight.domain.ports import AgentPhase, InstanceRole, SessionPhase, StorageState, WorkPhase
from fanlight.domain.user_storage import StorageKind
from fanlight.drivers.simulated.faults import Faults
from fanlight.drivers.simulated.records import Record, SessionRecord
from fanlight.drivers.simulated.stream import PictureStream
from fanlight.unix_sockets import connect_in

log = logging.getLogger(__name__)

# The host's socket appears when the reconciler has seen the instance; a real agent also knocks until it does.
_FIRST_RETRY_IN_SECONDS, _LAST_RETRY_IN_SECONDS = 0.005, 0.5
_MAX_LAUNCH_IDS = 100
_MAX_REPORTS = 100
_FOR_MANY = (InstanceRole.IMAGE_BUILDER, InstanceRole.WORKSTATION)
_FLUSH_LOOK_IN_SECONDS = 0.02
_TASKS = {InstanceRole.MAINTENANCE: ("look", "upgrade"), InstanceRole.QUALIFICATION: ("check",)}


class SimulatedGuest:
    """Runs as long as `run` does. `save` makes the record durable. `is_updated`: its image was made by an update."""

    def __init__(
        self, record: Record, home: Path, faults: Faults, save: Callable[[], None], *, is_updated: bool = False
    ) -> None:
        self._record, self._home, self._faults, self._save = record, home, faults, save
        self._phase = AgentPhase.BOOTING
        self._session_phases: dict[str, SessionPhase] = {}
        self._streams: dict[str, PictureStream] = {}
        self._has_news = asyncio.Event()
        self._flushes: list[asyncio.Task[None]] = []
        self._is_updated = is_updated
        self._work: WorkReport | None = None

    async def run(self) -> None:
        """Boot, speak and serve until cancelled."""
        speaking = asyncio.create_task(self._speak())
        try:
            await self._boot()
            await speaking
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
            for flush in self._flushes:
                flush.cancel()
            await asyncio.gather(*self._flushes, return_exceptions=True)
            for stream in self._streams.values():
                await stream.stop()

    async def _boot(self) -> None:
        await asyncio.sleep(max(self._record.launched_at + self._record.boot_seconds - time.time(), 0))
        if self._faults.fails_to_boot:
            self._become(AgentPhase.FAILED)
            return
        for session in self._record.sessions:
            if session.has_ended:
                self._session_phases[session.session_id] = SessionPhase.ENDED
            elif session.flushes:
                self._flush(session)
            else:
                await self._serve(session)
        if self._record.sessions or not self._faults.never_ready:
            self._become(AgentPhase.READY)

    def _become(self, phase: AgentPhase) -> None:
        self._phase = phase
        self._has_news.set()

    def _note(self, session_id: str, phase: SessionPhase) -> None:
        self._session_phases[session_id] = phase
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
        return Status(
            protocol=PROTOCOL,
            runtime_version=f"simulated-{__version__}",
            phase=self._phase,
            sessions=tuple(self._report_of(session) for session in self._record.sessions[-_MAX_REPORTS:]),
            detail="a fault was injected" if self._phase is AgentPhase.FAILED else "",
            work=self._work,
        )

    def _report_of(self, session: SessionRecord) -> SessionReport:
        phase = self._session_phases.get(session.session_id, SessionPhase.STARTING_SESSION)
        stream = self._streams.get(session.session_id)
        return SessionReport(
            session_id=session.session_id,
            seat=session.seat,
            phase=phase,
            idle_seconds=time.monotonic() - stream.last_input_at if stream else -1.0,
            detail="a fault was injected" if phase is SessionPhase.FAILED else "",
            storage=() if phase is SessionPhase.ENDED else self._storage(),
        )

    def _storage(self) -> tuple[StorageReport, ...]:
        if self._faults.unsent is None:
            return ()
        files, size = self._faults.unsent
        state = StorageState.MOUNTED
        return (StorageReport(kind=StorageKind.HOMEFOLDERS, state=state, unsent_files=files, unsent_bytes=size),)

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
            case RefreshStorage():
                pass  # there are no folders here
            case PrepareSnapshot() if self._record.spec.role is InstanceRole.IMAGE_BUILDER:
                for session in self._record.sessions:
                    await self._end(session.session_id)
                if not self._faults.never_prepared:
                    self._become(AgentPhase.PREPARED)
            case Maintain():
                self._maintain(message)
            case RunScript():
                self._run_script(message)
            case _:
                raise MalformedMessage("a host does not send a status")

    def _maintain(self, message: Maintain) -> None:
        """There are no packages here: what was never updated has one update, so that every state can be seen."""
        if self._faults.never_works or (self._work is not None and self._work.work_id == message.work_id):
            return
        role = self._record.spec.role
        if message.task not in _TASKS.get(role, ()):
            self._tell_work(
                WorkReport(work_id=message.work_id, phase=WorkPhase.FAILED, detail=f"not in a {role} instance")
            )
        elif message.task in self._faults.failing_work:
            problem = self._faults.failing_work[message.task]
            is_check = message.task == "check"  # which is done when it knows what does not start
            self._tell_work(
                WorkReport(
                    work_id=message.work_id,
                    phase=WorkPhase.DONE if is_check else WorkPhase.FAILED,
                    detail="" if is_check else problem,
                    problems=(problem,) if is_check else (),
                )
            )
        else:
            updates = 0 if message.task == "check" or self._is_updated else 1
            self._tell_work(WorkReport(work_id=message.work_id, phase=WorkPhase.DONE, updates=updates))

    def _run_script(self, message: RunScript) -> None:
        """Nothing runs here: a script that says `exit 1` fails, so that every state can be seen."""
        if self._faults.never_works or (self._work is not None and self._work.work_id == message.work_id):
            return
        has_failed = message.script.strip().endswith("exit 1") or self._record.spec.role is not InstanceRole.WORKSTATION
        phase, detail = (WorkPhase.FAILED, "it ended with 1") if has_failed else (WorkPhase.DONE, "")
        self._tell_work(WorkReport(work_id=message.work_id, phase=phase, detail=detail))

    def _tell_work(self, report: WorkReport) -> None:
        self._work = report
        self._has_news.set()

    async def _begin(self, message: BeginSession) -> None:
        live = [session for session in self._record.sessions if not session.has_ended]
        # For one session in all, unless it is an administrator's: nobody follows on a used one.
        is_single = self._record.spec.places == 1 and self._record.spec.role not in _FOR_MANY
        is_full = len(self._record.sessions if is_single else live) >= self._record.spec.places
        is_known = self._record.session(message.session_id) is not None
        if self._phase is not AgentPhase.READY or self._faults.never_begins or is_full or is_known:
            self._has_news.set()  # Repeated or refused: the status says what is true.
            return
        session = SessionRecord(seat=len(self._record.sessions), begun=dataclasses.asdict(message))
        self._record.sessions.append(session)
        if self._faults.fails_to_begin:
            self._note(message.session_id, SessionPhase.FAILED)
            return
        if message.application is not None:
            session.launched.append(message.application.name)
        self._save()
        await self._serve(session)

    async def _serve(self, session: SessionRecord) -> None:
        self._note(session.session_id, SessionPhase.STARTING_SESSION)
        stream = self._streams[session.session_id] = PictureStream(session, self._home / "guest", self._save)
        await stream.start()
        self._note(session.session_id, SessionPhase.IN_SESSION)

    def _launch(self, message: LaunchApplication) -> None:
        session = self._record.session(message.session_id)
        if session is None or session.has_ended or message.launch_id in session.launch_ids:
            return
        session.launch_ids = [*session.launch_ids, message.launch_id][-_MAX_LAUNCH_IDS:]
        session.launched.append(message.application.name)
        self._save()
        if (stream := self._streams.get(message.session_id)) is not None:
            stream.redraw()

    async def _end(self, session_id: str) -> None:
        session = self._record.session(session_id)
        if session is None or session.has_ended or session.flushes:
            return
        if (stream := self._streams.pop(session_id, None)) is not None:
            await stream.stop()
        if self._unsent_files:
            session.flushes = True
            self._save()
            self._flush(session)
        else:
            self._close(session)

    @property
    def _unsent_files(self) -> int:
        return self._faults.unsent[0] if self._faults.unsent else 0

    def _flush(self, session: SessionRecord) -> None:
        self._note(session.session_id, SessionPhase.FLUSHING)
        self._flushes.append(asyncio.create_task(self._send_all(session)))

    async def _send_all(self, session: SessionRecord) -> None:
        before = self._faults.unsent
        while self._unsent_files:
            await asyncio.sleep(_FLUSH_LOOK_IN_SECONDS)
            if self._faults.unsent != before:
                before = self._faults.unsent
                self._has_news.set()
        self._close(session)

    def _close(self, session: SessionRecord) -> None:
        session.has_ended = True
        self._save()
        self._note(session.session_id, SessionPhase.ENDED)
