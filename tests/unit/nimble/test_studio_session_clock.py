"""What becomes of the times of studios' streaming sessions, their backups and other resources when the clock goes back."""

from dataclasses import replace
from datetime import timedelta

import pytest
from test_plan_studio_session import ACCEPTED, NOW, READY, SCRIPT, SESSION, STOPPING, agent, plan, sight

from fanlight.domain.clock_corrections import TOLERANCE
from fanlight.domain.nimble.resources import ResourceState
from fanlight.domain.nimble.session_backups import new_backup_of
from fanlight.domain.nimble.session_changes import become_ready, become_stopped, with_past_times
from fanlight.domain.nimble.session_plan import CorrectTimes, RunScript, work_id_of
from fanlight.domain.nimble.sessions import SessionSettings, StudioSession, StudioSessionState
from fanlight.domain.ports import Power
from nimble_rig import Studio

HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
STOPPABLE = SessionSettings(max_length=2 * HOUR, max_stopped_length=HOUR)
IN_USE = become_ready(replace(ACCEPTED, settings=STOPPABLE), NOW)
STOPPED = become_stopped(replace(STOPPING, settings=STOPPABLE, stopped_at=NOW), NOW)


@pytest.mark.parametrize("session", [SESSION, IN_USE, STOPPED], ids=["starting", "ready", "stopped"])
def test_a_clock_that_goes_on_changes_nothing(session: StudioSession) -> None:
    for now in (NOW, NOW + HOUR, NOW + YEAR, NOW - TOLERANCE):
        assert with_past_times(session, now) is session


def test_the_longest_time_in_use_begins_anew() -> None:
    then = NOW - YEAR
    corrected = with_past_times(IN_USE, then)
    assert (corrected.begun_at, corrected.stop_at, corrected.terminate_at) == (then, then + 2 * HOUR, None)
    assert {corrected.created_at, corrected.started_at, corrected.accepted_at, corrected.updated_at} == {then}
    assert with_past_times(corrected, then) is corrected
    only_an_hour = with_past_times(replace(IN_USE, created_at=then, started_at=then, accepted_at=then), NOW - HOUR)
    assert (only_an_hour.created_at, only_an_hour.stop_at) == (then, NOW + HOUR)


def test_so_does_the_time_that_it_may_be_stopped() -> None:
    corrected = with_past_times(STOPPED, NOW - YEAR)
    assert (corrected.stopped_at, corrected.terminate_at) == (NOW - YEAR, NOW - YEAR + HOUR)


@pytest.mark.parametrize("state", sorted(set(StudioSessionState) - {StudioSessionState.DELETED}))
def test_times_are_corrected_before_anything_else_is_done(state: StudioSessionState) -> None:
    session = replace(IN_USE, state=state)
    (step,) = plan(session, sight(Power.RUNNING), NOW - YEAR)
    assert isinstance(step, CorrectTimes)
    assert not isinstance(plan(step.session, sight(Power.RUNNING), NOW - YEAR)[0], CorrectTimes)


def test_scripts_of_a_start_do_not_run_twice_for_it() -> None:
    starting = replace(ACCEPTED, scripts=(SCRIPT,))
    corrected = with_past_times(starting, NOW - YEAR)
    assert corrected.begun_at == corrected.accepted_at == NOW - YEAR
    assert work_id_of(corrected, 0) == work_id_of(starting, 0)
    (step, _) = plan(corrected, sight(Power.RUNNING, agent=agent()), NOW - YEAR)
    assert isinstance(step, RunScript)
    assert step.work_id == work_id_of(starting, 0)


def test_a_later_backup_is_newer_whatever_the_clock_said_then() -> None:
    first = new_backup_of(READY, NOW)
    second = new_backup_of(READY, NOW - YEAR, [first])
    third = new_backup_of(READY, NOW - HOUR, [first, second])
    assert first.created_at < second.created_at < third.created_at
    assert new_backup_of(READY, NOW + HOUR, [first]).created_at == NOW + HOUR


async def test_what_was_deleted_in_the_future_is_forgotten_as_soon_as_anything_else(studio: Studio) -> None:
    nimble, component_id = studio.nimble, await studio.component()
    nimble.clock.ahead = YEAR
    await studio.call("delete_studio_component", studioComponentId=component_id)
    nimble.clock.ahead = timedelta()
    await nimble.settle()
    nimble.clock.ahead = HOUR
    await nimble.settle()
    async with nimble.store.transactions.begin() as work:
        assert await work.nimble.resources.find(component_id) is None
        found = await work.nimble.resources.find(studio.studio_id)
    assert found is not None
    assert found.state is ResourceState.READY
