"""Engines for three regions: two projects with their pools in the Incus of this host, and a second Incus beside it."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fanlight.config import Settings
from fanlight.region_engines import RegionEngine
from incus_rig import IncusRig, _free_subnet, _remove, incus_rig

EAST, WEST, EUROPE = "us-east-1", "us-west-2", "eu-west-1"
INCUSD = "/usr/libexec/incus/incusd"


@dataclass
class SecondIncus:
    """An Incus daemon with a directory of its own. Instances of a killed one go on, and the next one adopts them."""

    directory: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def socket(self) -> Path:
        return self.directory / "unix.socket"

    @property
    def environment(self) -> dict[str, str]:
        own = {"INCUS_DIR": str(self.directory), "INCUS_SKIP_INSTANCE_TYPES": "true"}
        return {**os.environ, **own, "PATH": f"{os.environ['PATH']}:/usr/libexec/incus"}

    def start(self) -> None:
        command = [INCUSD, "--group", "incus-admin", "--logfile", str(self.directory / "incus.log")]
        with (self.directory / "out").open("ab") as out:
            self.process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        subprocess.run([INCUSD, "waitready", "--timeout", "30"], env=self.environment, check=True)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def remove(self) -> None:
        """End it, with whatever is mounted below its directory."""
        if self.process is not None:
            self.kill()
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(f"{self.directory}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True)
class EnginesRig:
    """`settings` name all three engines; `common` is the rig of the first, whose image is in that engine alone."""

    common: IncusRig
    settings: Settings
    second: SecondIncus
    archive: Path

    def settings_in(self, region: str) -> Settings:
        return next(one.settings for one in self.settings.engines if region in one.regions)


@contextlib.contextmanager
def engines_rig() -> Iterator[EnginesRig]:
    """Make it all, and leave nothing behind."""
    with incus_rig() as common:
        name = common.settings.incus_project
        second = SecondIncus(Path(tempfile.mkdtemp(prefix="fli-")))
        second.directory.chmod(0o711)
        network = f"fle{secrets.token_hex(3)}"
        engines = (
            RegionEngine(region=WEST, project=f"{name}-west", pool=f"{name}-west", pool_size_in_gib=5),
            RegionEngine(region=EUROPE, project=name, socket=second.socket, network=network, subnet=_free_subnet()),
        )
        settings = common.settings.model_copy(update={"region_engines": engines})
        try:
            second.start()
            archive = next(common.settings.data_dir.resolve().parents[1].glob("rootfs.tar"))
            yield EnginesRig(common, settings, second, archive)
        finally:
            if second.process is None and second.socket.exists():
                second.start()
            for engine in settings.engines[1:]:
                with contextlib.suppress(Exception):
                    asyncio.run(_remove_engine(engine.settings, is_sharing=engine.is_sharing))
            second.remove()


async def _remove_engine(settings: Settings, *, is_sharing: bool) -> None:
    if is_sharing:  # the network is the common engine's, which removes it after this
        settings = settings.model_copy(update={"incus_network": "no-such-network"})
    await _remove(settings)
