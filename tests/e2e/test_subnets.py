"""What subnets, security groups and EnableDefaultInternetAccess open and close, measured from inside real instances."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from isolation import (
    LAN_HOST,
    LAN_PEER,
    METADATA,
    PORT,
    PUBLIC_HOST,
    PUBLIC_PEER,
    SECOND_PORT,
    World,
    launch,
    listening_host,
    neighbour,
    reach_from,
)

from fanlight.config import Settings
from fanlight.domain.errors import SecurityGroupMissing, SubnetExhausted, SubnetMissing
from fanlight.domain.ports import InstanceSpec, ObservedInstance
from fanlight.drivers.incus.bridges import bridge_name
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.operations import incus_removals
from incus_rig import incus_rig

pytestmark = pytest.mark.incus

NETWORKS = f"""
[subnets.subnet-a]
cidr = "10.209.10.1/24"
routes = ["172.31.251.0/24"]

[subnets.subnet-b]
cidr = "10.209.11.1/24"
uplinks = ["fllanh"]

[subnets.subnet-small]
cidr = "10.209.12.1/29"

[security_groups.sg-one-port]
[[security_groups.sg-one-port.egress]]
protocol = "tcp"
ports = {PORT}

[security_groups.sg-open-to-lan]
[[security_groups.sg-open-to-lan.egress]]
cidrs = ["{LAN_PEER}/32"]
[[security_groups.sg-open-to-lan.ingress]]
protocol = "tcp"
ports = "{PORT}"
cidrs = ["{LAN_PEER}/32"]

[security_groups.sg-nothing]
"""

REACHED, BUSYBOX = "reached", "/bin/busybox"


@dataclass(frozen=True)
class Subnets(World):
    opened: InstanceSpec  # subnet a, default group, internet
    closed: InstanceSpec  # subnet a, default group, no internet
    one_port: InstanceSpec  # subnet a, one port, internet
    entered: InstanceSpec  # subnet a, from and to one machine, no internet
    uplink: InstanceSpec  # subnet b, internet, and an uplink that does not lead there
    default: InstanceSpec  # no subnet, internet
    observed: dict[str, ObservedInstance]


@pytest.fixture(scope="module")
def world() -> Iterator[Subnets]:
    with (
        incus_rig(NETWORKS) as rig,
        neighbour("flpublic", PUBLIC_HOST, PUBLIC_PEER),
        neighbour("fllan", LAN_HOST, LAN_PEER, METADATA),
        listening_host(),
    ):
        a = {"subnet_ids": ("subnet-a",)}
        specs = {
            "opened": rig.new_spec(**a, has_internet_access=True),
            "closed": rig.new_spec(**a),
            "one_port": rig.new_spec(**a, security_group_ids=("sg-one-port",), has_internet_access=True),
            "entered": rig.new_spec(**a, security_group_ids=("sg-nothing", "sg-open-to-lan")),
            "uplink": rig.new_spec(subnet_ids=("subnet-b",), has_internet_access=True),
            "default": rig.new_spec(has_internet_access=True),
        }
        observed = asyncio.run(launch(rig, list(specs.values())))
        yield Subnets(rig=rig, observed=observed, **specs)


def test_the_way_to_the_internet_is_there_or_not_as_the_fleet_says(world: Subnets) -> None:
    assert world.reach(world.opened, (PUBLIC_PEER, PORT)) == [REACHED]
    assert world.reach(world.closed, (PUBLIC_PEER, PORT)) != [REACHED]
    world.fails_in(world.closed, BUSYBOX, "ping", "-c", "1", "-W", "1", PUBLIC_PEER)


def test_a_closed_instance_gets_no_names_answered_because_they_could_carry_data_out(world: Subnets) -> None:
    query = """
import socket
question = bytes.fromhex("1234010000010000000000000766616e6c69676807696e76616c69640000010001")
server = open("/etc/resolv.conf").read().split()[1]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
    link.settimeout(3)
    link.sendto(question, (server, 53))
    print(link.recv(512)[:2].hex())
"""
    assert world.in_instance(world.opened, "/bin/python3", "-c", query).strip() == "1234"
    assert "TimeoutError" in world.fails_in(world.closed, "/bin/python3", "-c", query)


def test_a_route_of_the_subnet_leads_to_that_private_network_and_no_other_address_of_it(world: Subnets) -> None:
    for instance in (world.opened, world.closed):
        assert world.reach(instance, (LAN_PEER, PORT)) == [REACHED]
        assert REACHED not in world.reach(instance, (LAN_HOST, PORT), (METADATA, PORT), (PUBLIC_HOST, PORT))
    assert world.reach(world.default, (LAN_PEER, PORT)) != [REACHED]


def test_a_group_lets_pass_what_it_names_and_nothing_else(world: Subnets) -> None:
    assert world.reach(world.one_port, (PUBLIC_PEER, PORT), (LAN_PEER, PORT)) == [REACHED, REACHED]
    assert REACHED not in world.reach(world.one_port, (PUBLIC_PEER, SECOND_PORT), (LAN_PEER, SECOND_PORT))
    assert world.reach(world.opened, (PUBLIC_PEER, SECOND_PORT)) == [REACHED]
    world.fails_in(world.one_port, BUSYBOX, "ping", "-c", "1", "-W", "1", PUBLIC_PEER)
    world.in_instance(world.opened, BUSYBOX, "ping", "-c", "1", "-W", "3", PUBLIC_PEER)


def test_an_uplink_is_the_only_interface_by_which_its_subnet_leaves(world: Subnets) -> None:
    assert world.reach(world.uplink, (PUBLIC_PEER, PORT)) != [REACHED]


def test_only_whom_a_group_lets_in_reaches_an_instance(world: Subnets) -> None:
    address = world.address_of(world.entered)
    assert reach_from("fllan", address) == REACHED
    assert reach_from("fllan", address, SECOND_PORT) != REACHED
    assert reach_from("flpublic", address) != REACHED
    assert reach_from("fllan", world.address_of(world.opened)) != REACHED


def test_instances_of_one_or_two_subnets_never_reach_each_other(world: Subnets) -> None:
    everybody = (world.opened, world.entered, world.uplink, world.default)
    for asker in (world.opened, world.uplink, world.default):
        others = [world.address_of(other) for other in everybody if other is not asker]
        assert REACHED not in world.reach(asker, *((other, PORT) for other in others))
    neighbour = world.address_of(world.entered)  # by force through the host, around its place on the same wire
    gateway = world.in_instance(world.opened, BUSYBOX, "ip", "route").split()[2]
    world.in_instance(world.opened, BUSYBOX, "ip", "route", "add", f"{neighbour}/32", "via", gateway)
    try:
        assert world.reach(world.opened, (neighbour, PORT)) != [REACHED]
    finally:
        world.in_instance(world.opened, BUSYBOX, "ip", "route", "delete", f"{neighbour}/32")


def test_a_closed_instance_gains_nothing_by_other_addresses_or_a_neighbours_face(world: Subnets) -> None:
    own, opened = world.address_of(world.closed), world.address_of(world.opened)
    gateway = world.in_instance(world.closed, BUSYBOX, "ip", "route").split()[2]
    mac = world.in_instance(world.opened, BUSYBOX, "cat", "/sys/class/net/eth0/address").strip()
    own_mac = world.in_instance(world.closed, BUSYBOX, "cat", "/sys/class/net/eth0/address").strip()

    def run(*words: str) -> None:
        world.in_instance(world.closed, BUSYBOX, *words)

    foreign = (opened, world.address_of(world.default), "10.209.10.77")
    try:
        for address in foreign:
            run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            run("ip", "route", "replace", "default", "via", gateway, "dev", "eth0", "src", address)
            assert world.reach(world.closed, (PUBLIC_PEER, PORT)) != [REACHED], address
            run("ip", "address", "delete", f"{address}/24", "dev", "eth0")
        run("ip", "link", "set", "eth0", "down")
        run("ip", "link", "set", "eth0", "address", mac)
        run("ip", "link", "set", "eth0", "up")
        run("ip", "address", "add", f"{opened}/24", "dev", "eth0")
        run("ip", "route", "replace", "default", "via", gateway, "dev", "eth0", "src", opened)
        assert REACHED not in world.reach(world.closed, (PUBLIC_PEER, PORT), (LAN_PEER, PORT))
    finally:
        run("ip", "link", "set", "eth0", "down")
        run("ip", "link", "set", "eth0", "address", own_mac)
        run("ip", "link", "set", "eth0", "up")
        run("ip", "address", "delete", f"{opened}/24", "dev", "eth0")
        run("ip", "route", "replace", "default", "via", gateway, "src", own)
    assert world.reach(world.closed, (LAN_PEER, PORT)) == [REACHED]  # it was whole, and it is again
    assert world.reach(world.opened, (PUBLIC_PEER, PORT)) == [REACHED]


def test_the_engine_tells_which_interface_an_instance_has(world: Subnets) -> None:
    found = world.observed[world.closed.instance_id].interface
    assert found is not None
    mac = world.in_instance(world.closed, BUSYBOX, "cat", "/sys/class/net/eth0/address").strip()
    assert (found.address, found.subnet_id) == (world.address_of(world.closed), "subnet-a")
    assert found.address.startswith("10.209.10.")
    assert found.interface_id == f"eni-00000{mac.replace(':', '')}"
    default = world.observed[world.default.instance_id].interface
    assert default is not None
    assert default.subnet_id == ""


def test_unknown_names_and_full_subnets_are_refused_and_fewer_used_subnets_are_preferred(world: Subnets) -> None:
    async def run() -> None:
        driver = IncusDriver(world.rig.settings)
        try:
            await driver.prepare()
            with pytest.raises(SubnetMissing, match="no subnet subnet-x"):
                await driver.launch(world.rig.new_spec(subnet_ids=("subnet-a", "subnet-x")))
            with pytest.raises(SecurityGroupMissing, match="no security group sg-x"):
                await driver.launch(world.rig.new_spec(subnet_ids=("subnet-a",), security_group_ids=("sg-x",)))
            wished = [world.rig.new_spec(subnet_ids=("subnet-small",)) for _ in range(5)]
            await asyncio.gather(*(driver.launch(spec) for spec in wished))
            with pytest.raises(SubnetExhausted, match=r"10\.209\.12\.0/29 are in use"):
                await driver.launch(world.rig.new_spec(subnet_ids=("subnet-small",)))
            moved = world.rig.new_spec(subnet_ids=("subnet-a", "subnet-small", "subnet-b"))
            await driver.launch(moved)
            observed = {one.instance_id: one for one in await driver.observe()}
            interface = observed[moved.instance_id].interface
            assert interface is None or interface.subnet_id == "subnet-b"
            await asyncio.gather(*(driver.terminate(spec.instance_id) for spec in (*wished, moved)))
        finally:
            await driver.close()

    asyncio.run(run())


def test_a_changed_file_holds_for_running_instances_and_an_uninstallation_finds_every_bridge(world: Subnets) -> None:
    """Last: it takes names away."""
    settings = world.rig.settings
    assert settings.networks_file is not None
    changed = NETWORKS.replace("[subnets.subnet-small]", "[subnets.subnet-new]").replace(
        f"ports = {PORT}\n", f"ports = {SECOND_PORT}\n"
    )
    _prepare_with(settings, settings.networks_file, changed)
    assert world.reach(world.one_port, (PUBLIC_PEER, PORT), (PUBLIC_PEER, SECOND_PORT))[1] == REACHED
    assert world.reach(world.one_port, (PUBLIC_PEER, PORT)) != [REACHED]
    small, new = (bridge_name(settings.incus_network, f"subnet-{name}") for name in ("small", "new"))
    bridges = {path.name for path in Path("/sys/class/net").iterdir()}
    assert new in bridges
    assert small not in bridges  # nobody was on it

    _prepare_with(settings, settings.networks_file, "")  # those with instances stay, and lead nowhere
    assert REACHED not in world.reach(world.opened, (PUBLIC_PEER, PORT), (LAN_PEER, PORT))
    assert world.reach(world.default, (PUBLIC_PEER, PORT)) == [REACHED]
    assert REACHED not in world.reach(world.opened, (LAN_HOST, PORT))
    names = [bridge_name(settings.incus_network, f"subnet-{name}") for name in "ab"]
    found = [finding.what for finding in incus_removals.survey(settings)]
    assert {f"Incus network {name}" for name in names} <= set(found)
    assert {f"Incus network ACL {name}" for name in names} <= set(found)


def _prepare_with(settings: Settings, file: Path, content: str) -> None:
    async def run() -> None:
        driver = IncusDriver(settings)
        try:
            await driver.prepare()
        finally:
            await driver.close()

    file.write_text(content)
    asyncio.run(run())
