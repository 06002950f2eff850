"""What one streaming session needs next. Pure.

Idle users: the service disconnects them after IdleDisconnectTimeout and ends the session after DisconnectTimeout more.
Here the picture stays until both have passed, and any key or pointer event in that time starts the count again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from fanlight.domain.fleets import Fleet, FleetState
from fanlight.domain.instance_plan import BOOT_GRACE
from fanlight.domain.instances import Instance
from fanlight.domain.ports import AgentPhase, AgentStatus
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingSession

# From an instance that is ready to a session on it: settings read, socket open, programs started.
START_TIMEOUT = timedelta(seconds=60)
# The gateway repeats every 10 s that a stream is open. Three missed ones and some: it is dead.
HEARTBEAT_TIMEOUT = timedelta(seconds=35)
BEGIN_REPEAT = timedelta(seconds=2)
IDLE_GRANULARITY = timedelta(seconds=30)  # How often a moving `idle_since` is worth a write.

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
class NoteIdle:
    since: datetime


@dataclass(frozen=True, slots=True)
class LookAgain:
    until: datetime


SessionStep: TypeAlias = Claim | ShowProgress | Begin | Activate | End | MarkDisconnected | NoteIdle | LookAgain


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """`heard_at` is when the gateway last said that a stream is open, or when this process began to listen for that."""

    session: StreamingSession
    fleet: Fleet | None
    instance: Instance | None
    agent: AgentStatus | None
    heard_at: datetime
    capacity_wait: timedelta


def plan_session(facts: SessionFacts, now: datetime) -> list[SessionStep]:
    """Return the next steps of a session. An EXPIRED one needs none."""
    session, fleet = facts.session, facts.fleet
    if not session.is_live:
        return []
    if reason := _why_over(facts, now):
        return [End(reason)]
    if session.state is SessionState.PENDING or fleet is None:
        return _plan_pending(facts, now)
    return _plan_active(facts, fleet, now)


def _why_over(facts: SessionFacts, now: datetime) -> EndReason | None:
    session, fleet, instance = facts.session, facts.fleet, facts.instance
    is_lost = session.instance_id is not None and (instance is None or not _holds(instance, session))
    reasons = (
        (session.max_expires_at <= now, EndReason.MAX_DURATION),
        (fleet is None or fleet.state is not FleetState.RUNNING, EndReason.FLEET_STOPPED),
        (is_lost, EndReason.INSTANCE_LOST),
    )
    return session.end_requested or next((reason for is_true, reason in reasons if is_true), None)


def _holds(instance: Instance, session: StreamingSession) -> bool:
    return instance.is_in_use and instance.session_id == session.session_id


def _plan_pending(facts: SessionFacts, now: datetime) -> list[SessionStep]:
    session, fleet, instance, agent = facts.session, facts.fleet, facts.instance, facts.agent
    patience = session.created_at + facts.capacity_wait
    if instance is None:
        return [Claim(), End(EndReason.NO_CAPACITY) if patience <= now else LookAgain(patience)]
    if patience <= now and instance.accepted_at is None and fleet is not None and fleet.launch_failures:
        return [End(EndReason.NO_CAPACITY)]
    if _is_in_session(agent, session):
        return [Activate()]
    deadline = _start_deadline(session, instance)
    if deadline <= now or (agent is not None and agent.phase in (AgentPhase.FAILED, AgentPhase.ENDED)):
        return [End(EndReason.START_FAILED)]
    if agent is None or not agent.is_connected or agent.phase is AgentPhase.BOOTING:
        until = patience if instance.accepted_at is None else deadline
        return [ShowProgress(STARTING if instance.ready_at is None else PREPARING), LookAgain(min(until, deadline))]
    return [Begin(), ShowProgress(PREPARING), LookAgain(min(deadline, now + BEGIN_REPEAT))]


def _start_deadline(session: StreamingSession, instance: Instance) -> datetime:
    claimed_at = session.started_at or session.created_at
    if instance.ready_at is None:
        return max(claimed_at, instance.accepted_at or claimed_at) + BOOT_GRACE + START_TIMEOUT
    return max(claimed_at, instance.ready_at) + START_TIMEOUT


def _is_in_session(agent: AgentStatus | None, session: StreamingSession) -> bool:
    return agent is not None and agent.phase is AgentPhase.IN_SESSION and agent.session_id == session.session_id


def _plan_active(facts: SessionFacts, fleet: Fleet, now: datetime) -> list[SessionStep]:
    session, agent = facts.session, facts.agent
    if agent is not None and agent.phase in (AgentPhase.FAILED, AgentPhase.ENDED):
        return [End(EndReason.INSTANCE_LOST)]
    if agent is not None and agent.is_connected and agent.phase in (AgentPhase.BOOTING, AgentPhase.READY):
        # The instance came back empty: what the user had is gone, and this instance was used.
        return [End(EndReason.INSTANCE_LOST)]
    if session.connected_since is None:
        deadline = _since_disconnected(session) + fleet.disconnect_timeout
        if deadline <= now:
            return [End(EndReason.DISCONNECT_TIMEOUT)]
        return [LookAgain(min(deadline, session.max_expires_at))]
    silent_at = max(facts.heard_at, session.connected_since) + HEARTBEAT_TIMEOUT
    if silent_at <= now:
        return [MarkDisconnected()]
    return _plan_idle(session, agent, fleet, min(silent_at, session.max_expires_at), now)


def _since_disconnected(session: StreamingSession) -> datetime:
    return session.disconnected_at or session.started_at or session.created_at


def _plan_idle(
    session: StreamingSession, agent: AgentStatus | None, fleet: Fleet, horizon: datetime, now: datetime
) -> list[SessionStep]:
    allowed = whole_minutes(fleet.idle_disconnect_timeout)
    if not allowed:
        return [LookAgain(horizon)]
    since = agent.idle_since if agent is not None and agent.idle_since is not None else session.idle_since
    # Who has just come back counts as active, even before the first key.
    counted_from = max(since or session.created_at, session.connected_since or session.created_at)
    deadline = counted_from + allowed + fleet.disconnect_timeout
    if deadline <= now:
        return [End(EndReason.DISCONNECT_TIMEOUT)]
    steps: list[SessionStep] = []
    if since is not None and (session.idle_since is None or since - session.idle_since >= IDLE_GRANULARITY):
        steps.append(NoteIdle(since))
    return [*steps, LookAgain(min(horizon, deadline))]


def whole_minutes(duration: timedelta) -> timedelta:
    """Return the duration rounded to whole minutes, the middle upwards, as the service counts idle time."""
    return timedelta(minutes=int((duration.total_seconds() + 30) // 60))
