"""Incus itself: does it answer, is it new enough, and are network, storage and room as instances need them?"""

import http.client
import json
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanlight.config import Settings
from fanlight.doctor.findings import Finding, fatal, ok, warning
from fanlight.doctor.hosts import SETUP

POOL_RESERVE_IN_GIB = 10  # the smallest pool, and what the host keeps for itself
LOW_POOL_IN_GIB = 3
_TIMEOUT_IN_SECONDS = 3.0
_QUOTA_DRIVERS = ("btrfs", "zfs", "lvm")


def examine_engines(settings: Settings) -> list[Finding]:
    """Look at the engine of every region; what two engines of one Incus share is said once."""
    findings: list[Finding] = []
    for engine in settings.engines:
        findings += [one for one in examine_engine(engine.settings, engine.name) if one not in findings]
    return findings


def examine_engine(settings: Settings, region: str = "") -> list[Finding]:
    """`region` has this engine for itself, if it is not empty."""
    whose = f" for {region}" if region else ""
    elsewhere = "correct --region-engines" if region else "set FANLIGHT_INCUS_SOCKET"
    try:
        about = _get(settings.incus_socket, "/1.0")
        pool = _get(settings.incus_socket, f"/1.0/storage-pools/{settings.incus_pool}")
        room = _get(settings.incus_socket, f"/1.0/storage-pools/{settings.incus_pool}/resources") if pool else {}
    except OSError as error:
        what = f"Incus{whose} does not answer on {settings.incus_socket}: {error}"
        # The other regions are served without it, and it is taken in when it comes back.
        return [warning(what, f"start that Incus, or {elsewhere}") if region else fatal(what, SETUP)]
    except (ValueError, KeyError, http.client.HTTPException) as error:
        return [fatal(f"what answers{whose} on {settings.incus_socket} is not Incus: {error}", elsewhere)]
    if about is None:
        return [fatal(f"what answers{whose} on {settings.incus_socket} is not Incus", elsewhere)]
    findings = version(about) + firewall(about)
    if pool is None:
        return findings + future_pool(about, settings.incus_socket.parent)
    return findings + present_pool(settings.incus_pool, pool, room or {})


def version(about: Mapping[str, Any]) -> list[Finding]:
    found = str(about["environment"]["server_version"])
    major = found.partition(".")[0]
    if major.isdigit() and int(major) >= 6:  # noqa: PLR2004 - the oldest release whose behaviour was measured
        return [ok(f"Incus {found}")]
    return [fatal(f"Incus {found} is older than 6.0", "upgrade Incus to the release of Debian 12 backports or later")]


def firewall(about: Mapping[str, Any]) -> list[Finding]:
    found = str(about["environment"]["firewall"])
    if found == "nftables":
        return [ok("firewall nftables")]
    what = f"Incus uses {found} as its firewall, with which instances are not kept apart"
    return [fatal(what, "sudo apt-get install nftables, then restart Incus")]


def future_pool(about: Mapping[str, Any], place: Path) -> list[Finding]:
    """Look at the room for the pool that the first start makes."""
    free = shutil.disk_usage(place).free // 2**30
    if free < POOL_RESERVE_IN_GIB:
        return [fatal(f"{place} has {free} GiB free for instances", f"free some space: {POOL_RESERVE_IN_GIB} GiB")]
    drivers = [driver["Name"] for driver in about["environment"]["storage_supported_drivers"]]
    if "btrfs" not in drivers:
        return [
            warning(
                "Incus cannot use btrfs: every launch will copy the whole image, and disk limits are not enforced",
                "sudo apt-get install btrfs-progs; sudo modprobe btrfs; restart Incus; before the first start",
            )
        ]
    return [ok(f"{free} GiB free for the storage pool")]


def present_pool(name: str, pool: Mapping[str, Any], room: Mapping[str, Any]) -> list[Finding]:
    if pool["driver"] not in _QUOTA_DRIVERS:
        return [
            warning(
                f"the storage pool {name} is a {pool['driver']} pool: every launch copies the whole image, and disk limits "
                "are not enforced",
                "fanlight uninstall, make btrfs work, start again",
            )
        ]
    space = room.get("space", {})
    free = (int(space.get("total", 0)) - int(space.get("used", 0))) // 2**30
    if space and free < LOW_POOL_IN_GIB:
        size = str(pool.get("config", {}).get("size", "its size"))
        return [
            warning(
                f"the storage pool {name} has {free} GiB left of {size}", f"sudo incus storage set {name} size=…GiB"
            )
        ]
    return [ok(f"storage pool {name} ({pool['driver']}), {free} GiB free")]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("incus", timeout=_TIMEOUT_IN_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _get(socket_path: Path, path: str) -> dict[str, Any] | None:
    """Return the metadata, or None when there is no such thing. Raises OSError, ValueError, HTTPException."""
    connection = _UnixConnection(socket_path)
    try:
        connection.request("GET", path)
        reply = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    if reply["type"] == "error":
        if reply["error_code"] == http.client.NOT_FOUND:
            return None
        raise ValueError(str(reply["error"]))
    metadata: dict[str, Any] = reply["metadata"]
    return metadata
