"""Image builders on the simulated engine: states, sessions in them, and what becomes of them when something goes wrong."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from simulated_system import SCOPE, System, running_system, stopped_system, until

from fanlight.domain.errors import CapacityExhausted, NotAvailable, NotFound, NotPermitted, UrlRefused
from fanlight.domain.image_builders import ImageBuilder, ImageBuilderState, StateChangeCode
from fanlight.domain.image_tasks import BuildTask
from fanlight.domain.images import Image, ImageFailure, ImageState, made_ref
from fanlight.domain.ports import InstanceSpec, Power
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingSession
from fanlight.services.image_builders import NewImageBuilder, begin_snapshot

pytestmark = pytest.mark.timeout(60)

RUNNING, STOPPED, FAILED = ImageBuilderState.RUNNING, ImageBuilderState.STOPPED, ImageBuilderState.FAILED


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir) as made:
        yield made


async def create(system: System, name: str = "workshop") -> ImageBuilder:
    wanted = NewImageBuilder(
        name=name, instance_type="stream.standard.small", image_name="Fanlight-Base-Debian13", tags={"team": "cad"}
    )
    return await system.services.image_builders.create(SCOPE, wanted)


async def builder(system: System, name: str = "workshop") -> ImageBuilder:
    (found,), _ = await system.services.image_builders.describe(SCOPE, names=[name])
    return found


async def becomes(system: System, state: ImageBuilderState, name: str = "workshop") -> ImageBuilder:
    async def probe() -> ImageBuilder | None:
        found = await builder(system, name)
        return found if found.state is state else None

    found: ImageBuilder = await until(probe, within=20, what=f"image builder {name} {state}")
    return found


async def running(system: System) -> ImageBuilder:
    await create(system)
    return await becomes(system, RUNNING)


async def open_url(system: System, name: str = "workshop") -> StreamingSession:
    """Open the builder's streaming URL as the portal does."""
    from urllib.parse import parse_qs, urlsplit

    url, _ = await system.services.image_builders.create_url(SCOPE, name)
    query = parse_qs(urlsplit(url).query)
    grant = await system.services.sessions.redeem(query["parameters"][0], query["signature"][0])
    return await system.services.sessions.open_session(grant, None)


async def in_session(system: System) -> StreamingSession:
    session = await open_url(system)
    return await system.session_becomes(session.session_id, lambda s: s.state is SessionState.ACTIVE)


async def power(system: System, made: ImageBuilder) -> Power | None:
    shown = {one.instance_id: one.power for one in await system.driver.observe()}
    return shown.get(made.instance_id)


async def test_a_new_builder_starts_by_itself(system: System) -> None:
    made = await create(system)
    assert (made.state, made.network_interface) == (ImageBuilderState.PENDING, None)
    ready = await becomes(system, RUNNING)
    assert ready.has_run
    assert await power(system, ready) is Power.RUNNING
    assert await system.services.tags.of(SCOPE, made.arn) == {"team": "cad"}


async def test_stop_keeps_the_instance_and_start_brings_the_same_one_back(system: System) -> None:
    made = await running(system)
    assert (await system.services.image_builders.stop(SCOPE, "workshop")).state is ImageBuilderState.STOPPING
    await becomes(system, STOPPED)
    assert await power(system, made) is Power.STOPPED
    await system.pass_time(timedelta(minutes=10))  # no sweep takes it for an orphan, or starts it
    assert await power(system, made) is Power.STOPPED
    assert (await system.services.image_builders.start(SCOPE, "workshop")).state is ImageBuilderState.PENDING
    again = await becomes(system, RUNNING)
    assert again.instance_id == made.instance_id
    assert await power(system, made) is Power.RUNNING


async def test_a_deleted_builder_leaves_nothing(system: System) -> None:
    made = await running(system)
    assert (await system.services.image_builders.delete(SCOPE, "workshop")).state is ImageBuilderState.DELETING

    async def gone() -> bool:
        return (await system.services.image_builders.describe(SCOPE))[0] == ()

    await until(gone, within=10, what="the builder gone")
    assert await system.driver.observe() == []
    with pytest.raises(NotFound):
        await system.services.tags.of(SCOPE, made.arn)


async def test_states_refuse_what_they_do_not_allow(system: System) -> None:
    await running(system)
    builders = system.services.image_builders
    with pytest.raises(NotAvailable):
        await builders.start(SCOPE, "workshop")
    await builders.stop(SCOPE, "workshop")
    await becomes(system, STOPPED)
    for refused in (builders.stop(SCOPE, "workshop"), builders.create_url(SCOPE, "workshop")):
        with pytest.raises(NotPermitted, match="STOPPED"):
            await refused
    await builders.delete(SCOPE, "workshop")


async def test_sessions_come_and_go_and_the_instance_stays(system: System) -> None:
    made = await running(system)
    first = await in_session(system)
    assert (first.instance_id, first.image_builder_name) == (made.instance_id, "workshop")
    assert (await open_url(system)).session_id == first.session_id  # a second tab comes back to it
    await system.services.sessions.request_end(first.session_id, EndReason.USER)
    await system.session_becomes(first.session_id, lambda s: s.state is SessionState.EXPIRED)
    second = await in_session(system)
    assert second.session_id != first.session_id
    assert (await builder(system)).state is RUNNING
    assert await power(system, made) is Power.RUNNING


async def test_a_builder_s_session_waits_for_its_user_and_is_listed_nowhere(system: System) -> None:
    await running(system)
    session = await in_session(system)
    await system.pass_time(timedelta(hours=20))
    assert (await system.session(session.session_id)).is_live
    listed, _ = await system.services.sessions.describe(SCOPE, stack_name="workshop", fleet_name="workshop")
    assert listed == ()


async def test_stopping_ends_the_session_at_once(system: System) -> None:
    await running(system)
    session = await in_session(system)
    await system.services.image_builders.stop(SCOPE, "workshop")
    ended = await system.session_becomes(session.session_id, lambda s: not s.is_live)
    assert ended.end_reason is EndReason.FLEET_STOPPED
    await becomes(system, STOPPED)


async def test_a_link_opens_only_while_the_builder_runs(system: System) -> None:
    await running(system)
    url, _ = await system.services.image_builders.create_url(SCOPE, "workshop", 604_800)
    from urllib.parse import parse_qs, urlsplit

    query = parse_qs(urlsplit(url).query)
    await system.services.image_builders.stop(SCOPE, "workshop")
    with pytest.raises(UrlRefused) as refused:
        await system.services.sessions.redeem(query["parameters"][0], query["signature"][0])
    assert refused.value.code == "IMAGE_BUILDER_NOT_RUNNING"


async def test_an_instance_that_was_shut_down_leaves_a_builder_that_starts_again(system: System) -> None:
    made = await running(system)
    session = await in_session(system)
    await system.driver.halt(made.instance_id)
    for _ in range(10):
        await system.pass_time(timedelta(seconds=2))
    halted = await becomes(system, STOPPED)
    assert halted.reason is not None
    assert "start the image builder again" in halted.reason.message
    assert not (await system.session(session.session_id)).is_live
    await system.services.image_builders.start(SCOPE, "workshop")
    again = await becomes(system, RUNNING)
    assert (again.reason, again.errors) == (None, ())


async def test_a_restart_from_within_is_seen_and_survived(system: System) -> None:
    made = await running(system)
    session = await in_session(system)
    await system.driver.halt(made.instance_id)
    await system.pass_time(timedelta(seconds=6))
    assert (await builder(system)).state is ImageBuilderState.REBOOTING
    await system.driver.start(made.instance_id)
    await system.pass_time(timedelta(seconds=2))
    await becomes(system, RUNNING)
    ended = await system.session_becomes(session.session_id, lambda s: not s.is_live)
    assert ended.end_reason is EndReason.INSTANCE_LOST
    assert (await in_session(system)).session_id != session.session_id


async def test_an_instance_that_is_gone_fails_the_builder_and_it_can_be_deleted(system: System) -> None:
    made = await running(system)
    await system.driver.lose(made.instance_id)
    await system.pass_time(timedelta(seconds=6))
    lost = await becomes(system, FAILED)
    assert lost.reason is not None
    assert lost.reason.code is StateChangeCode.INTERNAL_ERROR
    assert "disk is gone" in lost.reason.message
    await system.services.image_builders.delete(SCOPE, "workshop")


async def test_an_image_without_a_file_system_fails_the_builder(system: System, data_dir: Path) -> None:
    (data_dir / "images" / "fanlight-base" / "catalogue.json").unlink()
    await create(system)
    failed = await becomes(system, FAILED)
    assert failed.reason is not None
    assert failed.reason.code is StateChangeCode.IMAGE_UNAVAILABLE
    assert [error.code for error in failed.errors] == ["IMAGE_NOT_FOUND"]


async def test_want_of_room_is_told_and_waited_for_a_while(system: System) -> None:
    system.driver.faults.launch_error = CapacityExhausted("no room")
    await create(system)

    async def told() -> bool:
        return bool((await builder(system)).errors)

    await until(told, within=10, what="the error at the builder")
    assert (await builder(system)).state is ImageBuilderState.PENDING
    system.driver.faults.launch_error = None
    assert (await becomes(system, RUNNING)).errors == ()


async def test_want_of_room_for_too_long_fails_it(system: System) -> None:
    system.driver.faults.launch_error = CapacityExhausted("no room")
    await create(system)
    await system.pass_time(timedelta(minutes=6))
    assert "no room" in str((await becomes(system, FAILED)).reason)


async def test_a_builder_whose_agent_fails_never_ran(system: System) -> None:
    system.driver.faults.fails_to_boot = True
    await create(system)
    failed = await becomes(system, FAILED)
    assert "agent failed" in str(failed.reason)

    async def discarded() -> bool:
        return await system.driver.observe() == []

    await until(discarded, within=10, what="its instance gone")


async def test_a_start_that_fails_keeps_the_disk(system: System) -> None:
    made = await running(system)
    await system.services.image_builders.stop(SCOPE, "workshop")
    await becomes(system, STOPPED)
    system.driver.faults.fails_to_boot = True
    await system.services.image_builders.start(SCOPE, "workshop")
    stopped = await becomes(system, STOPPED)
    assert "did not start" in str(stopped.reason)
    system.driver.faults.fails_to_boot = False

    async def off() -> bool:
        return await power(system, made) is Power.STOPPED

    await until(off, within=10, what="the instance stopped again")
    await system.services.image_builders.start(SCOPE, "workshop")
    await becomes(system, RUNNING)


async def test_everything_goes_on_in_a_new_process(data_dir: Path) -> None:
    async with stopped_system(data_dir) as system:
        await create(system)
        async with system.reconciling():
            made = await becomes(system, RUNNING)
            session = await in_session(system)
        await system.services.image_builders.stop(SCOPE, "workshop")
        async with system.reconciling():
            await system.session_becomes(session.session_id, lambda s: not s.is_live)
            await becomes(system, STOPPED)
        await system.services.image_builders.delete(SCOPE, "workshop")
        async with system.reconciling():

            async def gone() -> bool:
                return (await system.services.image_builders.describe(SCOPE))[0] == ()

            await until(gone, within=10, what="the builder gone")
            assert await power(system, made) is None


async def test_a_running_builder_and_its_session_survive_a_restart_of_the_process(data_dir: Path) -> None:
    async with running_system(data_dir) as system:
        made = await running(system)
        session = await in_session(system)
    async with running_system(data_dir) as system:
        await system.settle()
        await system.pass_time(timedelta(seconds=31))
        assert (await becomes(system, RUNNING)).version == made.version
        assert (await system.session(session.session_id)).state is SessionState.ACTIVE


async def test_an_instance_with_the_label_of_a_builder_that_is_gone_is_an_orphan(system: System) -> None:
    made = await running(system)
    stray = InstanceSpec(
        instance_id="i-stray",
        image_ref="fanlight-base",
        cpu_count=1,
        memory_in_mib=512,
        disk_in_gib=1,
        has_internet_access=False,
        labels={"installation": "fanlight", "builder_id": made.builder_id},
    )
    await system.driver.launch(stray)

    async def reaped() -> bool:
        await system.pass_time(timedelta(seconds=1))
        return [one.instance_id for one in await system.driver.observe()] == [made.instance_id]

    await until(reaped, within=10, what="the orphan gone, and the builder's own instance not")


async def test_another_agent_version_is_an_update_on_the_way(system: System) -> None:
    await running(system)
    await system.services.image_builders.stop(SCOPE, "workshop")
    stopped = await becomes(system, STOPPED)
    async with system.transactions.begin(write=True) as work:
        await work.image_builders.save(replace(stopped, agent_version="01-02-2026-old"))
        await work.commit()
    started = await system.services.image_builders.start(SCOPE, "workshop", "LATEST")
    assert started.state is ImageBuilderState.UPDATING_AGENT
    assert started.agent_version != "01-02-2026-old"
    await becomes(system, RUNNING)
    with pytest.raises(NotAvailable, match="is not installed"):
        await system.services.image_builders.start(SCOPE, "workshop", "06-19-2019")


async def snapshot(system: System, made: ImageBuilder, name: str = "made") -> Image:
    """Do what the creation of an image does: one unit of work for image and builder."""
    image = Image(
        image_id=name * 8,
        scope=SCOPE,
        name=name,
        store_ref=made_ref(name * 8),
        state=ImageState.PENDING,
        image_builder_name=made.name,
        created_at=system.clock.now(),
        task=BuildTask(builder_id=made.builder_id, instance_id=made.instance_id),
    )
    async with system.transactions.begin(write=True) as work:
        added = await work.images.add(image)
        await begin_snapshot(work, made.builder_id, image.image_id, system.clock.now())
        await work.commit()
    system.reconcilers.wake("image", image.image_id)
    system.reconcilers.wake("image_builder", made.builder_id)
    return added


async def image_becomes(system: System, state: ImageState, name: str = "made") -> Image:
    async def probe() -> Image | None:
        async with system.transactions.begin() as work:
            found = await work.images.find(SCOPE, name=name)
        return found if found is not None and found.state is state else None

    found: Image = await until(probe, within=20, what=f"image {name} {state}")
    return found


async def test_an_image_is_made_of_a_builder_which_is_stopped_then(system: System) -> None:
    made = await running(system)
    session = await in_session(system)
    await snapshot(system, made)
    assert (await builder(system)).state is ImageBuilderState.SNAPSHOTTING
    await image_becomes(system, ImageState.AVAILABLE)
    stopped = await becomes(system, STOPPED)
    assert (stopped.snapshot_image_id, stopped.is_prepared, stopped.reason) == (None, False, None)
    assert (await system.session(session.session_id)).end_reason is EndReason.FLEET_STOPPED
    await system.services.image_builders.start(SCOPE, "workshop")
    await becomes(system, RUNNING)


async def test_a_builder_that_stops_before_it_is_cleaned_gives_no_image(system: System) -> None:
    made = await running(system)
    system.driver.faults.never_prepared = True
    await snapshot(system, made)
    await system.driver.halt(made.instance_id)
    await system.pass_time(timedelta(seconds=6))
    failed = await image_becomes(system, ImageState.FAILED)
    assert failed.failure is ImageFailure.IMAGE_BUILDER_NOT_AVAILABLE
    assert "not cleaned up" in failed.failure_message
    assert "not cleaned up" in str((await becomes(system, STOPPED)).reason)


async def test_a_builder_that_is_not_cleaned_in_time_gives_no_image(system: System) -> None:
    made = await running(system)
    system.driver.faults.never_prepared = True
    await snapshot(system, made)
    for _ in range(10):
        await system.pass_time(timedelta(seconds=10))
    await image_becomes(system, ImageState.FAILED)
    await becomes(system, STOPPED)


@pytest.mark.parametrize("ticks", range(6))
async def test_a_snapshot_goes_on_in_a_new_process(data_dir: Path, ticks: int) -> None:
    """However far it had come: the process ends after so many looks at the rows."""
    async with stopped_system(data_dir) as system:
        await create(system)
        async with system.reconciling():
            made = await becomes(system, RUNNING)
        await snapshot(system, made)
        async with system.reconciling():
            for _ in range(ticks):
                await builder(system)
        async with system.reconciling():
            await image_becomes(system, ImageState.AVAILABLE)
            await becomes(system, STOPPED)
            assert await power(system, made) is Power.STOPPED


async def test_only_a_running_builder_can_become_an_image(system: System) -> None:
    made = await running(system)
    await system.services.image_builders.stop(SCOPE, "workshop")
    with pytest.raises(NotPermitted, match="RUNNING"):
        await snapshot(system, made)
    async with system.transactions.begin() as work:
        assert await work.images.find(SCOPE, name="made") is None
