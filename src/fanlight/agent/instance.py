"""The life of an instance: which sessions sit where in it.

One seat is always brought up ahead, as long as the instance may take another session, so that a session begins at
once. What fails before it has a session makes the instance FAILED: it takes nobody any more. What fails in a session
concerns that session alone.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Protocol

from fanlight.agent.application_settings import KIND as KEPT_SETTINGS
from fanlight.agent.sessions import BOOTING, ENDED, FAILED, MAX_DETAIL, READY, STARTING_SESSION, Refused
from fanlight.agentwire import MAX_SEATS
from fanlight.agentwire.messages import (
    BeginSession,
    EndSession,
    LaunchApplication,
    Message,
    RefreshStorage,
    SessionReport,
    StorageReport,
)

log = logging.getLogger(__name__)

PREPARED = "PREPARED"
CLOSE_POLL_IN_SECONDS = 0.05
REMEMBERED_ENDS = 50  # so many ended sessions stay in the status, which must fit into a line
MAX_LAST_WORDS = 300
MAX_SETTINGS_WORDS = 100  # the log has them whole


class SeatedSession(Protocol):
    """What `SeatLife` is to its instance."""

    @property
    def phase(self) -> str: ...
    @property
    def session_id(self) -> str | None: ...
    @property
    def detail(self) -> str: ...
    @property
    def has_script_failed(self) -> bool: ...
    @property
    def storage(self) -> tuple[StorageReport, ...]: ...
    async def boot(self) -> None: ...
    def handle(self, message: Message) -> None: ...
    async def idle_seconds(self) -> float: ...
    def abandon(self) -> None: ...


class InstanceLife:
    """`open_seat` makes the life of a seat, not booted yet. `places` is how many sessions there may be at a time.

    `numbers` are those that seats may have, in their order.
    `is_for_many`: a session may follow on another even if there is one place only.
    """

    def __init__(
        self,
        open_seat: Callable[[int], SeatedSession],
        *,
        places: int,
        numbers: Iterator[int],
        on_change: Callable[[], None],
        in_background: Callable[[Coroutine[None, None, None]], None],
        is_for_many: bool = False,
    ) -> None:
        self.phase = BOOTING
        self.detail = ""
        self._open_seat = open_seat
        self._places = places
        # An instance of a fleet for one session at a time is for one in all: nobody follows on a used one.
        self._numbers = itertools.islice(numbers, 1 if places == 1 and not is_for_many else MAX_SEATS)
        self._on_change = on_change
        self._in_background = in_background
        self._seats: dict[int, SeatedSession] = {}
        self._ended: dict[str, SessionReport] = {}  # by session, the newest last

    def boot(self) -> None:
        """Bring up the first seat."""
        self._bring_up_next()

    def take_nobody(self) -> None:
        """Be ready without a seat: the host has other work for this instance."""
        self._places = 0
        self.phase = READY
        self._on_change()

    def adopt(self, number: int, seat: SeatedSession) -> None:
        """Have a seat whose session was cut short when the instance stopped, before it takes nobody else."""
        self._seats[number] = seat
        self._in_background(seat.boot())

    async def close(self) -> None:
        """End all sessions, take no other one, and return when their programs are gone."""
        self._places = 0
        for number, seat in list(self._seats.items()):
            if seat.session_id is None:
                del self._seats[number]
                seat.abandon()
            else:
                seat.handle(EndSession(session_id=seat.session_id))
        while any(seat.phase != FAILED for seat in self._seats.values()):  # noqa: ASYNC110 - once in its life
            await asyncio.sleep(CLOSE_POLL_IN_SECONDS)

    def become_prepared(self) -> None:
        """What is left may become an image."""
        self.phase, self.detail = PREPARED, ""
        self._on_change()

    def fail(self, detail: str) -> None:
        if self.phase != FAILED:
            log.error("instance failed", extra={"detail": detail})
            self.phase, self.detail = FAILED, detail[:MAX_DETAIL]
            self._on_change()

    def handle(self, message: Message) -> None:
        """Act on a wish of the host. Never raises; what cannot be done is told in the status."""
        try:
            if isinstance(message, BeginSession):
                self._seat_for(message.session_id).handle(message)
            elif (
                isinstance(message, LaunchApplication | RefreshStorage | EndSession)
                and message.session_id not in self._ended
            ):
                self._seat_of(message.session_id).handle(message)
        except Refused as error:
            if self.detail != str(error) and self.phase != FAILED:
                self.detail = str(error)[:MAX_DETAIL]
                self._on_change()

    async def reports(self) -> tuple[SessionReport, ...]:
        """Return what the status says of the sessions."""
        ended = list(self._ended.values())[-REMEMBERED_ENDS:]
        live = [
            SessionReport(
                session_id=seat.session_id,
                seat=number,
                phase=STARTING_SESSION if seat.phase == BOOTING else seat.phase,
                idle_seconds=await seat.idle_seconds(),
                detail=seat.detail,
                has_script_failed=seat.has_script_failed,
                storage=seat.storage,
            )
            for number, seat in list(self._seats.items())
            if seat.session_id is not None
        ]
        return (*ended, *live)

    def seat_changed(self) -> None:
        """Call after each change of a seat."""
        for number, seat in list(self._seats.items()):
            if seat.phase == ENDED and seat.session_id is not None:
                del self._seats[number]
                # Files have arrived; settings may have been too large, which their user is told at the end.
                settings = (report for report in seat.storage if report.kind == KEPT_SETTINGS and report.detail)
                self._ended[seat.session_id] = SessionReport(
                    session_id=seat.session_id,
                    seat=number,
                    phase=ENDED,
                    detail=seat.detail[:MAX_LAST_WORDS],
                    storage=tuple(replace(report, detail=report.detail[:MAX_SETTINGS_WORDS]) for report in settings),
                )
            elif seat.phase == FAILED and (seat.session_id is None or self.phase == BOOTING):
                self.fail(seat.detail)
        if self.phase == BOOTING and any(seat.phase != BOOTING for seat in self._seats.values()):
            self.phase = READY
        self._bring_up_next()
        self._on_change()

    def _seat_of(self, session_id: str) -> SeatedSession:
        found = [seat for seat in self._seats.values() if seat.session_id == session_id]
        if not found:
            raise Refused(f"there is no session {session_id}")
        return found[0]

    def _seat_for(self, session_id: str) -> SeatedSession:
        """Return the seat of a session, its own or the one that is ahead. Raises Refused."""
        if session_id in self._ended:
            raise Refused(f"session {session_id} has ended")
        self._bring_up_next()
        ahead = [seat for seat in self._seats.values() if seat.session_id in (None, session_id)]
        if not ahead:
            raise Refused(f"all {self._places} places are taken")
        return next((seat for seat in ahead if seat.session_id == session_id), ahead[0])

    def _bring_up_next(self) -> None:
        """Have one seat ahead, as long as there is a place for whoever will sit there."""
        if self.phase == FAILED or any(seat.session_id is None for seat in self._seats.values()):
            return
        if len(self._seats) >= self._places:
            return
        try:
            number = next(self._numbers)
        except StopIteration:
            if self._places > 1:
                self.fail("this instance has had as many sessions as it can")
            return
        except OSError as error:
            self.fail(f"the next seat: {error}")
            return
        self._seats[number] = seat = self._open_seat(number)
        self._in_background(seat.boot())
