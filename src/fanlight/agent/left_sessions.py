"""Sessions that were cut short because their instance stopped, and what their users saved in them.

An agent that finds a note of one at its boot sends what is left, and is there for nothing else: whoever was here is
gone, and nobody comes to an instance that others have used. The session is FLUSHING until everything has arrived.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from fanlight.agent.accounts import Seat
from fanlight.agent.processes import Processes
from fanlight.agent.session_notes import SessionNote
from fanlight.agent.session_storage import SessionStorage
from fanlight.agent.sessions import ENDED, FAILED, FLUSHING, MAX_DETAIL
from fanlight.agent.system import make_directory
from fanlight.agentwire.messages import Message, StorageMount, StorageReport

log = logging.getLogger(__name__)


class LeftStorage(Protocol):
    """See `session_storage`."""

    @property
    def reports(self) -> tuple[StorageReport, ...]: ...
    def begin_left(self, mounts: Sequence[StorageMount]) -> None: ...
    async def end(self, on_unsent: Callable[[], None]) -> None: ...


class LeftSession:
    """One of them, as its instance sees it. `prepare` makes the directories that a boot takes away."""

    def __init__(
        self, note: SessionNote, storage: LeftStorage, prepare: Callable[[], None], *, on_change: Callable[[], None]
    ) -> None:
        self.phase, self.detail = FLUSHING, ""
        self.session_id: str | None = note.session_id
        self.has_script_failed = False
        self._note, self._storage, self._prepare, self._on_change = note, storage, prepare, on_change

    @property
    def storage(self) -> tuple[StorageReport, ...]:
        return self._storage.reports

    async def boot(self) -> None:
        """Send what is left, however long that takes."""
        try:
            self._prepare()
            self._storage.begin_left(self._note.mounts)
            await self._storage.end(lambda: None)
        except OSError as error:
            log.exception("what is left of a session cannot be sent")
            self.phase, self.detail = FAILED, f"what is left of the session cannot be sent: {error}"[:MAX_DETAIL]
        else:
            self.phase = ENDED
        self._on_change()

    def handle(self, message: Message) -> None:
        """It is ending already, and nothing else can be done with it."""

    async def idle_seconds(self) -> float:
        return -1.0

    def abandon(self) -> None:
        """Only seats without a session are."""


def left_session(
    note: SessionNote, processes: Processes, *, is_shared: bool, on_change: Callable[[], None]
) -> LeftSession:
    seat = Seat(note.seat, is_shared=is_shared)

    def prepare() -> None:
        # Nothing in the home: it is as its user left it, links and all.
        make_directory(seat.log_directory, 0, 0, 0o700)
        make_directory(seat.directory, 0, 0, 0o711)

    return LeftSession(note, SessionStorage(seat, processes, on_change=on_change), prepare, on_change=on_change)
