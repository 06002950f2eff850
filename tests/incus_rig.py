"""A small Incus installation for tests: own project, pool, network, directories, and a tiny image.

The image is busybox with this machine's Python, so that a test can let an instance do what a real one or a hostile one
would. Its PID 1 comes from a runtime mounted as the real one is.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlight.config import Settings
from fanlight.domain.ports import InstanceDriver, InstanceSpec, Power
from fanlight.drivers.incus.bridges import description_of_subnets
from fanlight.drivers.incus.client import IncusClient, IncusRefused
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.guard import guard_table_of
from fanlight.drivers.incus.images import IncusImageStore
from fanlight.drivers.incus.power import destroy
from fanlight.drivers.incus.socket_directories import Owner, SocketDirectories

IMAGE = "tiny"

INIT = """#!/bin/sh
export PATH=/bin:/sbin
trap 'exit 0' PWR TERM INT
ip link set lo up
[ -z "$FANLIGHT_NAMESERVER" ] || echo "nameserver $FANLIGHT_NAMESERVER" >/etc/resolv.conf
chmod 0710 /run/fanlight
python3 /opt/fanlight/runtime/agent.py &
while :; do sleep 3600 & wait $!; done
"""

AGENT = """
import json, socket, time
while True:
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect("/run/fanlight/host/agent.sock")
        status = {"type": "status", "protocol": 1, "runtime_version": "test", "phase": "READY"}
        while True:
            link.sendall(json.dumps(status).encode() + b"\\n")
            time.sleep(1)
    except OSError:
        time.sleep(0.05)
    finally:
        link.close()
"""


@dataclass(frozen=True)
class Said:
    """What a program in an instance left behind."""

    code: int
    output: str

    @property
    def is_success(self) -> bool:
        return self.code == 0


@dataclass(frozen=True)
class IncusRig:
    settings: Settings

    @property
    def run_dir(self) -> Path:
        return self.settings.effective_run_dir

    def new_spec(self, **overrides: Any) -> InstanceSpec:
        wished: dict[str, Any] = {
            "instance_id": f"i-{secrets.token_hex(8)}",
            "image_ref": IMAGE,
            "cpu_count": 1,
            "memory_in_mib": 256,
            "disk_in_gib": 1,
            "has_internet_access": False,
            "labels": {},
        }
        return InstanceSpec(**(wished | overrides))

    def client(self) -> IncusClient:
        return IncusClient(self.settings.incus_socket, self.settings.incus_project)

    async def run_in(self, instance_id: str, *command: str, timeout: int = 60) -> Said:
        """Run a program as the instance's root, and return its code with both outputs, standard output first."""
        async with self.client() as client:
            operation = await client.run(
                "POST",
                f"instances/{instance_id}/exec",
                {
                    "command": ["/bin/busybox", "timeout", str(timeout), *command],
                    "environment": {"PATH": "/bin:/sbin"},
                    "record-output": True,
                    "interactive": False,
                    "wait-for-websocket": False,
                },
            )
            texts = []
            for number in ("1", "2"):
                path = operation["metadata"]["output"][number].removeprefix("/1.0/")
                async with client._answer("GET", client._url(path), params={"project": client.project}) as answer:
                    texts.append(await answer.text())
            return Said(int(operation["metadata"]["return"]), "".join(texts))

    async def python_in(self, instance_id: str, program: str) -> Said:
        return await self.run_in(instance_id, "/bin/python3", "-c", program)


async def running(driver: InstanceDriver, *specs: InstanceSpec) -> None:
    """Launch all and wait until they run."""
    await asyncio.gather(*(driver.launch(spec) for spec in specs))
    wanted = {spec.instance_id for spec in specs}
    async with asyncio.timeout(60):
        while True:
            observed = {o.instance_id: o for o in await driver.observe()}
            failed = [o.detail for o in observed.values() if o.power is Power.FAILED]
            assert not failed, failed
            if all(o in observed and observed[o].power is Power.RUNNING for o in wanted):
                return
            await asyncio.sleep(0.05)


def _free_subnet() -> str:
    taken = subprocess.run(["ip", "-4", "address"], check=True, capture_output=True, text=True).stdout
    while True:
        # By chance, so that two runs at the same time do not choose the same one.
        prefix = f"10.{211 + secrets.randbelow(2)}.{secrets.randbelow(256)}."
        if prefix not in taken:
            return f"{prefix}1/24"


@contextlib.contextmanager
def incus_rig(networks: str = "") -> Iterator[IncusRig]:
    """Make it all, and leave nothing behind. `networks` is the content of the networks file."""
    name = f"flt{secrets.token_hex(3)}"
    # Not below pytest's own directory: others than root must get through, and a socket's path must be short.
    directory = Path(tempfile.mkdtemp(prefix="fanlight-"))
    (directory / "real").mkdir()
    (directory / "link").symlink_to("real")  # as /var/run is one on some hosts
    settings = Settings(
        data_dir=directory / "link" / "data",
        run_dir=directory / "link" / "run",
        incus_project=name,
        incus_network=name,
        incus_pool=name,
        incus_pool_size_in_gib=5,
        incus_subnet=_free_subnet(),
    )
    if networks:
        file = directory / "networks.toml"
        file.write_text(networks)
        settings = settings.model_copy(update={"networks_file": file})
    runtime = settings.data_dir / "runtime" / "test"
    (runtime / "bin").mkdir(parents=True)
    (runtime / "bin" / "fanlight-init").write_text(INIT)
    (runtime / "bin" / "fanlight-init").chmod(0o755)
    (runtime / "agent.py").write_text(AGENT)
    (runtime.parent / "current").symlink_to("test")
    for parent in (directory, settings.data_dir, runtime.parent):
        parent.chmod(0o755)
    archive = _tiny_image(directory)
    try:
        asyncio.run(_prepare(settings, archive))
        yield IncusRig(settings)
    finally:
        asyncio.run(_remove(settings))
        shutil.rmtree(directory)


async def _prepare(settings: Settings, archive: Path) -> None:
    driver = IncusDriver(settings)
    try:
        await driver.prepare()
        store = IncusImageStore(driver.client, settings.incus_pool)
        await store.import_rootfs(IMAGE, archive, {"kind": "test"})
        await store.warm(IMAGE)
    finally:
        await driver.close()


async def empty(settings: Settings) -> None:
    """Destroy all instances of the project with their socket directories."""
    async with IncusClient(settings.incus_socket, settings.incus_project) as client:
        names = [one["name"] for one in await client.get("instances", recursion=1)]
        await asyncio.gather(*(destroy(client, name) for name in names))
    directories = SocketDirectories(settings.effective_run_dir, Owner(0, 0, 0))
    for instance_id in directories.ids():
        directories.remove(instance_id)


async def _remove(settings: Settings) -> None:
    name = settings.incus_network
    async with IncusClient(settings.incus_socket, settings.incus_project) as client:
        with contextlib.suppress(IncusRefused):  # the preparation may have failed before the project
            await empty(settings)
            for image in await client.get("images", recursion=1):
                await client.run("DELETE", f"images/{image['fingerprint']}")
        subnets = [
            network["name"]
            for network in await client.get("networks", project="default", recursion=1)
            if network["description"].startswith(description_of_subnets(settings))
        ]
        bridges = [f"{kind}/{bridge}" for bridge in (name, *subnets) for kind in ("networks", "network-acls")]
        for path in (f"projects/{settings.incus_project}", *bridges, f"storage-pools/{settings.incus_pool}"):
            with contextlib.suppress(IncusRefused):
                is_ours = path.startswith("projects/")
                await client.send("DELETE", path, project=None if is_ours else "default")
    subprocess.run(["nft", "delete", "table", "inet", guard_table_of(name)], check=False, capture_output=True)


def _tiny_image(directory: Path) -> Path:
    root = directory / "rootfs"
    for name in ("bin", "sbin", "etc", "proc", "sys", "dev", "run", "tmp", "root", "var"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox") or "/bin/busybox"
    shutil.copy(busybox, root / "bin" / "busybox")
    for applet in subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split():
        with contextlib.suppress(FileExistsError):
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\nuser:x:1000:\n")
    _copy_python(root)
    archive = directory / "rootfs.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, arcname=".", filter=_as_root)
    return archive


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def _copy_python(root: Path) -> None:
    """Put the operating system's Python into the image, with what it loads."""
    python = Path(os.path.realpath("/usr/bin/python3"))
    found = json.loads(
        subprocess.run(
            [python, "-c", "import json, sysconfig; print(json.dumps(sysconfig.get_path('stdlib')))"],
            check=True,
            capture_output=True,
        ).stdout
    )
    library = Path(found)
    ignored = shutil.ignore_patterns(
        "test", "__pycache__", "config-*", "ensurepip", "idlelib", "pydoc_data", "dist-packages"
    )
    shutil.copytree(library, root / str(library).lstrip("/"), ignore=ignored, symlinks=False)
    shutil.copy(python, root / "bin" / "python3")
    for line in subprocess.run(["ldd", str(python)], check=True, capture_output=True, text=True).stdout.splitlines():
        for word in line.split():
            if word.startswith("/"):
                target = root / word.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(os.path.realpath(word), target)
