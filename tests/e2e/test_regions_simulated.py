"""Where regions have engines of their own, one that is away takes nothing from the others and loses nothing itself."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from simulated_system import IMAGE_ARN, SCOPE, System, running_system, until

from fanlight.domain.fleets import FleetState
from fanlight.domain.instances import InstanceState
from fanlight.domain.places import Scope

WEST = Scope(SCOPE.account_id, "us-west-2")
AWAY = frozenset({WEST.region})


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir) as made:
        for scope in (SCOPE, WEST):
            await made.make_fleet(scope.region, scope=scope, image_arn=IMAGE_ARN.replace(SCOPE.region, scope.region))
            await made.services.fleets.start(scope, scope.region)
            await has(made, scope, 2)
        yield made


async def has(system: System, scope: Scope, count: int) -> None:
    """Wait until the fleet of this region has so many ready instances and no others."""

    async def probe() -> bool:
        found = [one for one in await system.instances() if one.scope == scope]
        return len(found) == count and all(one.state is InstanceState.READY for one in found)

    await until(probe, within=20, what=f"{count} instances in {scope.region}")


async def wish(system: System, scope: Scope, count: int) -> None:
    async with system.transactions.begin(write=True) as work:
        fleet = await work.fleets.get(scope, scope.region)
        await work.fleets.save(replace(fleet, desired_instances=count))
        await work.commit()
    system.reconcilers.wake("fleet", fleet.fleet_id)


async def instance_ids(system: System, scope: Scope) -> set[str]:
    return {one.instance_id for one in await system.instances() if one.scope == scope}


async def test_the_other_regions_go_on_and_nothing_counts_as_lost(system: System) -> None:
    before = await instance_ids(system, WEST)
    system.driver.faults.away_regions = AWAY
    await wish(system, SCOPE, 3)
    await has(system, SCOPE, 3)
    await system.pass_time(timedelta(minutes=2))  # looks and sweeps
    assert await instance_ids(system, WEST) == before
    system.driver.faults.away_regions = frozenset()
    await system.pass_time(timedelta(minutes=1))
    assert (await instance_ids(system, WEST), len(system.driver._known)) == (before, 5)


async def test_a_restart_while_one_is_away_loses_nothing_either(data_dir: Path) -> None:
    """Then nobody remembers what that engine had."""
    async with running_system(data_dir) as system:
        for scope in (SCOPE, WEST):
            await system.make_fleet(scope.region, scope=scope, image_arn=IMAGE_ARN.replace(SCOPE.region, scope.region))
            await system.services.fleets.start(scope, scope.region)
            await has(system, scope, 2)
        before = await instance_ids(system, WEST)
    async with running_system(data_dir) as system:
        system.driver.faults.away_regions = AWAY
        await wish(system, SCOPE, 1)
        await has(system, SCOPE, 1)
        await system.pass_time(timedelta(minutes=2))
        assert await instance_ids(system, WEST) == before
        system.driver.faults.away_regions = frozenset()
        await system.pass_time(timedelta(minutes=1))
        await has(system, WEST, 2)
        assert await instance_ids(system, WEST) == before


async def test_what_is_wished_in_a_region_that_is_away_happens_when_it_is_back(system: System) -> None:
    system.driver.faults.away_regions = AWAY
    await system.services.fleets.stop(WEST, WEST.region)
    await asyncio.sleep(0)
    async with system.transactions.begin() as work:
        assert (await work.fleets.get(WEST, WEST.region)).state is FleetState.STOPPING
    system.driver.faults.away_regions = frozenset()
    await system.pass_time(timedelta(minutes=2))

    async def is_stopped() -> bool:
        async with system.transactions.begin() as work:
            return (await work.fleets.get(WEST, WEST.region)).state is FleetState.STOPPED

    await until(is_stopped, within=20, what="the fleet stopped")
    assert {one.labels["region"] for one in await system.driver.observe()} == {SCOPE.region}
