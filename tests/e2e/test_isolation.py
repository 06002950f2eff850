"""What an instance may reach, and what it may use up: measured from inside a real one."""

import asyncio
import contextlib
import itertools
import json
import socket
import subprocess
from collections.abc import Iterator

import pytest
from isolation import LAN_PEER, METADATA, PORT, PUBLIC_HOST, PUBLIC_PEER, Scene, ip, isolation_scene, reach_from

from fanlight.drivers.incus.client import IncusRefused
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.guard import guard_table_of

pytestmark = pytest.mark.incus


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with isolation_scene() as made:
        yield made


# ── The way out ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_instance_with_internet_access_reaches_public_addresses(scene: Scene) -> None:
    assert scene.reach(scene.first, (PUBLIC_PEER, PORT)) == ["reached"]


def test_the_address_is_there_before_the_first_program_and_dhcp_gives_the_same(scene: Scene) -> None:
    address = scene.address_of(scene.first)
    assert f" {address}/24 " in scene.in_instance(scene.first, "/bin/busybox", "ip", "-4", "address", "show", "eth0")
    said = scene.in_instance(
        scene.first, "/bin/busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", "/bin/true"
    )
    assert f"lease of {address} obtained" in said


def test_names_are_answered_on_the_bridge(scene: Scene) -> None:
    query = """
import socket
name = b"\\x07fanlig\\x68\\x07invalid\\x00".replace(b"\\x07fanlig\\x68", b"\\x07fanligh")
question = b"\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00" + name + b"\\x00\\x01\\x00\\x01"
server = open("/etc/resolv.conf").read().split()[1]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
    link.settimeout(10)
    link.sendto(question, (server, 53))
    print(link.recv(512)[:2].hex())
"""
    assert scene.in_instance(scene.first, "/bin/python3", "-c", query).strip() == "1234"


def test_an_instance_without_internet_access_has_no_network_at_all(scene: Scene) -> None:
    assert scene.in_instance(scene.offline, "/bin/busybox", "ls", "/sys/class/net").split() == ["lo"]


# ── What must not be reached ──────────────────────────────────────────────────────────────────────────────────────


def test_private_networks_and_the_cloud_metadata_are_out_of_reach(scene: Scene) -> None:
    with socket.create_connection((LAN_PEER, PORT), timeout=30) as link:  # the host itself reaches it
        assert link.recv(100) == b"reached"
    with socket.create_connection((METADATA, PORT), timeout=30) as link:
        assert link.recv(100) == b"reached"
    assert "reached" not in scene.reach(scene.first, (LAN_PEER, PORT), (METADATA, PORT))


def test_the_host_is_out_of_reach_at_every_address_it_has(scene: Scene) -> None:
    assert _addresses_reached_on_the_host(scene) == []


def _addresses_reached_on_the_host(scene: Scene) -> list[tuple[str, int]]:
    bridge = scene.rig.settings.incus_network
    own = [
        (address["local"] + (f"%{'eth0'}" if address["scope"] == "link" else ""), interface["ifname"])
        for interface in json.loads(ip("-json", "address"))
        for address in interface.get("addr_info", [])
        if interface["ifname"] != "lo" and (address["scope"] != "link" or interface["ifname"] == bridge)
    ]
    assert {bridge, "flpublich", "fllanh"} <= {name for _, name in own}
    targets = [(address, PORT) for address, _ in own]
    with socket.create_connection((PUBLIC_HOST, PORT), timeout=30) as link:  # somebody does listen there
        assert link.recv(100) == b"reached"
    answers = scene.reach(scene.first, *targets)
    return [target for target, answer in zip(targets, answers, strict=True) if answer == "reached"]


def test_the_engines_ports_on_the_bridge_are_closed_but_for_names_and_addresses(scene: Scene) -> None:
    gateway = scene.rig.settings.incus_subnet.partition("/")[0]
    ports = [22, 80, 443, 8080, 8081, 8443, PORT]
    assert set(scene.reach(scene.first, *((gateway, port) for port in ports))) == {"TimeoutError"}


def test_instances_cannot_reach_each_other_directly_or_through_the_host(scene: Scene) -> None:
    other = scene.address_of(scene.second)
    assert scene.reach(scene.second, (other, PORT)) == ["reached"]  # it listens
    assert scene.reach(scene.first, (other, PORT)) != ["reached"]
    scene.fails_in(scene.first, "/bin/busybox", "ping", "-c", "2", "-W", "1", other)
    # Routed: by force through the host, around the neighbour's place on the same wire.
    gateway = scene.rig.settings.incus_subnet.partition("/")[0]
    scene.in_instance(scene.first, "/bin/busybox", "ip", "route", "add", f"{other}/32", "via", gateway)
    try:
        assert scene.reach(scene.first, (other, PORT)) != ["reached"]
    finally:
        scene.in_instance(scene.first, "/bin/busybox", "ip", "route", "delete", f"{other}/32")


def test_nothing_from_outside_reaches_an_instance(scene: Scene) -> None:
    assert "reached" not in _answer_outside(scene)


def _answer_outside(scene: Scene) -> str:
    """Return what somebody beyond the host gets from an instance that listens."""
    return reach_from("flpublic", scene.address_of(scene.second))


def test_an_instance_that_takes_anothers_address_is_cut_off(scene: Scene) -> None:
    other, own = scene.address_of(scene.second), scene.address_of(scene.first)
    change = ["/bin/busybox", "ip", "address"]
    route = ["/bin/busybox", "ip", "route"]
    gateway = scene.rig.settings.incus_subnet.partition("/")[0]
    scene.in_instance(scene.first, *change, "delete", f"{own}/24", "dev", "eth0")
    scene.in_instance(scene.first, *change, "add", f"{other}/24", "dev", "eth0")
    scene.in_instance(scene.first, *route, "add", "default", "via", gateway)
    try:
        assert scene.reach(scene.first, (PUBLIC_PEER, PORT)) != ["reached"]
    finally:
        scene.in_instance(scene.first, *change, "delete", f"{other}/24", "dev", "eth0")
        scene.in_instance(scene.first, *change, "add", f"{own}/24", "dev", "eth0")
        scene.in_instance(scene.first, *route, "add", "default", "via", gateway)
    assert scene.reach(scene.first, (PUBLIC_PEER, PORT), (PUBLIC_PEER, PORT))[1] == "reached"
    assert scene.reach(scene.second, (PUBLIC_PEER, PORT)) == ["reached"]


def test_the_engine_has_no_door_in_an_instance(scene: Scene) -> None:
    found = scene.in_instance(
        scene.first, "/bin/busybox", "find", "/", "-xdev", "-name", "*incus*", "-not", "-path", "/proc/*"
    )
    assert found.split() == []
    scene.fails_in(scene.first, "/bin/busybox", "ls", "/dev/incus")
    mounts = scene.in_instance(scene.first, "/bin/busybox", "cat", "/proc/mounts")
    assert "unix.socket" not in mounts


# ── Whose ids, whose devices ──────────────────────────────────────────────────────────────────────────────────────


def test_every_instance_has_ids_of_its_own(scene: Scene) -> None:
    first = sorted(one.first_uid or 0 for one in scene.observed.values())
    assert len(first) == 4
    assert first[0] >= 65_536
    assert all(later - earlier >= 65_536 for earlier, later in itertools.pairwise(first))
    (line,) = scene.in_instance(scene.first, "/bin/busybox", "cat", "/proc/self/uid_map").splitlines()
    assert line.split() == ["0", str(scene.observed[scene.first.instance_id].first_uid), "65536"]


def test_root_of_an_instance_is_not_root(scene: Scene) -> None:
    scene.fails_in(scene.first, "/bin/busybox", "mknod", "/tmp/disk", "b", "7", "0")
    scene.fails_in(scene.first, "/bin/busybox", "dmesg")
    scene.fails_in(scene.first, "/bin/busybox", "sysctl", "-w", "kernel.core_pattern=|/tmp/x")
    scene.fails_in(scene.first, "/bin/busybox", "sh", "-c", "echo b >/proc/sysrq-trigger")
    scene.fails_in(scene.first, "/bin/busybox", "sh", "-c", "cat /dev/loop0 /dev/vda /dev/kmsg /dev/mem")


def test_the_project_refuses_what_would_open_an_instance(scene: Scene) -> None:
    """Even a mistake of ours, or a compute process that was talked into one, meets Incus's own fence."""

    async def refuse(config: dict[str, str], devices: dict[str, dict[str, str]]) -> str:
        root = {"type": "disk", "path": "/", "pool": scene.rig.settings.incus_pool}
        body = {
            "name": "too-open",
            "type": "container",
            "profiles": [],
            "source": {"type": "image", "alias": "tiny"},
            "config": {"security.idmap.isolated": "true"} | config,
            "devices": {"root": root} | devices,
        }
        async with scene.rig.client() as client:
            with pytest.raises(IncusRefused) as refusal:
                await client.run("POST", "instances", body)
        return refusal.value.text

    for config, devices in (
        ({"security.privileged": "true"}, {}),
        ({"security.nesting": "true"}, {}),
        ({"security.idmap.isolated": "false"}, {}),
        ({}, {"etc": {"type": "disk", "source": "/etc", "path": "/mnt"}}),
        ({}, {"incus": {"type": "disk", "source": "/var/lib/incus", "path": "/mnt"}}),
        # Character devices pass since instances have /dev/fuse: Incus cannot say which. The driver adds that one alone.
        ({}, {"loop": {"type": "unix-block", "source": "/dev/loop0", "path": "/dev/loop0"}}),
        ({}, {"port": {"type": "proxy", "listen": "tcp:0.0.0.0:9", "connect": "tcp:127.0.0.1:9"}}),
        ({}, {"eth0": {"type": "nic", "nictype": "macvlan", "parent": "lo"}}),
    ):
        assert asyncio.run(refuse(config, devices)), (config, devices)


# ── What it may use up ────────────────────────────────────────────────────────────────────────────────────────────


def test_memory_is_limited(scene: Scene) -> None:
    fits = "x = bytearray(100 << 20); print(len(x))"
    assert scene.in_instance(scene.first, "/bin/python3", "-c", fits).strip() == str(100 << 20)
    scene.fails_in(scene.first, "/bin/python3", "-c", fits.replace("100", "400"))


def test_processes_are_limited_and_the_instance_lives_on(scene: Scene) -> None:
    program = """
import threading, os
threading.stack_size(65536)
over = threading.Event()
count = 0
try:
    while count < 5000:
        threading.Thread(target=over.wait).start()
        count += 1
except RuntimeError:
    pass
over.set()
print(count)
"""
    started = int(scene.in_instance(scene.offline, "/bin/python3", "-c", program))
    assert 1000 < started < 2048
    assert scene.in_instance(scene.offline, "/bin/busybox", "echo", "alive").strip() == "alive"


def test_the_disk_is_limited(scene: Scene) -> None:
    # What it found is told through its socket directory: once its disk is full, even its output has no room.
    program = """
import errno, os
block, written, code = os.urandom(1 << 20), 0, 0
with open("/var/fill", "wb", buffering=0) as file:
    try:
        while written < 1500:
            file.write(block)
            os.fsync(file)
            written += 1
    except OSError as error:
        code = error.errno
with open("/run/fanlight/guest/result", "w") as result:
    print(written, errno.errorcode.get(code), file=result)
"""
    with contextlib.suppress(IncusRefused):
        asyncio.run(scene.rig.run_in(scene.full.instance_id, "/bin/python3", "-c", program))
    result = scene.rig.run_dir / "instances" / scene.full.instance_id / "guest" / "result"
    written, error = result.read_text().split()
    assert error in ("EDQUOT", "ENOSPC")
    assert 500 < int(written) < 1100


def test_processors_are_limited(scene: Scene) -> None:
    assert scene.in_instance(scene.first, "/bin/busybox", "nproc").strip() == "1"


# ── When somebody flushed the firewall ────────────────────────────────────────────────────────────────────────────


def test_our_guard_alone_keeps_the_instances_from_host_private_networks_and_each_other(scene: Scene) -> None:
    """Last, because Incus does not load its rules again before it is restarted; its masquerading is left alone here."""
    settings = scene.rig.settings
    network = settings.incus_network
    for chain in ("aclfwd", "aclin", "aclout", "acl", "fwd", "in", "out"):
        nft("delete", "chain", "inet", "incus", f"{chain}.{network}")
    nft("delete", "table", "inet", guard_table_of(network))
    # The proof that these measurements see an open door.
    assert (PUBLIC_HOST, PORT) in _addresses_reached_on_the_host(scene)
    assert scene.reach(scene.first, (LAN_PEER, PORT), (METADATA, PORT)) == ["reached", "reached"]
    assert "reached" in _answer_outside(scene)

    asyncio.run(_prepare(scene))
    assert scene.reach(scene.first, (PUBLIC_PEER, PORT)) == ["reached"]
    assert _addresses_reached_on_the_host(scene) == []
    assert "reached" not in scene.reach(scene.first, (LAN_PEER, PORT), (METADATA, PORT))
    assert "reached" not in _answer_outside(scene)
    assert scene.reach(scene.first, (scene.address_of(scene.second), PORT)) != ["reached"]


async def _prepare(scene: Scene) -> None:
    driver = IncusDriver(scene.rig.settings)
    try:
        await driver.prepare()
    finally:
        await driver.close()


def nft(*words: str) -> None:
    subprocess.run(["nft", *words], check=True, capture_output=True)
