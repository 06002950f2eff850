"""The Incus driver keeps the contract, directly and through the privileged compute process, on a real Incus."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from incus_rig import IncusRig, incus_rig
from instance_driver import InstanceDriverContract, MakeDriver, MakeSpec

from fanlight.domain.ports import InstanceDriver
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.removal import empty_project

pytestmark = pytest.mark.incus


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncusRig]:
    with incus_rig(tmp_path_factory.mktemp("i")) as made:
        yield made


class IncusContract(InstanceDriverContract):
    @pytest.fixture
    def run_dir(self, rig: IncusRig) -> Path:
        return rig.run_dir

    @pytest.fixture
    def spec(self, rig: IncusRig) -> MakeSpec:
        return rig.new_spec

    @pytest.fixture
    def stop_behind(self, rig: IncusRig) -> Callable[[str], Awaitable[None]]:
        async def stop(instance_id: str) -> None:
            async with rig.client() as client:
                await client.run(
                    "PUT", f"instances/{instance_id}/state", {"action": "stop", "force": True, "timeout": 30}
                )

        return stop

    @pytest.fixture
    def launch_foreign(self, rig: IncusRig) -> Callable[[], Awaitable[str]]:
        async def launch() -> str:
            async with rig.client() as client:
                body = {
                    "name": "foreign",
                    "type": "container",
                    "profiles": [],
                    "source": {"type": "image", "alias": "tiny"},
                    "config": {"security.idmap.isolated": "true"},
                    "devices": {"root": {"type": "disk", "path": "/", "pool": rig.settings.incus_pool}},
                }
                await client.run("POST", "instances", body)
            return "foreign"

        return launch


class TestIncusDriver(IncusContract):
    @pytest.fixture
    async def make_driver(self, rig: IncusRig) -> AsyncIterator[MakeDriver]:
        made: list[IncusDriver] = []

        async def make() -> InstanceDriver:
            made.append(IncusDriver(rig.settings))
            return made[-1]

        yield make
        await asyncio.gather(*(driver.close() for driver in made))
        await empty_project(rig.settings)

    @pytest.fixture
    async def driver(self, make_driver: MakeDriver) -> InstanceDriver:
        driver = await make_driver()
        await driver.prepare()
        return driver
