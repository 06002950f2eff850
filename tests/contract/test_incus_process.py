"""The compute process answers whom it should, believes nobody, and can be killed at any moment."""

import asyncio
import grp
import http.client
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fanlight.domain.errors import DriverUnavailable, ImageMissing, LaunchRefused
from fanlight.domain.ports import InstanceSpec, Power
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.guard import guard_table_of
from fanlight.drivers.incus.power import destroy
from fanlight.drivers.incus.remote import ComputeConnection, RemoteDriver
from incus_rig import IncusRig, empty, incus_rig, running

pytestmark = pytest.mark.incus

PROGRAM = """
import sys
import uvloop
from fanlight.config import Settings
from fanlight.drivers.incus.process import run_compute_process
from fanlight.telemetry import configure_logging
configure_logging(log_format="text", level="debug")
uvloop.run(run_compute_process(Settings(), guard_check_in_seconds=float(sys.argv[1])))
"""

ASK = """
import http.client, socket, sys
connection = http.client.HTTPConnection("compute")
connection.sock = socket.socket(socket.AF_UNIX)
try:
    connection.sock.connect(sys.argv[1])
except PermissionError:
    sys.exit("refused by the kernel")
connection.request("GET", "/v1/instances")
print(connection.getresponse().status)
"""


@pytest.fixture(scope="module")
def rig() -> Iterator[IncusRig]:
    with incus_rig() as made:
        yield made


class ComputeProcess:
    def __init__(self, rig: IncusRig) -> None:
        self.rig, self.process = rig, None
        self.path = rig.run_dir / "compute.sock"
        self.log = rig.settings.data_dir / "compute.log"

    async def start(self, *, guard_check_in_seconds: float = 3600, **overrides: Any) -> None:
        settings = self.rig.settings.model_copy(update=overrides)
        names = ("data_dir", "run_dir", "incus_socket", "incus_project", "incus_network", "incus_pool", "incus_subnet")
        environment = os.environ | {f"FANLIGHT_{name.upper()}": str(getattr(settings, name)) for name in names}
        command = [sys.executable, "-c", PROGRAM, str(guard_check_in_seconds)]
        with self.log.open("ab") as log:
            self.process: Any = subprocess.Popen(command, env=environment, stderr=log)
        async with asyncio.timeout(60):
            while not self._accepts():
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.path)) == 0

    def asked_by(self, user: str) -> str:
        account = pwd.getpwnam(user)
        answer = subprocess.run(
            ["/usr/bin/python3", "-c", ASK, str(self.path)],
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        return (answer.stdout or answer.stderr).strip()

    def send(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        connection = http.client.HTTPConnection("compute", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(20)
        connection.sock.connect(str(self.path))
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@asynccontextmanager
async def driver_of(process: ComputeProcess) -> AsyncIterator[RemoteDriver]:
    connection = ComputeConnection(process.rig.run_dir)
    try:
        driver = RemoteDriver(connection)
        await driver.prepare()
        yield driver
    finally:
        await connection.close()


async def eventually(is_so: Callable[[], object], within: float = 20) -> None:
    async with asyncio.timeout(within):
        while not is_so():
            await asyncio.sleep(0.02)


def nft(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["nft", *words], capture_output=True, text=True, check=False)


def guard(rig: IncusRig) -> str:
    """Return the guard of the host as the kernel has it, "" when it is not there."""
    return nft("list", "table", "inet", guard_table_of(rig.settings.incus_network)).stdout


@pytest.fixture
async def process(rig: IncusRig) -> AsyncIterator[ComputeProcess]:
    made = ComputeProcess(rig)
    await made.start()
    yield made
    if made.process.poll() is None:
        assert made.stop() == 0
    log = made.log.read_text()
    assert "Traceback" not in log, log
    await empty(rig.settings)


async def test_only_root_and_the_api_user_are_answered(process: ComputeProcess) -> None:
    found = process.path.stat()
    assert (found.st_uid, found.st_gid) == (0, grp.getgrnam("fanlight").gr_gid)
    assert stat.S_IMODE(found.st_mode) == 0o660
    async with driver_of(process):
        assert process.asked_by("root") == "200"
        assert process.asked_by("fanlight") == "200"
        assert process.asked_by("fanlight-gateway") == "403"  # the group lets it connect, the process does not answer
        assert process.asked_by("nobody") == "refused by the kernel"


def body_of(rig: IncusRig, **overrides: Any) -> dict[str, Any]:
    spec = rig.new_spec()
    members = {name: getattr(spec, name) for name in spec.__slots__}
    return members | overrides


async def test_junk_is_refused_and_changes_nothing(process: ComputeProcess, rig: IncusRig) -> None:
    wrong: list[dict[str, Any]] = [
        {"instance_id": "../../etc"},
        {"instance_id": "i-1/../x"},
        {"instance_id": "I-UPPER"},
        {"instance_id": ""},
        {"instance_id": "i" * 41},
        {"instance_id": "i-1\n"},
        {"instance_id": 7},
        {"image_ref": "a b"},
        {"image_ref": "../tiny"},
        {"image_ref": None},
        {"cpu_count": 0},
        {"cpu_count": True},
        {"cpu_count": "1"},
        {"cpu_count": 1.0},
        {"memory_in_mib": 10**12},
        {"disk_in_gib": -1},
        {"has_internet_access": "yes"},
        {"subnet_ids": "subnet-1"},
        {"subnet_ids": ["a b"]},
        {"subnet_ids": ["s"] * 1025},
        {"security_group_ids": [7]},
        {"security_group_ids": ["sg-1\naccept"]},
        {"labels": []},
        {"labels": {"a b": "x"}},
        {"labels": {"a": 1}},
        {"labels": {"a": "line\nbreak"}},
        {"labels": {"a": "x" * 2000}},
        {"labels": {f"n{i}": "" for i in range(65)}},
        {"raw.lxc": "lxc.mount.entry = / host none bind"},
    ]
    async with driver_of(process) as driver:
        for one in wrong:
            status, text = await asyncio.to_thread(
                process.send, "POST", "/v1/launch", json.dumps(body_of(rig, **one)).encode()
            )
            assert (status, json.loads(text)["error"]) == (400, "LaunchRefused"), one
        for method, path, body, expected in (
            ("POST", "/v1/launch", b"", 400),
            ("POST", "/v1/launch", b"{", 400),
            ("POST", "/v1/launch", b"\xff\xfe", 400),
            ("POST", "/v1/launch", b"[" * 100_000, 400),
            ("POST", "/v1/launch", b"x" * 1_000_000, 413),
            ("POST", "/v1/terminate", b'{"instance_id": "..", "x": 1}', 400),
            ("POST", "/v1/terminate", b'{"instance_id": ".."}', 400),
            ("POST", "/v1/stop", b'{"instance_id": ".."}', 400),
            ("POST", "/v1/start", b'{"instance_id": "i-1"}', 400),
            ("POST", "/v1/start", b'{"instance_id": "i-1", "runtime_version": "../other"}', 400),
            ("POST", "/v1/images/delete", b'{"ref": "tiny"}', 400),  # images of recipes are root's business
            ("POST", "/v1/images/publish", b'{"instance_id": "i-1", "ref": "tiny", "properties": {}}', 400),
            ("POST", "/v1/images/copy", b'{"ref": "tiny", "new_ref": "fanlight-base"}', 400),
            ("GET", "/1.0", b"", 404),
            ("DELETE", "/v1/instances", b"", 405),
        ):
            status, text = await asyncio.to_thread(process.send, method, path, body)
            assert status == expected, (method, path, body[:40])
            assert "Traceback" not in text
        assert await driver.observe() == []
        assert not any((rig.run_dir / "instances").iterdir())


async def test_refusals_arrive_as_what_they_are(process: ComputeProcess, rig: IncusRig) -> None:
    async with driver_of(process) as driver:
        with pytest.raises(ImageMissing):
            await driver.launch(rig.new_spec(image_ref="nothing-of-this-name"))
        with pytest.raises(LaunchRefused, match="runtime 9 is not installed"):
            await driver.launch(rig.new_spec(labels={"runtime_version": "9"}))
        with pytest.raises(LaunchRefused, match="not installed"):
            await driver.launch(rig.new_spec(labels={"runtime_version": "../../.."}))
        assert await driver.observe() == []


async def test_without_the_process_the_driver_says_so(rig: IncusRig) -> None:
    connection = ComputeConnection(rig.run_dir / "nowhere")
    try:
        with pytest.raises(DriverUnavailable, match="fanlight serve"):
            await RemoteDriver(connection).observe()
        with pytest.raises(DriverUnavailable):
            async for _ in RemoteDriver(connection).changes():
                pass
    finally:
        await connection.close()


async def recovered(driver: RemoteDriver, specs: list[InstanceSpec]) -> None:
    """Do as a reconciler does until all run: launch what is not there, remove what does not come up.

    What the killed process had begun goes on inside Incus; between its making and its start it looks like a failure.
    """
    async with asyncio.timeout(60):
        while True:
            observed = {o.instance_id: o.power for o in await driver.observe()}
            missing = [spec for spec in specs if spec.instance_id not in observed]
            failed = [name for name, power in observed.items() if power is Power.FAILED]
            if not missing and set(observed.values()) == {Power.RUNNING}:
                return
            await asyncio.gather(*(driver.terminate(name) for name in failed), *(driver.launch(s) for s in missing))
            await asyncio.sleep(0.05)


async def test_killed_while_launching_and_destroying_nothing_is_lost_or_doubled(
    process: ComputeProcess, rig: IncusRig
) -> None:
    specs = [rig.new_spec(labels={"number": str(number)}) for number in range(4)]
    for moment in (0.0, 0.05, 0.2):
        async with driver_of(process) as driver:
            launches = asyncio.gather(*(driver.launch(spec) for spec in specs), return_exceptions=True)
            await asyncio.sleep(moment)
            process.kill()
            await launches
        await process.start()
        async with driver_of(process) as driver:
            await recovered(driver, specs)
            observed = await driver.observe()
            assert sorted(o.instance_id for o in observed) == sorted(s.instance_id for s in specs)
            endings = asyncio.gather(*(driver.terminate(s.instance_id) for s in specs), return_exceptions=True)
            await asyncio.sleep(moment)
            process.kill()
            await endings
        await process.start()
        async with driver_of(process) as driver:
            await asyncio.gather(*(driver.terminate(spec.instance_id) for spec in specs))
            assert await driver.observe() == []
            assert not any((rig.run_dir / "instances").iterdir())
            assert str(rig.run_dir / "instances") not in Path("/proc/mounts").read_text()


async def test_directories_of_instances_that_are_gone_are_removed_at_the_next_start(
    process: ComputeProcess, rig: IncusRig
) -> None:
    gone, kept = rig.new_spec(), rig.new_spec()
    directories = rig.run_dir / "instances"
    async with driver_of(process) as driver:
        await running(driver, gone, kept)
    assert process.stop() == 0
    async with rig.client() as client:
        await destroy(client, gone.instance_id)
    assert (directories / gone.instance_id / "guest").is_mount()
    # Anybody who builds images prepares too, and must not touch directories of instances that are being launched now.
    builder = IncusDriver(rig.settings)
    await builder.prepare()
    await builder.close()
    assert (directories / gone.instance_id / "guest").is_mount()
    await process.start()
    await eventually(lambda: not (directories / gone.instance_id).exists())
    assert (directories / kept.instance_id / "guest").is_mount()


async def test_the_start_guards_the_host_and_repairs_the_fence(process: ComputeProcess, rig: IncusRig) -> None:
    """A reboot takes the guard away; somebody's `incus` command has changed the rest."""
    settings = rig.settings
    await eventually(lambda: guard(rig))
    before = guard(rig)
    assert process.stop() == 0
    assert nft("delete", "table", "inet", guard_table_of(settings.incus_network)).returncode == 0
    path = f"projects/{settings.incus_project}"
    async with rig.client() as client:
        config = (await client.get(path))["config"]
        await client.send("PATCH", path, {"config": config | {"restricted.devices.nic": "allow"}})
    await process.start()
    await eventually(lambda: guard(rig) == before)
    async with driver_of(process), rig.client() as client:
        assert (await client.get(path))["config"] == config


@pytest.mark.parametrize("damage", ["delete table inet {table}", "flush table inet {table}"])
async def test_the_guard_comes_back_when_somebody_takes_it_away(
    process: ComputeProcess, rig: IncusRig, damage: str
) -> None:
    assert process.stop() == 0
    await process.start(guard_check_in_seconds=0.1)
    async with driver_of(process):
        pass  # prepared
    before, told = guard(rig), process.log.read_text().count("is loaded again")
    assert "drop" in before
    assert nft(*damage.format(table=guard_table_of(rig.settings.incus_network)).split()).returncode == 0
    await eventually(lambda: guard(rig) == before)
    await eventually(lambda: process.log.read_text().count("is loaded again") == told + 1)
    await asyncio.sleep(0.5)  # and it is content with it
    assert process.log.read_text().count("is loaded again") == told + 1


async def test_nothing_is_done_before_the_host_is_prepared(process: ComputeProcess, rig: IncusRig) -> None:
    """Incus is not up yet. As soon as it is, the process goes on by itself."""
    assert process.stop() == 0
    later = rig.settings.data_dir / "later.socket"
    await process.start(incus_socket=later)
    connection = ComputeConnection(rig.run_dir)
    try:
        driver = RemoteDriver(connection)
        spec = rig.new_spec()
        for call in (
            driver.observe(),
            driver.launch(spec),
            driver.terminate(spec.instance_id),
            anext(driver.changes()),
        ):
            with pytest.raises(DriverUnavailable, match=r"Incus does not answer on .*later\.socket"):
                await call
        later.symlink_to(rig.settings.incus_socket)
        async with asyncio.timeout(60):
            while True:
                with suppress(DriverUnavailable):
                    assert await driver.observe() == []
                    break
                await asyncio.sleep(0.05)
    finally:
        later.unlink(missing_ok=True)
        await connection.close()


async def test_a_launch_that_fails_inside_the_engine_is_reported_as_failed(
    process: ComputeProcess, rig: IncusRig
) -> None:
    broken = rig.settings.data_dir / "runtime" / "broken" / "bin"
    broken.mkdir(parents=True, exist_ok=True)
    (broken / "fanlight-init").write_text("no program, and not executable\n")
    spec = rig.new_spec(labels={"runtime_version": "broken"})
    async with driver_of(process) as driver:
        await driver.launch(spec)
        async with asyncio.timeout(60):
            while True:
                (observed,) = await driver.observe()
                if observed.power in (Power.FAILED, Power.STOPPED):
                    break
                await asyncio.sleep(0.05)
        assert dict(observed.labels) == {"runtime_version": "broken"}
        await driver.terminate(spec.instance_id)
        assert await driver.observe() == []
