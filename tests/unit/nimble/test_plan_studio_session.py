"""What a studio's streaming session needs next, where the engine and the agent disagree with its row."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fanlight.domain.instance_plan import BOOT_GRACE, Sight
from fanlight.domain.nimble.resources import Status
from fanlight.domain.nimble.session_backups import BackupEvent, new_backup_of
from fanlight.domain.nimble.session_plan import (
    BecomeReady,
    BecomeStopped,
    DropBackup,
    FailToStart,
    ForgetVolume,
    Lose,
    MoveBackup,
    Restore,
    RunScript,
    StudioSessionFacts,
    StudioSessionStep,
    TakeBackup,
    plan_studio_session,
    work_id_of,
)
from fanlight.domain.nimble.sessions import (
    InitializationScript,
    ScriptContext,
    SessionSettings,
    StudioSession,
    StudioSessionCode,
    StudioSessionState,
    VolumeRetention,
)
from fanlight.domain.own_instances import SOON, EndStray, Listen, LookAgain, PowerOff, PowerOn, Submit
from fanlight.domain.places import Scope
from fanlight.domain.ports import (
    AgentPhase,
    AgentStatus,
    ObservedInstance,
    Power,
    SessionPhase,
    SessionReport,
    WorkPhase,
    WorkReport,
)

_S = StudioSessionState
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SESSION = StudioSession(
    session_id="s", scope=Scope("000000000000", "us-east-1"), studio_id="st", status=Status(code="x"),
    launch_profile_id="p", streaming_image_id="im", ec2_instance_type="g4dn.xlarge", image_ref="sample",
    instance_id="i-1", agent_version="v", settings=SessionSettings(is_persistent=True), owned_by="a", created_by="a",
    updated_by="a", started_by="a", created_at=NOW, updated_at=NOW, started_at=NOW, begun_at=NOW,
)  # fmt: skip
ACCEPTED = replace(SESSION, accepted_at=NOW)
READY = replace(ACCEPTED, state=_S.READY, has_run=True)
STOPPING = replace(READY, state=_S.STOP_IN_PROGRESS)
LATER = NOW + timedelta(seconds=3)
SCRIPT = InitializationScript(context=ScriptContext.SYSTEM_INITIALIZATION, component="c", text="true")


def sight(power: Power | None, *, agent: AgentStatus | None = None) -> Sight:
    observed = ObservedInstance(instance_id="i-1", power=power, labels={}, first_uid=1) if power else None
    return Sight(looked_at=LATER, observed=observed, agent=agent, listening_since=NOW if agent else None)


def agent(*sessions: SessionReport, work: WorkReport | None = None) -> AgentStatus:
    return AgentStatus(
        instance_id="i-1", phase=AgentPhase.READY, sessions=sessions, runtime_version="v", detail="", reported_at=NOW,
        is_connected=True, work=work,
    )  # fmt: skip


def plan(session: StudioSession, seen: Sight, now: datetime = LATER, **facts: object) -> list[StudioSessionStep]:
    return plan_studio_session(StudioSessionFacts(session=session, sight=seen, **facts), now)  # type: ignore[arg-type]


def test_a_session_is_launched_once_and_started_ever_after() -> None:
    assert plan(SESSION, Sight()) == [Submit()]
    starting = replace(READY, state=_S.START_IN_PROGRESS, accepted_at=None)
    assert plan(starting, sight(Power.STOPPED)) == [PowerOn()]
    assert plan(replace(SESSION, retry_at=LATER + SOON), Sight()) == [LookAgain(LATER + SOON)]


def test_a_machine_is_listened_to_and_given_up_when_nobody_speaks() -> None:
    assert plan(ACCEPTED, sight(Power.RUNNING)) == [Listen(1)]
    assert plan(ACCEPTED, sight(Power.RUNNING, agent=agent())) == [BecomeReady()]
    silent = replace(sight(Power.RUNNING), listening_since=NOW)
    (failed,) = plan(ACCEPTED, silent, NOW + BOOT_GRACE)
    assert isinstance(failed, FailToStart)
    assert failed.code is StudioSessionCode.INTERNAL_ERROR


def test_scripts_run_in_their_order_and_what_another_start_left_counts_for_nothing() -> None:
    session = replace(ACCEPTED, scripts=(SCRIPT, replace(SCRIPT, text="false")))
    first, second = (work_id_of(session, number) for number in range(2))

    def after(work_id: str, phase: WorkPhase) -> list[StudioSessionStep]:
        work = WorkReport(work_id=work_id, phase=phase, detail="it ended with 1")
        return plan(session, sight(Power.RUNNING, agent=agent(work=work)))

    begins = [RunScript(session.scripts[0], first), LookAgain(LATER + SOON)]
    assert plan(session, sight(Power.RUNNING, agent=agent())) == begins
    assert after(work_id_of(replace(session, started_at=NOW - SOON), 1), WorkPhase.DONE) == begins
    assert after(first, WorkPhase.RUNNING) == [LookAgain(LATER + SOON)]
    assert after(first, WorkPhase.DONE) == [RunScript(session.scripts[1], second), LookAgain(LATER + SOON)]
    (failed,) = after(second, WorkPhase.FAILED)
    assert isinstance(failed, FailToStart)
    assert failed.code is StudioSessionCode.INITIALIZATION_SCRIPT_ERROR
    assert after(second, WorkPhase.DONE) == [BecomeReady()]


def test_a_ready_session_has_a_machine_that_runs() -> None:
    assert plan(READY, sight(Power.STOPPED)) == [PowerOn()]
    assert plan(replace(READY, accepted_at=LATER), sight(Power.STOPPED, agent=agent())) == [], (
        "an old look says nothing"
    )
    assert plan(READY, sight(None)) == [Lose()]
    stranger = SessionReport(session_id="old", seat=0, phase=SessionPhase.IN_SESSION)
    assert plan(READY, sight(Power.RUNNING, agent=agent(stranger))) == [EndStray("old")]
    assert plan(READY, sight(Power.RUNNING, agent=agent(stranger)), live_sessions={"old": False}) == []


def test_a_stop_lets_programs_end_then_takes_backups_then_prunes_them() -> None:
    session = replace(STOPPING, settings=replace(SESSION.settings, makes_backups=True, backups_to_retain=1))
    user = SessionReport(session_id="user", seat=0, phase=SessionPhase.IN_SESSION)
    assert plan(session, sight(Power.RUNNING, agent=agent(user))) == [EndStray("user"), LookAgain(LATER + SOON)]
    assert plan(session, sight(Power.RUNNING, agent=agent())) == [PowerOff()]
    due = new_backup_of(session, NOW)
    assert plan(session, sight(Power.STOPPED), backups=[due]) == [TakeBackup(due)]
    older, newer = (replace(new_backup_of(session, NOW), state=_S.READY) for _ in range(2))
    assert plan(session, sight(Power.STOPPED), backups=[older, newer]) == [
        MoveBackup(older, BackupEvent.DELETE_REQUESTED)
    ]
    leaving = replace(older, state=_S.DELETE_IN_PROGRESS)
    assert plan(session, sight(Power.STOPPED), backups=[leaving, newer]) == [DropBackup(leaving)]
    assert plan(session, sight(Power.STOPPED), backups=[newer]) == [BecomeStopped()]


def test_a_disk_that_is_not_kept_may_be_gone_already() -> None:
    session = replace(STOPPING, volume_retention=VolumeRetention.DELETE)
    for seen in (sight(Power.STOPPED), sight(None)):
        assert plan(session, seen) == [ForgetVolume()]
    assert plan(replace(session, has_run=False, accepted_at=None), sight(None)) == [BecomeStopped()]
    assert plan(replace(session, volume_retention=VolumeRetention.RETAIN), sight(None)) == [Lose()]


def test_a_backup_is_put_back_before_the_machine_starts() -> None:
    backup = replace(new_backup_of(READY, NOW), state=_S.READY)
    starting = replace(READY, state=_S.START_IN_PROGRESS, accepted_at=None, restoring_backup_id=backup.backup_id)
    assert plan(starting, sight(Power.RUNNING), backups=[backup]) == [PowerOff()]
    assert plan(starting, sight(Power.STOPPED), backups=[backup]) == [Restore(backup)]
    (failed,) = plan(starting, sight(Power.STOPPED))
    assert isinstance(failed, FailToStart)
