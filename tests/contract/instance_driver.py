"""What every InstanceDriver promises, as tests. A driver's own test module subclasses `InstanceDriverContract` and gives fixtures.

Fixtures of the subclass:

* `driver`: the driver under test, prepared, over an engine that holds none of our instances;
* `make_driver`: a coroutine function that returns another, new driver object over the same engine and run directory;
* `spec`: a function `spec(**overrides) -> InstanceSpec` with a new instance id each time and an image that exists;
* `run_dir`: the RUN_DIR whose `instances/` the driver fills;
* `launch_foreign` (may be None): puts an instance into the engine that this installation did not launch, returns its engine name;
* `stop_behind` (may be None): makes the instance of that id end by itself, as a host reboot or a crash would.

Class attributes: `settle_seconds`, how long the engine may take for one change; `has_agent`, whether the image boots an agent.
"""

import asyncio
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2e.installation import PATIENCE_IN_SECONDS
from fanlight.agentwire import AGENT_SOCKET_NAME, MAX_LINE_BYTES
from fanlight.agentwire.messages import Status, decode
from fanlight.domain.errors import ImageMissing, InstanceMissing
from fanlight.domain.ports import InstanceDriver, InstanceSpec, ObservedInstance, Power

MakeSpec = Callable[..., InstanceSpec]
MakeDriver = Callable[[], Awaitable[InstanceDriver]]


async def eventually(probe: Callable[[], Awaitable[Any]], *, within: float, what: str) -> Any:
    """Return the first truthy answer of `probe`. Fails with `what` when there is none in time."""
    deadline = asyncio.get_running_loop().time() + max(within, PATIENCE_IN_SECONDS)
    while True:
        if answer := await probe():
            return answer
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"not within {within} s: {what}")
        await asyncio.sleep(0.02)


async def seen(driver: InstanceDriver, instance_id: str) -> ObservedInstance | None:
    found = [o for o in await driver.observe() if o.instance_id == instance_id]
    assert len(found) <= 1, "one id, one instance"
    return found[0] if found else None


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class InstanceDriverContract:
    settle_seconds = 60.0
    has_agent = True

    @pytest.fixture
    def launch_foreign(self) -> Callable[[], Awaitable[str]] | None:
        return None

    @pytest.fixture
    def stop_behind(self) -> Callable[[str], Awaitable[None]] | None:
        return None

    async def running(self, driver: InstanceDriver, instance_id: str) -> ObservedInstance:
        async def probe() -> ObservedInstance | None:
            observed = await seen(driver, instance_id)
            assert observed is None or observed.power is not Power.FAILED, observed.detail if observed else ""
            return observed if observed and observed.power is Power.RUNNING else None

        answer = await eventually(probe, within=self.settle_seconds, what=f"instance {instance_id} RUNNING")
        assert isinstance(answer, ObservedInstance)
        return answer

    async def gone(self, driver: InstanceDriver, instance_ids: Sequence[str], run_dir: Path) -> None:
        async def probe() -> bool:
            return not {o.instance_id for o in await driver.observe()} & set(instance_ids)

        await eventually(probe, within=self.settle_seconds, what=f"instances {instance_ids} gone")
        for instance_id in instance_ids:
            assert not (run_dir / "instances" / instance_id).exists()

    async def first_line(self, run_dir: Path, instance_id: str) -> tuple[int, bytes]:
        """Return who connects to the agent's socket, by uid, and what it says first."""
        heard: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

        async def on_agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            import socket
            import struct

            credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            line = await reader.readline()
            if not heard.done():
                heard.set_result((struct.unpack("3i", credentials)[1], line))
            writer.close()

        path = run_dir / "instances" / instance_id / "host" / AGENT_SOCKET_NAME
        server = await asyncio.start_unix_server(on_agent, path=str(path), limit=MAX_LINE_BYTES)
        path.chmod(0o666)
        try:
            return await asyncio.wait_for(heard, self.settle_seconds)
        finally:
            server.close()

    # Launch

    async def test_a_launched_instance_comes_up_with_its_labels_and_uids(
        self, driver: InstanceDriver, spec: MakeSpec
    ) -> None:
        wished = spec(labels={"fleet_id": "f-1", "region": "us-east-1", "note": "zwei Wörter = 2; 'quoted'"})
        await driver.launch(wished)
        observed = await self.running(driver, wished.instance_id)
        # An engine that mounts a runtime says which; it adds nothing else.
        assert {k: v for k, v in observed.labels.items() if k != "runtime_version"} == dict(wished.labels)
        assert observed.first_uid is not None
        assert observed.first_uid >= 0

    async def test_an_accepted_instance_is_observed_at_once(self, driver: InstanceDriver, spec: MakeSpec) -> None:
        """Otherwise a reconciler that looks right after a launch would take the instance for lost and replace it."""
        wished = spec()
        await driver.launch(wished)
        assert await seen(driver, wished.instance_id) is not None

    async def test_an_instance_launched_twice_with_one_id_exists_once(
        self, driver: InstanceDriver, spec: MakeSpec
    ) -> None:
        wished = spec()
        await driver.launch(wished)
        await driver.launch(wished)
        first = await self.running(driver, wished.instance_id)
        await driver.launch(wished)
        again = await self.running(driver, wished.instance_id)
        assert again.first_uid == first.first_uid
        assert [o.instance_id for o in await driver.observe()] == [wished.instance_id]

    async def test_two_concurrent_launches_of_one_id_make_one_instance(
        self, driver: InstanceDriver, spec: MakeSpec
    ) -> None:
        wished = spec()
        await asyncio.gather(driver.launch(wished), driver.launch(wished), driver.launch(wished))
        await self.running(driver, wished.instance_id)
        assert [o.instance_id for o in await driver.observe()] == [wished.instance_id]

    async def test_many_instances_are_launched_at_the_same_time(
        self, driver: InstanceDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        wished = [spec() for _ in range(4)]
        await asyncio.gather(*(driver.launch(one) for one in wished))
        await asyncio.gather(*(self.running(driver, one.instance_id) for one in wished))
        assert {o.instance_id for o in await driver.observe()} == {one.instance_id for one in wished}
        await asyncio.gather(*(driver.terminate(one.instance_id) for one in wished))
        await self.gone(driver, [one.instance_id for one in wished], run_dir)

    async def test_an_image_that_is_not_in_the_store_is_named_in_the_error(
        self, driver: InstanceDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        wished = replace(spec(), image_ref="no-such-image")
        with pytest.raises(ImageMissing) as refusal:
            await driver.launch(wished)
        assert refusal.value.image == "no-such-image"
        await driver.terminate(wished.instance_id)
        await self.gone(driver, [wished.instance_id], run_dir)

    # Socket directories

    async def test_the_socket_directories_exist_with_their_modes_before_the_instance_runs(
        self, driver: InstanceDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        wished = spec()
        await driver.launch(wished)
        await self.running(driver, wished.instance_id)
        home = run_dir / "instances" / wished.instance_id
        assert (mode_of(home), mode_of(home / "host"), mode_of(home / "guest")) == (0o710, 0o755, 0o777)

    async def test_the_agent_connects_from_the_uid_that_observe_tells(
        self, driver: InstanceDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        if not self.has_agent:
            pytest.skip("the image of this test boots no agent")
        wished = spec()
        await driver.launch(wished)
        observed = await self.running(driver, wished.instance_id)
        uid, line = await self.first_line(run_dir, wished.instance_id)
        assert uid == observed.first_uid
        assert isinstance(decode(line), Status)

    # Terminate

    async def test_terminating_an_unknown_instance_is_not_an_error(
        self, driver: InstanceDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        unknown = spec().instance_id
        await driver.terminate(unknown)
        await self.gone(driver, [unknown], run_dir)

    async def test_a_terminated_instance_is_gone_with_its_socket_directories(
        self, driver: InstanceDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        kept, wished = spec(), spec()
        await asyncio.gather(driver.launch(kept), driver.launch(wished))
        await asyncio.gather(self.running(driver, kept.instance_id), self.running(driver, wished.instance_id))
        await driver.terminate(wished.instance_id)
        await self.gone(driver, [wished.instance_id], run_dir)
        await driver.terminate(wished.instance_id)
        assert [o.instance_id for o in await driver.observe()] == [kept.instance_id]
        assert (run_dir / "instances" / kept.instance_id / "guest").is_dir()

    async def test_an_instance_may_be_terminated_while_it_boots(
        self, driver: InstanceDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        wished = spec()
        await driver.launch(wished)
        await driver.terminate(wished.instance_id)
        await self.gone(driver, [wished.instance_id], run_dir)

    async def test_terminating_twice_at_the_same_time_is_success_twice(
        self, driver: InstanceDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        wished = spec()
        await driver.launch(wished)
        await self.running(driver, wished.instance_id)
        await asyncio.gather(driver.terminate(wished.instance_id), driver.terminate(wished.instance_id))
        await self.gone(driver, [wished.instance_id], run_dir)

    # Observe

    async def test_observe_shows_nothing_of_others(
        self,
        driver: InstanceDriver,
        spec: MakeSpec,
        launch_foreign: Callable[[], Awaitable[str]] | None,
    ) -> None:
        if launch_foreign is None:
            pytest.skip("this engine cannot be shared with others")
        foreign = await launch_foreign()
        wished = spec()
        await driver.launch(wished)
        observed = [o.instance_id for o in await driver.observe()]
        assert observed == [wished.instance_id]
        assert foreign not in observed

    async def test_a_new_driver_finds_what_the_old_one_launched(
        self, driver: InstanceDriver, make_driver: MakeDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        """The process died; its successor adopts, relaunches without effect, and terminates."""
        wished = spec(labels={"fleet_id": "f-2"})
        await driver.launch(wished)
        before = await self.running(driver, wished.instance_id)
        successor = await make_driver()
        await successor.prepare()
        assert (await self.running(successor, wished.instance_id)) == before
        await successor.launch(wished)
        assert len(await successor.observe()) == 1
        await successor.terminate(wished.instance_id)
        await self.gone(successor, [wished.instance_id], run_dir)

    async def test_an_instance_that_ended_by_itself_is_not_running_and_not_restarted(
        self,
        driver: InstanceDriver,
        spec: MakeSpec,
        run_dir: Path,
        stop_behind: Callable[[str], Awaitable[None]] | None,
    ) -> None:
        if stop_behind is None:
            pytest.skip("this engine offers no way to end an instance behind the driver's back")
        wished = spec()
        await driver.launch(wished)
        await self.running(driver, wished.instance_id)
        await stop_behind(wished.instance_id)

        async def ended() -> bool:
            observed = await seen(driver, wished.instance_id)
            return observed is None or observed.power in (Power.STOPPED, Power.FAILED)

        await eventually(ended, within=self.settle_seconds, what="the ended instance is reported as not running")
        await driver.terminate(wished.instance_id)
        await self.gone(driver, [wished.instance_id], run_dir)

    # Stop and start

    async def stopped(self, driver: InstanceDriver, instance_id: str) -> ObservedInstance:
        observed = await seen(driver, instance_id)
        assert observed is not None
        assert observed.power is Power.STOPPED
        return observed

    async def test_a_stopped_instance_keeps_its_labels_and_ids_and_starts_again(
        self, driver: InstanceDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        wished = spec(labels={"builder_id": "b-1"}, has_internet_access=True)
        await driver.launch(wished)
        before = await self.running(driver, wished.instance_id)
        assert before.interface is not None
        await driver.stop(wished.instance_id)
        halted = await self.stopped(driver, wished.instance_id)
        assert replace(halted, power=Power.RUNNING) == before
        await driver.start(wished.instance_id)
        assert await self.running(driver, wished.instance_id) == before
        home = run_dir / "instances" / wished.instance_id
        assert [mode_of(home / name) for name in ("host", "guest")] == [0o755, 0o1777 & 0o777]

    async def test_stop_and_start_may_be_repeated_and_come_from_a_successor(
        self, driver: InstanceDriver, make_driver: MakeDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        wished = spec()
        await driver.launch(wished)
        await self.running(driver, wished.instance_id)
        await driver.stop(wished.instance_id)
        await driver.stop(wished.instance_id)
        successor = await make_driver()
        await successor.prepare()
        await self.stopped(successor, wished.instance_id)
        await asyncio.gather(successor.start(wished.instance_id), successor.start(wished.instance_id))
        await self.running(successor, wished.instance_id)
        await successor.stop(wished.instance_id)
        await successor.terminate(wished.instance_id)
        await self.gone(successor, [wished.instance_id], run_dir)

    async def test_an_unknown_instance_is_stopped_already_and_cannot_be_started(self, driver: InstanceDriver) -> None:
        await driver.stop("i-nobody")
        with pytest.raises(InstanceMissing):
            await driver.start("i-nobody")
        assert await driver.observe() == []

    async def test_a_started_instance_is_heard_again(
        self, driver: InstanceDriver, spec: MakeSpec, run_dir: Path
    ) -> None:
        if not self.has_agent:
            pytest.skip("the image of this rig boots no agent")
        wished = spec()
        await driver.launch(wished)
        await self.running(driver, wished.instance_id)
        await driver.stop(wished.instance_id)
        await driver.start(wished.instance_id)
        _, line = await self.first_line(run_dir, wished.instance_id)
        assert isinstance(decode(line), Status)

    async def test_preparing_twice_keeps_what_runs(self, driver: InstanceDriver, spec: MakeSpec) -> None:
        wished = spec()
        await driver.launch(wished)
        await self.running(driver, wished.instance_id)
        await driver.prepare()
        assert await seen(driver, wished.instance_id) is not None

    async def test_changes_names_an_instance_that_comes_or_goes_or_ends(
        self, driver: InstanceDriver, spec: MakeSpec
    ) -> None:
        wished = spec()
        hints: list[str] = []

        async def listen() -> None:
            async for instance_id in driver.changes():
                hints.append(instance_id)
                if instance_id == wished.instance_id:
                    return

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0.1)  # It is a stream of hints from now on: give the listener time to be there.
        await driver.launch(wished)
        await self.running(driver, wished.instance_id)
        await asyncio.wait_for(listening, self.settle_seconds)
        assert all(isinstance(hint, str) for hint in hints)
