"""Directories of the host in instances, as Incus has them: a disk device for each, whose owners are shifted where possible.

Shifted, who owns a file is the same number inside and outside; else the instance sees files of its own range of ids alone,
and all others as nobody's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from fanlight.domain.errors import LaunchRefused
from fanlight.domain.file_systems import FileSystemMount, SharedDirectory

_DEVICE = "files-"  # before the name of the file system
# Whose mounts the kernel can map for sure; network file systems but Ceph's are not among these.
_MAPPABLE = frozenset({"btrfs", "ceph", "ext4", "f2fs", "tmpfs", "vfat", "xfs"})
Devices: TypeAlias = dict[str, dict[str, str]]
Offered: TypeAlias = Mapping[str, SharedDirectory]  # by name


def devices_of(mounts: Sequence[FileSystemMount], offered: Offered, *, has_idmapped_mounts: bool) -> Devices:
    """Return the devices of the mounts. Raises LaunchRefused when one is not offered, or is not there."""
    return {
        f"{_DEVICE}{mount.name}-{number}": _device(mount, offered, has_idmapped_mounts)
        for number, mount in enumerate(mounts)
    }


def without_withdrawn(devices: Mapping[str, Mapping[str, str]], offered: Offered) -> Devices:
    """Return an instance's devices but those of directories that the operator does not offer any more."""
    places = {str(directory.path) for directory in offered.values()}
    return {
        name: dict(device)
        for name, device in devices.items()
        if not (name.startswith(_DEVICE) and device.get("source") not in places)
    }


def _device(
    mount: FileSystemMount,
    offered: Offered,
    has_idmapped_mounts: bool,  # noqa: FBT001
) -> dict[str, str]:
    directory = offered.get(mount.name)
    if directory is None:
        raise LaunchRefused(f"No file system of the name {mount.name} is configured on this host.")
    if not directory.path.is_dir():
        raise LaunchRefused(f"The directory of the file system {mount.name} is missing on this host.")
    return {
        "type": "disk",
        "source": str(directory.path),
        "path": mount.mount_point,
        "readonly": str(directory.is_read_only).lower(),
        "shift": str(has_idmapped_mounts and can_shift(directory.path)).lower(),
    }


def has_idmapped_mounts(about: Mapping[str, Any]) -> bool:
    """Return whether the engine can shift owners at all, from what it says of itself."""
    return bool(about["environment"].get("kernel_features", {}).get("idmapped_mounts") == "true")


def can_shift(path: Path, mounts: str | None = None) -> bool:
    """Return whether owners can be shifted on the file system of the directory. `mounts` is /proc/self/mountinfo."""
    return mount_of(path, mounts)[0] in _MAPPABLE


def mount_of(path: Path, mounts: str | None = None) -> tuple[str, frozenset[str]]:
    """Return type and options of the mount on which the directory is."""
    best, kind, options = -1, "", frozenset[str]()
    for line in (mounts if mounts is not None else Path("/proc/self/mountinfo").read_text()).splitlines():
        before, _, after = line.partition(" - ")
        words = before.split()
        point = words[4].replace("\\040", " ")
        if path.is_relative_to(point) and len(Path(point).parts) >= best:  # of two at one place the later counts
            best, kind, options = len(Path(point).parts), after.split()[0], frozenset(words[5].split(","))
    return kind, options
