"""Connect to a socket that a hostile guest may have planted.

The directory belongs to the guest: the stream socket may be missing, a FIFO, a symlink to the host's Incus socket, or a
socket whose listener never accepts. The path is opened without following links and without opening what it names, must
be a socket, is connected through the descriptor (so that it cannot be exchanged in between), and the listener's uid must
be that of the session's own seat: another user of the same instance has another. Nothing here blocks the event loop.
"""

import asyncio
import os
import socket
import stat

from fanlight.unix_sockets import uid_of_peer

CONNECT_TIMEOUT_IN_SECONDS = 5.0
_RETRY_PAUSE_IN_SECONDS = 0.02


class GuestUnreachable(Exception):
    """The instance's stream socket is missing, not a socket, not the session's own, or does not accept."""


async def connect_guest(
    path: str, uid: int, *, timeout_in_seconds: float = CONNECT_TIMEOUT_IN_SECONDS
) -> socket.socket:
    """Return a connected non-blocking socket to the listener of that uid. Raises GuestUnreachable."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise GuestUnreachable("the stream socket cannot be opened") from error
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise GuestUnreachable("the stream socket is not a socket")
        async with asyncio.timeout(timeout_in_seconds):
            connection = await _connect(f"/proc/self/fd/{descriptor}")
    except TimeoutError as error:
        raise GuestUnreachable("the stream socket does not accept") from error
    finally:
        os.close(descriptor)
    try:
        _check_peer(connection, uid)
    except GuestUnreachable:
        connection.close()
        raise
    return connection


async def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        while True:
            try:
                connection.connect(path)
            except BlockingIOError:
                # The listener's backlog is full. A Unix socket gives no event for that: look again until the time-out.
                await asyncio.sleep(_RETRY_PAUSE_IN_SECONDS)
            else:
                return connection
    except OSError as error:
        connection.close()
        raise GuestUnreachable("nobody listens on the stream socket") from error
    except BaseException:
        connection.close()
        raise


def _check_peer(connection: socket.socket, uid: int) -> None:
    if uid_of_peer(connection) != uid:
        raise GuestUnreachable("the stream socket belongs to somebody else")
