"""Directories of the host in instances: a mount of its own for each instance, and a disk device that passes it on.

Users and groups from 1000 on are the same numbers inside and outside. The instance's root is nobody there, and whoever else
owns a file is nobody to the instance: nobody in an instance can write as a user of the host's system, or leave something
that runs as one. Incus itself shifts owners only where it may mount any directory of the host, which is why it is done here.

The mounts are below /run in a place of their own, from which nothing is ever deleted but empty directories.
"""

import ctypes
import errno
import logging
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fanlight.domain.errors import LaunchRefused
from fanlight.domain.file_systems import FileSystemMount, SharedDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

PLACE = Path("/run/fanlight-file-systems")
FIRST_ID, LAST_ID, NOBODY = 1000, 65_533, 65_534
_DEVICE = "files-"
# Whose owners the kernel can shift for sure; network file systems but Ceph's are not among these.
_MAPPABLE = frozenset({"btrfs", "ceph", "ext4", "f2fs", "tmpfs", "vfat", "xfs"})
Devices: TypeAlias = dict[str, dict[str, str]]
Offered: TypeAlias = Mapping[str, SharedDirectory]  # by name

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same number on every processor
_HERE, _EMPTY_PATH, _CLONE, _MOVE_EMPTY_PATH = -100, 0x1000, 1, 4
_RDONLY, _NOSUID, _NODEV, _IDMAP = 1, 2, 4, 0x10_0000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class FileSystemMounts:
    """The mounts of the instances of one project. Every method may be repeated. Raises OSError."""

    def __init__(self, project: str) -> None:
        self.root = PLACE / project

    def make(self, instance_id: str, names: Iterable[str], offered: Offered, first_uid: int) -> None:
        """Mount what is offered; what is not is an empty directory, into which the instance cannot write."""
        for name in dict.fromkeys(names):
            place = self.root / instance_id / name
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            PLACE.chmod(0o700)
            directory = offered.get(name)
            if directory is not None and str(place) not in _mount_points():
                _mount(directory, place, first_uid)

    def remove(self, instance_id: str) -> None:
        own = self.root / instance_id
        if not own.is_dir():
            return
        for place in own.iterdir():
            while str(place) in _mount_points():
                _call("umount2", os.fsencode(place), _MNT_DETACH | _UMOUNT_NOFOLLOW)
            place.rmdir()
        own.rmdir()

    def ids(self) -> set[str]:
        return {entry.name for entry in self.root.iterdir()} if self.root.is_dir() else set()

    def devices_of(self, instance_id: str, mounts: Sequence[FileSystemMount], offered: Offered) -> Devices:
        """Return the devices of the mounts. Raises LaunchRefused when one is not offered, or is not there."""
        for mount in mounts:
            directory = offered.get(mount.name)
            if directory is None:
                raise LaunchRefused(f"No file system of the name {mount.name} is configured on this host.")
            if not directory.path.is_dir():
                raise LaunchRefused(f"The directory of the file system {mount.name} is missing on this host.")
        return {
            f"{_DEVICE}{number}": {
                "type": "disk",
                "source": str(self.root / instance_id / mount.name),
                "path": mount.mount_point,
            }
            for number, mount in enumerate(mounts)
        }


def names_in(devices: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the file systems that an instance was launched with."""
    return [device["source"].rpartition("/")[2] for name, device in devices.items() if name.startswith(_DEVICE)]


def can_shift(path: Path, mounts: str | None = None) -> bool:
    """Return whether owners can be shifted on the file system of the directory. `mounts` is /proc/self/mountinfo."""
    points = _points_in(mounts if mounts is not None else Path("/proc/self/mountinfo").read_text())
    around = [
        (len(Path(point).parts), number) for number, (point, _) in enumerate(points) if path.is_relative_to(point)
    ]
    return bool(around) and points[max(around)[1]][1] in _MAPPABLE  # of two at one place the later counts


def _mount_points() -> set[str]:
    return {point for point, _ in _points_in(Path("/proc/self/mountinfo").read_text())}


def _points_in(mounts: str) -> list[tuple[str, str]]:
    """Return place and type of each mount."""
    found = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        found.append((before.split()[4].replace("\\040", " "), after.split()[0]))
    return found


def _mount(directory: SharedDirectory, place: Path, first_uid: int) -> None:
    tree = _call("syscall", _OPEN_TREE, _HERE, os.fsencode(directory.path), _CLONE | os.O_CLOEXEC)
    try:
        wanted = _NOSUID | _NODEV | (_RDONLY if directory.is_read_only else 0)
        with _id_map(first_uid) as id_map:
            try:
                _change(tree, _Attributes(attr_set=wanted | _IDMAP, userns_fd=id_map))
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EPERM):
                    raise
                log.warning("owners cannot be shifted", extra={"file_system": directory.name, "reason": str(error)})
                _change(tree, _Attributes(attr_set=wanted))
        _call("syscall", _MOVE_MOUNT, tree, b"", _HERE, os.fsencode(place), _MOVE_EMPTY_PATH)
    finally:
        os.close(tree)


def _change(tree: int, attributes: _Attributes) -> None:
    _call("syscall", _MOUNT_SETATTR, tree, b"", _EMPTY_PATH, ctypes.byref(attributes), ctypes.sizeof(attributes))


@contextmanager
def _id_map(first_uid: int) -> "Iterator[int]":
    """Give a user namespace with the numbers of an instance, by its descriptor: a mount keeps the numbers, not the namespace."""
    numbers = f"{FIRST_ID} {first_uid + FIRST_ID} {LAST_ID - FIRST_ID + 1}\n{NOBODY} {first_uid} 1\n"
    command = ["unshare", "--user", "sh", "-c", "echo made; read _"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:  # noqa: S603
        if holder.stdout is None or holder.stdout.readline() != b"made\n":
            raise OSError(errno.EPERM, "no user namespace can be made")
        for kind in ("uid", "gid"):
            Path(f"/proc/{holder.pid}/{kind}_map").write_text(numbers)
        descriptor = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        holder.communicate(b"\n")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _call(name: str, *arguments: Any) -> int:
    result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"a file system of the host cannot be mounted or unmounted: {os.strerror(code)}")
    return result
