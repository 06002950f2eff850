"""Unix sockets addressed by their directory's descriptor: a socket address has at most 107 bytes, a path may have more."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def _opened(directory: Path) -> Iterator[Path]:
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def listen_in(directory: Path, name: str, *, mode: int, backlog: int) -> socket.socket:
    """Return a socket that listens in `directory` under `name`, in place of any that was there. Raises OSError.

    It gets its mode before its name, so that no peer is ever turned away for want of a permission.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _opened(directory) as here:
            fresh = here / f".{name}.{os.getpid()}"
            fresh.unlink(missing_ok=True)
            listener.bind(str(fresh))
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
