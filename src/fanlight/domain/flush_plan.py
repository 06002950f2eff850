"""How a session that is over gives its place back: at once, or after what its user saved has been sent. Pure.

A session without folders is ended within seconds. One with folders keeps its place, and its instance, until its agent
says that everything has arrived, whatever dies and comes back meanwhile; only after a long limit it is given up.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from fanlight.domain.instances import Instance
from fanlight.domain.ports import (
    AgentPhase,
    AgentStatus,
    ObservedInstance,
    Power,
    SessionPhase,
    SessionReport,
    StorageState,
)
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.domain.unsent_files import SettingsLoss, UnsentFiles
from fanlight.domain.user_storage import StorageKind

# How long the agent may be silent while it stops the programs of an ended session.
END_GRACE = timedelta(seconds=10)
# How long it may take in all: the image's scripts have up to 60 s, then the programs have their own grace.
END_LIMIT = timedelta(seconds=80)
# An instance of which we know no unsent file, and whose agent says nothing, is not kept for longer.
SILENT_FLUSH_GRACE = timedelta(minutes=5)
START_AGAIN_AFTER = timedelta(seconds=10)
# The page shows how many files are left.
SHOWN_FLUSH = timedelta(seconds=60)
_NEXT_COUNT, _NEXT_COUNT_UNSEEN = timedelta(seconds=1), timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is seen of one instance from outside.

    `looked_at` is when the newest look at the engine began (None: none yet); `observed` what it showed then.
    `listening_since` is when this process began to listen for its agent (None: it does not).
    """

    looked_at: datetime | None = None
    observed: ObservedInstance | None = None
    agent: AgentStatus | None = None
    listening_since: datetime | None = None

    @property
    def stands_still(self) -> bool:
        """Whether its disk is there, and nothing runs on it."""
        return self.observed is not None and self.observed.power in (Power.STOPPED, Power.FAILED)

    def is_gone(self, instance: Instance) -> bool:
        """Whether the engine does not have it any more. A look that began before the launch was accepted proves nothing."""
        if self.observed is not None or self.looked_at is None or instance.accepted_at is None:
            return False
        return self.looked_at > instance.accepted_at


@dataclass(frozen=True, slots=True)
class TellEnd:
    session_id: str


@dataclass(frozen=True, slots=True)
class Release:
    """A session that is over holds its place no more; others are on the instance still."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Let no more sessions come, because something on the instance is not as it should be."""

    why: str


@dataclass(frozen=True, slots=True)
class NoteUnsent:
    """Write how many files are left; None: everything has arrived."""

    session_id: str
    unsent: UnsentFiles | None
    settings_loss: SettingsLoss | None = None


@dataclass(frozen=True, slots=True)
class Lose:
    """Give up what could not be sent; the administrator and the user are told how much that was."""

    session_id: str
    unsent: UnsentFiles
    why: str


@dataclass(frozen=True, slots=True)
class SetAside:
    """Its fleet gets another instance; this one only sends what is left."""


@dataclass(frozen=True, slots=True)
class StartAgain:
    """Power it on: what its users saved is on its disk."""


@dataclass(frozen=True, slots=True)
class Listen:
    first_uid: int


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Nothing to do before this moment; `is_engine_asked` when a fresh look at the engine decides."""

    until: datetime
    is_engine_asked: bool = False


EndStep: TypeAlias = TellEnd | Release | Drain | NoteUnsent | Lose | StartAgain | Listen | LookAgain


def unsent_of(report: SessionReport | None) -> UnsentFiles | None:
    """Return what the agent says of all folders of a session together; None when it has none."""
    if report is None or not report.storage:
        return None
    return UnsentFiles(
        files=sum(one.unsent_files for one in report.storage),
        size_in_bytes=sum(one.unsent_bytes for one in report.storage),
    )


def settings_loss_of(report: SessionReport) -> SettingsLoss | None:
    """Return why the settings of applications were not kept, as the agent says it once all is over; None when they were.

    Settings that it could not fetch at the beginning it does not keep, and the user was told then.
    """
    said = next((one for one in report.storage if one.kind is StorageKind.APPLICATION_SETTINGS), None)
    if said is None or not said.detail or said.state is not StorageState.MOUNTED:
        return None
    return SettingsLoss.TOO_LARGE if said.is_full else SettingsLoss.NOT_SAVED


def unsent_at_end(session: StreamingSession, report: SessionReport | None, *, is_held: bool) -> UnsentFiles | None:
    """Return what is to be written when a session ends. `is_held`: its instance is there, and could still send it."""
    unsent = unsent_of(report) or session.unsent
    return unsent if unsent is None or is_held else unsent.as_lost()


def is_worth_noting(before: UnsentFiles | None, now: UnsentFiles | None) -> bool:
    """Return whether a live session's count says something new: for a write each time a file is saved, it would not."""
    return now is not None and (before is None or (before.files > 0) != (now.files > 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A session that is over and has its place on an instance still. `session` is None when its row is gone.

    Files that nobody sent `unsent_kept` after the end are given up.
    """

    instance: Instance
    session_id: str
    session: StreamingSession | None
    sight: Sight
    unsent_kept: timedelta
    now: datetime

    @property
    def report(self) -> SessionReport | None:
        return self.sight.agent.session(self.session_id) if self.sight.agent else None

    @property
    def is_flushing(self) -> bool:
        return self.report is not None and self.report.phase is SessionPhase.FLUSHING

    def is_set_aside(self) -> bool:
        """Return whether nothing but sending files is left of it."""
        if self.session is None or self.session.ended_at is None:
            return False
        return self.is_flushing or self.sight.stands_still or self.session.ended_at + END_LIMIT <= self.now

    def steps(self) -> list[EndStep]:
        """Let the agent end the session; then its place is free, or the instance goes."""
        if self.session is None or self.session.ended_at is None:
            return [Release(self.session_id)]
        unsent = self.session.unsent or (unsent_of(self.report) if self.is_flushing else None)
        if unsent is None or unsent.are_lost:
            return _end(self, self.session.ended_at)
        return _flush(self, self.session.ended_at, unsent)


def _end(ending: Ending, ended_at: datetime) -> list[EndStep]:
    instance, session_id, agent, report = ending.instance, ending.session_id, ending.sight.agent, ending.report
    if agent is None or report is None or report.phase is SessionPhase.ENDED:
        return [Release(session_id)]
    deadline = min(max(ended_at, agent.reported_at) + END_GRACE, ended_at + END_LIMIT)
    if deadline > ending.now and agent.is_connected:
        return [TellEnd(session_id), LookAgain(min(deadline, ending.now + timedelta(seconds=1)))]
    if instance.places == 1 or deadline <= ending.now:
        # What is left of it may be anything: the instance is not for others any more.
        return [*([] if instance.is_draining else [Drain(f"session {session_id} did not end")]), Release(session_id)]
    return [LookAgain(deadline)]


def _flush(ending: Ending, ended_at: datetime, unsent: UnsentFiles) -> list[EndStep]:
    instance, session_id, report = ending.instance, ending.session_id, ending.report
    if report is not None and report.phase is SessionPhase.ENDED:
        return [NoteUnsent(session_id, None, settings_loss_of(report)), Release(session_id)]
    # A report counts what was there when it was made; none was missed while it goes on.
    count = unsent_of(report) or unsent
    if why := _why_lost(ending, ended_at, count):
        leftovers: list[EndStep] = [] if instance.places == 1 or instance.is_draining else [Drain(why)]
        return [Lose(session_id, count, why), *leftovers, Release(session_id)]
    is_news = ending.session is not None and ending.session.unsent != count
    steps: list[EndStep] = [NoteUnsent(session_id, count)] if is_news else []
    return [*steps, *_go_on(ending, ended_at)]


def _why_lost(ending: Ending, ended_at: datetime, unsent: UnsentFiles) -> str | None:
    sight, agent = ending.sight, ending.sight.agent
    if sight.is_gone(ending.instance):
        return "the engine does not have the instance any more"
    if ended_at + ending.unsent_kept <= ending.now:
        return f"they could not be sent for {ending.unsent_kept.total_seconds() / 3600:g} h"
    if ending.report is None and _is_well(agent):
        return "the agent has nothing of the session any more"
    if unsent.files or sight.stands_still or (agent is not None and agent.is_connected):
        return None
    heard_at = max(ended_at, agent.reported_at if agent else ended_at, sight.listening_since or ended_at)
    return "the agent is silent" if heard_at + SILENT_FLUSH_GRACE <= ending.now else None


def _is_well(agent: AgentStatus | None) -> bool:
    """Return whether the agent knows of all its sessions: what it has to send it tells before it says that it is READY."""
    return agent is not None and agent.is_connected and agent.phase in (AgentPhase.READY, AgentPhase.FAILED)


def _go_on(ending: Ending, ended_at: datetime) -> list[EndStep]:
    """Bring the instance back to where it can send, and its agent to do so."""
    sight, now = ending.sight, ending.now
    if sight.stands_still:
        return [StartAgain(), LookAgain(now + START_AGAIN_AFTER)]
    if sight.listening_since is None:
        if sight.observed is not None and sight.observed.first_uid is not None:
            return [Listen(sight.observed.first_uid)]
        return [LookAgain(now + timedelta(seconds=1), is_engine_asked=True)]
    next_count = _NEXT_COUNT if now < ended_at + SHOWN_FLUSH else _NEXT_COUNT_UNSEEN
    is_told = ending.report is None or ending.is_flushing
    return [*([] if is_told else [TellEnd(ending.session_id)]), LookAgain(now + next_count)]
