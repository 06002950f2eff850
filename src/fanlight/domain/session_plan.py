"""What one streaming session needs next. Pure.

A user who neither types nor points for IdleDisconnectTimeout is disconnected; from then on the session is like any that
nobody is connected to, and ends after DisconnectTimeout. Who comes back before that starts the count again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from fanlight.domain.clock_corrections import past_or, with_past_times
from fanlight.domain.fleets import Fleet, FleetState
from fanlight.domain.flush_plan import is_worth_noting, unsent_of
from fanlight.domain.instance_plan import BOOT_GRACE
from fanlight.domain.instances import Instance
from fanlight.domain.own_desktops import OwnDesktop
from fanlight.domain.ports import AgentPhase, AgentStatus, SessionPhase, SessionReport
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingSession
from fanlight.domain.unsent_files import UnsentFiles

# From an instance that is ready to a session on it: settings read, socket open, programs started.
START_TIMEOUT = timedelta(seconds=60)
# What an image's scripts may take of it in addition, while the agent says that it is starting this session.
SCRIPTS_TIMEOUT = timedelta(seconds=60)
# The gateway repeats every 10 s that a stream is open. Three missed ones and some: it is dead.
HEARTBEAT_TIMEOUT = timedelta(seconds=35)
BEGIN_REPEAT = timedelta(seconds=2)
IDLE_GRANULARITY = timedelta(seconds=30)  # How often a moving `idle_since` is worth a write.
# The agent reports every 5 s. An older report says nothing about what the user does now.
AGENT_FRESHNESS = timedelta(seconds=15)
# An agent that is restarted is back within seconds; a session without one can neither be measured nor ended in order.
AGENT_SILENCE_GRACE = timedelta(minutes=5)
_NEXT_REPORT = timedelta(seconds=1)

WAITING = "Waiting for a free instance…"
STARTING = "Starting your instance…"
PREPARING = "Preparing your desktop…"


@dataclass(frozen=True, slots=True)
class Claim:
    """Take a ready instance, or launch one where the fleet does so on demand. Success makes the steps behind it void."""


@dataclass(frozen=True, slots=True)
class ShowProgress:
    text: str


@dataclass(frozen=True, slots=True)
class Begin:
    """Tell the agent. Level-triggered: repeated until its status says IN_SESSION."""


@dataclass(frozen=True, slots=True)
class Activate:
    pass


@dataclass(frozen=True, slots=True)
class End:
    reason: EndReason


@dataclass(frozen=True, slots=True)
class MarkDisconnected:
    pass


@dataclass(frozen=True, slots=True)
class DisconnectIdle:
    """Cut the stream of a user who last did something at `since`; the session goes on without a user."""

    since: datetime


@dataclass(frozen=True, slots=True)
class NoteIdle:
    since: datetime


@dataclass(frozen=True, slots=True)
class NoteUnsent:
    """Write what its agent says of files that are not sent yet: should the instance die, it is known."""

    unsent: UnsentFiles | None


@dataclass(frozen=True, slots=True)
class CorrectTimes:
    """The clock went back: `session` has no past in the future any more."""

    session: StreamingSession


@dataclass(frozen=True, slots=True)
class LookAgain:
    until: datetime


SessionStep: TypeAlias = (
    Claim
    | ShowProgress
    | Begin
    | Activate
    | End
    | MarkDisconnected
    | DisconnectIdle
    | NoteIdle
    | NoteUnsent
    | CorrectTimes
    | LookAgain
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """A session has a `fleet` and, once it claimed one, an `instance`; or it has a `desktop` and neither.

    `heard_at` is when the gateway last said that a stream is open, or when this process began to listen for that.

    `silent_since` is when it was noticed that the agent we listen for does not report, None while it does.
    """

    session: StreamingSession
    fleet: Fleet | None
    instance: Instance | None
    agent: AgentStatus | None
    heard_at: datetime
    capacity_wait: timedelta
    silent_since: datetime | None = None
    desktop: OwnDesktop | None = None


def plan_session(facts: SessionFacts, now: datetime) -> list[SessionStep]:
    """Return the next steps of a session. An EXPIRED one needs none."""
    session, fleet = facts.session, facts.fleet
    if not session.is_live:
        return []
    if (corrected := with_past_times(session, now)) is not session:
        return [CorrectTimes(corrected)]
    if session.is_on_own_desktop:
        return _plan_on_desktop(facts, now)
    if reason := _why_over(facts, now):
        return [End(reason)]
    if session.state is SessionState.PENDING or fleet is None:
        return _plan_pending(facts, now)
    unsent = unsent_of(_report_of(facts.agent, session))
    notes: list[SessionStep] = [NoteUnsent(unsent)] if is_worth_noting(session.unsent, unsent) else []
    return [*notes, *_plan_active(facts, fleet, now)]


def _plan_on_desktop(facts: SessionFacts, now: datetime) -> list[SessionStep]:
    """The instance is there before the session and stays after it, and its desktop waits for its user."""
    session, desktop, agent = facts.session, facts.desktop, facts.agent
    has_desktop = desktop is not None and desktop.has_desktop and desktop.instance_id == session.instance_id
    reasons = (
        (session.max_expires_at <= now, EndReason.MAX_DURATION),
        (not has_desktop, EndReason.FLEET_STOPPED),
        (session.state is SessionState.ACTIVE and _is_guest_gone(agent, session), EndReason.INSTANCE_LOST),
    )
    if reason := session.end_requested or next((reason for is_true, reason in reasons if is_true), None):
        return [End(reason)]
    if session.state is SessionState.PENDING:
        return _plan_begin_on_desktop(session, agent, now)
    if session.connected_since is None:
        return [LookAgain(session.max_expires_at)]
    silent_at = max(facts.heard_at, session.connected_since) + HEARTBEAT_TIMEOUT
    return [MarkDisconnected()] if silent_at <= now else [LookAgain(min(silent_at, session.max_expires_at))]


def _plan_begin_on_desktop(session: StreamingSession, agent: AgentStatus | None, now: datetime) -> list[SessionStep]:
    report = _report_of(agent, session)
    if report is not None and report.phase is SessionPhase.IN_SESSION:
        return [Activate()]
    deadline = session.created_at + START_TIMEOUT + SCRIPTS_TIMEOUT
    if deadline <= now or _has_failed(agent, report):
        return [End(EndReason.START_FAILED)]
    if agent is None or not agent.is_connected or agent.phase is AgentPhase.BOOTING:
        return [ShowProgress(STARTING), LookAgain(deadline)]
    return [Begin(), ShowProgress(PREPARING), LookAgain(min(deadline, now + BEGIN_REPEAT))]


def _why_over(facts: SessionFacts, now: datetime) -> EndReason | None:
    session, fleet, instance = facts.session, facts.fleet, facts.instance
    is_lost = session.instance_id is not None and not is_held(session, instance)
    reasons = (
        (session.max_expires_at <= now, EndReason.MAX_DURATION),
        (fleet is None or fleet.state is not FleetState.RUNNING, EndReason.FLEET_STOPPED),
        (is_lost, EndReason.INSTANCE_LOST),
    )
    return session.end_requested or next((reason for is_true, reason in reasons if is_true), None)


def is_held(session: StreamingSession, instance: Instance | None) -> bool:
    """Return whether the instance is the session's."""
    return instance is not None and instance.is_in_use and session.session_id in instance.session_ids


def _plan_pending(facts: SessionFacts, now: datetime) -> list[SessionStep]:
    session, fleet, instance, agent = facts.session, facts.fleet, facts.instance, facts.agent
    patience = session.created_at + facts.capacity_wait
    if instance is None:
        return [Claim(), End(EndReason.NO_CAPACITY) if patience <= now else LookAgain(patience)]
    if patience <= now and instance.accepted_at is None and fleet is not None and fleet.launch_failures:
        return [End(EndReason.NO_CAPACITY)]
    report = _report_of(agent, session)
    if report is not None and report.phase is SessionPhase.IN_SESSION:
        return [Activate()]
    deadline = _start_deadline(session, instance, now)
    if report is not None and report.phase is SessionPhase.STARTING_SESSION:
        deadline += SCRIPTS_TIMEOUT
    if deadline <= now or _has_failed(agent, report):
        return [End(EndReason.START_FAILED)]
    if agent is None or not agent.is_connected or agent.phase is AgentPhase.BOOTING:
        until = patience if instance.accepted_at is None else deadline
        return [ShowProgress(STARTING if instance.ready_at is None else PREPARING), LookAgain(min(until, deadline))]
    return [Begin(), ShowProgress(PREPARING), LookAgain(min(deadline, now + BEGIN_REPEAT))]


def _start_deadline(session: StreamingSession, instance: Instance, now: datetime) -> datetime:
    claimed_at = session.started_at or session.created_at
    if instance.ready_at is None:
        return max(claimed_at, past_or(instance.accepted_at, claimed_at, now)) + BOOT_GRACE + START_TIMEOUT
    return max(claimed_at, past_or(instance.ready_at, claimed_at, now)) + START_TIMEOUT


def _report_of(agent: AgentStatus | None, session: StreamingSession) -> SessionReport | None:
    return agent.session(session.session_id) if agent else None


def _has_failed(agent: AgentStatus | None, report: SessionReport | None) -> bool:
    """Return whether the agent cannot begin this session, or has begun and lost it."""
    if report is not None:
        return report.phase in (SessionPhase.FAILED, SessionPhase.FLUSHING, SessionPhase.ENDED)
    return agent is not None and agent.phase is AgentPhase.FAILED


def _plan_active(facts: SessionFacts, fleet: Fleet, now: datetime) -> list[SessionStep]:
    session, agent = facts.session, facts.agent
    if _is_guest_gone(agent, session):
        return [End(EndReason.INSTANCE_LOST)]
    lost_at = facts.silent_since + AGENT_SILENCE_GRACE if facts.silent_since else None
    disconnected_at = session.disconnected_at or session.started_at or session.created_at
    over_at = None if session.connected_since else disconnected_at + fleet.disconnect_timeout
    if over_at is not None and over_at <= now:
        return [End(EndReason.DISCONNECT_TIMEOUT)]
    if lost_at is not None and lost_at <= now:
        return [End(EndReason.INSTANCE_LOST)]
    horizon = min(moment for moment in (session.max_expires_at, over_at, lost_at) if moment is not None)
    if session.connected_since is None:
        return [LookAgain(horizon)]
    silent_at = max(facts.heard_at, session.connected_since) + HEARTBEAT_TIMEOUT
    if silent_at <= now:
        return [MarkDisconnected()]
    return _plan_idle(session, agent, fleet, min(silent_at, horizon), now)


def _is_guest_gone(agent: AgentStatus | None, session: StreamingSession) -> bool:
    """Return whether the agent says that it does not have the session, or has it no more."""
    report = _report_of(agent, session)
    # An agent that came back empty: what the user had is gone, and this instance was used.
    return (agent is not None and agent.is_connected and report is None) or _has_failed(agent, report)


def _plan_idle(
    session: StreamingSession, agent: AgentStatus | None, fleet: Fleet, horizon: datetime, now: datetime
) -> list[SessionStep]:
    if not whole_minutes(fleet.idle_disconnect_timeout):
        return [LookAgain(horizon)]
    deadline = idle_disconnect_at(session, agent, fleet, now)
    report = _report_of(agent, session)
    if deadline is None or agent is None or report is None or report.idle_since is None:
        return [LookAgain(min(horizon, now + AGENT_FRESHNESS))]
    # An earlier report does not know of a key pressed just before the deadline.
    if deadline <= agent.reported_at:
        return [DisconnectIdle(report.idle_since)]
    steps: list[SessionStep] = []
    if session.idle_since is None or report.idle_since - session.idle_since >= IDLE_GRANULARITY:
        steps.append(NoteIdle(report.idle_since))
    return [*steps, LookAgain(min(horizon, max(deadline, now + _NEXT_REPORT)))]


def idle_disconnect_at(
    session: StreamingSession, agent: AgentStatus | None, fleet: Fleet, now: datetime
) -> datetime | None:
    """Return when the user will be disconnected unless something is typed or clicked before.

    None: the fleet does not ask for it, nobody is connected, or the agent does not say what the user does.
    """
    allowed = whole_minutes(fleet.idle_disconnect_timeout)
    if not allowed or session.connected_since is None:
        return None
    report = _report_of(agent, session)
    if report is None or report.idle_since is None or not is_heard(agent, now):
        return None
    # Who has just come back counts as active, even before the first key.
    return max(report.idle_since, session.connected_since) + allowed


def is_heard(agent: AgentStatus | None, now: datetime) -> bool:
    """Return whether the agent speaks to this process."""
    return agent is not None and agent.is_connected and abs(now - agent.reported_at) <= AGENT_FRESHNESS


def whole_minutes(duration: timedelta) -> timedelta:
    """Return the duration rounded to whole minutes, the middle upwards, as the service counts idle time."""
    return timedelta(minutes=int((duration.total_seconds() + 30) // 60))
