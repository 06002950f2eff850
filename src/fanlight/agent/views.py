"""What the programs of one seat see of a shared instance: temporary places, shared memory and variables of their own.

A view is a mount namespace and an IPC namespace. What is mounted in it goes with the last program in it and `close`.
Unshared instances need none: nobody else is there.
"""

import ctypes
import os
from dataclasses import dataclass
from typing import Self

from fanlight.agent.accounts import Seat
from fanlight.agent.system import MS_NODEV, MS_NOSUID, bind, make_directory, make_private, mount, unmount

CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
_KINDS = {"mnt": CLONE_NEWNS, "ipc": CLONE_NEWIPC}
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class View:
    """The descriptors keep the namespaces alive while no program is in them."""

    seat: Seat
    descriptors: tuple[int, ...]

    @classmethod
    def of(cls, seat: Seat) -> Self:
        """Make the view of a seat whose directories are there. Raises OSError.

        A child makes it, because the agent itself must stay where it is; the parent takes hold of it before it goes.
        """
        make_directory(seat.temporary_directory, 0, 0, 0o1777)
        mount("tmpfs", seat.temporary_directory, MS_NOSUID | MS_NODEV, "mode=1777,size=50%")
        for name in (".X11-unix", ".ICE-unix"):
            make_directory(f"{seat.temporary_directory}/{name}", 0, 0, 0o1777)
        made, taken = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _unshare(CLONE_NEWNS | CLONE_NEWIPC)
                _furnish(seat)
                os.write(made[1], b"x")
                os.close(taken[1])
                os.read(taken[0], 1)
            except BaseException as error:  # noqa: BLE001 - a forked child must never return into the agent
                os.write(made[1], str(error).encode()[:200] or b"?")
                os._exit(1)
            os._exit(0)
        try:
            os.close(made[1])
            said = os.read(made[0], 200)
            if said != b"x":
                raise OSError(f"no view for seat {seat.number}: {said.decode(errors='replace')}")
            return cls(seat, tuple(os.open(f"/proc/{child}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in _KINDS))
        finally:
            for descriptor in (made[0], *taken):
                os.close(descriptor)
            os.waitpid(child, 0)

    def enter(self) -> None:
        """Go into the view; the working directory is its root then. In a child that becomes a program. Raises OSError."""
        for descriptor, kind in zip(self.descriptors, _KINDS.values(), strict=True):
            if _libc.setns(descriptor, kind) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def close(self) -> None:
        """Give it up; programs that are in it still keep it."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        unmount(self.seat.temporary_directory)


def _unshare(kinds: int) -> None:
    if _libc.unshare(kinds) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def _furnish(seat: Seat) -> None:
    make_private("/")
    bind(seat.temporary_directory, "/tmp")  # noqa: S108 - the seat's own
    mount("tmpfs", "/var/tmp", MS_NOSUID | MS_NODEV, "mode=1777,size=50%")  # noqa: S108
    mount("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777")  # noqa: S108
    bind(seat.variables_directory, "/etc/profile.d")
