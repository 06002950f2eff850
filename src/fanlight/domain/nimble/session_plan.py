"""What the streaming session of a studio needs next, from its row, its backups, what the engine shows and its agent says. Pure.

READY is a wish that lasts: a machine that was shut down from within, or by its host, is started again on its own disk.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TypeAlias

from fanlight.domain.clock_corrections import is_due
from fanlight.domain.instance_plan import Sight
from fanlight.domain.nimble.session_backups import BackupEvent, SessionBackup
from fanlight.domain.nimble.session_changes import with_past_times
from fanlight.domain.nimble.sessions import (
    InitializationScript,
    ScriptContext,
    StudioSession,
    StudioSessionCode,
    StudioSessionState,
    VolumeRetention,
)
from fanlight.domain.own_instances import (
    SOON,
    Destroy,
    Discard,
    EndStray,
    Listen,
    LookAgain,
    PowerOff,
    PowerOn,
    Submit,
    await_agent,
    bring_up,
    is_gone,
    is_on,
    is_ready,
    late,
    listen,
    settle,
    stands_still,
    strays,
    trouble,
)
from fanlight.domain.ports import WorkPhase, WorkReport

NO_DIRECTORY = "The launch profile has an Active Directory component. Machines here are Linux and join no domain."
LOST = "The engine does not have the machine of this session any more, and its disk is gone. Delete the session."


@dataclass(frozen=True, slots=True)
class CorrectTimes:
    """The clock went back: what has happened did so now."""

    session: StudioSession


@dataclass(frozen=True, slots=True)
class BecomeReady:
    pass


@dataclass(frozen=True, slots=True)
class BecomeStopped:
    pass


@dataclass(frozen=True, slots=True)
class FailToStart:
    code: StudioSessionCode
    why: str


@dataclass(frozen=True, slots=True)
class Lose:
    """The engine does not have the machine any more."""


@dataclass(frozen=True, slots=True)
class StopBySelf:
    """It has been in use for as long as it may."""


@dataclass(frozen=True, slots=True)
class DeleteBySelf:
    """It has been in use, or has stood still, for as long as it may."""


@dataclass(frozen=True, slots=True)
class RunScript:
    """Let the agent run a script, as the user of a session or, for "", as root; repeated until its report has the work id."""

    script: InitializationScript
    work_id: str
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class Restore:
    """Put the disk back to what it was when the backup was made."""

    backup: SessionBackup


@dataclass(frozen=True, slots=True)
class TakeBackup:
    backup: SessionBackup


@dataclass(frozen=True, slots=True)
class MoveBackup:
    backup: SessionBackup
    event: BackupEvent
    why: str = ""


@dataclass(frozen=True, slots=True)
class DropBackup:
    """Take the snapshot away; then the backup is DELETED."""

    backup: SessionBackup


@dataclass(frozen=True, slots=True)
class ForgetVolume:
    """The disk in use is not wanted any more: the next start has another machine."""


StudioSessionStep: TypeAlias = (
    Submit
    | PowerOn
    | PowerOff
    | Listen
    | EndStray
    | Discard
    | Destroy
    | LookAgain
    | CorrectTimes
    | BecomeReady
    | BecomeStopped
    | FailToStart
    | Lose
    | StopBySelf
    | DeleteBySelf
    | RunScript
    | Restore
    | TakeBackup
    | MoveBackup
    | DropBackup
    | ForgetVolume
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioSessionFacts:
    """`live_sessions` are the portal's that are to go on, by whether their desktop is up; `backups` all that are there or
    under way, the oldest first.
    """

    session: StudioSession
    sight: Sight
    live_sessions: Mapping[str, bool] = field(default_factory=dict)
    backups: Sequence[SessionBackup] = ()


def plan_studio_session(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:
    """Return the next steps of a session."""
    plan = _PLANS.get(facts.session.state)
    if plan is None:
        return []
    if (corrected := with_past_times(facts.session, now)) is not facts.session:
        return [CorrectTimes(corrected)]
    return plan(facts, now)


# ── Up ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _plan_start(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:
    session = facts.session
    if session.settings.joins_directory:
        return [FailToStart(StudioSessionCode.ACTIVE_DIRECTORY_DOMAIN_JOIN_ERROR, NO_DIRECTORY)]
    if session.accepted_at is None:
        return _plan_restore(facts, now) or [bring_up(session, now)]
    if is_gone(session, facts.sight):
        return [FailToStart(StudioSessionCode.INTERNAL_ERROR, LOST)]
    if why := trouble(session, facts.sight):
        return [FailToStart(StudioSessionCode.INTERNAL_ERROR, f"The machine did not start. {why}")]
    return _plan_boot(facts, session.accepted_at, now)


def _plan_restore(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:
    wanted = facts.session.restoring_backup_id
    if wanted is None:
        return []
    if is_on(facts.sight):
        return [PowerOff()]
    if facts.session.retry_at is not None and not is_due(facts.session.retry_at, now):
        return [LookAgain(facts.session.retry_at)]
    found = [backup for backup in facts.backups if backup.backup_id == wanted]
    if not found or found[0].state is not StudioSessionState.READY:
        return [FailToStart(StudioSessionCode.INTERNAL_ERROR, f"The backup {wanted} is not there any more.")]
    return [Restore(found[0])]


def _plan_boot(facts: StudioSessionFacts, accepted_at: datetime, now: datetime) -> list[StudioSessionStep]:
    sight = facts.sight
    if listening := listen(sight):
        return [*listening]
    if sight.listening_since is not None and is_ready(sight.agent):
        return _plan_scripts(facts, sight.agent.work if sight.agent else None, now)
    if why := late(accepted_at, now):
        return [FailToStart(StudioSessionCode.INTERNAL_ERROR, f"The machine did not start. {why}")]
    return [await_agent(accepted_at, sight, now)]


def _plan_scripts(facts: StudioSessionFacts, report: WorkReport | None, now: datetime) -> list[StudioSessionStep]:
    """One script after the other, each once for each start: the agent says which was the last."""
    session = facts.session
    scripts = session.of_context(ScriptContext.SYSTEM_INITIALIZATION)
    work_ids = [work_id_of(session, number) for number in range(len(scripts))]
    done = -1
    if report is not None and report.work_id in work_ids:
        done = work_ids.index(report.work_id)
        component = scripts[done].component
        if report.phase is WorkPhase.FAILED:
            why = f"The system script of the studio component {component} failed: {report.detail}"
            return [FailToStart(StudioSessionCode.INITIALIZATION_SCRIPT_ERROR, why)]
        if report.phase is WorkPhase.RUNNING:
            return [LookAgain(now + SOON)]
    if done + 1 == len(scripts):
        return [BecomeReady()]
    return [RunScript(scripts[done + 1], work_ids[done + 1]), LookAgain(now + SOON)]


def work_id_of(session: StudioSession, number: int) -> str:
    """Return what a system script is known by at the agent: another one for each start."""
    return f"{session.session_id}-{session.started_at.timestamp():.6f}-{number}"


# ── While it is in use ────────────────────────────────────────────────────────────────────────────────────────────────


def _plan_ready(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:
    session, sight = facts.session, facts.sight
    if _is_over(session.stop_at, now):
        return [StopBySelf()]
    if _is_over(session.terminate_at, now):
        return [DeleteBySelf()]
    if is_gone(session, sight):
        return [Lose()]
    if stands_still(session, sight):
        waits = session.retry_at is not None and not is_due(session.retry_at, now)
        return [LookAgain(session.retry_at) if waits and session.retry_at else PowerOn()]
    return _watch(facts, now)


def _watch(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:
    session, sight = facts.session, facts.sight
    if sight.listening_since is None:
        return [*listen(sight), LookAgain(now + SOON, is_engine_asked=True)]
    horizon = [moment for moment in (session.stop_at, session.terminate_at) if moment is not None]
    steps = [*strays(sight, facts.live_sessions), *_plan_user_scripts(facts, now)]
    return [*steps, *(LookAgain(moment) for moment in horizon)]


def _plan_user_scripts(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:
    """One after the other when a desktop is up, once for each session on it. One that fails keeps no other from running."""
    scripts = facts.session.of_context(ScriptContext.USER_INITIALIZATION)
    opened = next((session_id for session_id, is_up in facts.live_sessions.items() if is_up), None)
    if opened is None or not scripts or not is_ready(facts.sight.agent):
        return []
    report = facts.sight.agent.work if facts.sight.agent else None
    work_ids = [f"{opened}-{number}" for number in range(len(scripts))]
    following = 0
    if report is not None and report.work_id in work_ids:
        if report.phase is WorkPhase.RUNNING:
            return [LookAgain(now + SOON)]
        following = work_ids.index(report.work_id) + 1
    if following == len(scripts):
        return []
    return [RunScript(scripts[following], work_ids[following], opened), LookAgain(now + SOON)]


def _is_over(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


# ── Down ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _plan_stop(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:
    session, sight = facts.session, facts.sight
    if sight.looked_at is None:
        return [LookAgain(now + SOON, is_engine_asked=True)]
    if is_on(sight):
        return [*settle(session, sight, now)] or [PowerOff()]
    is_kept = session.volume_retention is not VolumeRetention.DELETE
    if is_kept and is_gone(session, sight):
        return [Lose()]
    if work := _plan_backups(facts, now):
        return work
    if session.has_run and not is_kept:
        return [ForgetVolume()]
    return [BecomeStopped()]


def _plan_backups(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:
    """Take what is to be taken while the machine stands still, then prune to what is to be kept."""
    if due := [backup for backup in facts.backups if backup.state is StudioSessionState.CREATE_IN_PROGRESS]:
        retry_at = facts.session.retry_at
        return [LookAgain(retry_at)] if retry_at is not None and not is_due(retry_at, now) else [TakeBackup(due[0])]
    return _prune(facts)


def _prune(facts: StudioSessionFacts) -> list[StudioSessionStep]:
    leaving = [backup for backup in facts.backups if backup.state is StudioSessionState.DELETE_IN_PROGRESS]
    kept = [backup for backup in facts.backups if backup.state is StudioSessionState.READY]
    surplus = kept[: max(len(kept) - facts.session.settings.backups_to_retain, 0)]
    return [
        *(MoveBackup(backup, BackupEvent.DELETE_REQUESTED) for backup in surplus),
        *(DropBackup(backup) for backup in leaving),
    ]


def _plan_stopped(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:
    terminate_at = facts.session.terminate_at
    if _is_over(terminate_at, now):
        return [DeleteBySelf()]
    if is_on(facts.sight):
        return [PowerOff()]
    return _prune(facts) or ([LookAgain(terminate_at)] if terminate_at is not None else [])


def _plan_start_failed(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:  # noqa: ARG001
    return [PowerOff()] if is_on(facts.sight) else []


def _plan_create_failed(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:  # noqa: ARG001
    return [Discard()] if facts.sight.observed is not None else []


def _plan_delete(facts: StudioSessionFacts, now: datetime) -> list[StudioSessionStep]:  # noqa: ARG001
    return [Destroy()]


_PLANS: Mapping[StudioSessionState, Callable[[StudioSessionFacts, datetime], list[StudioSessionStep]]] = (
    MappingProxyType(
        {
            StudioSessionState.CREATE_IN_PROGRESS: _plan_start,
            StudioSessionState.START_IN_PROGRESS: _plan_start,
            StudioSessionState.READY: _plan_ready,
            StudioSessionState.STOP_IN_PROGRESS: _plan_stop,
            StudioSessionState.STOPPED: _plan_stopped,
            StudioSessionState.STOP_FAILED: _plan_start_failed,
            StudioSessionState.START_FAILED: _plan_start_failed,
            StudioSessionState.CREATE_FAILED: _plan_create_failed,
            StudioSessionState.DELETE_IN_PROGRESS: _plan_delete,
            StudioSessionState.DELETE_FAILED: _plan_start_failed,
        }
    )
)
