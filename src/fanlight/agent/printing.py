"""The session's printer socket: bound by the agent, served by a program that runs only while somebody prints.

CUPS_SERVER names the socket to the user's programs; documents go into the seat's spool, which the user can put files
into and not list. Selkies takes them out and offers them to the browser. A session that may not print has no socket,
and Selkies looks at no spool: what a program puts there on its own stays there.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from fanlight.agent.accounts import Account
from fanlight.agent.processes import Processes, Program

log = logging.getLogger(__name__)

PAUSE_IN_SECONDS = 1.0  # after the program ended: one that cannot run must not be started without end
_BACKLOG = 16


class PrinterSocket:
    """`prepare` makes the program that serves the listening descriptor it is given; it ends when nobody prints."""

    def __init__(
        self, processes: Processes, prepare: Callable[[int], Program], *, pause_in_seconds: float = PAUSE_IN_SECONDS
    ) -> None:
        self._processes, self._prepare, self._pause = processes, prepare, pause_in_seconds
        self._listener: socket.socket | None = None
        self._path = Path()

    def open(self, path: str, owner: Account) -> None:
        """Listen for programs of `owner` alone. Does nothing when it is open. Raises OSError."""
        if self._listener is not None:
            return
        self._path = Path(path)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind(path)
            self._path.chmod(0o600)
            os.chown(path, owner.uid, owner.group)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._watch()

    def close(self) -> None:
        """Let nobody print any more. A program that serves ends with the session's user."""
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
            log.warning("the printer cannot be started", extra={"why": str(error)})
            self._ended(-1)

    def _ended(self, status: int) -> None:
        log.info("the printer rests", extra={"status": status})
        if self._listener is not None:
            asyncio.get_running_loop().call_later(self._pause, self._watch)
