"""AgentChannel over Unix sockets (see `domain.ports.AgentChannel` and `agentwire`).

A guest can only hurt itself: each instance has its own socket, its own allowance of messages, and an acceptor that
slows down for a guest that connects too often or misbehaves.
"""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fanlight.agentwire import AGENT_SOCKET_NAME, MAX_MESSAGES_PER_SECOND, QUOTA_USED_UP, SETTINGS_TOO_LARGE
from fanlight.agentwire import messages as wire
from fanlight.agentwire.image_requests import ImageRequest as WireImageRequest
from fanlight.agentwire.messages import Status, decode, encode
from fanlight.domain.errors import AgentUnreachable
from fanlight.domain.image_requests import ImageAnswer, ImageRequest, RequestedApplication
from fanlight.domain.ports import (
    AgentPhase,
    AgentStatus,
    Clock,
    Opening,
    SessionPhase,
    SessionReport,
    StorageReport,
    StorageState,
    WorkPhase,
    WorkReport,
)
from fanlight.domain.user_storage import StorageKind
from fanlight.drivers.agents.connection import AgentConnection, Allowance
from fanlight.drivers.hints import Hints
from fanlight.unix_sockets import listen_in, uid_of_peer

log = logging.getLogger(__name__)

# After garbage, a flood or a foreign uid the instance waits so long for its next connection.
PENALTY_IN_SECONDS = 1.0
# An honest agent has half a dozen things to tell in its life. Each makes the reconcilers read the store, so one that
# changes its mind all the time is not listened to.
NEWS_AT_ONCE, NEWS_PER_SECOND = 20, 1.0
# An administrator who tries out names is not to be cut off.
IMAGE_REQUESTS_AT_ONCE, IMAGE_REQUESTS_PER_SECOND = 10, 1.0
MAX_ANSWER = 1_000
# An honest agent connects once; this is what one may need that restarts in a loop.
MIN_SECONDS_BETWEEN_CONNECTIONS = 0.05
_BACKLOG = 4
_MAX_DETAIL, _MAX_RUNTIME_VERSION = 500, 64
_MAX_PROBLEMS = 50  # as many applications has a catalogue at most


@dataclass(slots=True)
class _Line:
    """All about the agent of one instance."""

    instance_id: str
    first_uid: int
    listener: socket.socket
    allowance: Allowance  # of messages
    news: Allowance  # of changes that others are told of
    image_requests: Allowance | None  # None: it may ask for no image
    unanswered: str | None = None  # the image request that is being dealt with
    acceptor: asyncio.Task[None] | None = None
    connection: AgentConnection | None = None
    status: AgentStatus | None = None
    penalty_until: float = field(default=0.0)


class AgentSockets:
    """One for each api process. `run_dir` holds `instances/<instance_id>/host`, made by the instance driver."""

    def __init__(self, run_dir: Path, clock: Clock) -> None:
        self._run_dir, self._clock = run_dir, clock
        self._lines: dict[str, _Line] = {}
        self._hints = Hints()
        self._image_requests: asyncio.Queue[ImageRequest] = asyncio.Queue()  # at most one of an instance

    async def open(self, instance_id: str, first_uid: int, *, is_builder: bool = False) -> None:
        """Listen. Raises AgentUnreachable when the socket directory is not there (yet, or any more)."""
        if line := self._lines.get(instance_id):
            line.first_uid = first_uid
            return
        try:
            host = self._run_dir / "instances" / instance_id / "host"
            listener = listen_in(host, AGENT_SOCKET_NAME, mode=0o666, backlog=_BACKLOG)
        except OSError as error:
            raise AgentUnreachable(instance_id) from error
        loop = asyncio.get_running_loop()
        allowance = Allowance(loop.time, burst=MAX_MESSAGES_PER_SECOND, per_second=MAX_MESSAGES_PER_SECOND)
        news = Allowance(loop.time, burst=NEWS_AT_ONCE, per_second=NEWS_PER_SECOND)
        images = (
            Allowance(loop.time, burst=IMAGE_REQUESTS_AT_ONCE, per_second=IMAGE_REQUESTS_PER_SECOND)
            if is_builder
            else None
        )
        line = _Line(instance_id, first_uid, listener, allowance, news, images)
        self._lines[instance_id] = line
        line.acceptor = asyncio.create_task(self._accept(line), name=f"agent of {instance_id}")

    async def close(self, instance_id: str) -> None:
        """Stop listening and forget all that was heard. Unknown is success."""
        line = self._lines.pop(instance_id, None)
        if line is None:
            return
        try:
            if line.acceptor is not None:
                line.acceptor.cancel()
                await asyncio.gather(line.acceptor, return_exceptions=True)
        finally:  # also when who asked is cancelled meanwhile: nobody else knows this line any more
            line.listener.close()
            if line.connection is not None:
                line.connection.drop()

    async def close_all(self) -> None:
        """For the end of the process."""
        await asyncio.gather(*(self.close(instance_id) for instance_id in list(self._lines)))

    def status(self, instance_id: str) -> AgentStatus | None:
        line = self._lines.get(instance_id)
        return line.status if line else None

    async def send(self, instance_id: str, message: Mapping[str, Any]) -> None:
        """Send one message. Raises AgentUnreachable, and MalformedMessage for what no agent would accept."""
        data = encode(decode(json.dumps(dict(message), separators=(",", ":")).encode() + b"\n"))
        line = self._lines.get(instance_id)
        if line is None or line.connection is None or not line.connection.write(data):
            last_seen_at = line.status.reported_at if line and line.status else None
            raise AgentUnreachable(instance_id, last_seen_at)

    def changes(self) -> AsyncIterator[str]:
        return self._hints.listen()

    async def image_requests(self) -> AsyncIterator[ImageRequest]:
        while True:
            request = await self._image_requests.get()
            line = self._lines.get(request.instance_id)
            if line is not None and line.unanswered == request.request_id:
                yield request

    async def answer(self, request: ImageRequest, answer: ImageAnswer) -> None:
        line = self._lines.get(request.instance_id)
        if line is not None and line.unanswered == request.request_id:
            line.unanswered = None
        message = answer.message[:MAX_ANSWER]
        said = wire.ImageAnswer(request_id=request.request_id, status=answer.status, message=message)
        await self.send(request.instance_id, {"type": said.TYPE, **asdict(said)})

    async def _accept(self, line: _Line) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(line.listener)
            except OSError as error:  # out of file descriptors, or the listener is gone
                log.warning("cannot accept an agent", extra={"instance_id": line.instance_id, "why": str(error)})
                await asyncio.sleep(PENALTY_IN_SECONDS)
                continue
            await self._take_in(line, connection)
            wait = max(line.penalty_until - loop.time(), MIN_SECONDS_BETWEEN_CONNECTIONS)
            await asyncio.sleep(wait)

    async def _take_in(self, line: _Line, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            uid = uid_of_peer(connection)
            if uid != line.first_uid:
                log.warning("foreign uid at an agent socket", extra={"instance_id": line.instance_id, "uid": uid})
                line.penalty_until = loop.time() + PENALTY_IN_SECONDS
                connection.close()
                return
            older, line.connection = line.connection, None
            if older is not None:
                older.drop()
            line.connection = AgentConnection(
                line.instance_id,
                line.allowance,
                lambda sender, status: self._heard(line, sender, status),
                lambda sender, has_misbehaved: self._lost(line, sender, has_misbehaved=has_misbehaved),
                None if line.image_requests is None else lambda request: self._asked(line, request),
            )
            accepted = line.connection
            await loop.connect_accepted_socket(lambda: accepted, connection)
        except OSError:
            connection.close()

    def _heard(self, line: _Line, sender: AgentConnection, status: Status) -> None:
        if sender is not line.connection:
            return
        now = self._clock.now()
        before = line.status
        line.status = AgentStatus(
            instance_id=line.instance_id,
            phase=AgentPhase(status.phase),
            sessions=_reports_of(status, now),
            runtime_version=status.runtime_version[:_MAX_RUNTIME_VERSION],
            detail=_printable(status.detail[:_MAX_DETAIL]),
            reported_at=now,
            is_connected=True,
            work=_work_of(status),
            protocol=status.protocol,
        )
        if before is None or _said(before) != _said(line.status):
            self._tell(line, before)

    def _asked(self, line: _Line, request: WireImageRequest) -> str | None:
        """Take a request unless it is being dealt with; return what is wrong with asking now."""
        if line.unanswered == request.request_id:
            return None  # the guest lost its connection meanwhile; the answer goes over the new one
        if line.unanswered is not None:
            return "an image request before the answer to the last"
        if line.image_requests is None or not line.image_requests.take():
            return "too many image requests"
        line.unanswered = request.request_id
        self._image_requests.put_nowait(_image_request_of(line.instance_id, request))
        return None

    def _lost(self, line: _Line, sender: AgentConnection, *, has_misbehaved: bool) -> None:
        if has_misbehaved:
            line.penalty_until = asyncio.get_running_loop().time() + PENALTY_IN_SECONDS
        if sender is not line.connection:
            return
        line.connection = None
        if line.status is not None and self._lines.get(line.instance_id) is line:
            before, line.status = line.status, replace(line.status, is_connected=False)
            self._tell(line, before)

    def _tell(self, line: _Line, before: AgentStatus | None) -> None:
        """Wake the reconcilers, unless this agent does so all the time: then they find its status when they sweep."""
        if line.news.take():
            if line.status is not None:
                _log_details(line.status, before)
            self._hints.tell(line.instance_id)
            return
        line.penalty_until = asyncio.get_running_loop().time() + PENALTY_IN_SECONDS
        if line.connection is not None:
            line.connection.drop()


def _log_details(status: AgentStatus, before: AgentStatus | None) -> None:
    """Log what is new of the details, the instance's and its sessions'."""
    if status.detail and (before is None or before.detail != status.detail):
        said = {"phase": status.phase, "detail": status.detail}
        log.info("agent says", extra={"instance_id": status.instance_id, **said})
    for report in status.sessions:
        known = before.session(report.session_id) if before else None
        if report.detail and (known is None or known.detail != report.detail):
            said = {"streaming_session_id": report.session_id, "phase": report.phase, "detail": report.detail}
            log.info("agent says", extra={"instance_id": status.instance_id, **said})


def _printable(text: str) -> str:
    """Return the text without what could end a line of a log, or colour the terminal that shows it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _said(status: AgentStatus) -> tuple[object, ...]:
    """Return what a listener wants to be woken for; the time of the last key is not among it."""
    sessions = tuple(
        (
            report.session_id,
            report.seat,
            report.phase,
            [(one.kind, one.state, one.unsent_files > 0, one.opening is not None) for one in report.storage],
        )
        for report in status.sessions
    )
    return (status.phase, sessions, status.is_connected)


def _reports_of(status: Status, now: datetime) -> tuple[SessionReport, ...]:
    return tuple(
        SessionReport(
            session_id=said.session_id,
            seat=said.seat,
            phase=SessionPhase(said.phase),
            detail=_printable(said.detail[:_MAX_DETAIL]),
            idle_since=now - timedelta(seconds=min(said.idle_seconds, 1e8)) if said.idle_seconds >= 0 else None,
            has_script_failed=said.has_script_failed,
            storage=tuple(_storage_of(one) for one in said.storage),
        )
        for said in status.sessions
    )


def _storage_of(said: wire.StorageReport) -> StorageReport:
    return StorageReport(
        kind=StorageKind(said.kind),
        state=StorageState(said.state),
        unsent_files=said.unsent_files,
        unsent_bytes=said.unsent_bytes,
        detail=_printable(said.detail[:_MAX_DETAIL]),
        is_full=said.detail in (QUOTA_USED_UP, SETTINGS_TOO_LARGE),
        opening=_opening_of(said.opening) if said.opening else None,
    )


def _opening_of(said: wire.Opening) -> Opening:
    return Opening(
        name=_printable(said.name),
        files=said.files if said.files >= 0 else None,
        of=said.of if said.of >= 0 else None,
    )


def _work_of(status: Status) -> WorkReport | None:
    said = status.work
    if said is None:
        return None
    return WorkReport(
        work_id=said.work_id,
        phase=WorkPhase(said.phase),
        progress=_printable(said.progress[:_MAX_DETAIL]),
        detail=_printable(said.detail[:_MAX_DETAIL]),
        updates=max(said.updates, 0),
        problems=tuple(_printable(problem[:_MAX_DETAIL]) for problem in said.problems[:_MAX_PROBLEMS]),
    )


def _image_request_of(instance_id: str, said: WireImageRequest) -> ImageRequest:
    applications = tuple(
        RequestedApplication(
            icon=application.picture(),
            **{f.name: getattr(application, f.name) for f in fields(application) if f.name != "icon"},
        )
        for application in said.applications
    )
    members = {f.name: getattr(said, f.name) for f in fields(said) if f.name != "applications"}
    return ImageRequest(instance_id=instance_id, applications=applications, **members)
