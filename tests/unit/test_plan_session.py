"""What one session needs next."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fanlight.domain.fleets import Fleet, FleetState
from fanlight.domain.instance_plan import BOOT_GRACE
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.places import Scope
from fanlight.domain.ports import AgentPhase, AgentStatus, SessionPhase, SessionReport
from fanlight.domain.session_plan import (
    AGENT_FRESHNESS,
    AGENT_SILENCE_GRACE,
    BEGIN_REPEAT,
    HEARTBEAT_TIMEOUT,
    PREPARING,
    START_TIMEOUT,
    STARTING,
    Activate,
    Begin,
    Claim,
    CorrectTimes,
    DisconnectIdle,
    End,
    LookAgain,
    MarkDisconnected,
    NoteIdle,
    SessionFacts,
    ShowProgress,
    idle_disconnect_at,
    plan_session,
    whole_minutes,
)
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingSession

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("000000000000", "us-east-1")
WAIT = timedelta(seconds=30)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
FLEET = Fleet(
    fleet_id="f", scope=SCOPE, name="cad", state=FleetState.RUNNING, image_name="Sample", image_arn="arn",
    instance_type="stream.standard.small", platform="UBUNTU_PRO_2404", desired_instances=1, created_at=NOW,
)  # fmt: skip
PENDING = StreamingSession(
    session_id="s", scope=SCOPE, stack_name="x", fleet_name="cad", fleet_id="f", user_id="u",
    created_at=NOW, max_expires_at=NOW + HOUR,
)  # fmt: skip
CLAIMED = replace(PENDING, instance_id="i", started_at=NOW)
ACTIVE = replace(CLAIMED, state=SessionState.ACTIVE, disconnected_at=NOW)
CONNECTED = replace(ACTIVE, connected_since=NOW, disconnected_at=None)
MINE = Instance(
    instance_id="i", scope=SCOPE, fleet_id="f", image_ref="sample", state=InstanceState.IN_USE, places=2, session_ids=("other", "s"),
    launched_at=NOW - MINUTE, accepted_at=NOW - MINUTE, ready_at=NOW - SECOND,
)  # fmt: skip
BOOTING = replace(MINE, launched_at=NOW, accepted_at=NOW, ready_at=None)
UNACCEPTED = replace(BOOTING, accepted_at=None)
FAILING = replace(FLEET, launch_failures=1)
IDLE_FLEET = replace(FLEET, idle_disconnect_timeout=timedelta(seconds=90))  # counts as two minutes
REFUSED = {"fleet": FAILING, "instance": UNACCEPTED}


def says(
    phase: str, session_id: str | None = None, *, idle_since: datetime | None = None, **members: Any
) -> AgentStatus:
    """Return what the agent says of the instance, or of one session in it."""
    sessions = (SessionReport(session_id="another", seat=0, phase=SessionPhase.IN_SESSION),)
    if session_id is not None:
        report = SessionReport(session_id=session_id, seat=1, phase=SessionPhase(phase), idle_since=idle_since)
        phase, sessions = "READY", (*sessions, report)
    defaults: dict[str, Any] = {
        "instance_id": "i", "phase": AgentPhase(phase), "sessions": sessions, "runtime_version": "1",
        "detail": "", "reported_at": NOW, "is_connected": True,
    }  # fmt: skip
    return AgentStatus(**defaults | members)


def idle_since(second: int, *, at: int) -> AgentStatus:
    """Return what the agent says `at` that second of a user who last did something at `second`."""
    return says("IN_SESSION", "s", idle_since=NOW + second * SECOND, reported_at=NOW + at * SECOND)


def plan(session: StreamingSession, after: timedelta = timedelta(0), **members: Any) -> list[object]:
    defaults: dict[str, Any] = {
        "session": session, "fleet": FLEET, "instance": MINE if session.instance_id else None, "agent": None,
        "heard_at": NOW + after, "capacity_wait": WAIT,
    }  # fmt: skip
    return list(plan_session(SessionFacts(**defaults | members), NOW + after))


@pytest.mark.parametrize(
    ("session", "after", "members", "steps"),
    [
        # Waiting for an instance
        (PENDING, 0, {}, [Claim(), LookAgain(NOW + WAIT)]),
        (PENDING, 30, {}, [Claim(), End(EndReason.NO_CAPACITY)]),
        (PENDING, 0, {"capacity_wait": timedelta(0)}, [Claim(), End(EndReason.NO_CAPACITY)]),
        (PENDING, 0, {"fleet": replace(FLEET, state=FleetState.STOPPING)}, [End(EndReason.FLEET_STOPPED)]),
        (PENDING, 0, {"fleet": None}, [End(EndReason.FLEET_STOPPED)]),
        (PENDING, 3600, {}, [End(EndReason.MAX_DURATION)]),
        # Starting on it
        (CLAIMED, 0, {"instance": UNACCEPTED}, [ShowProgress(STARTING), LookAgain(NOW + WAIT)]),
        (CLAIMED, 31, REFUSED, [End(EndReason.NO_CAPACITY)]),
        (CLAIMED, 0, REFUSED, [ShowProgress(STARTING), LookAgain(NOW + WAIT)]),
        (CLAIMED, 5, {"instance": BOOTING}, [ShowProgress(STARTING), LookAgain(NOW + BOOT_GRACE + START_TIMEOUT)]),
        (CLAIMED, 1, {"instance": BOOTING, "agent": says("BOOTING")},
         [ShowProgress(STARTING), LookAgain(NOW + BOOT_GRACE + START_TIMEOUT)]),
        (CLAIMED, 360, {"instance": BOOTING}, [End(EndReason.START_FAILED)]),
        (CLAIMED, 0, {}, [ShowProgress(PREPARING), LookAgain(NOW + START_TIMEOUT)]),
        (CLAIMED, 0, {"agent": says("READY")}, [Begin(), ShowProgress(PREPARING), LookAgain(NOW + BEGIN_REPEAT)]),
        (CLAIMED, 0, {"agent": says("READY", is_connected=False)}, [ShowProgress(PREPARING), LookAgain(NOW + START_TIMEOUT)]),
        (CLAIMED, 59, {"agent": says("STARTING_SESSION", "s")}, [Begin(), ShowProgress(PREPARING), LookAgain(NOW + 61 * SECOND)]),
        (CLAIMED, 59, {"agent": says("READY")}, [Begin(), ShowProgress(PREPARING), LookAgain(NOW + MINUTE)]),
        (CLAIMED, 60, {"agent": says("STARTING_SESSION", "other")}, [End(EndReason.START_FAILED)]),
        (CLAIMED, 119, {"agent": says("STARTING_SESSION", "s")}, [Begin(), ShowProgress(PREPARING), LookAgain(NOW + 2 * MINUTE)]),
        (CLAIMED, 120, {"agent": says("STARTING_SESSION", "s")}, [End(EndReason.START_FAILED)]),
        (CLAIMED, 1, {"agent": says("IN_SESSION", "s")}, [Activate()]),
        (CLAIMED, 61, {"agent": says("IN_SESSION", "other")}, [End(EndReason.START_FAILED)]),
        (CLAIMED, 0, {"agent": says("FAILED")}, [End(EndReason.START_FAILED)]),
        (CLAIMED, 0, {"instance": None}, [End(EndReason.INSTANCE_LOST)]),
        (CLAIMED, 0, {"instance": replace(MINE, state=InstanceState.RETIRING)}, [End(EndReason.INSTANCE_LOST)]),
        (CLAIMED, 0, {"instance": replace(MINE, session_ids=("other",))}, [End(EndReason.INSTANCE_LOST)]),
        # Living
        (ACTIVE, 0, {}, [LookAgain(NOW + 15 * MINUTE)]),
        (ACTIVE, 900, {}, [End(EndReason.DISCONNECT_TIMEOUT)]),
        (replace(ACTIVE, disconnected_at=None), 900, {}, [End(EndReason.DISCONNECT_TIMEOUT)]),
        (ACTIVE, 0, {"fleet": replace(FLEET, disconnect_timeout=2 * HOUR)}, [LookAgain(NOW + HOUR)]),
        (CONNECTED, 0, {}, [LookAgain(NOW + HEARTBEAT_TIMEOUT)]),
        (CONNECTED, 1800, {}, [LookAgain(NOW + 30 * MINUTE + HEARTBEAT_TIMEOUT)]),
        (CONNECTED, 35, {"heard_at": NOW - HOUR}, [MarkDisconnected()]),
        (CONNECTED, 3599, {}, [LookAgain(NOW + HOUR)]),
        (CONNECTED, 3600, {}, [End(EndReason.MAX_DURATION)]),
        (ACTIVE, 0, {"agent": says("FAILED", "s")}, [End(EndReason.INSTANCE_LOST)]),
        (ACTIVE, 0, {"agent": says("READY")}, [End(EndReason.INSTANCE_LOST)]),
        (ACTIVE, 0, {"agent": says("READY", is_connected=False)}, [LookAgain(NOW + 15 * MINUTE)]),
        (ACTIVE, 0, {"agent": says("IN_SESSION", "s")}, [LookAgain(NOW + 15 * MINUTE)]),
        (replace(ACTIVE, end_requested=EndReason.USER), 0, {}, [End(EndReason.USER)]),
        (replace(PENDING, end_requested=EndReason.EXPIRED_BY_ADMINISTRATOR), 0, {}, [End(EndReason.EXPIRED_BY_ADMINISTRATOR)]),
        (replace(ACTIVE, state=SessionState.EXPIRED, end_requested=EndReason.USER), 0, {}, []),
        # A clock that went back
        (ACTIVE, -61, {}, [CorrectTimes(replace(
            ACTIVE, created_at=NOW - 61 * SECOND, started_at=NOW - 61 * SECOND, disconnected_at=NOW - 61 * SECOND,
            max_expires_at=NOW + HOUR - 61 * SECOND))]),
        (ACTIVE, -60, {}, [LookAgain(NOW + 15 * MINUTE)]),
        (CLAIMED, 60, {"instance": replace(MINE, ready_at=NOW + 365 * 24 * HOUR), "agent": says("READY")}, [End(EndReason.START_FAILED)]),
        # Silent agents
        (ACTIVE, 300, {"silent_since": NOW}, [End(EndReason.INSTANCE_LOST)]),
        (CONNECTED, 299, {"silent_since": NOW}, [LookAgain(NOW + AGENT_SILENCE_GRACE)]),
        (CONNECTED, 300, {"silent_since": NOW}, [End(EndReason.INSTANCE_LOST)]),
        (CONNECTED, 3500, {"agent": idle_since(0, at=3500)}, [LookAgain(NOW + 3500 * SECOND + HEARTBEAT_TIMEOUT)]),
    ],
)  # fmt: skip
def test_the_next_steps_of_a_session(
    session: StreamingSession, after: int, members: dict[str, Any], steps: list[object]
) -> None:
    assert plan(session, timedelta(seconds=after), **members) == steps


@pytest.mark.parametrize(
    ("after", "agent", "steps"),
    [
        # Two minutes after the last key, known from a report of that moment or later
        (119, idle_since(0, at=119), [LookAgain(NOW + 2 * MINUTE)]),
        (120, idle_since(0, at=120), [DisconnectIdle(NOW)]),
        (121, idle_since(0, at=119), [LookAgain(NOW + 122 * SECOND)]),
        (125, idle_since(124, at=125), [NoteIdle(NOW + 124 * SECOND), LookAgain(NOW + 125 * SECOND + HEARTBEAT_TIMEOUT)]),
        # Who has just come back is active
        (120, idle_since(-600, at=120), [DisconnectIdle(NOW - 10 * MINUTE)]),
        (119, idle_since(-600, at=119), [LookAgain(NOW + 2 * MINUTE)]),
        # What the agent does not say now, nobody knows
        (3000, None, [LookAgain(NOW + 3000 * SECOND + AGENT_FRESHNESS)]),
        (3000, idle_since(0, at=2984), [LookAgain(NOW + 3000 * SECOND + AGENT_FRESHNESS)]),
        (3000, idle_since(0, at=2985), [DisconnectIdle(NOW)]),
        (3000, replace(idle_since(0, at=3000), is_connected=False), [LookAgain(NOW + 3000 * SECOND + AGENT_FRESHNESS)]),
        (3000, says("IN_SESSION", "s", reported_at=NOW + 3000 * SECOND), [LookAgain(NOW + 3000 * SECOND + AGENT_FRESHNESS)]),
    ],
)  # fmt: skip
def test_an_idle_user_is_disconnected_after_whole_minutes(
    after: int, agent: AgentStatus | None, steps: list[object]
) -> None:
    assert plan(replace(CONNECTED, idle_since=NOW), timedelta(seconds=after), fleet=IDLE_FLEET, agent=agent) == steps


def test_the_coming_disconnection_is_known_while_somebody_is_connected_and_the_agent_speaks() -> None:
    agent, at = idle_since(30, at=60), NOW + MINUTE
    assert idle_disconnect_at(CONNECTED, agent, IDLE_FLEET, at) == NOW + 150 * SECOND
    assert idle_disconnect_at(CONNECTED, agent, FLEET, at) is None
    assert idle_disconnect_at(ACTIVE, agent, IDLE_FLEET, at) is None
    assert idle_disconnect_at(CONNECTED, agent, IDLE_FLEET, at + MINUTE) is None
    assert idle_disconnect_at(CONNECTED, None, IDLE_FLEET, at) is None


@pytest.mark.parametrize(("seconds", "minutes"), [(0, 0), (60, 1), (89, 1), (90, 2), (149, 2), (150, 3), (3600, 60)])
def test_idle_time_counts_in_whole_minutes(seconds: int, minutes: int) -> None:
    assert whole_minutes(timedelta(seconds=seconds)) == timedelta(minutes=minutes)
