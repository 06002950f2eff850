"""What becomes of an instance whose sessions are over while files that their users saved are still to be sent."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fanlight.domain.flush_plan import END_LIMIT, SILENT_FLUSH_GRACE, START_AGAIN_AFTER
from fanlight.domain.instance_plan import (
    UNSENT_KEPT,
    Drain,
    EndLost,
    Listen,
    LookAgain,
    Lose,
    NoteUnsent,
    Release,
    Retire,
    SetAside,
    Sight,
    StartAgain,
    TellEnd,
    plan_instance,
)
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.places import Scope
from fanlight.domain.ports import (
    AgentPhase,
    AgentStatus,
    ObservedInstance,
    Power,
    SessionPhase,
    SessionReport,
    StorageReport,
    StorageState,
)
from fanlight.domain.streaming_sessions import SessionState, StreamingSession
from fanlight.domain.unsent_files import SettingsLoss, UnsentFiles
from fanlight.domain.user_storage import StorageKind

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SCOPE = Scope("000000000000", "us-east-1")
THREE, TWO, NONE = (UnsentFiles(files=n, size_in_bytes=n * 1000) for n in (3, 2, 0))
SOON, LATER = LookAgain(NOW + SECOND), LookAgain(NOW + 15 * SECOND)
GONE = "the engine does not have the instance any more"
FORGOTTEN = "the agent has nothing of the session any more"


def over(session_id: str = "s-1", *, ago: timedelta = SECOND, **members: Any) -> StreamingSession:
    defaults: dict[str, Any] = {
        "session_id": session_id,
        "scope": SCOPE,
        "stack_name": "x",
        "fleet_name": "f",
        "fleet_id": "f",
        "user_id": "u",
        "state": SessionState.EXPIRED,
        "created_at": NOW - timedelta(hours=30),
        "ended_at": NOW - ago,
        "max_expires_at": NOW,
        "unsent": THREE,
    }
    return StreamingSession(**defaults | members)


def live(session_id: str = "s-2", unsent: UnsentFiles | None = NONE) -> StreamingSession:
    return over(session_id, state=SessionState.ACTIVE, ended_at=None, unsent=unsent)


def instance(*held: str, state: InstanceState = InstanceState.IN_USE, places: int = 1) -> Instance:
    before = NOW - timedelta(hours=30)
    return Instance(
        instance_id="i-1",
        scope=SCOPE,
        fleet_id="f",
        image_ref="sample",
        state=state,
        places=places,
        session_ids=held or ("s-1",),
        launched_at=before,
        accepted_at=before,
        ready_at=before,
    )


ASIDE = instance(state=InstanceState.FLUSHING)
TWO_SEATS = instance("s-1", "s-2", places=2)


def report(phase: SessionPhase, unsent: UnsentFiles | None = THREE, session_id: str = "s-1") -> SessionReport:
    folder = unsent and StorageReport(
        kind=StorageKind.HOMEFOLDERS,
        state=StorageState.MOUNTED,
        unsent_files=unsent.files,
        unsent_bytes=unsent.size_in_bytes,
    )
    return SessionReport(session_id=session_id, seat=0, phase=phase, storage=(folder,) if folder else ())


def sight(*reports: SessionReport, power: Power | None = Power.RUNNING, **members: Any) -> Sight:
    """What is seen; `agent=None`: nothing was heard of it. `power=None`: the engine does not have it."""
    defaults: dict[str, Any] = {
        "instance_id": "i-1",
        "phase": AgentPhase.READY,
        "sessions": reports,
        "runtime_version": "1",
        "detail": "",
        "reported_at": NOW,
        "is_connected": True,
    }
    agent = None if "agent" in members else AgentStatus(**defaults | members.pop("heard", {}))
    seen: dict[str, Any] = {
        "looked_at": NOW,
        "observed": power and ObservedInstance(instance_id="i-1", power=power, labels={}, first_uid=1000),
        "listening_since": NOW - timedelta(hours=30),
    }
    return Sight(**seen | {"agent": agent} | members)


def plan(of: Instance, *sessions: StreamingSession, seen: Sight, unsent_kept: timedelta = UNSENT_KEPT) -> list[object]:
    by_id = {session.session_id: session for session in sessions}
    return list(plan_instance(of, by_id, seen, retry_at=None, now=NOW, unsent_kept=unsent_kept))


FLUSHING, ENDED, BUSY = report(SessionPhase.FLUSHING), report(SessionPhase.ENDED, None), report(SessionPhase.IN_SESSION)
DEAF = sight(agent=None)
AWAY = sight(FLUSHING, heard={"is_connected": False, "reported_at": NOW - SECOND})
LONG_AGO = over(ago=UNSENT_KEPT - SECOND)


@pytest.mark.parametrize(
    ("of", "session", "seen", "steps"),
    [
        # Its programs are ended first, in their time; then it is set aside, and counted until all is sent
        (instance(), over(), sight(BUSY), [TellEnd("s-1"), SOON]),
        (instance(), over(), sight(FLUSHING), [SetAside(), SOON]),
        (ASIDE, over(), sight(FLUSHING), [SOON]),
        (ASIDE, over(), sight(report(SessionPhase.FLUSHING, TWO)), [NoteUnsent("s-1", TWO), SOON]),
        (ASIDE, over(ago=timedelta(minutes=2)), sight(FLUSHING), [LATER]),
        (ASIDE, over(), sight(ENDED), [NoteUnsent("s-1", None), Retire("session s-1 is over")]),
        (instance(), over(unsent=NONE), sight(ENDED), [NoteUnsent("s-1", None), Retire("session s-1 is over")]),
        # Of folders that only the agent has told of
        (instance(), over(unsent=None), sight(FLUSHING), [SetAside(), NoteUnsent("s-1", THREE), SOON]),
        # Programs that do not end hold up no capacity
        (instance(), over(ago=END_LIMIT), sight(BUSY), [SetAside(), TellEnd("s-1"), LATER]),
        # Whatever is away comes back: this process, the agent, the instance
        (ASIDE, LONG_AGO, DEAF, [LATER]),
        (ASIDE, LONG_AGO, replace(DEAF, listening_since=None), [Listen(1000)]),
        (ASIDE, LONG_AGO, replace(DEAF, listening_since=None, observed=None, looked_at=None), [LookAgain(NOW + SECOND, is_engine_asked=True)]),
        (ASIDE, LONG_AGO, AWAY, [LATER]),
        (ASIDE, LONG_AGO, sight(heard={"phase": AgentPhase.BOOTING}), [LATER]),
        (ASIDE, LONG_AGO, sight(power=Power.STOPPED, agent=None), [StartAgain(), LookAgain(NOW + START_AGAIN_AFTER)]),
        (instance(), over(), sight(BUSY, power=Power.FAILED, heard={"is_connected": False}), [SetAside(), StartAgain(), LookAgain(NOW + START_AGAIN_AFTER)]),
        # What cannot be sent any more
        (ASIDE, over(), sight(power=None, agent=None), [Lose("s-1", THREE, GONE), Retire("session s-1 is over")]),
        (ASIDE, over(), sight(), [Lose("s-1", THREE, FORGOTTEN), Retire("session s-1 is over")]),
        (ASIDE, over(ago=UNSENT_KEPT), sight(report(SessionPhase.FLUSHING, TWO)), [Lose("s-1", TWO, "they could not be sent for 24 h"), Retire("session s-1 is over")]),
        (ASIDE, over(unsent=replace(THREE, are_lost=True)), DEAF, [Retire("session s-1 is over")]),
        # Of what nobody knows, nothing is kept for long
        (instance(), over(unsent=NONE), DEAF, [SOON]),
        (ASIDE, over(unsent=NONE, ago=SILENT_FLUSH_GRACE), replace(DEAF, listening_since=NOW - SECOND), [LATER]),
        (ASIDE, over(unsent=NONE, ago=SILENT_FLUSH_GRACE), DEAF, [Lose("s-1", NONE, "the agent is silent"), Retire("session s-1 is over")]),
    ],
)  # fmt: skip
def test_the_next_steps_of_an_instance_with_unsent_files(
    of: Instance, session: StreamingSession, seen: Sight, steps: list[object]
) -> None:
    assert plan(of, session, seen=seen) == steps


@pytest.mark.parametrize(
    ("said", "loss"),
    [
        ({}, None),
        ({"detail": "larger than allowed", "is_full": True}, SettingsLoss.TOO_LARGE),
        ({"detail": "they could not be packed"}, SettingsLoss.NOT_SAVED),
        # Out of reach from the beginning: its user was told then, and nothing was to be kept.
        ({"detail": "out of reach", "state": StorageState.OFFLINE}, None),
    ],
)
def test_settings_that_were_not_kept_are_written_down_at_the_end(
    said: dict[str, Any], loss: SettingsLoss | None
) -> None:
    settings: dict[str, Any] = {"kind": StorageKind.APPLICATION_SETTINGS, "state": StorageState.MOUNTED}
    over_now = replace(ENDED, storage=(StorageReport(**settings | said),))
    assert plan(ASIDE, over(), seen=sight(over_now))[0] == NoteUnsent("s-1", None, loss)


AT_WORK = report(SessionPhase.IN_SESSION, NONE, "s-2")


@pytest.mark.parametrize(
    ("sessions", "seen", "steps"),
    [
        # One seat flushes, the other goes on
        ([over(), live()], sight(FLUSHING, AT_WORK), [SOON]),
        ([over(), live()], sight(ENDED, AT_WORK), [NoteUnsent("s-1", None), Release("s-1")]),
        ([over(), live()], sight(AT_WORK), [Lose("s-1", THREE, FORGOTTEN), Drain(FORGOTTEN), Release("s-1")]),
        ([over(), over("s-2")], sight(FLUSHING, report(SessionPhase.IN_SESSION, TWO, "s-2")), [SOON, NoteUnsent("s-2", TWO), TellEnd("s-2")]),
        ([over(), over("s-2")], sight(FLUSHING, report(SessionPhase.FLUSHING, THREE, "s-2")), [SetAside(), SOON]),
        # An instance that died: who is on it is told, then it is started for what they saved
        ([over(), live()], sight(power=Power.STOPPED, agent=None), [StartAgain(), EndLost("s-2"), SOON]),
        ([live("s-1"), live()], sight(power=Power.STOPPED, agent=None), [EndLost("s-1"), EndLost("s-2"), SOON]),
        ([live("s-1", None), live("s-2", None)], sight(power=Power.STOPPED, agent=None), [Retire("the engine reports STOPPED")]),
        ([over(), live()], sight(power=None, agent=None), [Lose("s-1", THREE, GONE), Retire("the engine does not have it any more")]),
    ],
)  # fmt: skip
def test_the_next_steps_of_an_instance_with_several_sessions(
    sessions: list[StreamingSession], seen: Sight, steps: list[object]
) -> None:
    assert sorted(map(repr, plan(TWO_SEATS, *sessions, seen=seen))) == sorted(map(repr, steps))


def test_how_long_files_are_kept_can_be_chosen() -> None:
    session = over(ago=timedelta(hours=2))
    assert plan(ASIDE, session, seen=DEAF, unsent_kept=timedelta(hours=3)) == [LATER]
    [lost, _] = plan(ASIDE, session, seen=DEAF, unsent_kept=timedelta(hours=1.5))
    assert lost == Lose("s-1", THREE, "they could not be sent for 1.5 h")
