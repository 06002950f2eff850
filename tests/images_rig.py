"""Real instances of the sample image in an Incus project of their own, and the host's side of their agents.

Runtime and images come from the directory in which the end-to-end tests keep theirs.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fanlight.agentwire import stream_socket_name
from fanlight.agentwire.messages import ImageRequestPart, Message, SessionReport, Status, decode, encode
from fanlight.config import Settings
from fanlight.domain.ports import InstanceRole, InstanceSpec
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.images import IncusImageStore
from fanlight.images import build
from incus_rig import IncusRig, _free_subnet, _remove

# Runs with different numbers do not meet, so that several may go on side by side on one machine.
RUN_NUMBER = int(os.environ.get("FANLIGHT_TEST_RUN", "0"))
TEST_DIR = Path(f"/var/lib/fanlight-tests{RUN_NUMBER or ''}")
BUILD_TIMEOUT_IN_SECONDS = 280
SAMPLE = "fanlight-sample"


async def build_images(settings: Settings) -> None:
    """Build, or take from the cache, runtime and images of an installation."""
    settings.data_dir.mkdir(mode=0o755, parents=True)
    TEST_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    (TEST_DIR / "cache").mkdir(exist_ok=True)
    with (TEST_DIR / "cache" / "lock").open(
        "w"
    ) as lock:  # of builds: another worker's may replace the runtime just now
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (TEST_DIR / "runtime").is_dir():  # or the build makes it, a little later
            shutil.copytree(
                TEST_DIR / "runtime", settings.data_dir / "runtime", symlinks=True, copy_function=_link_or_copy
            )
    driver = IncusDriver(settings)
    try:
        await driver.prepare()
        store = IncusImageStore(driver.client, settings.incus_pool)
        async with asyncio.timeout(BUILD_TIMEOUT_IN_SECONDS):
            await build(settings=settings, store=store, cache=TEST_DIR / "cache")
    finally:
        await driver.close()


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextlib.contextmanager
def image_rig() -> Iterator[IncusRig]:
    """Make project, pool, network and images, and leave nothing behind but the cache."""
    name = f"fli{secrets.token_hex(3)}"
    directory = Path(tempfile.mkdtemp(prefix="fanlight-"))
    directory.chmod(0o755)
    settings = Settings(
        data_dir=directory / "data",
        run_dir=directory / "run",
        incus_project=name,
        incus_network=name,
        incus_pool=name,
        incus_pool_size_in_gib=8,
        incus_subnet=_free_subnet(),
    )
    try:
        asyncio.run(build_images(settings))
        yield IncusRig(settings)
    finally:
        asyncio.run(_remove(settings))
        shutil.rmtree(directory)


@dataclass
class Guest:
    """One running instance, as its host knows it. Times are seconds since its launch."""

    instance_id: str
    directory: Path
    launched_at: float
    statuses: list[tuple[float, Status]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    writer: asyncio.StreamWriter | None = None
    requested: list[ImageRequestPart] = field(default_factory=list)

    @property
    def status(self) -> Status | None:
        return self.statuses[-1][1] if self.statuses else None

    @property
    def stream_socket(self) -> Path:
        return self.stream_socket_of(0)

    def stream_socket_of(self, seat: int) -> Path:
        return self.directory / "guest" / stream_socket_name(seat)

    def say(self, message: Message) -> None:
        assert self.writer is not None, "the agent has not connected"
        self.writer.write(encode(message))

    async def until(self, is_so: Callable[[Status], bool], *, timeout: float = 60.0) -> Status:
        """Return the first status from now on of which it is so."""
        deadline = time.monotonic() + max(timeout, 60)
        while True:
            if self.status is not None and is_so(self.status):
                return self.status
            self.changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), 0.2)
            assert time.monotonic() < deadline, f"not within {timeout} s; said {[s for _, s in self.statuses[-5:]]}"

    async def until_phase(self, phase: str, *, timeout: float = 60.0) -> Status:
        """Return the first status of that phase; a failure ends the wait at once."""
        found = await self.until(lambda status: status.phase in (phase, "FAILED"), timeout=timeout)
        assert found.phase == phase, found.detail
        return found

    def session(self, session_id: str = "session-1") -> SessionReport | None:
        """Return what the newest status says of a session."""
        reports = self.status.sessions if self.status else ()
        return next((report for report in reports if report.session_id == session_id), None)

    async def until_session(self, phase: str, session_id: str = "session-1", *, timeout: float = 60.0) -> SessionReport:
        """Return the first report of the session in that phase; a failure ends the wait at once."""

        def is_so(_: Status) -> bool:
            report = self.session(session_id)
            return report is not None and report.phase in (phase, "FAILED")

        await self.until(is_so, timeout=timeout)
        report = self.session(session_id)
        assert report is not None
        assert report.phase == phase, report.detail
        return report

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        try:
            while line := await reader.readline():
                message = decode(line)
                if isinstance(message, ImageRequestPart):
                    self.requested.append(message)
                    continue
                assert isinstance(message, Status)
                self.statuses.append((time.monotonic() - self.launched_at, message))
                self.changed.set()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def guest(
    rig: IncusRig,
    *,
    image: str = SAMPLE,
    has_internet_access: bool = False,
    places: int = 1,
    role: InstanceRole = InstanceRole.STREAMING,
) -> AsyncIterator[Guest]:
    """Launch an instance and listen to its agent; destroy it afterwards."""
    driver = IncusDriver(rig.settings)
    await driver.prepare()
    runtime = (rig.settings.data_dir / "runtime" / "current").resolve().name
    spec = InstanceSpec(
        instance_id=f"i-{secrets.token_hex(6)}",
        image_ref=image,
        cpu_count=2,
        memory_in_mib=2048,
        disk_in_gib=6,
        has_internet_access=has_internet_access,
        places=places,
        role=role,
        labels={"runtime_version": runtime},
    )
    directory = rig.run_dir / "instances" / spec.instance_id
    made = Guest(spec.instance_id, directory, time.monotonic())
    try:
        await driver.launch(spec)
        async with asyncio.timeout(60):
            while not (directory / "host").exists():
                await asyncio.sleep(0.005)
        path = directory / "host" / "agent.sock"
        server = await asyncio.start_unix_server(made.hear, str(path))
        path.chmod(0o666)
        async with server:
            yield made
    finally:
        await driver.terminate(spec.instance_id)
        await driver.close()
