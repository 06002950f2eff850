"""One connection of one agent. The peer is hostile: everything is bounded, and whatever is not understood ends it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import cast

from fanlight.agentwire import MAX_LINE_BYTES, MAX_SEATS, SPOKEN_PROTOCOLS
from fanlight.agentwire.image_requests import ImageRequest, PartsOfRequests
from fanlight.agentwire.messages import ImageRequestPart, MalformedMessage, Status, StorageReport, WorkReport, decode
from fanlight.domain.ports import AgentPhase, SessionPhase, StorageState, WorkPhase
from fanlight.domain.user_storage import StorageKind

log = logging.getLogger(__name__)

# An agent that does not read what it is sent is of no use, and must not make the host remember it all.
MAX_UNREAD_BYTES = 4 * MAX_LINE_BYTES
_PHASES = frozenset(phase.value for phase in AgentPhase)
_SESSION_PHASES = frozenset(phase.value for phase in SessionPhase)
_WORK_PHASES = frozenset(phase.value for phase in WorkPhase)
_STORAGE_STATES = frozenset(state.value for state in StorageState)
_STORAGE_KINDS = frozenset(kind.value for kind in StorageKind)
_MAX_NAME = 255
_MAX_UNSENT = 2**50
_MAX_SESSION_ID = _MAX_WORK_ID = 128


class Allowance:
    """So many at once, and so many a second in the long run. `time` is in seconds, monotonic."""

    def __init__(self, time: Callable[[], float], *, burst: int, per_second: float) -> None:
        self._time, self._burst, self._per_second = time, burst, per_second
        self._left = float(burst)
        self._at = time()

    def take(self) -> bool:
        now = self._time()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class AgentConnection(asyncio.Protocol):
    """`on_status` gets every well-formed report; `on_lost` is called once, with whether the peer misbehaved.

    `on_image_request` gets whole requests, and says why one may not come now; None: this peer may not ask at all.
    """

    def __init__(
        self,
        instance_id: str,
        allowance: Allowance,
        on_status: Callable[["AgentConnection", Status], None],
        on_lost: Callable[["AgentConnection", bool], None],
        on_image_request: Callable[[ImageRequest], str | None] | None = None,
    ) -> None:
        self._instance_id = instance_id
        self._allowance = allowance
        self._on_status, self._on_lost, self._on_image_request = on_status, on_lost, on_image_request
        self._parts = PartsOfRequests()
        self._transport: asyncio.Transport | None = None
        self._unfinished = bytearray()
        self._has_misbehaved = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unfinished += data
        while not self._has_misbehaved and (end := self._unfinished.find(b"\n")) >= 0:
            line = bytes(self._unfinished[: end + 1])
            del self._unfinished[: end + 1]
            self._read(line)
        if not self._has_misbehaved and len(self._unfinished) > MAX_LINE_BYTES:
            self._refuse("line too long")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why the peer left changes nothing
        self._unfinished.clear()
        self._on_lost(self, self._has_misbehaved)

    def write(self, line: bytes) -> bool:
        """Queue a line; return False when the peer is gone or does not read."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size() + len(line) > MAX_UNREAD_BYTES:
            self._refuse("does not read")
            return False
        self._transport.write(line)
        return True

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _read(self, line: bytes) -> None:
        if not self._allowance.take():
            self._refuse("too many messages")
            return
        try:
            message = decode(line)
            if isinstance(message, ImageRequestPart) and self._on_image_request is not None:
                request = self._parts.take(message)
                problem = self._on_image_request(request) if request else None
            elif (problem := _problem_of(message)) is None:
                self._on_status(self, cast("Status", message))
        except MalformedMessage as error:
            problem = str(error)
        if problem:
            self._refuse(problem)

    def _refuse(self, why: str) -> None:
        self._has_misbehaved = True
        self._unfinished.clear()
        log.warning("agent dropped", extra={"instance_id": self._instance_id, "why": why})
        self.drop()


def _problem_of(message: object) -> str | None:
    """Return what a status may not say, beyond its types."""
    if not isinstance(message, Status):
        return "not a status"
    if message.protocol not in SPOKEN_PROTOCOLS:
        return f"protocol {message.protocol}, here {sorted(SPOKEN_PROTOCOLS)}"
    if message.phase not in _PHASES or any(report.phase not in _SESSION_PHASES for report in message.sessions):
        return "unknown phase"
    return next(
        (
            why
            for is_wrong, why in (
                (any(len(report.session_id) > _MAX_SESSION_ID for report in message.sessions), "session id too long"),
                (not all(0 <= report.seat < MAX_SEATS for report in message.sessions), "no such seat"),
                (not all(_is_storage(report.storage) for report in message.sessions), "no such storage"),
                (message.work is not None and not _is_work(message.work), "no such work"),
            )
            if is_wrong
        ),
        None,
    )


def _is_storage(said: Sequence[StorageReport]) -> bool:
    kinds = [one.kind for one in said]
    is_known = _STORAGE_KINDS.issuperset(kinds) and _STORAGE_STATES.issuperset(one.state for one in said)
    counts = [count for one in said for count in (one.unsent_files, one.unsent_bytes)]
    openings = [one.opening for one in said if one.opening]
    is_named = all(len(opening.name) <= _MAX_NAME for opening in openings)
    counts += [max(count, 0) for opening in openings for count in (opening.files, opening.of)]
    return (
        is_known and is_named and len(set(kinds)) == len(kinds) and all(0 <= count <= _MAX_UNSENT for count in counts)
    )


def _is_work(said: WorkReport) -> bool:
    return said.phase in _WORK_PHASES and len(said.work_id) <= _MAX_WORK_ID
