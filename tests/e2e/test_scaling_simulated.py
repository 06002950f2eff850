"""Users come and go, and the capacity follows: the autoscaler over the simulated engine, with its fleets and sessions."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from simulated_system import SCOPE, System, running_system, until

from fanlight.domain.fleet_metrics import minute_of
from fanlight.domain.instances import InstanceState
from fanlight.domain.scaling import ActivityStatus, TargetTracking
from fanlight.domain.streaming_sessions import EndReason, SessionState
from fanlight.reconcilers.activities import Activities
from fanlight.reconcilers.autoscaler import Autoscaler
from fanlight.services.metrics import MetricFilter
from fanlight.services.scalable_targets import TargetWish

pytestmark = pytest.mark.timeout(60)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir, capacity_wait=timedelta(0)) as made:
        # Whole minutes from here on, however long the test itself takes.
        now = made.clock.now()
        made.clock.added += minute_of(now) + MINUTE - now
        yield made


def autoscaler_of(system: System) -> Autoscaler:
    activities = Activities(system.transactions, system.clock, system.services.fleets.update)
    return Autoscaler(transactions=system.transactions, clock=system.clock, activities=activities)


async def pass_minutes(system: System, autoscaler: Autoscaler, count: int) -> None:
    """Let minutes pass, each long enough for every instance to boot or to go."""

    async def has_settled() -> bool:
        states = [instance.state for instance in await system.instances()]
        users = states.count(InstanceState.IN_USE)
        wanted = max((await system.fleet()).desired_instances, users)
        return len(states) == wanted and states.count(InstanceState.READY) == wanted - users

    for _ in range(count):
        await system.pass_time(MINUTE)
        await until(has_settled, within=10, what="every instance is up")
        await autoscaler.tick()


async def instances_become(system: System, **wanted: int) -> None:
    async def probe() -> bool:
        states = [instance.state for instance in await system.instances()]
        return {state.value: states.count(state) for state in set(states)} == wanted

    await until(probe, within=10, what=f"instances {wanted}")


async def metric(system: System, name: str, statistic: Any = max) -> float:
    now = system.clock.now()
    points = await system.services.metrics.series(
        SCOPE, "cad", name, start=now - timedelta(hours=1), end=now, period=timedelta(hours=2)
    )
    return float(statistic(points[0].values))


async def test_load_raises_the_capacity_and_its_end_lowers_it_again(system: System) -> None:
    await system.make_fleet(desired_instances=2, disconnect_timeout=timedelta(hours=10))
    await system.start()
    autoscaler = autoscaler_of(system)
    targets, policies = system.services.scalable_targets, system.services.scaling_policies
    await targets.register(SCOPE, TargetWish(fleet_name="cad", min_capacity=1, max_capacity=5))
    await policies.put(
        SCOPE,
        "cad",
        "three quarters",
        TargetTracking(
            target_value=75,
            metric_name="CapacityUtilization",
            statistic="Average",
            scale_out_cooldown_in_seconds=60,
            scale_in_cooldown_in_seconds=60,
        ),
    )

    # Two users take both instances, a third one is refused.
    sessions = [await system.open(user) for user in ("ada", "bob")]
    for session in sessions:
        await system.session_becomes(session.session_id, lambda s: s.state is SessionState.ACTIVE)
    refused = await system.open("eve")
    over = await system.session_becomes(refused.session_id, lambda s: not s.is_live)
    assert over.end_reason is EndReason.NO_CAPACITY
    await pass_minutes(system, autoscaler, 3)
    assert (await system.fleet()).desired_instances == 3
    await instances_become(system, IN_USE=2, READY=1)
    assert await metric(system, "CapacityUtilization") == 100
    assert await metric(system, "InsufficientCapacityError", sum) == 1

    # Now there is room for the third; with it the fleet is full again and grows.
    sessions.append(await system.open("eve"))
    await system.session_becomes(sessions[-1].session_id, lambda s: s.state is SessionState.ACTIVE)
    await pass_minutes(system, autoscaler, 3)
    assert (await system.fleet()).desired_instances == 4
    await instances_become(system, IN_USE=3, READY=1)

    # Everybody leaves. The capacity stays for a quarter of an hour and goes down to the minimum then.
    for session in sessions:
        await system.services.sessions.request_end(session.session_id, EndReason.USER)
        await system.session_becomes(session.session_id, lambda s: not s.is_live)
    await instances_become(system, READY=4)
    await pass_minutes(system, autoscaler, 14)
    assert (await system.fleet()).desired_instances == 4
    await pass_minutes(system, autoscaler, 1)
    assert (await system.fleet()).desired_instances == 1
    await instances_become(system, READY=1)
    await autoscaler.tick()

    page, _ = await targets.activities(SCOPE)
    assert [(activity.to_capacity, activity.status) for activity in page] == [
        (capacity, ActivityStatus.SUCCESSFUL) for capacity in (1, 4, 3)
    ]
    listed, _ = await system.services.metrics.list(SCOPE, MetricFilter(metric_name="InUseCapacity"))
    assert [(one.name, one.fleet_name) for one in listed] == [("InUseCapacity", "cad")]


async def test_a_session_keeps_its_instance_while_the_fleet_scales_in(system: System) -> None:
    await system.make_fleet(desired_instances=3, disconnect_timeout=timedelta(hours=10))
    await system.start()
    autoscaler = autoscaler_of(system)
    sessions = [await system.open(user) for user in ("ada", "bob")]
    for session in sessions:
        await system.session_becomes(session.session_id, lambda s: s.state is SessionState.ACTIVE)
    await system.services.scalable_targets.register(SCOPE, TargetWish(fleet_name="cad", min_capacity=0, max_capacity=1))
    await autoscaler.tick()
    await instances_become(system, IN_USE=2)
    await autoscaler.tick()
    (activity,), _ = await system.services.scalable_targets.activities(SCOPE)
    # Two instances are more than the one asked for, but users hold them: nobody waits for that.
    assert (activity.to_capacity, activity.status) == (1, ActivityStatus.SUCCESSFUL)
    for session in sessions:
        assert (await system.session(session.session_id)).is_live
    assert {instance.state for instance in await system.instances()} == {InstanceState.IN_USE}
