"""The Incus driver keeps the contract, directly and through the privileged compute process, on a real Incus."""

import asyncio
import itertools
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from instance_driver import InstanceDriverContract, MakeDriver, MakeSpec

from fanlight.domain.errors import CapacityExhausted, DriverUnavailable
from fanlight.domain.ports import InstanceDriver, Power
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.images import IncusImageStore
from fanlight.drivers.incus.process import ComputeServer
from fanlight.drivers.incus.remote import ComputeConnection, RemoteDriver
from incus_rig import IncusRig, empty, incus_rig, running

pytestmark = pytest.mark.incus


@pytest.fixture(scope="module")
def rig() -> Iterator[IncusRig]:
    with incus_rig() as made:
        yield made


async def test_a_bridge_is_made_and_removed_while_interfaces_of_the_host_come_and_go(rig: IncusRig) -> None:
    name, is_over = f"{rig.settings.incus_network}n", threading.Event()

    def come_and_go() -> None:
        while not is_over.is_set():
            subprocess.run(["ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b"], check=True)
            subprocess.run(["ip", "link", "del", f"{name}a"], check=True)

    async with asyncio.TaskGroup() as tasks, rig.client() as client:
        swarm = tasks.create_task(asyncio.to_thread(come_and_go))
        try:
            for _ in range(8):
                body = {"name": name, "type": "bridge", "config": {"ipv4.address": "none", "ipv6.address": "none"}}
                await client.send("POST", "networks", body, project="default")
                await client.send("DELETE", f"networks/{name}", project="default")
        finally:
            is_over.set()
        await swarm
        assert name not in [one["name"] for one in await client.get("networks", project="default", recursion=1)]


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

    async def test_instances_launched_at_the_same_time_share_no_ids(
        self, driver: InstanceDriver, rig: IncusRig
    ) -> None:
        """Incus, left to itself, gives some of them the same."""
        specs = [rig.new_spec() for _ in range(8)]
        await running(driver, *specs)
        first = sorted(one.first_uid or 0 for one in await driver.observe())
        assert len(first) == 8
        assert all(later - earlier >= 65_536 for earlier, later in itertools.pairwise([0, *first]))
        maps = [await rig.run_in(spec.instance_id, "/bin/busybox", "cat", "/proc/self/uid_map") for spec in specs]
        assert sorted(int(one.output.split()[1]) for one in maps) == first

    async def test_an_instance_is_held_to_the_size_of_its_root_volume(
        self, driver: InstanceDriver, rig: IncusRig
    ) -> None:
        if not driver.capabilities.enforces_disk_quota:
            pytest.skip("this pool limits no root volume, and fleets that name a size are refused")
        small, large = rig.new_spec(disk_in_gib=1), rig.new_spec(disk_in_gib=2)
        await running(driver, small, large)
        take = "import os; os.posix_fallocate(os.open('/big', os.O_CREAT | os.O_WRONLY), 0, 1100 << 20)"
        refused, taken = [await rig.python_in(spec.instance_id, take) for spec in (small, large)]
        assert (taken.is_success, refused.is_success) == (True, False), taken.output
        assert "Disk quota exceeded" in refused.output


# As much as there is, and then the last bits of it.
FILL = """
import os
for number, size in enumerate((1 << 26, 1 << 20, 1 << 12)):
    file = os.open(f"/fill{number}", os.O_CREAT | os.O_WRONLY)
    end = 0
    try:
        while True:
            os.posix_fallocate(file, end, size)
            end += size
    except OSError as error:
        assert error.errno == 28, error
"""


class TestIncusDriver(IncusContract):
    @pytest.fixture
    async def make_driver(self, rig: IncusRig) -> AsyncIterator[MakeDriver]:
        made: list[IncusDriver] = []

        async def make() -> InstanceDriver:
            made.append(IncusDriver(rig.settings))
            return made[-1]

        yield make
        await asyncio.gather(*(driver.close() for driver in made))
        await empty(rig.settings)

    @pytest.fixture
    async def driver(self, make_driver: MakeDriver) -> InstanceDriver:
        driver = await make_driver()
        await driver.prepare()
        return driver

    async def test_an_instance_says_which_runtime_it_got(
        self, driver: IncusDriver, make_driver: MakeDriver, rig: IncusRig
    ) -> None:
        """`current` moves on with every build: what a running instance has mounted must be told by itself."""
        newest, chosen = rig.new_spec(labels={"fleet_id": "f-1"}), rig.new_spec(labels={"runtime_version": "current"})
        await asyncio.gather(driver.launch(newest), driver.launch(chosen))
        told = {one.instance_id: dict(one.labels) for one in await driver.observe()}  # accepted, not running yet
        expected = {
            newest.instance_id: {"fleet_id": "f-1", "runtime_version": "test"},
            chosen.instance_id: {"runtime_version": "test"},
        }
        assert told == expected
        await running(driver, newest, chosen)
        successor = await make_driver()
        assert {one.instance_id: dict(one.labels) for one in await successor.observe()} == expected
        assert await driver.runtimes_in_use() == {"test"}

    async def test_a_full_pool_is_told_in_words_and_room_in_it_helps(
        self, driver: InstanceDriver, rig: IncusRig
    ) -> None:
        greedy, late = rig.new_spec(disk_in_gib=100), rig.new_spec()
        await running(driver, greedy)
        filled = await rig.python_in(greedy.instance_id, FILL)
        assert filled.is_success, filled.output
        said = ""
        try:
            await driver.launch(late)
        except CapacityExhausted as refused:
            said = str(refused)
        else:
            async with asyncio.timeout(60):
                while not said:
                    seen = {one.instance_id: one for one in await driver.observe()}
                    assert seen[late.instance_id].power is not Power.RUNNING
                    said = seen[late.instance_id].detail if seen[late.instance_id].power is Power.FAILED else ""
        assert "space" in said
        await driver.terminate(late.instance_id)
        await driver.terminate(greedy.instance_id)
        # A file system frees its room a little after the file is gone: a fleet tries again, and so does this.
        async with asyncio.timeout(60):
            while True:
                again = rig.new_spec()
                try:
                    await running(driver, again)
                except (CapacityExhausted, AssertionError):
                    await driver.terminate(again.instance_id)
                    await asyncio.sleep(0.5)
                else:
                    break

    async def test_instances_of_another_run_directory_are_named_as_the_obstacle(
        self, driver: IncusDriver, rig: IncusRig
    ) -> None:
        spec = rig.new_spec()
        await running(driver, spec)
        other = IncusDriver(rig.settings.model_copy(update={"run_dir": rig.run_dir.parent / "other"}))
        try:
            with pytest.raises(
                DriverUnavailable, match=f"{rig.settings.incus_project} holds instances of another --run-"
            ):
                await other.prepare()
        finally:
            await other.close()
        assert [one.instance_id for one in await driver.observe()] == [spec.instance_id]


class TestRemoteDriver(IncusContract):
    """Every new driver object gets a compute process of its own on the same socket, as after a crash of the old one."""

    @pytest.fixture
    async def make_driver(self, rig: IncusRig) -> AsyncIterator[MakeDriver]:
        connections: list[ComputeConnection] = []
        async with AsyncExitStack() as stack:

            async def make() -> InstanceDriver:
                await stack.aclose()
                local = IncusDriver(rig.settings)
                stack.push_async_callback(local.close)
                store = IncusImageStore(local.client, rig.settings.incus_pool)
                await stack.enter_async_context(ComputeServer(rig.settings, local, store))
                connections.append(ComputeConnection(rig.run_dir))
                return RemoteDriver(connections[-1])

            yield make
            await asyncio.gather(*(connection.close() for connection in connections))
        await empty(rig.settings)

    @pytest.fixture
    async def driver(self, make_driver: MakeDriver) -> InstanceDriver:
        driver = await make_driver()
        await driver.prepare()
        return driver
