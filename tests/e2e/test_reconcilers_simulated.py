"""What the reconcilers do about silence, clocks that jump, and instances of others: on the simulated engine."""

import logging
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from simulated_system import SCOPE, System, running_system, until

from fanlight.domain.instances import InstanceState
from fanlight.domain.ports import InstanceSpec
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingSession
from fanlight.drivers.simulated import guest
from fanlight.services.fleet_wishes import FleetChange

pytestmark = pytest.mark.timeout(60)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir) as made:
        yield made


@pytest.fixture
def sit_still(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Return how to let time pass for the guests' keyboards; they report it ten times a second."""
    passed = timedelta(0)

    def sit(duration: timedelta) -> None:
        nonlocal passed
        passed += duration

    clock = SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + passed.total_seconds())
    monkeypatch.setattr(guest, "time", clock)
    monkeypatch.setattr(guest, "STATUS_INTERVAL_IN_SECONDS", 0.1)
    return sit


def is_active(session: StreamingSession) -> bool:
    return session.state is SessionState.ACTIVE


def is_over(session: StreamingSession) -> bool:
    return session.state is SessionState.EXPIRED


async def active_session(system: System, **fleet: object) -> StreamingSession:
    await system.make_fleet(desired_instances=1, **fleet)
    await system.start()
    opened = await system.open("ada")
    return await system.session_becomes(opened.session_id, is_active)


async def connect(system: System, session: StreamingSession) -> None:
    await system.services.sessions.record_connection(session.session_id, is_connected=True)
    system.reconcilers.heard(session.session_id)


async def pass_connected(system: System, session: StreamingSession, duration: timedelta) -> None:
    """Let time pass while the gateway says that the stream is open."""
    while duration > timedelta(0):
        system.reconcilers.heard(session.session_id)
        await system.pass_time(min(duration, 10 * SECOND))
        duration -= 10 * SECOND
    system.reconcilers.heard(session.session_id)


class TestIdleUsers:
    async def test_an_idle_user_is_disconnected_and_may_come_back(
        self, system: System, sit_still: Callable[[timedelta], None]
    ) -> None:
        session = await active_session(system, idle_disconnect_timeout=89 * SECOND, disconnect_timeout=5 * MINUTE)
        await connect(system, session)
        sit_still(MINUTE)
        await pass_connected(system, session, MINUTE + SECOND)
        cut = await system.session_becomes(session.session_id, lambda s: s.connected_since is None)
        assert is_active(cut)
        assert cut.is_idle_disconnected
        assert cut.disconnected_at is not None
        assert cut.disconnected_at >= session.created_at + MINUTE
        assert [s.session_id for s in system.idled] == [session.session_id]

        await system.pass_time(4 * MINUTE)
        await connect(system, session)
        await pass_connected(system, session, 50 * SECOND)
        back = await system.session(session.session_id)
        assert (back.connected_since is not None, back.is_idle_disconnected) == (True, False)
        await pass_connected(system, session, 11 * SECOND)
        await system.session_becomes(session.session_id, lambda s: s.connected_since is None)
        assert len(system.idled) == 2
        await system.pass_time(5 * MINUTE + SECOND)
        ended = await system.session_becomes(session.session_id, is_over)
        assert ended.end_reason is EndReason.DISCONNECT_TIMEOUT

    async def test_a_user_whose_agent_is_away_is_not_taken_for_idle(
        self, system: System, sit_still: Callable[[timedelta], None]
    ) -> None:
        session = await active_session(system, idle_disconnect_timeout=MINUTE)
        await connect(system, session)
        sit_still(50 * SECOND)
        await system.driver._power_off(str(session.instance_id))
        await pass_connected(system, session, 4 * MINUTE)
        assert (await system.session(session.session_id)).connected_since is not None
        assert system.idled == []


class TestSilence:
    async def test_a_session_whose_agent_stays_away_is_given_up(self, system: System) -> None:
        session = await active_session(system)
        await connect(system, session)
        await system.driver._power_off(str(session.instance_id))
        await pass_connected(system, session, 4 * MINUTE)
        assert is_active(await system.session(session.session_id))
        await pass_connected(system, session, MINUTE + 10 * SECOND)
        ended = await system.session_becomes(session.session_id, is_over)
        assert ended.end_reason is EndReason.INSTANCE_LOST

    async def test_a_host_that_slept_does_not_lose_its_sessions(self, system: System) -> None:
        session = await active_session(system, disconnect_timeout=2 * HOUR)
        await connect(system, session)
        await system.pass_time(HOUR)
        system.reconcilers.heard(session.session_id)
        await pass_connected(system, session, 10 * SECOND)
        assert is_active(await system.session(session.session_id))

    async def test_nothing_is_remembered_of_a_session_that_is_over(self, system: System) -> None:
        session = await active_session(system)
        await system.services.sessions.request_end(session.session_id, EndReason.USER)
        await system.session_becomes(session.session_id, is_over)
        await system.settle()
        system.reconcilers.heard(session.session_id)  # a heartbeat that was read before the end was written
        await system.pass_time(31 * SECOND)
        assert system.reconcilers._sessions._heard_at == {}


class TestClocks:
    async def test_after_the_clock_went_back_everything_is_looked_at_again(self, system: System) -> None:
        await system.make_fleet(desired_instances=2)
        await system.start()
        await system.pass_time(timedelta(0))
        system.clock.added -= HOUR
        async with system.transactions.begin(write=True) as work:
            fleet = await work.fleets.get(SCOPE, "cad")
            await work.fleets.save(replace(fleet, desired_instances=3))
            await work.commit()  # and nobody wakes its reconciler

        async def mended() -> bool:
            return [i.state for i in await system.instances()] == [InstanceState.READY] * 3

        await until(mended, within=10, what="three instances")

    async def test_what_was_to_happen_later_is_planned_anew(self, system: System) -> None:
        session = await active_session(system)
        queue = system.reconcilers._queues["session"]
        await system.settle()
        due = queue.next_due()
        assert due is not None
        async with system.transactions.begin(write=True) as work:
            found = await work.sessions.find(session.session_id)
            assert found is not None
            moved = found.disconnected_at - HOUR if found.disconnected_at else None
            await work.sessions.save(replace(found, disconnected_at=moved))
            await work.commit()
        await system.pass_time(-HOUR)
        after = queue.next_due()
        assert after is not None
        assert due - after > timedelta(minutes=59)

    async def test_a_session_lasts_no_longer_because_the_clock_was_ahead_when_it_began(self, system: System) -> None:
        system.clock.added += 400 * 24 * HOUR
        session = await active_session(system, max_user_duration=HOUR, disconnect_timeout=10 * MINUTE)
        await connect(system, session)
        await system.pass_time(-400 * 24 * HOUR)
        corrected = await system.session(session.session_id)
        assert corrected.max_expires_at - system.clock.now() <= HOUR
        assert is_active(corrected)
        # A gateway that was last heard in the future is not taken to be alive for ever.
        await system.pass_time(36 * SECOND)
        assert (await system.session(session.session_id)).connected_since is None
        await system.pass_time(10 * MINUTE + SECOND)
        ended = await system.session_becomes(session.session_id, is_over)
        assert ended.end_reason is EndReason.DISCONNECT_TIMEOUT

    async def test_a_session_ends_at_its_longest_duration_and_the_next_is_a_new_one(self, system: System) -> None:
        session = await active_session(system, max_user_duration=HOUR, disconnect_timeout=2 * HOUR)
        await system.pass_time(HOUR - 2 * SECOND)
        await connect(system, session)
        assert is_active(await system.session(session.session_id))
        assert (await system.open("ada")).session_id == session.session_id
        await pass_connected(system, session, 2 * SECOND)
        ended = await system.session_becomes(session.session_id, is_over)
        assert (ended.end_reason, ended.max_expires_at) == (EndReason.MAX_DURATION, session.max_expires_at)
        assert (await system.open("ada")).session_id != session.session_id

    async def test_who_comes_back_in_time_finds_the_session_and_who_comes_late_gets_a_new_one(
        self, system: System
    ) -> None:
        session = await active_session(system, disconnect_timeout=5 * MINUTE)
        await connect(system, session)
        await system.services.sessions.record_connection(session.session_id, is_connected=False)
        await system.pass_time(5 * MINUTE - SECOND)
        back = await system.open("ada")
        assert (back.session_id, back.instance_id) == (session.session_id, session.instance_id)
        await connect(system, session)
        await system.services.sessions.record_connection(session.session_id, is_connected=False)
        await system.pass_time(5 * MINUTE + SECOND)
        ended = await system.session_becomes(session.session_id, is_over)
        assert ended.end_reason is EndReason.DISCONNECT_TIMEOUT
        again = await system.session_becomes((await system.open("ada")).session_id, is_active)
        assert again.instance_id not in (None, session.instance_id)

    async def test_a_shortened_disconnect_time_out_holds_for_who_is_away_already(self, system: System) -> None:
        session = await active_session(system, disconnect_timeout=HOUR)
        await system.pass_time(5 * MINUTE)
        assert is_active(await system.session(session.session_id))
        await system.services.fleets.update(SCOPE, "cad", FleetChange(disconnect_timeout_in_seconds=240))
        ended = await system.session_becomes(session.session_id, is_over, within=5)
        assert ended.end_reason is EndReason.DISCONNECT_TIMEOUT

    async def test_ended_sessions_are_listed_for_a_while_and_then_gone(self, system: System) -> None:
        session = await active_session(system)
        await system.services.sessions.expire(SCOPE, session.session_id)
        await system.session_becomes(session.session_id, is_over)

        async def listed() -> list[SessionState]:
            page, _ = await system.services.sessions.describe(SCOPE, stack_name="cad", fleet_name="cad")
            return [each.state for each in page]

        for _ in range(59):
            await system.pass_time(MINUTE)
        assert await listed() == [SessionState.EXPIRED]
        await system.services.sessions.expire(SCOPE, session.session_id)
        await system.pass_time(2 * MINUTE)
        assert await listed() == []
        await system.services.sessions.expire(SCOPE, session.session_id)


class TestOthersInstances:
    async def test_they_are_left_alone_and_told_of_once(self, data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
        async with running_system(data_dir, installation="mine") as system:
            for instance_id in ("i-theirs-1", "i-theirs-2"):
                await system.driver.launch(spec(instance_id, "theirs"))
            await system.driver.launch(spec("i-mine", "mine"))
            with caplog.at_level(logging.WARNING):
                for _ in range(4):
                    await system.pass_time(31 * SECOND)

                async def reaped() -> bool:
                    return {o.instance_id for o in await system.driver.observe()} == {"i-theirs-1", "i-theirs-2"}

                await until(reaped, within=10, what="our orphan gone, theirs left")
            told = [r for r in caplog.records if r.message == "instances of another installation are left alone"]
            assert [vars(r)["count"] for r in told] == [2]
            assert "fanlight uninstall" in vars(told[0])["remedy"]

    async def test_not_even_a_row_of_ours_lets_us_touch_them(self, data_dir: Path) -> None:
        async with running_system(data_dir, installation="theirs") as system:
            await system.make_fleet(desired_instances=1)
            await system.start()
            theirs = (await system.instances())[0].instance_id
        # Somebody copied the database to an installation of its own on the same engine.
        async with running_system(data_dir, installation="mine") as system:

            async def replaced() -> bool:
                instances = await system.instances()
                return theirs not in {i.instance_id for i in instances} and len(instances) == 1

            await until(replaced, within=10, what="an instance of our own")
            assert theirs in {o.instance_id for o in await system.driver.observe()}
            await system.services.fleets.stop(SCOPE, "cad")

            async def only_theirs() -> bool:
                return [o.instance_id for o in await system.driver.observe()] == [theirs]

            await until(only_theirs, within=10, what="only theirs left")


def spec(instance_id: str, installation: str) -> InstanceSpec:
    return InstanceSpec(
        instance_id=instance_id,
        image_ref="fanlight-base",
        cpu_count=1,
        memory_in_mib=512,
        disk_in_gib=1,
        has_internet_access=False,
        labels={"installation": installation},
    )


async def test_refusals_for_want_of_capacity_are_counted(system: System, caplog: pytest.LogCaptureFixture) -> None:
    await system.make_fleet(desired_instances=0)
    await system.start()
    with caplog.at_level(logging.WARNING):
        for user_id in ("ada", "bob"):
            session = await system.open(user_id)
            await system.pass_time(6 * SECOND)
            await system.session_becomes(session.session_id, is_over)
    told = [vars(r) for r in caplog.records if r.message == "insufficient capacity"]
    assert [(r["fleet"], r["count_since_start"]) for r in told] == [("cad", 1), ("cad", 2)]
