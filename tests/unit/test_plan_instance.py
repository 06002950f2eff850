"""What one instance needs next, from its row, the engine's word and its agent's word."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fanlight.domain.instance_plan import (
    BOOT_GRACE,
    END_GRACE,
    END_LIMIT,
    SILENCE_GRACE,
    Destroy,
    Drain,
    Listen,
    LookAgain,
    NoteReady,
    Release,
    Retire,
    Sight,
    Submit,
    TellEnd,
    plan_instance,
)
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.places import Scope
from fanlight.domain.ports import AgentPhase, AgentStatus, ObservedInstance, Power, SessionPhase, SessionReport
from fanlight.domain.streaming_sessions import SessionState, StreamingSession

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LAUNCHED = NOW - timedelta(seconds=10)
SCOPE = Scope("000000000000", "us-east-1")
LAUNCHING, READY, IN_USE, _, RETIRING = InstanceState


def row(state: InstanceState = LAUNCHING, **members: Any) -> Instance:
    defaults: dict[str, Any] = {
        "instance_id": "i-1",
        "scope": SCOPE,
        "fleet_id": "f",
        "image_ref": "sample",
        "state": state,
        "session_ids": ("s-1",) if state is IN_USE else (),
        "launched_at": LAUNCHED,
        "accepted_at": LAUNCHED,
        "ready_at": NOW - timedelta(seconds=5) if state in (READY, IN_USE) else None,
    }
    return Instance(**defaults | members)


def agent(phase: AgentPhase, *sessions: SessionReport, **members: Any) -> AgentStatus:
    defaults: dict[str, Any] = {
        "instance_id": "i-1",
        "phase": phase,
        "sessions": sessions,
        "runtime_version": "1",
        "detail": "no X server",
        "reported_at": NOW,
        "is_connected": True,
    }
    return AgentStatus(**defaults | members)


def said(phase: SessionPhase, session_id: str) -> SessionReport:
    return SessionReport(session_id=session_id, seat=0, phase=phase)


def engine(power: Power = Power.RUNNING, first_uid: int | None = 1000, detail: str = "") -> ObservedInstance:
    return ObservedInstance(instance_id="i-1", power=power, labels={}, first_uid=first_uid, detail=detail)


def sight(**members: Any) -> Sight:
    defaults: dict[str, Any] = {"looked_at": NOW, "observed": engine(), "agent": None, "listening_since": LAUNCHED}
    return Sight(**defaults | members)


SESSION = StreamingSession(
    session_id="s-1",
    scope=SCOPE,
    stack_name="x",
    fleet_name="f",
    fleet_id="f",
    user_id="u",
    state=SessionState.ACTIVE,
    created_at=LAUNCHED,
    max_expires_at=NOW + timedelta(hours=1),
)
OVER = replace(SESSION, state=SessionState.EXPIRED, ended_at=NOW)
UNSEEN = sight(looked_at=None, observed=None, listening_since=None)
GONE = sight(observed=None)
SOON = LookAgain(NOW + timedelta(milliseconds=250), is_engine_asked=True)
BOOTED = [NoteReady()]


@pytest.mark.parametrize(
    ("instance", "session", "seen", "steps"),
    [
        (row(accepted_at=None), None, UNSEEN, [Submit()]),
        (row(accepted_at=None), None, sight(listening_since=None), [Submit()]),
        (row(IN_USE, accepted_at=None, ready_at=None), SESSION, UNSEEN, [Submit()]),
        (row(), None, UNSEEN, [SOON]),
        (row(), None, sight(listening_since=None), [Listen(1000)]),
        (row(READY), None, sight(listening_since=None), [Listen(1000)]),
        (row(), None, sight(listening_since=None, observed=engine(Power.STARTING, None)), [SOON]),
        (row(), None, sight(), [LookAgain(LAUNCHED + BOOT_GRACE)]),
        (row(), None, sight(agent=agent(AgentPhase.BOOTING)), [LookAgain(LAUNCHED + BOOT_GRACE)]),
        (row(), None, sight(agent=agent(AgentPhase.READY)), BOOTED),
        (row(), None, sight(agent=agent(AgentPhase.READY, is_connected=False)), [LookAgain(LAUNCHED + BOOT_GRACE)]),
        (row(), None, sight(agent=agent(AgentPhase.FAILED)), [Retire("its agent failed: no X server", is_failure=True)]),
        (row(IN_USE, ready_at=None), SESSION, sight(agent=agent(AgentPhase.READY)), BOOTED),
        (row(READY), None, sight(agent=agent(AgentPhase.READY)), []),
        (row(READY), None, sight(agent=agent(AgentPhase.READY, said(SessionPhase.IN_SESSION, "s-9"))), [Retire("its agent has a session that nobody gave it")]),
        (row(READY), None, sight(agent=agent(AgentPhase.FAILED)), [Retire("its agent failed: no X server")]),
        (row(READY), None, sight(), [LookAgain(LAUNCHED + SILENCE_GRACE)]),
        (row(READY), None, sight(listening_since=NOW - SILENCE_GRACE), [Retire("its agent is silent")]),
        (row(READY), None, sight(agent=agent(AgentPhase.READY, is_connected=False)), [LookAgain(NOW + SILENCE_GRACE)]),
        (row(IN_USE), SESSION, sight(agent=agent(AgentPhase.READY, said(SessionPhase.IN_SESSION, "s-1"))), []),
        (row(IN_USE), SESSION, sight(agent=agent(AgentPhase.READY, said(SessionPhase.IN_SESSION, "s-1"), is_connected=False)), []),
        (row(READY), None, GONE, [Retire("the engine does not have it any more")]),
        (row(IN_USE), SESSION, GONE, [Retire("the engine does not have it any more")]),
        (row(), None, GONE, [Retire("the engine does not have it any more", is_failure=True)]),
        (row(), None, sight(observed=None, looked_at=LAUNCHED, listening_since=None), [SOON]),
        (row(READY), None, sight(observed=engine(Power.STOPPED)), [Retire("the engine reports STOPPED")]),
        (row(IN_USE), SESSION, sight(observed=engine(Power.FAILED, detail="disk")), [Retire("the engine reports FAILED: disk")]),
        (row(IN_USE), None, sight(), [Retire("session s-1 is over")]),
        (row(IN_USE), OVER, sight(), [Retire("session s-1 is over")]),
        (row(IN_USE), OVER, sight(agent=agent(AgentPhase.READY, said(SessionPhase.IN_SESSION, "s-1"))), [TellEnd("s-1"), LookAgain(NOW + timedelta(seconds=1))]),
        (row(IN_USE), OVER, sight(agent=agent(AgentPhase.READY, said(SessionPhase.IN_SESSION, "s-1"), is_connected=False)), [Retire("session s-1 is over")]),
        (row(IN_USE), OVER, sight(agent=agent(AgentPhase.READY, said(SessionPhase.ENDED, "s-1"))), [Retire("session s-1 is over")]),
        (row(IN_USE), OVER, sight(agent=agent(AgentPhase.READY)), [Retire("session s-1 is over")]),
        # Scripts of the image run for as long as the agent is heard, but not for ever
        (row(IN_USE), replace(OVER, ended_at=NOW - END_GRACE), sight(agent=agent(AgentPhase.READY, said(SessionPhase.IN_SESSION, "s-1"))),
         [TellEnd("s-1"), LookAgain(NOW + timedelta(seconds=1))]),
        (row(IN_USE), replace(OVER, ended_at=NOW - END_GRACE), sight(agent=agent(AgentPhase.READY, said(SessionPhase.IN_SESSION, "s-1"), reported_at=NOW - END_GRACE)),
         [Retire("session s-1 is over")]),
        (row(IN_USE), replace(OVER, ended_at=NOW - END_LIMIT), sight(agent=agent(AgentPhase.READY, said(SessionPhase.IN_SESSION, "s-1"))), [Retire("session s-1 is over")]),
        (row(RETIRING), None, sight(), [Destroy()]),
        (row(RETIRING), None, GONE, [Destroy()]),
    ],
)  # fmt: skip
def test_the_next_steps_of_an_instance(
    instance: Instance, session: StreamingSession | None, seen: Sight, steps: list[object]
) -> None:
    assert plan_instance(instance, {"s-1": session} if session else {}, seen, retry_at=None, now=NOW) == steps


def test_a_launch_waits_for_the_back_off_of_its_fleet() -> None:
    later = NOW + timedelta(seconds=3)
    assert plan_instance(row(accepted_at=None), {}, UNSEEN, retry_at=later, now=NOW) == [LookAgain(later)]
    assert plan_instance(row(accepted_at=None), {}, UNSEEN, retry_at=NOW, now=NOW) == [Submit()]


@pytest.mark.parametrize("listening_since", [LAUNCHED, None])
def test_an_instance_that_stays_silent_past_the_grace_is_a_failure(listening_since: datetime | None) -> None:
    now = LAUNCHED + BOOT_GRACE
    seen = sight(looked_at=now, listening_since=listening_since, observed=engine(first_uid=None))
    [step] = plan_instance(row(), {}, seen, retry_at=None, now=now)
    assert isinstance(step, Retire)
    assert step.is_failure
    assert "i-1 within 300 s" in step.why


# ── Several sessions ──────────────────────────────────────────────────────────────────────────────────────────────────

ANOTHER = replace(SESSION, session_id="s-2")
ANOTHER_OVER = replace(ANOTHER, state=SessionState.EXPIRED, ended_at=NOW)
TWO = row(IN_USE, places=3, session_ids=("s-1", "s-2"))
DRAINED = replace(TWO, is_draining=True)
NOT_LEFT = "session s-2 did not end"


def says(*sessions: SessionReport, **members: Any) -> Sight:
    return sight(agent=agent(members.pop("phase", AgentPhase.READY), *sessions, **members))


HERE, THERE = said(SessionPhase.IN_SESSION, "s-1"), said(SessionPhase.IN_SESSION, "s-2")
GONE_FROM = said(SessionPhase.ENDED, "s-2")
LATE = replace(ANOTHER_OVER, ended_at=NOW - END_LIMIT)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("instance", "sessions", "seen", "steps"),
    [
        (TWO, [SESSION, ANOTHER], says(HERE, THERE), []),
        # One of two is over: it is ended, then its place is free
        (TWO, [SESSION, ANOTHER_OVER], says(HERE, THERE), [TellEnd("s-2"), LookAgain(NOW + SECOND)]),
        (TWO, [SESSION, ANOTHER_OVER], says(HERE, GONE_FROM), [Release("s-2")]),
        (TWO, [SESSION, ANOTHER_OVER], says(HERE), [Release("s-2")]),
        (TWO, [SESSION], says(HERE, GONE_FROM), [Release("s-2")]),
        # What never ends makes the instance unfit for others
        (TWO, [SESSION, LATE], says(HERE, THERE), [Drain(NOT_LEFT), Release("s-2")]),
        (DRAINED, [SESSION, LATE], says(HERE, THERE), [Release("s-2")]),
        (TWO, [SESSION, ANOTHER_OVER], says(HERE, THERE, is_connected=False), [LookAgain(NOW + END_GRACE)]),
        # The last one is over, drained or not: nobody comes to what others have left
        (TWO, [OVER, ANOTHER_OVER], says(GONE_FROM), [Retire("session s-2 is over")]),
        (DRAINED, [OVER, ANOTHER_OVER], says(GONE_FROM), [Retire("session s-2 is over")]),
        (TWO, [OVER, ANOTHER_OVER], says(HERE, GONE_FROM), [TellEnd("s-1"), LookAgain(NOW + SECOND), Release("s-2")]),
        # What nobody asked for is ended
        (TWO, [SESSION, ANOTHER], says(HERE, THERE, said(SessionPhase.IN_SESSION, "s-9")), [TellEnd("s-9")]),
        # Nobody is sent to an agent that failed, or is away
        (TWO, [SESSION, ANOTHER], says(HERE, THERE, phase=AgentPhase.FAILED), [Drain("its agent failed: no X server")]),
        (DRAINED, [SESSION, ANOTHER], says(HERE, THERE, phase=AgentPhase.FAILED), []),
        (TWO, [SESSION, ANOTHER], says(HERE, THERE, is_connected=False), [LookAgain(NOW + SILENCE_GRACE)]),
        (TWO, [SESSION, ANOTHER], sight(listening_since=NOW - SILENCE_GRACE), [Drain("its agent is silent")]),
        (TWO, [SESSION, ANOTHER], GONE, [Retire("the engine does not have it any more")]),
    ],
)  # fmt: skip
def test_the_next_steps_of_an_instance_with_several_sessions(
    instance: Instance, sessions: list[StreamingSession], seen: Sight, steps: list[object]
) -> None:
    planned = plan_instance(instance, {s.session_id: s for s in sessions}, seen, retry_at=None, now=NOW)
    assert sorted(map(repr, planned)) == sorted(map(repr, steps))
