"""Translate between our instances and Incus's: what we ask for, and what its list says. Pure functions."""

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanlight.agentwire import GUEST_SOCKETS, HOST_SOCKETS, RUNTIME_DIRECTORY
from fanlight.domain.errors import CapacityExhausted, SubnetExhausted
from fanlight.domain.networks import NetworkInterface, free_address, interface_id_of, mac_of
from fanlight.domain.ports import InstanceRole, InstanceSpec, ObservedInstance, Power
from fanlight.drivers.incus.bridges import Bridge
from fanlight.drivers.incus.file_systems import Devices
from fanlight.drivers.incus.guard import Way

# Incus's rule for names, in lower case; short enough for the path of a socket.
INSTANCE_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
LONGEST_INSTANCE_ID = 40
LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
LONGEST_LABEL_VALUE = 1024
RUNTIME_VERSION_LABEL = "runtime_version"

_LABEL = "user.fanlight.label."
RUNTIME_LABEL = f"{_LABEL}{RUNTIME_VERSION_LABEL}"  # as Incus has it

_MARK = "user.fanlight.instance"  # says that the instance is ours; others in the project are not our business
# What the fleet allowed when the instance was launched; the guard is made from these.
_SUBNET, _GROUPS, _INTERNET = "user.fanlight.subnet", "user.fanlight.security-groups", "user.fanlight.internet"

# Threads of one instance, all programs together. A desktop with a busy browser stays below 1,000.
PROCESS_LIMIT = 2048
FUSE = "/dev/fuse"
INIT = f"{RUNTIME_DIRECTORY}/bin/fanlight-init"
_NEVER = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Seat:
    """An address on a bridge, with the hardware address that goes with it."""

    bridge: Bridge
    address: ipaddress.IPv4Address

    @property
    def mac(self) -> str:
        return mac_of(self.address)

    @property
    def subnet_id(self) -> str:
        return self.bridge.subnet.subnet_id if self.bridge.subnet else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where on this host an instance finds what is mounted into it, and its seat on the network, if it has one."""

    host_sockets: Path
    guest_sockets: Path
    runtime: Path
    pool: str
    first_uid: int
    seat: Seat | None
    file_systems: Devices = field(default_factory=dict)


def request_of(spec: InstanceSpec, place: Place) -> dict[str, Any]:
    """Return the body that creates and starts the instance."""
    return {
        "name": spec.instance_id,
        "type": "container",
        "start": True,
        "profiles": [],
        "source": {"type": "image", "alias": spec.image_ref},
        "config": _config_of(spec, place),
        "devices": _devices_of(spec, place),
    }


def _config_of(spec: InstanceSpec, place: Place) -> dict[str, str]:
    lxc = [f"lxc.init.cmd = {INIT}"]
    config = {
        _MARK: spec.instance_id,
        **{_LABEL + name: value for name, value in spec.labels.items()},
        "environment.FANLIGHT_SESSIONS": str(spec.places),
        "environment.FANLIGHT_ROLE": spec.role,
        "boot.autostart": "false",  # after a reboot of the host nobody's desktop comes back: it is destroyed and replaced
        "limits.cpu": str(min(spec.cpu_count, os.cpu_count() or 1)),
        "limits.memory": f"{spec.memory_in_mib}MiB",
        "limits.processes": str(PROCESS_LIMIT),
        "security.privileged": "false",
        "security.idmap.isolated": "true",
        "security.idmap.base": str(place.first_uid),
        "security.nesting": "false",
        "security.guestapi": "false",
    }
    if seat := place.seat:
        # Given before PID 1 runs, so that the network is up at once and the image needs no DHCP client.
        length, gateway = seat.bridge.host.network.prefixlen, seat.bridge.gateway
        lxc += [f"lxc.net.0.ipv4.address = {seat.address}/{length}", f"lxc.net.0.ipv4.gateway = {gateway}"]
        config["environment.FANLIGHT_NAMESERVER"] = str(gateway)
        config |= {
            _SUBNET: seat.subnet_id,
            _GROUPS: " ".join(spec.security_group_ids),
            _INTERNET: str(spec.has_internet_access).lower(),
        }
    return config | {"raw.lxc": "\n".join(lxc)}


def _devices_of(spec: InstanceSpec, place: Place) -> dict[str, dict[str, str]]:
    devices = {
        "root": {"type": "disk", "path": "/", "pool": place.pool, "size": f"{spec.disk_in_gib}GiB"},
        "host": {"type": "disk", "source": str(place.host_sockets), "path": HOST_SOCKETS, "readonly": "true"},
        "guest": {"type": "disk", "source": str(place.guest_sockets), "path": GUEST_SOCKETS},
        "runtime": {"type": "disk", "source": str(place.runtime), "path": RUNTIME_DIRECTORY, "readonly": "true"},
    }
    if spec.role is InstanceRole.STREAMING:
        # For the mounts of users' files, which the agent makes; nobody but the guest's root may open it.
        devices["fuse"] = {"type": "unix-char", "source": FUSE, "path": FUSE, "mode": "0600", "required": "false"}
    devices |= place.file_systems
    if seat := place.seat:
        devices["eth0"] = {
            "type": "nic",
            "name": "eth0",
            "network": seat.bridge.name,
            "hwaddr": seat.mac,
            "ipv4.address": str(seat.address),
            "ipv6.address": "none",
            "security.port_isolation": "true",
            "security.mac_filtering": "true",
            "security.ipv4_filtering": "true",
            "security.ipv6_filtering": "true",
        }
    return devices


def free_seat(bridges: Sequence[Bridge], used: set[str]) -> Seat:
    """Return the lowest free address on that of the bridges with the fewest instances.

    Raises SubnetExhausted, or CapacityExhausted on the default network.
    """
    of_host = {bridge.host: bridge for bridge in bridges}
    if found := free_address(list(of_host), {ipaddress.IPv4Address(address) for address in used}):
        host, address = found
        return Seat(of_host[host], address)
    full = ", ".join(str(bridge.host.network) for bridge in bridges)
    if all(bridge.subnet for bridge in bridges):
        raise SubnetExhausted(f"All addresses of {full} are in use. Name further subnets in the fleet's VpcConfig.")
    raise CapacityExhausted(f"All addresses of {full} are in use. Set a larger FANLIGHT_INCUS_SUBNET.")


def way_of(found: Mapping[str, Any]) -> Way | None:
    """Return the way of one of ours, as it was launched; None when it has no interface."""
    device, config = found["devices"].get("eth0", {}), found["config"]
    if not is_ours(found) or "ipv4.address" not in device:
        return None
    return Way(
        bridge=device["network"],
        address=ipaddress.IPv4Address(device["ipv4.address"]),
        subnet_id=config.get(_SUBNET, ""),
        group_ids=tuple(config.get(_GROUPS, "").split()),
        # Before there were subnets, an instance had an interface only to reach the internet.
        has_internet_access=config.get(_INTERNET, "true") == "true",
    )


def way_to(seat: Seat, spec: InstanceSpec) -> Way:
    """Return the way of an instance that is being launched: what `way_of` will say of it."""
    return Way(
        bridge=seat.bridge.name,
        address=seat.address,
        subnet_id=seat.subnet_id,
        group_ids=spec.security_group_ids,
        has_internet_access=spec.has_internet_access,
    )


def is_ours(found: Mapping[str, Any]) -> bool:
    return bool(found["config"].get(_MARK) == found["name"])


def addresses_of(found: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the addresses that instances of the list were given."""
    return {device["ipv4.address"] for one in found for device in one["devices"].values() if "ipv4.address" in device}


def observation_of(found: Mapping[str, Any], *, is_being_launched: bool) -> ObservedInstance:
    """Return what Incus's list says of one of ours.

    Create and start are two steps inside Incus. Until the second is done the instance says Stopped, and for a moment
    it does so with the time of its first use already set.
    """
    config: Mapping[str, str] = found["config"]
    power, detail = _POWER.get(found["status"], Power.FAILED), ""
    if power is Power.STOPPED and is_being_launched:
        power = Power.STARTING
    elif power is Power.STOPPED and found["last_used_at"] == _NEVER:
        power, detail = Power.FAILED, "made, but its start did not succeed"
    elif power is Power.FAILED:
        detail = f"the engine says {found['status']}"
    first_uid = config.get("volatile.idmap.base", "")
    return ObservedInstance(
        instance_id=found["name"],
        power=power,
        labels={key.removeprefix(_LABEL): value for key, value in config.items() if key.startswith(_LABEL)},
        first_uid=int(first_uid) if first_uid.isdigit() else None,
        detail=detail,
        interface=_interface_of(found),
    )


def _interface_of(found: Mapping[str, Any]) -> NetworkInterface | None:
    device = found["devices"].get("eth0", {})
    mac = device.get("hwaddr") or found["config"].get("volatile.eth0.hwaddr")
    if not mac or "ipv4.address" not in device:
        return None
    return NetworkInterface(
        interface_id=interface_id_of(mac), address=device["ipv4.address"], subnet_id=found["config"].get(_SUBNET, "")
    )


_POWER = {
    "Starting": Power.STARTING,
    "Running": Power.RUNNING,
    "Ready": Power.RUNNING,
    "Frozen": Power.RUNNING,
    "Freezing": Power.RUNNING,
    "Thawed": Power.RUNNING,
    "Stopped": Power.STOPPED,
    "Stopping": Power.STOPPED,
    "Aborting": Power.STOPPED,
}
