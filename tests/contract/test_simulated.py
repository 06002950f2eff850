"""The simulated engine keeps every promise of the ports, and its guests speak the real wires."""

import asyncio
import itertools
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from image_store import ImageStoreContract, StopBehind
from instance_driver import InstanceDriverContract, MakeSpec, eventually
from instance_snapshots import InstanceSnapshotsContract
from PIL import Image

from fanlight.agentwire.messages import ApplicationToLaunch, BeginSession, EndSession, LaunchApplication
from fanlight.domain.errors import CapacityExhausted, DriverUnavailable, ImageMissing
from fanlight.domain.ports import AgentPhase, AgentStatus, InstanceSpec, Power, SessionPhase, SessionReport
from fanlight.drivers.agents import AgentSockets
from fanlight.drivers.simulated import (
    Faults,
    SimulatedDriver,
    SimulatedImageStore,
    SimulatedSnapshots,
    write_catalogues,
)
from fanlight.drivers.simulated.keys import typed_after
from fanlight.services.image_catalogues import read_catalogues


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def make(tmp_path: Path, **options: object) -> SimulatedDriver:
    write_catalogues(tmp_path / "images")
    images = SimulatedImageStore(tmp_path / "images")
    return SimulatedDriver(data_dir=tmp_path, run_dir=tmp_path / "run", images=images, **options)  # type: ignore[arg-type]


_numbers = itertools.count()


def make_spec(**overrides: object) -> InstanceSpec:
    members: dict[str, object] = {
        "instance_id": f"i-{next(_numbers):017x}",
        "image_ref": "fanlight-sample",
        "cpu_count": 1,
        "memory_in_mib": 2048,
        "disk_in_gib": 10,
        "has_internet_access": False,
    }
    return InstanceSpec(**members | overrides)  # type: ignore[arg-type]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short path: a socket address has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[SimulatedDriver]:
    made = make(tmp_path)
    await made.prepare()
    yield made
    await made.close()


class TestSimulatedSnapshots(InstanceSnapshotsContract):
    settle_seconds = 10.0

    @pytest.fixture
    def snapshots(self, driver: SimulatedDriver) -> SimulatedSnapshots:
        return SimulatedSnapshots(driver)

    @pytest.fixture
    def spec(self) -> Callable[..., InstanceSpec]:
        return make_spec


class TestSimulatedDriver(InstanceDriverContract):
    settle_seconds = 10.0

    @pytest.fixture
    def spec(self) -> Callable[..., InstanceSpec]:
        return make_spec

    @pytest.fixture
    async def make_driver(
        self, tmp_path: Path, driver: SimulatedDriver
    ) -> AsyncIterator[Callable[[], Awaitable[SimulatedDriver]]]:
        successors = []

        async def succeed() -> SimulatedDriver:
            await driver.close()  # The engine lives in the process: a successor means that the first one ended.
            successors.append(make(tmp_path))
            return successors[-1]

        yield succeed
        for successor in successors:
            await successor.close()

    @pytest.fixture
    def stop_behind(self, driver: SimulatedDriver) -> Callable[[str], Awaitable[None]]:
        return driver.halt


class TestFaults:
    async def test_each_refusal_is_raised_as_given_and_launches_nothing(self, driver: SimulatedDriver) -> None:
        driver.faults.launch_error = CapacityExhausted("full")
        with pytest.raises(CapacityExhausted, match="full"):
            await driver.launch(make_spec())
        assert await driver.observe() == []

    async def test_the_capacity_is_what_fits_at_one_time(self, driver: SimulatedDriver) -> None:
        driver.faults.capacity = 1
        first = make_spec()
        await driver.launch(first)
        await driver.launch(first)
        with pytest.raises(CapacityExhausted):
            await driver.launch(make_spec())
        await driver.terminate(first.instance_id)
        await driver.launch(make_spec())

    async def test_an_engine_that_is_away_answers_nothing(self, driver: SimulatedDriver) -> None:
        driver.faults.unavailable = DriverUnavailable("away")
        for call in (driver.observe(), driver.launch(make_spec()), driver.terminate("i-1"), driver.prepare()):
            with pytest.raises(DriverUnavailable):
                await call

    async def test_a_lost_instance_is_not_observed_and_its_directories_go_with_the_next_terminate(
        self, driver: SimulatedDriver, run_dir: Path
    ) -> None:
        wished = make_spec()
        await driver.launch(wished)
        await driver.lose(wished.instance_id)
        assert await driver.observe() == []
        await driver.terminate(wished.instance_id)
        assert list((run_dir / "instances").iterdir()) == []


class Host:
    """The host's end: listens for the guest's agent and opens its stream."""

    def __init__(self, driver: SimulatedDriver, run_dir: Path, instance_id: str) -> None:
        self.agents = AgentSockets(run_dir, WallClock())
        self.driver, self.instance_id = driver, instance_id
        self.stream_socket = run_dir / "instances" / instance_id / "guest" / "stream-0.sock"

    async def phase(self, phase: AgentPhase) -> AgentStatus:
        async def probe() -> AgentStatus | None:
            status = self.agents.status(self.instance_id)
            return status if status and status.is_connected and status.phase is phase else None

        status = await eventually(probe, within=5, what=f"agent {phase}")
        assert isinstance(status, AgentStatus)
        return status

    async def session(self, session_id: str, phase: SessionPhase) -> SessionReport:
        async def probe() -> SessionReport | None:
            status = self.agents.status(self.instance_id)
            report = status.session(session_id) if status and status.is_connected else None
            return report if report and report.phase is phase else None

        report = await eventually(probe, within=5, what=f"session {session_id} {phase}")
        assert isinstance(report, SessionReport)
        return report

    async def begin(self, session_id: str) -> None:
        message = BeginSession(
            session_id=session_id,
            user_id="ada",
            stream_view="APP",
            stream_settings={
                "enable_clipboard": "in",
                "video_bitrate": "8000,500-20000",
                "second_screen": "false|locked",
            },
            application=ApplicationToLaunch(name="text-editor", launch_path="/usr/bin/mousepad"),
        )
        await self.agents.send(self.instance_id, {"type": BeginSession.TYPE, **asdict(message)})


@pytest.fixture
async def host(driver: SimulatedDriver, run_dir: Path) -> AsyncIterator[Host]:
    wished = make_spec()
    await driver.launch(wished)
    made = Host(driver, run_dir, wished.instance_id)
    await made.agents.open(wished.instance_id, os.getuid())
    yield made
    await made.agents.close_all()


async def picture(socket: aiohttp.ClientWebSocketResponse) -> bytes:
    while True:
        message = await socket.receive(timeout=5)
        if message.type is aiohttp.WSMsgType.BINARY:
            assert message.data[0] == 0x03
            return bytes(message.data[6:])
        assert message.type is aiohttp.WSMsgType.TEXT, message


class TestGuest:
    async def test_it_boots_begins_once_streams_and_ends(self, host: Host) -> None:
        await host.phase(AgentPhase.READY)
        assert not host.stream_socket.exists()
        await host.begin("s-1")
        assert (await host.session("s-1", SessionPhase.IN_SESSION)).seat == 0
        await host.begin("s-2")
        await asyncio.sleep(0.05)
        assert [s.session_id for s in (await host.phase(AgentPhase.READY)).sessions] == ["s-1"]
        await host.agents.send(host.instance_id, {"type": EndSession.TYPE, "session_id": "s-1"})
        await host.session("s-1", SessionPhase.ENDED)
        assert not host.stream_socket.exists()
        await host.begin("s-2")
        await asyncio.sleep(0.05)
        assert [s.session_id for s in (await host.phase(AgentPhase.READY)).sessions] == ["s-1"]

    async def test_a_client_sees_a_picture_that_its_keys_change(self, host: Host) -> None:
        await host.phase(AgentPhase.READY)
        await host.begin("s-1")
        await host.session("s-1", SessionPhase.IN_SESSION)
        connector = aiohttp.UnixConnector(path=str(host.stream_socket))
        async with aiohttp.ClientSession(connector=connector) as http:
            async with http.get("http://guest/api/health") as health:
                assert (health.status, await health.json()) == (200, {"status": "ok"})
            async with http.ws_connect("http://guest/api/websockets") as socket:
                assert (await socket.receive_str()) == "MODE websockets"
                assert (await socket.receive_str()).startswith("DISPLAY_CONFIG_UPDATE,")
                settings = json.loads(await socket.receive_str())["settings"]
                assert settings["encoder"]["value"] == "jpeg"
                assert settings["clipboard_out_enabled"] == {"value": False}
                assert settings["second_screen"] == {"value": False, "locked": True, "overridden": True}
                assert settings["video_bitrate"]["max"] == 20000
                await socket.send_str('SETTINGS,{"initialClientWidth": 640, "initialClientHeight": 480}')
                assert json.loads(await socket.receive_str()) == {
                    "type": "stream_resolution", "width": 640, "height": 480, "displayId": "primary",
                }  # fmt: skip
                before = Image.open(BytesIO(await picture(socket))).convert("L")
                assert before.size == (640, 480)
                for keysym in b"Hello":
                    await socket.send_str(f"kd,{keysym}")
                    await socket.send_str(f"ku,{keysym}")
                sheet = (30, 195, 300, 230)

                async def typed() -> bool:
                    after = Image.open(BytesIO(await picture(socket))).convert("L")
                    return sum(after.crop(sheet).tobytes()) < sum(before.crop(sheet).tobytes()) - 10_000

                await eventually(typed, within=5, what="the typed text in the picture")

    async def test_junk_from_a_client_harms_nothing(self, host: Host) -> None:
        await host.phase(AgentPhase.READY)
        await host.begin("s-1")
        await host.session("s-1", SessionPhase.IN_SESSION)
        connector = aiohttp.UnixConnector(path=str(host.stream_socket))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.ws_connect("http://guest/api/websockets") as socket,
        ):
            for junk in (
                "kd,",
                "kd,²",
                "kd,-1",
                "kd,9999999999",
                "kd,16832768",
                "SETTINGS,{",
                "SETTINGS,[]",
                "x" * 9000,
            ):
                await socket.send_str(junk)
            await socket.send_str('SETTINGS,{"initialClientWidth": 99999, "initialClientHeight": -5, "x": [1]}')
            assert Image.open(BytesIO(await picture(socket))).size == (1920, 64)

    async def test_a_second_client_takes_the_display(self, host: Host) -> None:
        await host.phase(AgentPhase.READY)
        await host.begin("s-1")
        await host.session("s-1", SessionPhase.IN_SESSION)
        connector = aiohttp.UnixConnector(path=str(host.stream_socket))
        async with aiohttp.ClientSession(connector=connector) as http:
            first = await http.ws_connect("http://guest/api/websockets")
            second = await http.ws_connect("http://guest/api/websockets")
            texts = [message.data async for message in first if message.type is aiohttp.WSMsgType.TEXT]
            assert texts[-1].startswith("KILL ")
            await second.close()

    async def test_a_session_with_its_text_survives_the_process(
        self, host: Host, tmp_path: Path, run_dir: Path
    ) -> None:
        await host.phase(AgentPhase.READY)
        await host.begin("s-1")
        await host.session("s-1", SessionPhase.IN_SESSION)
        application = ApplicationToLaunch(name="calculator", launch_path="/usr/bin/galculator")
        launch = LaunchApplication(session_id="s-1", launch_id="l-1", application=application)
        for _ in range(2):
            await host.agents.send(host.instance_id, {"type": LaunchApplication.TYPE, **asdict(launch)})
        connector = aiohttp.UnixConnector(path=str(host.stream_socket))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.ws_connect("http://guest/api/websockets") as socket,
        ):
            await socket.send_str("kd,65")
            await socket.send_str('SETTINGS,{"initialClientWidth": 640, "initialClientHeight": 480}')
            await picture(socket)
        await host.driver.close()
        record = next(iter(host.driver._records.all()))
        [session] = record.sessions
        assert (session.typed, session.launched) == ("A", ["text-editor", "calculator"])
        successor = make(tmp_path)
        await successor.prepare()
        assert [o.power for o in await successor.observe()] == [Power.RUNNING]
        await host.session("s-1", SessionPhase.IN_SESSION)
        assert host.stream_socket.is_socket()
        await successor.close()

    @pytest.mark.parametrize(
        ("fault", "phase"), [("never_ready", AgentPhase.BOOTING), ("fails_to_boot", AgentPhase.FAILED)]
    )
    async def test_a_faulty_guest_says_so(self, tmp_path: Path, run_dir: Path, fault: str, phase: AgentPhase) -> None:
        driver = make(tmp_path, faults=Faults(**{fault: True}))
        await driver.prepare()
        wished = make_spec()
        await driver.launch(wished)
        host = Host(driver, run_dir, wished.instance_id)
        await host.agents.open(wished.instance_id, os.getuid())
        await host.phase(phase)
        await host.agents.close_all()
        await driver.close()


class TestImages:
    async def test_the_sample_catalogues_are_what_the_services_read(self, tmp_path: Path) -> None:
        write_catalogues(tmp_path)
        write_catalogues(tmp_path)
        manifests, complaints = read_catalogues(tmp_path)
        assert complaints == []
        assert {m.name: len(m.applications) for m in manifests} == {
            "Fanlight-Base-Debian13": 0,
            "Fanlight-Sample-Debian13": 5,
        }
        for manifest in manifests:
            for application in manifest.applications:
                icon = tmp_path / manifest.store_ref / "icons" / str(application.icon)
                with Image.open(icon) as drawn:
                    assert (drawn.format, drawn.size) == ("PNG", (128, 128))

    async def test_images_are_imported_seen_warmed_and_deleted(self, tmp_path: Path) -> None:
        store = SimulatedImageStore(tmp_path / "images")
        assert await store.observe() == []
        archive = tmp_path / "rootfs.tar"
        archive.write_bytes(b"x" * 7)
        await store.import_rootfs("my-image", archive, {"a": "b"})
        assert [(i.ref, i.size_in_bytes, i.properties) for i in await store.observe()] == [("my-image", 7, {"a": "b"})]
        await store.warm("my-image")
        await store.delete("my-image")
        await store.delete("my-image")
        assert await store.observe() == []
        with pytest.raises(ImageMissing):
            await store.warm("my-image")


class TestSimulatedImageStore(ImageStoreContract):
    @pytest.fixture
    def spec(self) -> MakeSpec:
        return make_spec

    @pytest.fixture
    def store(self, tmp_path: Path) -> SimulatedImageStore:
        return SimulatedImageStore(tmp_path / "images")

    @pytest.fixture
    def stop_behind(self, driver: SimulatedDriver) -> StopBehind:
        return driver.stop


@pytest.mark.parametrize(
    ("before", "keysym", "after"),
    [
        ("a", 0x62, "ab"),
        ("a", 0xFC, "aü"),
        ("a", 0x010020AC, "a€"),
        ("ab", 0xFF08, "a"),
        ("a", 0xFF0D, "a\n"),
        ("a", 0xFFE1, "a"),
        ("a", 0x0100D800, "a"),
        ("a", 0x7FFFFFFF, "a"),
    ],
)
def test_keysyms_type_what_they_mean(before: str, keysym: int, after: str) -> None:
    assert typed_after(before, keysym) == after
