"""Sockets that the agent binds, each served by a program that runs only while somebody is connected.

The printer's: CUPS_SERVER names it to the user's programs; documents go into the seat's spool, which the user can put
files into and not list. Selkies takes them out and offers them to the browser. A session that may not print has no
socket, and Selkies looks at no spool: what a program puts there on its own stays there.

The one of the temporary files: the gateway connects to it, in the directory of the stream sockets.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from fanlight.agent.accounts import STREAMS_GROUP, Account
from fanlight.agent.processes import Processes, Program

log = logging.getLogger(__name__)

PAUSE_IN_SECONDS = 1.0  # after the program ended: one that cannot run must not be started without end
_BACKLOG = 16


class ProgramSocket:
    """`prepare` makes the program that serves the listening descriptor it is given; it ends when nobody asks it."""

    def __init__(
        self, processes: Processes, prepare: Callable[[int], Program], *, pause_in_seconds: float = PAUSE_IN_SECONDS
    ) -> None:
        self._processes, self._prepare, self._pause = processes, prepare, pause_in_seconds
        self._listener: socket.socket | None = None
        self._path = Path()

    def open(self, path: str, owner: Account) -> None:
        """Listen for programs of `owner` alone. Does nothing when it is open. Raises OSError."""
        self._open(path, owner, owner.group, 0o600, None)

    def open_to_gateway(self, path: str, display: Account) -> None:
        """Listen as the stream server of the seat does: the gateway asks whose socket it is. Raises OSError.

        The group that all display accounts are in gets nothing: a seat's files are not for the other seats.
        """
        self._open(path, display, STREAMS_GROUP, 0o606, display)

    def _open(self, path: str, owner: Account, group: int, mode: int, listens_as: Account | None) -> None:
        if self._listener is not None:
            return
        self._path = Path(path)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # Others may rename in the directory of the stream sockets: what is named is never followed.
            before = os.umask(0o777 & ~mode)
            try:
                listener.bind(path)
            finally:
                os.umask(before)
            os.chown(path, owner.uid, group, follow_symlinks=False)
            if listens_as is None:
                listener.listen(_BACKLOG)
            else:
                _listen_as(listens_as, listener)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._watch()

    def close(self) -> None:
        """Let nobody in any more. A program that serves ends with the session's user."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    def _watch(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._serve)

    def _serve(self) -> None:
        """Somebody connects: leave the socket to the program until that has ended."""
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        try:
            self._processes.start(self._prepare(os.dup(self._listener.fileno())), self._ended)
        except OSError as error:
            log.warning("what serves a socket cannot be started", extra={"socket": str(self._path), "why": str(error)})
            self._ended(-1)

    def _ended(self, status: int) -> None:
        log.info("what serves a socket rests", extra={"socket": str(self._path), "status": status})
        if self._listener is not None:
            asyncio.get_running_loop().call_later(self._pause, self._watch)


def _listen_as(account: Account, listener: socket.socket) -> None:
    """Let a child that has become the account listen: whoever connects is told who listened. Raises OSError."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(account.group, account.group, account.group)
            os.setresuid(account.uid, account.uid, account.uid)
            listener.listen(_BACKLOG)
            status = 0
        finally:
            os._exit(status)  # a forked child must never return into the agent
    if os.waitpid(child, 0)[1] != 0:
        raise OSError(f"{account.name} cannot listen")
