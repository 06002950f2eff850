"""The two directories through which host and instance talk, on the host's side.

`RUN_DIR/instances/<instance_id>/host` belongs to the api process, which listens there, and `host/storage` to the storage
process; the instance sees both read-only.
`.../guest` is a small file system of its own, because a hostile guest may write to it: it cannot fill the host's memory
or inodes, holds no device, no program and no set-uid file, and the host follows no symlink in it, whoever opens it how.
"""

import ctypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

# Bytes and inodes: a few sockets need next to nothing.
GUEST_SIZE_IN_KIB = 1024
GUEST_INODES = 64
# `sun_path` has 108 bytes with the final zero.
MAX_SOCKET_PATH_IN_BYTES = 107
LONGEST_SOCKET_NAME = "stream.sock"
STORAGE = "storage"  # in `host/`

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_NOSYMFOLLOW = 2, 4, 8, 256
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who listens in `host/` and in `host/storage/`, and the group that may pass through the instance's directory to reach them."""

    uid: int
    gid: int
    storage_uid: int


class SocketDirectories:
    """Every method may be repeated and finishes what a crash left half done. Raises OSError."""

    def __init__(self, run_dir: Path, owner: Owner) -> None:
        self._root, self._owner = run_dir / "instances", owner

    def prepare(self) -> None:
        """Make the directory that holds all others."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._root.chmod(0o755)

    def is_short_enough(self, longest_id: int) -> bool:
        """Return whether the sockets of an instance with an id of that length have paths that can be connected to."""
        path = self._root / ("x" * longest_id) / "guest" / LONGEST_SOCKET_NAME
        return len(os.fsencode(path)) <= MAX_SOCKET_PATH_IN_BYTES

    def host(self, instance_id: str) -> Path:
        return self._root / instance_id / "host"

    def guest(self, instance_id: str) -> Path:
        return self._root / instance_id / "guest"

    def ids(self) -> set[str]:
        """Return the instances that have directories, whole or in part."""
        return {entry.name for entry in self._root.iterdir()} if self._root.exists() else set()

    def make(self, instance_id: str) -> None:
        own, host, guest = self._root / instance_id, self.host(instance_id), self.guest(instance_id)
        own.mkdir(exist_ok=True)
        os.chown(own, 0, self._owner.gid)
        own.chmod(0o710)
        if not host.exists():
            # Made with its final owner last: as long as it is root's, nobody else can have put anything into it.
            fresh = own / ".host"
            storage = fresh / STORAGE
            storage.mkdir(parents=True, exist_ok=True)
            for path, uid in ((storage, self._owner.storage_uid), (fresh, self._owner.uid)):
                path.chmod(0o755)
                os.chown(path, uid, self._owner.gid)
            fresh.rename(host)
        guest.mkdir(exist_ok=True)
        if not guest.is_mount():
            _mount_guest(guest)

    def remove(self, instance_id: str) -> None:
        own, guest = self._root / instance_id, self.guest(instance_id)
        while guest.is_mount():
            # Detached, so that a gateway's open socket does not keep it; it vanishes with its last user.
            if _libc.umount2(os.fsencode(guest), _MNT_DETACH | _UMOUNT_NOFOLLOW):
                raise _last_error("umount", guest)
        # Safe although the api process owns `host/`: rmtree works on directory descriptors and follows no symlink.
        if own.exists():
            shutil.rmtree(own)


def _mount_guest(path: Path) -> None:
    options = f"size={GUEST_SIZE_IN_KIB}k,nr_inodes={GUEST_INODES},mode=0777"
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_NOSYMFOLLOW
    if _libc.mount(b"fanlight", os.fsencode(path), b"tmpfs", flags, options.encode()):
        raise _last_error("mount", path)


def _last_error(what: str, path: Path) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}", str(path))
