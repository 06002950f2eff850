"""Unix sockets between our processes and with instances.

They are addressed by their directory's descriptor: a socket address has at most 107 bytes, a path may have more.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

_UCRED = struct.Struct("3i")  # pid, uid, gid


class HasDescriptor(Protocol):
    """A socket, or what an event loop shows of one."""

    def fileno(self) -> int: ...


@contextmanager
def _opened(directory: Path) -> Iterator[Path]:
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def listen_in(directory: Path, name: str, *, mode: int, backlog: int, group_id: int = -1) -> socket.socket:
    """Return a socket that listens in `directory` under `name`, in place of any that was there. Raises OSError.

    It gets group (-1: the process's own) and mode before its name, so that no peer is ever turned away for want of a
    permission, or let in for too much of it.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _opened(directory) as here:
            fresh = here / f".{name}.{os.getpid()}"
            fresh.unlink(missing_ok=True)
            listener.bind(str(fresh))  # nobody can connect before `listen`
            os.chown(fresh, -1, group_id, follow_symlinks=False)
            fresh.chmod(mode)
            listener.listen(backlog)
            fresh.rename(here / name)
    except OSError:
        listener.close()
        raise
    return listener


async def connect_in(directory: Path, name: str) -> socket.socket:
    """Return a connected socket. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _opened(directory) as here:
            await asyncio.get_running_loop().sock_connect(connection, str(here / name))
    except (OSError, asyncio.CancelledError):
        connection.close()
        raise
    return connection


def uid_of_peer(connection: HasDescriptor | None) -> int | None:
    """Return the uid of the process at the other end, as the kernel knows it; None when the connection is gone."""
    descriptor = -1 if connection is None else connection.fileno()
    if descriptor < 0:
        return None
    # A copy, because an event loop's own socket objects do not let one ask.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(descriptor)) as own:
        _, uid, _ = _UCRED.unpack(own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)
