"""Fleets and sessions from wish to end, on the simulated engine, with real sockets and a real store."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from simulated_system import SCOPE, System, running_system, until

from fanlight.domain.errors import CapacityExhausted, DriverUnavailable, ImageMissing, LaunchRefused, UrlRefused
from fanlight.domain.fleet_errors import FleetErrorCause, FleetErrorCode
from fanlight.domain.fleets import FleetState, FleetType
from fanlight.domain.images import ImageState
from fanlight.domain.instances import InstanceState
from fanlight.domain.ports import InstanceSpec
from fanlight.domain.session_plan import STARTING, WAITING
from fanlight.domain.streaming_sessions import EndReason, SessionState
from fanlight.services.fleet_wishes import FleetChange

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir) as made:
        yield made


def is_active(session: object) -> bool:
    return getattr(session, "state", None) is SessionState.ACTIVE


def is_over(session: object) -> bool:
    return getattr(session, "state", None) is SessionState.EXPIRED


async def ready(system: System, count: int, others: int = 0) -> None:
    async def probe() -> bool:
        states = [i.state for i in await system.instances()]
        return states.count(InstanceState.READY) == count and len(states) == count + others

    await until(probe, within=20, what=f"exactly {count} instances READY, and {others} others")


class TestFleets:
    async def test_a_fleet_is_running_when_its_instances_are_ready(self, system: System) -> None:
        await system.make_fleet(desired_instances=3)
        fleet = await system.start()
        assert [i.state for i in await system.instances()] == [InstanceState.READY] * 3
        assert fleet.errors == ()
        observed = await system.driver.observe()
        assert {o.labels["fleet_id"] for o in observed} == {"f-cad"}
        assert {o.labels["image"] for o in observed} == {"fanlight-sample"}
        assert {(o.labels["account"], o.labels["region"]) for o in observed} == {(SCOPE.account_id, SCOPE.region)}

    async def test_capacity_follows_the_wish_and_the_stop_leaves_nothing(self, system: System) -> None:
        await system.make_fleet(desired_instances=1)
        await system.start()
        await system.change_fleet(desired_instances=4)
        await ready(system, 4)
        await system.change_fleet(desired_instances=2)
        await ready(system, 2)
        await system.services.fleets.stop(SCOPE, "cad")
        await system.fleet_becomes(FleetState.STOPPED)
        assert await system.instances() == []
        assert await system.driver.observe() == []

    async def test_an_on_demand_fleet_runs_without_instances(self, system: System) -> None:
        await system.make_fleet(fleet_type=FleetType.ON_DEMAND)
        await system.start()
        assert await system.instances() == []

    async def test_a_new_image_replaces_idle_instances_and_leaves_users_alone(self, system: System) -> None:
        await system.make_fleet()
        await system.start()
        session = await system.open("ada")
        await system.session_becomes(session.session_id, is_active)
        await system.change_fleet(
            image_name="Fanlight-Base-Debian13", image_arn="arn:aws:appstream:us-east-1::image/Fanlight-Base-Debian13"
        )

        async def replaced() -> bool:
            return sorted((i.state, i.image_ref) for i in await system.instances()) == [
                (InstanceState.IN_USE, "fanlight-sample"),
                (InstanceState.READY, "fanlight-base"),
            ]

        await until(replaced, within=10, what="idle instances of the new image")
        assert is_active(await system.session(session.session_id))

    async def test_a_new_image_that_does_not_boot_leaves_half_of_the_old_instances(self, system: System) -> None:
        await system.make_fleet(desired_instances=4)
        await system.start()
        system.driver.faults.fails_to_boot = True
        await system.change_fleet(
            image_name="Fanlight-Base-Debian13", image_arn="arn:aws:appstream:us-east-1::image/Fanlight-Base-Debian13"
        )

        async def told() -> bool:
            return (await system.fleet()).launch_failures >= 2

        await until(told, within=10, what="two failures told")
        assert [e.cause for e in (await system.fleet()).errors] == [FleetErrorCause.BOOT_FAILED]
        ready_ones = [i for i in await system.instances() if i.state is InstanceState.READY]
        assert [i.image_ref for i in ready_ones] == ["fanlight-sample"] * 2
        system.driver.faults.fails_to_boot = False

        async def replaced() -> bool:
            await system.pass_time(timedelta(seconds=1))
            found = [(i.state, i.image_ref) for i in await system.instances()]
            return found == [(InstanceState.READY, "fanlight-base")] * 4

        await until(replaced, within=10, what="four instances of the new image")
        assert (await system.fleet()).errors == ()

    async def test_an_image_that_goes_and_comes_back_is_told_and_forgotten(self, system: System) -> None:
        await system.make_fleet(desired_instances=1)
        await system.start()

        async def set_image(state: ImageState) -> None:
            async with system.transactions.begin(write=True) as work:
                image = await work.images.find(SCOPE, name="Fanlight-Sample-Debian13")
                assert image is not None
                await work.images.remove(image)  # no event leads back: it is another image of that name
                await work.images.add(replace(image, state=state, version=0))
                await work.commit()
            system.reconcilers.wake("fleet", "f-cad")

        async def causes(*wanted: FleetErrorCause) -> None:
            async def told() -> bool:
                return [e.cause for e in (await system.fleet()).errors] == list(wanted)

            await until(told, within=10, what=f"errors {wanted}")

        await set_image(ImageState.FAILED)
        await causes(FleetErrorCause.IMAGE_NOT_AVAILABLE)
        assert len([i for i in await system.instances() if i.state is InstanceState.READY]) == 1
        await set_image(ImageState.AVAILABLE)
        await causes()

    async def test_room_for_three_of_four_is_told_until_three_are_enough(self, system: System) -> None:
        system.driver.faults.capacity = 3
        await system.make_fleet(desired_instances=4)
        await system.services.fleets.start(SCOPE, "cad")

        async def three() -> bool:
            return sorted(i.state for i in await system.instances()) == [
                InstanceState.LAUNCHING,
                *[InstanceState.READY] * 3,
            ]

        await until(three, within=10, what="three instances")
        await system.pass_time(timedelta(seconds=5))
        fleet = await system.fleet()
        assert (fleet.state, [e.cause for e in fleet.errors]) == (FleetState.STARTING, [FleetErrorCause.NO_ROOM])
        await system.change_fleet(desired_instances=3)
        fleet = await system.fleet_becomes(FleetState.RUNNING)
        assert (fleet.errors, fleet.launch_failures) == ((), 0)
        await system.change_fleet(desired_instances=4)

        async def told() -> bool:
            return bool((await system.fleet()).errors)

        await until(told, within=10, what="no room told")
        await system.change_fleet(desired_instances=3)

        async def forgotten() -> bool:
            return not (await system.fleet()).errors

        await until(forgotten, within=10, what="the error forgotten")

    async def test_capacity_adds_up_at_every_moment(self, system: System) -> None:
        """Desired is what was asked for last; what runs is in use or available; nothing is on when it is STOPPED."""
        seen: set[tuple[int, ...]] = set()

        async def watch() -> None:
            while True:
                (described,), _ = await system.services.fleets.describe(SCOPE)
                fleet, capacity = described.fleet, described.capacity
                assert capacity.desired == fleet.desired_instances
                offered = capacity.available if fleet.is_provisioned else capacity.running - capacity.in_use
                assert capacity.running == capacity.in_use + offered
                assert capacity.running <= 3
                if fleet.state is FleetState.STOPPED:
                    assert capacity.running == 0
                seen.add((capacity.desired, capacity.running, capacity.in_use, capacity.available))
                await asyncio.sleep(0)

        async def comes(desired: int, running: int, in_use: int, available: int) -> None:
            async def is_seen() -> bool:
                assert not watching.done() or watching.exception() is None
                return (desired, running, in_use, available) in seen

            await until(is_seen, within=10, what=f"{desired}, {running}, {in_use}, {available} among {seen}")

        await system.make_fleet(desired_instances=3)
        watching = asyncio.create_task(watch())
        await comes(3, 0, 0, 0)
        await system.start()
        await comes(3, 3, 0, 3)
        ada, bob = await system.open("ada"), await system.open("bob")
        for session in (ada, bob):
            await system.session_becomes(session.session_id, is_active)
        await comes(3, 3, 2, 1)
        await system.services.sessions.request_end(ada.session_id, EndReason.USER)
        await system.session_becomes(ada.session_id, is_over)
        await system.services.fleets.update(SCOPE, "cad", FleetChange(desired_instances=1))
        await ready(system, 0, others=1)
        await comes(1, 1, 1, 0)
        await system.services.fleets.update(SCOPE, "cad", FleetChange(desired_instances=2))
        await ready(system, 1, others=1)
        await comes(2, 2, 1, 1)
        await system.services.fleets.stop(SCOPE, "cad")
        await system.fleet_becomes(FleetState.STOPPED)
        await comes(2, 0, 0, 0)
        watching.cancel()

    async def test_the_size_of_the_root_volume_reaches_the_engine(self, system: System) -> None:
        await system.make_fleet(desired_instances=1, root_volume_in_gib=200)
        await system.start()
        (instance,) = await system.instances()
        assert system.driver._known[instance.instance_id].spec.disk_in_gib == 200

    @pytest.mark.parametrize(
        ("refusal", "code"),
        [
            (ImageMissing("fanlight-sample"), FleetErrorCode.IMAGE_NOT_FOUND),
            (CapacityExhausted("the disk is full"), FleetErrorCode.FLEET_INSTANCE_PROVISIONING_FAILURE),
            (LaunchRefused("no such profile"), FleetErrorCode.FLEET_INSTANCE_PROVISIONING_FAILURE),
            (DriverUnavailable("no answer"), FleetErrorCode.INTERNAL_SERVICE_ERROR),
        ],
    )
    async def test_a_refused_launch_is_told_and_mends_itself(
        self, system: System, refusal: Exception, code: FleetErrorCode
    ) -> None:
        system.driver.faults.launch_error = refusal  # type: ignore[assignment]
        await system.make_fleet()
        await system.services.fleets.start(SCOPE, "cad")

        async def told() -> bool:
            return (await system.fleet()).launch_failures >= 2

        await until(told, within=10, what="two refusals told")
        fleet = await system.fleet()
        assert fleet.state is FleetState.STARTING
        assert [e.code for e in fleet.errors] == [code]
        assert str(refusal).rstrip(".") in fleet.errors[0].message
        system.driver.faults.launch_error = None
        fleet = await system.fleet_becomes(FleetState.RUNNING)
        assert (fleet.errors, fleet.launch_failures, fleet.retry_at) == ((), 0, None)
        assert len(await system.driver.observe()) == 2

    async def test_instances_that_never_come_up_are_replaced_after_the_grace(self, data_dir: Path) -> None:
        async with running_system(data_dir) as system:
            system.driver.faults.never_ready = True
            await system.make_fleet(desired_instances=1)
            await system.services.fleets.start(SCOPE, "cad")

            async def booting() -> bool:
                instances = await system.instances()
                return bool(instances) and system.agents.status(instances[0].instance_id) is not None

            await until(booting, within=10, what="an agent that boots")
            first = (await system.instances())[0].instance_id
            system.driver.faults.never_ready = False
            await system.pass_time(timedelta(minutes=6))
            await system.fleet_becomes(FleetState.RUNNING)
            assert first not in {i.instance_id for i in await system.instances()}
            assert first not in {o.instance_id for o in await system.driver.observe()}

    async def test_a_failed_boot_is_told(self, system: System) -> None:
        system.driver.faults.fails_to_boot = True
        await system.make_fleet(desired_instances=1)
        await system.services.fleets.start(SCOPE, "cad")

        async def told() -> bool:
            return bool((await system.fleet()).errors)

        await until(told, within=10, what="the error in the fleet")
        assert [e.code for e in (await system.fleet()).errors] == [FleetErrorCode.FLEET_INSTANCE_PROVISIONING_FAILURE]
        await system.services.fleets.stop(SCOPE, "cad")
        await system.fleet_becomes(FleetState.STOPPED)

    async def test_lost_and_stopped_instances_are_replaced(self, system: System) -> None:
        await system.make_fleet(desired_instances=2)
        await system.start()
        lost, stopped = [i.instance_id for i in await system.instances()]
        await system.driver.lose(lost)
        await system.driver.halt(stopped)
        await system.pass_time(timedelta(seconds=6))
        await ready(system, 2)
        assert {lost, stopped}.isdisjoint(i.instance_id for i in await system.instances())

    async def test_orphans_of_ours_go_and_those_of_others_stay(self, system: System) -> None:
        def orphan(instance_id: str, installation: str) -> InstanceSpec:
            return InstanceSpec(
                instance_id=instance_id,
                image_ref="fanlight-base",
                cpu_count=1,
                memory_in_mib=512,
                disk_in_gib=1,
                has_internet_access=False,
                labels={"installation": installation},
            )

        await system.driver.launch(orphan("i-ours", "fanlight"))
        await system.driver.launch(orphan("i-theirs", "another"))

        async def reaped() -> bool:
            await system.pass_time(timedelta(seconds=1))
            return [o.instance_id for o in await system.driver.observe()] == ["i-theirs"]

        await until(reaped, within=10, what="our orphan gone, the other one left alone")

    async def test_one_fleet_in_trouble_does_not_stop_another(self, system: System) -> None:
        await system.make_fleet("bad", image_arn="arn:aws:appstream:us-east-1::image/Gone", image_name="Gone")
        await system.make_fleet("good")
        async with system.transactions.begin(write=True) as work:
            await work.fleets.save(replace(await work.fleets.get(SCOPE, "bad"), state=FleetState.STARTING))
            await work.commit()
        system.reconcilers.wake("fleet", "f-bad")
        await system.start("good")
        await system.settle()
        bad = await system.fleet("bad")
        assert (bad.state, [e.code for e in bad.errors]) == (FleetState.STARTING, [FleetErrorCode.IMAGE_NOT_FOUND])

    async def test_twenty_instances_start(self, system: System) -> None:
        await system.make_fleet(desired_instances=20)
        await system.start()


class TestSessions:
    async def test_a_session_gets_a_ready_instance_at_once_and_its_end_brings_a_fresh_one(self, system: System) -> None:
        await system.make_fleet(desired_instances=1)
        await system.start()
        used = (await system.instances())[0].instance_id
        session = await system.open("ada")
        active = await system.session_becomes(session.session_id, is_active)
        assert active.instance_id == used
        assert active.started_at is not None
        assert (system.driver._homes / used / "guest" / "stream-0.sock").is_socket()
        await system.services.sessions.request_end(session.session_id, EndReason.USER)
        ended = await system.session_becomes(session.session_id, is_over)
        assert (ended.end_reason, ended.connected_since) == (EndReason.USER, None)
        await ready(system, 1)
        assert (await system.instances())[0].instance_id != used
        assert used not in {o.instance_id for o in await system.driver.observe()}
        assert [s.state for s in system.changes if s.session_id == session.session_id] == [
            SessionState.PENDING,
            SessionState.ACTIVE,
            SessionState.EXPIRED,
        ]

    async def test_the_guest_is_told_everything_it_needs(self, system: System) -> None:
        await system.make_fleet(desired_instances=1)
        await system.start()
        session = await system.open("ada")
        active = await system.session_becomes(session.session_id, is_active)
        [recorded] = system.driver._known[str(active.instance_id)].sessions
        begun = recorded.begun
        assert begun is not None
        assert begun["application"]["launch_path"] == "/usr/bin/mousepad"
        assert begun["environment"]["AppStream_Session_ID"] == session.session_id
        assert begun["machine_environment"]["AppStream_Resource_Name"] == "cad"
        assert begun["stream_settings"]["enable_clipboard"] == "true"

    async def test_on_demand_an_instance_is_launched_for_the_session(self, system: System) -> None:
        await system.make_fleet(fleet_type=FleetType.ON_DEMAND, desired_instances=1)
        await system.start()
        session = await system.open("ada")
        await system.session_becomes(session.session_id, is_active)
        assert STARTING in {s.progress for s in system.changes}
        second = await system.open("bob")
        await system.session_becomes(second.session_id, lambda s: s.progress == WAITING)
        await system.services.sessions.request_end(session.session_id, EndReason.USER)
        await system.session_becomes(second.session_id, is_active)
        await system.services.sessions.request_end(second.session_id, EndReason.USER)

        async def empty() -> bool:
            return not await system.instances()

        await until(empty, within=10, what="no instance left")

    async def test_who_waits_gets_the_next_instance_in_order(self, system: System) -> None:
        await system.make_fleet(desired_instances=1)
        await system.start()
        first = await system.open("ada")
        await system.session_becomes(first.session_id, is_active)
        second = await system.open("bob")
        await system.session_becomes(second.session_id, lambda s: s.progress == WAITING)
        third = await system.open("cyd")
        await system.session_becomes(third.session_id, lambda s: s.progress == WAITING)
        await system.services.sessions.request_end(first.session_id, EndReason.USER)
        await system.session_becomes(second.session_id, is_active)
        assert (await system.session(third.session_id)).state is SessionState.PENDING
        await system.pass_time(timedelta(seconds=6))
        assert (await system.session(third.session_id)).end_reason is EndReason.NO_CAPACITY

    async def test_a_user_who_comes_again_finds_the_session(self, system: System) -> None:
        await system.make_fleet()
        await system.start()
        session = await system.open("ada")
        await system.session_becomes(session.session_id, is_active)
        assert (await system.open("ada")).session_id == session.session_id

    async def test_stopping_the_fleet_ends_its_sessions(self, system: System) -> None:
        await system.make_fleet()
        await system.start()
        session = await system.open("ada")
        await system.session_becomes(session.session_id, is_active)
        await system.services.fleets.stop(SCOPE, "cad")
        ended = await system.session_becomes(session.session_id, is_over)
        assert ended.end_reason is EndReason.FLEET_STOPPED
        await system.fleet_becomes(FleetState.STOPPED)
        assert await system.driver.observe() == []
        with pytest.raises(UrlRefused):
            await system.open("ada")

    async def test_a_lost_instance_ends_its_session_and_is_replaced(self, system: System) -> None:
        await system.make_fleet(desired_instances=1)
        await system.start()
        session = await system.open("ada")
        active = await system.session_becomes(session.session_id, is_active)
        await system.driver.lose(str(active.instance_id))
        await system.pass_time(timedelta(seconds=6))
        ended = await system.session_becomes(session.session_id, is_over)
        assert ended.end_reason is EndReason.INSTANCE_LOST
        await ready(system, 1)

    async def test_a_guest_that_fails_to_begin_ends_the_session(self, system: System) -> None:
        await system.make_fleet(desired_instances=1)
        await system.start()
        system.driver.faults.fails_to_begin = True
        session = await system.open("ada")
        ended = await system.session_becomes(session.session_id, is_over)
        assert ended.end_reason is EndReason.START_FAILED

    async def test_a_guest_that_never_begins_is_given_up(self, system: System) -> None:
        await system.make_fleet(desired_instances=1)
        await system.start()
        system.driver.faults.never_begins = True
        session = await system.open("ada")
        await system.session_becomes(session.session_id, lambda s: s.instance_id is not None)
        await system.pass_time(timedelta(seconds=61))
        ended = await system.session_becomes(session.session_id, is_over)
        assert ended.end_reason is EndReason.START_FAILED

    @pytest.mark.parametrize(
        ("passes", "fleet", "reason"),
        [
            (timedelta(minutes=15, seconds=1), {}, EndReason.DISCONNECT_TIMEOUT),
            (timedelta(hours=17), {"disconnect_timeout": timedelta(hours=30)}, EndReason.MAX_DURATION),
        ],
    )
    async def test_time_ends_a_session(
        self, system: System, passes: timedelta, fleet: dict[str, timedelta], reason: EndReason
    ) -> None:
        await system.make_fleet(desired_instances=1, **fleet)
        await system.start()
        session = await system.open("ada")
        await system.session_becomes(session.session_id, is_active)
        await system.pass_time(passes - timedelta(seconds=30) if passes < timedelta(hours=1) else passes / 2)
        assert is_active(await system.session(session.session_id))
        await system.pass_time(passes)
        ended = await system.session_becomes(session.session_id, is_over)
        assert ended.end_reason is reason

    async def test_a_silent_gateway_counts_as_disconnected(self, system: System) -> None:
        await system.make_fleet(desired_instances=1)
        await system.start()
        session = await system.open("ada")
        await system.session_becomes(session.session_id, is_active)
        await system.services.sessions.record_connection(session.session_id, is_connected=True)
        for _ in range(4):
            system.reconcilers.heard(session.session_id)
            await system.pass_time(timedelta(seconds=20))
            assert (await system.session(session.session_id)).connected_since is not None
        await system.pass_time(timedelta(seconds=36))
        silent = await system.session_becomes(session.session_id, lambda s: s.connected_since is None)
        assert silent.disconnected_at is not None

    async def test_ended_sessions_are_forgotten_in_time(self, system: System) -> None:
        from fanlight.domain.errors import NotFound

        await system.make_fleet(desired_instances=1)
        await system.start()
        session = await system.open("ada")
        await system.services.sessions.request_end(session.session_id, EndReason.USER)
        await system.session_becomes(session.session_id, is_over)
        await system.pass_time(timedelta(hours=1, seconds=1))
        with pytest.raises(NotFound):
            await system.session(session.session_id)

    async def test_everything_goes_on_after_a_restart(self, data_dir: Path) -> None:
        async with running_system(data_dir) as system:
            await system.make_fleet()
            await system.start()
            session = await system.open("ada")
            before = await system.session_becomes(session.session_id, is_active)
            instances = {i.instance_id for i in await system.instances()}
        async with running_system(data_dir) as system:
            await system.settle()
            assert {i.instance_id for i in await system.instances()} == instances
            assert await system.session(session.session_id) == before

            async def reconnected() -> bool:
                status = system.agents.status(str(before.instance_id))
                return status is not None and status.is_connected and status.session(session.session_id) is not None

            await until(reconnected, within=10, what="the agent is back")
            await system.services.sessions.request_end(session.session_id, EndReason.USER)
            await system.session_becomes(session.session_id, is_over)
            await ready(system, 2)


@pytest.mark.parametrize("ticks", range(6))
@pytest.mark.parametrize("is_cancelled_first", [False, True])
async def test_the_reconcilers_end_also_when_something_falls_due_that_moment(
    system: System,
    ticks: int,
    is_cancelled_first: bool,  # noqa: FBT001 - drawn by the test
) -> None:
    running = asyncio.create_task(system.reconcilers.run())
    await asyncio.sleep(0.02)
    first, second = running.cancel, system.reconcilers._hurry
    if not is_cancelled_first:
        first, second = second, first  # type: ignore[assignment]
    first()
    for _ in range(ticks):
        await asyncio.sleep(0)
    second()
    done, _ = await asyncio.wait({running}, timeout=20)  # a sweep that has begun comes to its end
    assert running in done
