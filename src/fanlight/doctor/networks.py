"""The networks file: can it be read, can its subnets be made on this host, and do its uplinks exist?"""

import grp
import json
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from fanlight.config import Settings
from fanlight.doctor.findings import Finding, fatal, ok, warning
from fanlight.domain.networks import Subnet
from fanlight.drivers.incus.bridges import bridge_name
from fanlight.networks_file import NetworksFileInvalid, read_networks

SHARED_GROUP = "fanlight"


def examine_networks(settings: Settings) -> list[Finding]:
    path = settings.networks_file
    if path is None:
        return []
    try:
        networks = read_networks(path, settings.incus_subnet)
    except NetworksFileInvalid as error:
        return [fatal(str(error), f"correct {path}, or leave out --networks-file; docs/operate.md has an example")]
    findings: list[Finding] = []
    if settings.compute == "incus":  # otherwise everything runs as the caller, on no network of this host
        findings += readability(path)
        interfaces = _interfaces()
        for subnet in networks.subnets.values():
            own = bridge_name(settings.incus_network, subnet.subnet_id)
            findings += subnet_on_host(subnet, own, interfaces)
    return findings or [ok(f"{len(networks.subnets)} subnets, {len(networks.groups)} security groups in {path}")]


def readability(path: Path, name: str = "networks file") -> list[Finding]:
    """Look whether the unprivileged api process can read the file."""
    found = path.stat()
    is_readable = bool(found.st_mode & stat.S_IROTH) or (
        bool(found.st_mode & stat.S_IRGRP) and _group_name(found.st_gid) == SHARED_GROUP
    )
    # It is root who looks here, and root goes through every directory.
    closed = next((parent for parent in path.absolute().parents if not parent.stat().st_mode & stat.S_IXOTH), None)
    if is_readable and closed is None:
        return []
    what = f"the {name} {path} is not readable for the group {SHARED_GROUP}"
    mend = f"chgrp {SHARED_GROUP} {path}; chmod 0640 {path}"
    return [fatal(what, f"put it elsewhere, such as /etc/fanlight: {closed} is closed" if closed else mend)]


def subnet_on_host(subnet: Subnet, own: str, interfaces: Mapping[str, Sequence[IPv4Network]]) -> list[Finding]:
    """`own` is the name of its bridge, `interfaces` has the networks of each interface of the host."""
    findings = [
        fatal(
            f"the subnet {subnet.subnet_id} ({subnet.network}) overlaps {network} on {name}",
            "give it a network of its own in the networks file",
        )
        for name, found in interfaces.items()
        for network in found
        if name != own and network.overlaps(subnet.network)
    ]
    findings += [
        warning(
            f"the uplink {name} of the subnet {subnet.subnet_id} does not exist: its instances reach nothing",
            "make that interface (ip link), or correct the networks file",
        )
        for name in subnet.uplinks
        if name not in interfaces
    ]
    zone = f" in {subnet.availability_zone}" if subnet.availability_zone else ""
    return findings or [ok(f"subnet {subnet.subnet_id}{zone}: {subnet.network} on {own}")]


def _interfaces() -> dict[str, list[IPv4Network]]:
    program = shutil.which("ip")
    if program is None:
        return {}  # the examination of the host says so
    done = subprocess.run([program, "-json", "address"], capture_output=True, text=True, check=False)  # noqa: S603
    return {
        interface["ifname"]: [
            IPv4Interface(f"{address['local']}/{address['prefixlen']}").network
            for address in interface["addr_info"]
            if address["family"] == "inet"
        ]
        for interface in (json.loads(done.stdout) if done.returncode == 0 else [])
    }


def _group_name(group_id: int) -> str:
    try:
        return grp.getgrgid(group_id).gr_name
    except KeyError:
        return ""
