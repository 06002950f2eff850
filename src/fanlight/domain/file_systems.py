"""Directories of the host that the operator offers to machines, and where machines mount them. Pure.

Who asks for a file system names what it was called where it came from: an endpoint, a share, an id. The operator says which
directory of the host that is here. Only its name travels to the engine, which looks up the directory itself.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
LONGEST_MOUNT_POINT = 255
MOST_MOUNTS = 20  # on one machine
# What a machine needs to be itself: nothing is mounted over these, nor anywhere below.
_SYSTEM = frozenset(
    [
        "bin",
        "boot",
        "dev",
        "etc",
        "home",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "lost+found",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tmp",
        "usr",
        "var",
    ]
)
_OURS = "/opt/fanlight"
_PART = re.compile(r"[^/\x00-\x1f\x7f\\:,]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystemMount:
    """A file system of this name is to be at this place in the machine."""

    name: str
    mount_point: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDirectory:
    """A directory of the host. It stands for a file system whose members are equal to all that are not None here.

    `accounts` are those whose machines may have it; empty: all.
    """

    name: str
    path: Path
    is_read_only: bool = False
    endpoint: str | None = None
    share_name: str | None = None
    file_system_id: str | None = None
    accounts: frozenset[str] = frozenset()

    def stands_for(self, wish: "FileSystemWish", account_id: str) -> bool:
        pairs = (
            (self.endpoint, wish.endpoint),
            (self.share_name, wish.share_name),
            (self.file_system_id, wish.file_system_id),
        )
        is_offered = not self.accounts or account_id in self.accounts
        return is_offered and all(ours in (None, theirs) for ours, theirs in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystemWish:
    """What a studio component says; `mount_point` None: it names no place for Linux."""

    component: str
    endpoint: str | None = None
    share_name: str | None = None
    file_system_id: str | None = None
    mount_point: str | None = None


def mistake_in_mount_point(mount_point: str) -> str:
    """Return what is wrong with a place for a mount, "" when nothing is."""
    first, *others = mount_point.removeprefix("/").split("/")
    if not mount_point.startswith("/") or len(mount_point) > LONGEST_MOUNT_POINT:
        return f"{mount_point!r} is not an absolute path of at most {LONGEST_MOUNT_POINT} characters"
    if not all(_PART.fullmatch(part) and part not in (".", "..") for part in (first, *others)):
        return f"{mount_point!r} is not a plain path, without . and .. and doubled slashes"
    if first in _SYSTEM or _overlap(mount_point, _OURS):
        return f"{mount_point!r} belongs to the machine's own system"
    return ""


def overlapping(mount_points: Collection[str]) -> str:
    """Return the first of the places that lies in, or around, one before it; "" when none does."""
    seen: list[str] = []
    for one in mount_points:
        if any(_overlap(one, other) for other in seen):
            return one
        seen.append(one)
    return ""


def plan_mounts(
    wishes: Sequence[FileSystemWish], directories: Sequence[SharedDirectory], account_id: str
) -> tuple[tuple[FileSystemMount, ...], tuple[str, ...]]:
    """Return what a machine gets, and for everything else that was wished the reason why not."""
    mounts: list[FileSystemMount] = []
    left_out: list[str] = []
    for wish in wishes:
        found = next((one for one in directories if one.stands_for(wish, account_id)), None)
        place = wish.mount_point or ""
        if found is None:
            why = "the operator has not configured its file system"
        elif not place:
            why = "it has no linuxMountPoint"
        elif mistake := mistake_in_mount_point(place):
            why = mistake
        elif overlapping([*(mount.mount_point for mount in mounts), place]):
            why = f"another file system is mounted at {place} already"
        elif len(mounts) == MOST_MOUNTS:
            why = f"a machine has at most {MOST_MOUNTS} file systems"
        else:
            mounts.append(FileSystemMount(name=found.name, mount_point=place))
            continue
        left_out.append(f"{wish.component}: {why}")
    return tuple(mounts), tuple(left_out)


def withdrawn(
    wishes: Sequence[FileSystemWish],
    directories: Sequence[SharedDirectory],
    account_id: str,
    left_out: Sequence[str],
) -> tuple[str, ...]:
    """Return what a machine that was made with all but `left_out` finds empty, for the operator offers it no longer."""
    return tuple(
        f"{wish.component}: the operator has withdrawn its file system, {wish.mount_point} is empty"
        for wish in wishes
        if not any(one.stands_for(wish, account_id) for one in directories)
        and not any(line.startswith(f"{wish.component}: ") for line in left_out)
    )


def _overlap(one: str, other: str) -> bool:
    shorter, longer = sorted((f"{one}/", f"{other}/"), key=len)
    return longer.startswith(shorter)
