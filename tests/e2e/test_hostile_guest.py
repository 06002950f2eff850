"""A guest with root inside its instance, and bad intentions, against the two directories it shares with the host."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fanlight.agentwire import display_uid_of, stream_socket_name, user_uid_of
from fanlight.domain.ports import InstanceSpec
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.gateway.guest_socket import GuestUnreachable, connect_guest
from incus_rig import IncusRig, Said, empty, incus_rig, running

pytestmark = pytest.mark.incus

PATIENCE_IN_SECONDS = 1.0


@pytest.fixture(scope="module")
def rig() -> Iterator[IncusRig]:
    with incus_rig() as made:
        yield made


@dataclass(frozen=True)
class Guest:
    rig: IncusRig
    driver: IncusDriver
    spec: InstanceSpec
    first_uid: int

    @property
    def own(self) -> Path:
        return self.rig.run_dir / "instances" / self.spec.instance_id

    @property
    def stream(self) -> Path:
        return self.own / "guest" / stream_socket_name(0)

    @property
    def stream_uid(self) -> int:
        return self.first_uid + display_uid_of(0)

    async def shell(self, script: str) -> Said:
        return await self.rig.run_in(self.spec.instance_id, "/bin/sh", "-c", script)

    async def does(self, script: str) -> str:
        said = await self.shell(f"cd /run/fanlight/guest && {script}")
        assert said.is_success, said
        return said.output

    async def python(self, program: str) -> str:
        said = await self.rig.python_in(self.spec.instance_id, program)
        assert said.is_success, said
        return said.output

    async def listens(self, program: str) -> None:
        """Start a program that goes on in the guest, and wait until its socket is there."""
        async with self.rig.client() as client:
            body = {"command": ["/bin/python3", "-c", program], "interactive": False, "wait-for-websocket": False}
            await client.send("POST", f"instances/{self.spec.instance_id}/exec", body)
        async with asyncio.timeout(60):
            while not self.stream.is_socket():
                await asyncio.sleep(0.02)

    async def is_refused(self, patience_in_seconds: float = PATIENCE_IN_SECONDS) -> str:
        """Return why the gateway does not connect."""
        with pytest.raises(GuestUnreachable) as refusal:
            await connect_guest(str(self.stream), self.stream_uid, timeout_in_seconds=patience_in_seconds)
        return str(refusal.value)


@pytest.fixture
async def guest(rig: IncusRig) -> AsyncIterator[Guest]:
    driver = IncusDriver(rig.settings)
    try:
        await driver.prepare()
        spec = rig.new_spec()
        await running(driver, spec)
        (observed,) = await driver.observe()
        assert observed.first_uid is not None
        yield Guest(rig, driver, spec, observed.first_uid)
    finally:
        await driver.close()
        await empty(rig.settings)


LISTEN = """
import os, socket, time
os.setuid({uid})
server = socket.socket(socket.AF_UNIX)
server.bind("/run/fanlight/guest/stream-0.sock")
server.listen({backlog})
{then}
time.sleep(300)
"""


async def test_an_honest_listener_is_reached(guest: Guest) -> None:
    await guest.listens(LISTEN.format(uid=display_uid_of(0), backlog=5, then="server.accept()[0].sendall(b'pixels')"))
    link = await connect_guest(str(guest.stream), guest.stream_uid, timeout_in_seconds=5)
    with link:
        assert await asyncio.get_running_loop().sock_recv(link, 100) == b"pixels"


async def test_a_symlink_to_the_engines_socket_leads_nowhere(guest: Guest) -> None:
    engine = guest.rig.settings.incus_socket
    await guest.does(f"ln -s {engine} stream-0.sock")
    assert engine.is_socket()
    await guest.is_refused()
    # Neither does it for a program that takes no care: the mount itself follows no symlink.
    with socket.socket(socket.AF_UNIX) as careless, pytest.raises(OSError, match="symbolic links"):
        careless.connect(str(guest.stream))
    with pytest.raises(OSError, match="symbolic links"):
        guest.stream.read_bytes()


PLANTS = (
    "ln -s /etc/passwd stream-0.sock",
    "ln -s ../host/agent.sock stream-0.sock",
    "ln -s stream-0.sock stream-0.sock",
    "mkfifo stream-0.sock",
    "mkdir stream-0.sock",
    "echo text >stream-0.sock",
    "mkdir -p stream-0.sock/stream-0.sock/stream-0.sock && ln -s / stream-0.sock/up",
)


async def test_whatever_else_stands_in_place_of_the_socket_is_refused_at_once(guest: Guest) -> None:
    for plant in PLANTS:
        await guest.does(plant)
        async with asyncio.timeout(60):
            await guest.is_refused(patience_in_seconds=600)
        await guest.does("rm -rf stream-0.sock")


async def test_a_socket_with_nobody_behind_it_is_refused(guest: Guest) -> None:
    await guest.python("import socket; socket.socket(socket.AF_UNIX).bind('/run/fanlight/guest/stream-0.sock')")
    assert guest.stream.is_socket()
    await guest.is_refused()


async def test_a_listener_that_never_accepts_costs_no_more_than_the_time_out(guest: Guest) -> None:
    await guest.listens(LISTEN.format(uid=display_uid_of(0), backlog=0, then=""))
    with contextlib.ExitStack() as stack:
        for _ in range(2):  # what the backlog takes
            with contextlib.suppress(BlockingIOError):
                filler = stack.enter_context(socket.socket(socket.AF_UNIX))
                filler.settimeout(0)
                filler.connect(str(guest.stream))
        await guest.is_refused()


async def test_a_listener_that_is_not_the_instances_own_is_refused(guest: Guest) -> None:
    with socket.socket(socket.AF_UNIX) as foreign:  # the host's root, as another instance's process would be
        foreign.bind(str(guest.stream))
        foreign.listen()
        assert "somebody else" in await guest.is_refused()


@pytest.mark.parametrize("uid", [0, user_uid_of(0), display_uid_of(1)])
async def test_a_listener_of_somebody_else_in_the_same_instance_is_refused(guest: Guest, uid: int) -> None:
    await guest.listens(LISTEN.format(uid=uid, backlog=5, then="kept = server.accept()"))
    assert "somebody else" in await guest.is_refused()


async def test_garbage_from_the_listener_stays_bytes(guest: Guest) -> None:
    await guest.listens(
        LISTEN.format(
            uid=display_uid_of(0), backlog=5, then="c = server.accept()[0]; c.sendall(bytes(range(256)) * 64)"
        )
    )
    link = await connect_guest(str(guest.stream), guest.stream_uid, timeout_in_seconds=5)
    with link:
        received = b""
        async with asyncio.timeout(60):
            while len(received) < 256 * 64:
                received += await asyncio.get_running_loop().sock_recv(link, 65_536)
    assert received == bytes(range(256)) * 64


async def test_the_guest_cannot_fill_more_than_its_own_directory(guest: Guest) -> None:
    said = await guest.shell("dd if=/dev/zero of=/run/fanlight/guest/fill bs=64k count=100")
    assert not said.is_success
    assert "No space left" in said.output
    used = os.statvfs(guest.own / "guest")
    assert used.f_blocks * used.f_frsize <= 1 << 20
    await guest.does("rm fill")
    said = await guest.shell("cd /run/fanlight/guest; i=0; while mkdir d$i; do i=$((i+1)); done; echo made $i")
    made = int(said.output.partition("made ")[2].split()[0])
    assert 8 < made <= 64
    # The host's side still works: it can listen for the agent, and take everything away.
    agent = guest.own / "host" / "other.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(agent))
    await guest.driver.terminate(guest.spec.instance_id)
    assert not guest.own.exists()


async def test_a_deep_tree_of_the_guest_does_not_hinder_the_end(guest: Guest) -> None:
    await guest.python(
        "import os\nos.chdir('/run/fanlight/guest')\n"
        "for i in range(40):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\nos.symlink('/', 'root')"
    )
    await guest.driver.terminate(guest.spec.instance_id)
    assert not guest.own.exists()
    assert Path("/etc/passwd").exists()


async def test_a_stream_that_the_gateway_holds_does_not_hinder_the_end(guest: Guest) -> None:
    await guest.listens(LISTEN.format(uid=display_uid_of(0), backlog=5, then="kept = server.accept()"))
    link = await connect_guest(str(guest.stream), guest.stream_uid, timeout_in_seconds=5)
    with link:
        await guest.driver.terminate(guest.spec.instance_id)
        assert not guest.own.exists()
        assert str(guest.own) not in Path("/proc/mounts").read_text()
        async with asyncio.timeout(60):
            assert await asyncio.get_running_loop().sock_recv(link, 1) == b""


def state_of(directory: Path) -> list[tuple[str, int, int]]:
    return [(path.name, path.stat().st_ino, path.stat().st_mode) for path in (directory, *sorted(directory.iterdir()))]


ATTACKS = (
    "echo x >/run/fanlight/host/agent.sock",
    "touch /run/fanlight/host/new",
    "rm -f /run/fanlight/host/listener && test ! -e /run/fanlight/host/listener",
    "mv /run/fanlight/host/listener /run/fanlight/host/elsewhere",
    "chmod 0777 /run/fanlight/host",
    "chown 0:0 /run/fanlight/host",
    "ln -s /etc /run/fanlight/host/link",
    "mount -o remount,rw /run/fanlight/host",
    "mount -o remount,bind,rw /run/fanlight/host",
    "mount -o remount,size=1g,nr_inodes=0 /run/fanlight/guest",
    "touch /opt/fanlight/runtime/new",
    "echo '#' >>/opt/fanlight/runtime/bin/fanlight-init",
    "mount -o remount,bind,rw /opt/fanlight/runtime",
    "mknod /run/fanlight/guest/disk b 7 0",
    "mknod /run/fanlight/guest/null c 1 3",
)


async def test_the_guest_cannot_change_what_is_the_hosts(guest: Guest) -> None:
    listener = guest.own / "host" / "listener"
    listener.write_text("the host's")
    before = state_of(guest.own / "host")
    for attack in ATTACKS:
        said = await guest.shell(attack)
        assert not said.is_success, (attack, said)
        assert "not found" not in said.output, f"an attack that misses its tool proves nothing: {attack}"
        assert state_of(guest.own / "host") == before, attack


async def test_programs_planted_in_the_directory_do_not_run_on_the_host(guest: Guest) -> None:
    await guest.does("printf '#!/bin/sh\\n' >run; chmod 6755 run")
    process = guest.own / "guest" / "run"
    with pytest.raises(PermissionError):
        await asyncio.create_subprocess_exec(str(process))
    flags = os.statvfs(guest.own / "guest").f_flag
    assert flags & os.ST_NOSUID
    assert flags & os.ST_NOEXEC
    assert flags & os.ST_NODEV


async def test_mounts_of_the_guest_do_not_appear_on_the_host(guest: Guest) -> None:
    before = Path("/proc/mounts").read_text()
    await guest.shell("mkdir /run/fanlight/guest/m; mount -t tmpfs none /run/fanlight/guest/m")
    await guest.shell("mount -t tmpfs none /run/fanlight/guest")
    await guest.shell("mount --bind / /run/fanlight/host")
    new = set(Path("/proc/mounts").read_text().splitlines()) - set(before.splitlines())
    assert [line for line in new if str(guest.own) in line] == []
    assert guest.own.joinpath("guest").is_mount()


async def test_the_guest_sees_only_its_own_directories(guest: Guest, rig: IncusRig) -> None:
    other = rig.new_spec()
    await running(guest.driver, other)
    mounts = await guest.does("cat /proc/mounts")
    assert other.instance_id not in mounts
    assert (await guest.does("ls /run/fanlight")).split() == ["guest", "host"]
