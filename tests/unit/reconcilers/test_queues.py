"""One worker for each key, errors that delay their own key only, and looks at the engine that are shared."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from fanlight.domain.errors import ChangedMeanwhile, DriverUnavailable
from fanlight.domain.ports import ObservedInstance, Power
from fanlight.reconcilers.queues import KeyedQueue
from fanlight.reconcilers.settings import ReconcilerSettings
from fanlight.reconcilers.sightings import Sightings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class StandingClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


def queue(
    reconcile: Callable[[str], Awaitable[datetime | None]], clock: StandingClock, parallel: int = 8
) -> KeyedQueue:
    return KeyedQueue("fleet", reconcile, clock, parallel=parallel, on_due=lambda: None)


async def settled(of: KeyedQueue) -> None:
    while not of.is_idle:
        await asyncio.sleep(0)


async def test_a_key_has_one_worker_and_a_wake_up_meanwhile_runs_it_once_more() -> None:
    running, most, runs = 0, 0, 0
    gate = asyncio.Event()

    async def reconcile(_: str) -> None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    tested = queue(reconcile, StandingClock())
    tested.wake("a")
    await asyncio.sleep(0)
    for _ in range(5):
        tested.wake("a")
    gate.set()
    await settled(tested)
    assert (most, runs) == (1, 2)


async def test_different_keys_run_at_the_same_time_within_the_limit() -> None:
    running, most = 0, 0

    async def reconcile(_: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    tested = queue(reconcile, StandingClock(), parallel=3)
    for key in "abcdefgh":
        tested.wake(key)
    await settled(tested)
    assert most == 3


async def test_an_error_delays_its_own_key_longer_each_time_until_it_works(caplog: pytest.LogCaptureFixture) -> None:
    clock, calls = StandingClock(), []
    error: Exception | None = DriverUnavailable("away")

    async def reconcile(key: str) -> None:
        calls.append(key)
        if key == "bad" and error:
            raise error

    tested = queue(reconcile, clock)
    delays = []
    for _ in range(3):
        tested.wake("bad")
        tested.wake("good")
        await settled(tested)
        due = tested.next_due()
        assert due is not None
        delays.append((due - clock.time) / timedelta(milliseconds=100))
    assert delays == [1, 2, 4]
    assert calls.count("good") == 3
    error = RuntimeError("a bug")
    with caplog.at_level(logging.ERROR):
        tested.wake("bad")
        await settled(tested)
    assert "a bug" in caplog.text
    error = None
    clock.time += timedelta(minutes=1)
    tested.wake_due(clock.time)
    await settled(tested)
    assert tested.next_due() is None


async def test_a_key_that_was_overtaken_is_tried_again_at_once() -> None:
    attempts = 0

    async def reconcile(_: str) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            raise ChangedMeanwhile("fleet", "cad")

    tested = queue(reconcile, StandingClock())
    tested.wake("a")
    await settled(tested)
    assert (attempts, tested.next_due()) == (4, None)


async def test_a_key_that_runs_in_circles_is_slowed_down() -> None:
    clock, runs = StandingClock(), 0

    async def reconcile(_: str) -> datetime:
        nonlocal runs
        runs += 1
        return clock.now()

    tested = queue(reconcile, clock)
    tested.wake("a")
    await settled(tested)
    assert runs < 100
    assert tested.next_due() == NOW + timedelta(seconds=1)


async def test_the_earliest_time_counts_and_a_wake_up_replaces_it() -> None:
    async def reconcile(_: str) -> None:
        pass

    tested = queue(reconcile, StandingClock())
    tested.wake_at("a", NOW + timedelta(seconds=5))
    tested.wake_at("a", NOW + timedelta(seconds=9))
    assert tested.next_due() == NOW + timedelta(seconds=5)
    tested.wake_due(NOW + timedelta(seconds=4))
    assert tested.is_idle
    tested.wake("a")
    await settled(tested)
    assert not tested.knows("a")


async def test_what_has_its_time_can_be_done_at_once() -> None:
    done = []

    async def reconcile(key: str) -> None:
        done.append(key)

    tested = queue(reconcile, StandingClock())
    tested.wake_at("a", NOW + timedelta(hours=1))
    tested.wake_at("b", NOW + timedelta(hours=2))
    tested.wake_waiting()
    await settled(tested)
    assert (sorted(done), tested.next_due()) == (["a", "b"], None)


async def test_a_stopped_queue_leaves_no_task_behind() -> None:
    async def reconcile(_: str) -> None:
        await asyncio.sleep(60)

    tested = queue(reconcile, StandingClock())
    tested.wake("a")
    await asyncio.sleep(0)
    tested.wake("a")
    await tested.stop(grace_in_seconds=0.01)
    await asyncio.sleep(0)
    assert tested.is_idle


class CountingEngine:
    def __init__(self) -> None:
        self.looks = 0
        self.shown = [ObservedInstance(instance_id="i-1", power=Power.RUNNING, labels={"installation": "ours"})]

    async def observe(self) -> Sequence[ObservedInstance]:
        self.looks += 1
        await asyncio.sleep(0.01)
        return list(self.shown)


async def test_one_look_serves_all_who_asked_before_it_began() -> None:
    engine = CountingEngine()
    sightings = Sightings(engine, StandingClock(), "ours")  # type: ignore[arg-type]
    changed = await asyncio.gather(*(sightings.look() for _ in range(50)))
    assert engine.looks <= 2
    assert [c for c in changed if c] == [{"i-1"}]
    engine.shown = []
    late = asyncio.create_task(sightings.look())
    await asyncio.sleep(0.005)
    await sightings.look()  # begins after it was asked for, although one was under way
    await late
    assert engine.looks == 4
    assert sightings.of("i-1") is None


def test_the_back_off_grows_to_its_limit() -> None:
    settings = ReconcilerSettings()
    seconds = [settings.backoff(n).total_seconds() for n in (1, 2, 3, 4, 5, 6, 7, 8, 100)]
    assert seconds == [1, 2, 4, 8, 16, 32, 60, 60, 60]
