"""The end of sessions whose users' files are still being sent: on the simulated engine, whose guests say that they are."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from simulated_system import SCOPE, System, running_system, stopped_system, until

from fanlight.control.views import SessionViews
from fanlight.controlwire.messages import FilesView
from fanlight.domain.fleets import FleetState
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingSession
from fanlight.domain.unsent_files import UnsentFiles
from fanlight.domain.user_storage import StorageConnector, StorageKind
from fanlight.drivers.simulated import Faults

pytestmark = pytest.mark.timeout(60)
THREE, TWO = UnsentFiles(files=3, size_in_bytes=3_000), UnsentFiles(files=2, size_in_bytes=2_000)
HOUR = timedelta(hours=1)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir, faults=Faults(unsent=(3, 3_000))) as made:
        yield made


def send(system: System, files: int, size: int) -> None:
    system.driver.faults.unsent = (files, size)


async def working_session(system: System, user: str = "ada") -> StreamingSession:
    opened = await system.open(user)
    return await system.session_becomes(
        opened.session_id, lambda one: one.state is SessionState.ACTIVE and one.unsent is not None
    )


async def ended(system: System, session: StreamingSession) -> StreamingSession:
    await system.services.sessions.request_end(session.session_id, EndReason.USER)
    return await system.session_becomes(session.session_id, lambda one: one.state is SessionState.EXPIRED)


async def instance_becomes(system: System, instance_id: str | None, state: InstanceState | None) -> None:
    """Wait until an instance is in a state; None: until it is gone."""

    async def probe() -> bool:
        found = {one.instance_id: one for one in await system.instances()}.get(instance_id or "")
        return (found.state if found else None) is state

    await until(probe, within=20, what=f"instance {instance_id} {state}")


async def flushing_session(system: System, **fleet: int) -> StreamingSession:
    await system.make_fleet(**{"desired_instances": 1} | fleet)
    await system.start()
    session = await ended(system, await working_session(system))
    await instance_becomes(system, session.instance_id, InstanceState.FLUSHING)
    return session


async def of_fleet(system: System) -> list[Instance]:
    return [one for one in await system.instances() if one.fleet_id == "f-cad"]


async def test_the_session_is_over_at_once_and_its_instance_goes_when_all_is_sent(system: System) -> None:
    session = await flushing_session(system)
    assert session.unsent == THREE
    send(system, 2, 2_000)
    await system.session_becomes(session.session_id, lambda one: one.unsent == TWO)
    send(system, 0, 0)
    await system.session_becomes(session.session_id, lambda one: one.unsent is None)
    await instance_becomes(system, session.instance_id, None)
    assert system.lost == []


async def test_another_instance_takes_its_place_meanwhile_and_the_user_may_come_again(system: System) -> None:
    session = await flushing_session(system)
    again = await working_session(system)
    assert again.instance_id != session.instance_id
    capacity = (await system.services.fleets.describe(SCOPE, names=["cad"]))[0][0].capacity
    assert (capacity.running, capacity.in_use, capacity.available) == (1, 1, 0)
    await instance_becomes(system, session.instance_id, InstanceState.FLUSHING)


async def test_who_comes_again_is_told_what_is_still_being_saved_until_it_is(system: System, tmp_path: Path) -> None:
    views = SessionViews(system.transactions, system.agents, system.clock, tmp_path, lambda _instance_id, _seat: 1001)
    session = await flushing_session(system)
    async with system.transactions.begin(write=True) as work:
        stack = await work.stacks.get(SCOPE, "cad")
        await work.stacks.save(replace(stack, storage_connectors=(StorageConnector(kind=StorageKind.HOMEFOLDERS),)))
        await work.commit()
    again = await working_session(system)
    view = await views.of(again)
    assert view.saving_before == FilesView(count=3, size_in_bytes=3_000)
    assert [folder.state for folder in view.folders] == ["MOUNTED"]
    assert (await views.of(await system.session(session.session_id))).saving_before is None, (
        "that one has its own words"
    )
    send(system, 0, 0)
    await system.session_becomes(session.session_id, lambda one: one.unsent is None)
    assert (await views.of(again)).saving_before is None

    # A connector that the stack has lost is no fault.
    async with system.transactions.begin(write=True) as work:
        stack = await work.stacks.get(SCOPE, "cad")
        await work.stacks.save(replace(stack, storage_connectors=()))
        await work.commit()
    assert [folder.state for folder in (await views.of(again)).folders] == ["DISABLED"]


async def test_a_fleet_stops_and_goes_while_files_are_sent(system: System) -> None:
    session = await flushing_session(system)
    await system.services.fleets.stop(SCOPE, "cad")
    await system.fleet_becomes(FleetState.STOPPED)
    assert [one.state for one in await of_fleet(system)] == [InstanceState.FLUSHING]
    await system.services.associations.disassociate(SCOPE, "cad", "cad")
    await system.services.fleets.delete(SCOPE, "cad")
    send(system, 1, 1_000)
    await system.session_becomes(session.session_id, lambda one: one.unsent is not None and one.unsent.files == 1)
    assert [one.state for one in await of_fleet(system)] == [InstanceState.FLUSHING]
    send(system, 0, 0)
    await instance_becomes(system, session.instance_id, None)


async def test_it_goes_on_after_fanlight_was_killed(data_dir: Path) -> None:
    faults = Faults(unsent=(3, 3_000))
    async with running_system(data_dir, faults=faults) as system:
        session = await flushing_session(system)
    async with running_system(data_dir, faults=faults) as system:
        await system.settle()
        await instance_becomes(system, session.instance_id, InstanceState.FLUSHING)
        send(system, 0, 0)
        await instance_becomes(system, session.instance_id, None)
        assert (await system.session(session.session_id)).unsent is None
        assert system.lost == []


async def test_an_end_that_nobody_saw_is_not_the_end_of_the_files(data_dir: Path) -> None:
    """Fanlight is killed between the end of the session and the first word of its agent."""
    faults = Faults(unsent=(3, 3_000))
    async with stopped_system(data_dir, faults=faults) as system:
        async with system.reconciling():
            await system.make_fleet(desired_instances=1)
            await system.start()
            session = await working_session(system)
        await system.services.sessions.request_end(session.session_id, EndReason.USER)
        await system.agents.close_all()
        async with system.reconciling():
            await instance_becomes(system, session.instance_id, InstanceState.FLUSHING)
            send(system, 0, 0)
            await instance_becomes(system, session.instance_id, None)
        assert system.lost == []


async def test_an_instance_that_died_is_started_again_for_what_was_saved_in_it(system: System) -> None:
    await system.make_fleet(desired_instances=1)
    await system.start()
    session = await working_session(system)
    await system.driver.halt(session.instance_id or "")
    over = await system.session_becomes(session.session_id, lambda one: one.state is SessionState.EXPIRED)
    assert over.end_reason is EndReason.INSTANCE_LOST
    await instance_becomes(system, session.instance_id, InstanceState.FLUSHING)
    send(system, 2, 2_000)  # which only a guest that runs tells
    await system.session_becomes(session.session_id, lambda one: one.unsent == TWO)
    send(system, 0, 0)
    await instance_becomes(system, session.instance_id, None)
    assert system.lost == []


async def test_files_of_an_instance_that_is_gone_are_told_to_the_next_session_once(system: System) -> None:
    await system.make_fleet(desired_instances=1)
    await system.start()
    session = await working_session(system)
    await system.driver.terminate(session.instance_id or "")
    await system.session_becomes(session.session_id, lambda one: one.state is SessionState.EXPIRED)
    lost = UnsentFiles(files=3, size_in_bytes=3_000, are_lost=True)
    assert system.lost == [(session.session_id, lost)]
    send(system, 0, 0)
    second = await working_session(system)
    assert second.lost_before == lost
    await ended(system, second)
    third = await working_session(system)
    assert third.lost_before is None
    await ended(system, third)
    assert (await working_session(system, "bob")).lost_before is None


async def test_after_a_day_they_are_given_up_and_what_they_were_is_said(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    session = await flushing_session(system)
    for _ in range(23):
        await system.pass_time(HOUR)
    assert (await system.session(session.session_id)).unsent == THREE
    await system.pass_time(HOUR)
    await instance_becomes(system, session.instance_id, None)
    assert system.lost == [(session.session_id, UnsentFiles(files=3, size_in_bytes=3_000, are_lost=True))]
    [said] = [record for record in caplog.records if record.message == "files of a session were not saved"]
    assert (said.files, said.bytes, said.why) == (3, 3_000, "they could not be sent for 24 h")  # type: ignore[attr-defined]


async def test_one_user_of_an_instance_flushes_while_the_other_goes_on(system: System) -> None:
    await system.make_fleet(desired_instances=1, max_sessions_per_instance=2, desired_sessions=2)
    await system.start()
    ada, bob = await working_session(system, "ada"), await working_session(system, "bob")
    assert ada.instance_id == bob.instance_id
    await ended(system, ada)
    send(system, 2, 2_000)
    await system.session_becomes(ada.session_id, lambda one: one.unsent == TWO)
    assert (await system.session(bob.session_id)).state is SessionState.ACTIVE
    await instance_becomes(system, bob.instance_id, InstanceState.IN_USE)
    await ended(system, bob)
    await instance_becomes(system, bob.instance_id, InstanceState.FLUSHING)
    send(system, 0, 0)
    await instance_becomes(system, bob.instance_id, None)
