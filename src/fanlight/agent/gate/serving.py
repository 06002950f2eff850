"""The process between the kernel's device and rclone: one for each folder that has a quota.

rclone has one end of a pair of sockets in the place of the device: it reads one message at a time, and writes one at a
time. The end of either side, or of this process, is the end of the mount; the agent then has rclone started again.
"""

import contextlib
import errno
import os
import select
import socket
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from fanlight.agent.gate.ledger import Room
from fanlight.agent.gate.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable

# A write of 128 KiB with what stands before it; the kernel refuses to be read with less than the largest it may say.
LARGEST_MESSAGE = 1 << 18
_NEWS_LIMIT = 256
MARK, LOOK = b"mark", b"look"


class _Ended(Exception):
    """One of the two sides is not there any more."""


def begin(device: int, room: Room, news: Path) -> int:
    """Start that process, and return what rclone gets in the place of the device. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for one in (ours, theirs):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * LARGEST_MESSAGE)
    news.unlink(missing_ok=True)
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    ear.bind(str(news))
    log = _log_of(os.getppid())
    if os.fork():
        ours.close()
        ear.close()
        return theirs.detach()
    try:
        os.setsid()
        for output in (1, 2):
            os.dup2(log, output)
        _keep_only(device, ours.fileno(), ear.fileno())
        Gate(device, ours, ear, Rules(room)).run()
    except Exception:  # noqa: BLE001 - nobody else would say it
        traceback.print_exc()
    finally:
        os._exit(0)


class Gate:
    """Passes messages until one side has ended."""

    def __init__(self, device: int, rclone: socket.socket, ear: socket.socket, rules: Rules) -> None:
        self._device, self._rclone, self._ear, self._rules = device, rclone, ear, rules
        self._asked, self._answered = bytearray(LARGEST_MESSAGE), bytearray(LARGEST_MESSAGE)
        self._ask_view, self._answer_view = memoryview(self._asked), memoryview(self._answered)
        self._held: memoryview | None = None  # what rclone has not taken yet; nothing more is read meanwhile
        self._poll = select.poll()
        os.set_blocking(device, False)
        rclone.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._poll.register(device, select.POLLIN)
        self._poll.register(rclone, select.POLLIN)
        self._poll.register(ear, select.POLLIN)

    def run(self) -> None:
        does: dict[int, Callable[[], None]] = {
            self._device: self._ask,
            self._rclone.fileno(): self._hear_rclone,
            self._ear.fileno(): self._hear_news,
        }
        try:
            while True:
                for descriptor, _ in self._poll.poll():
                    does[descriptor]()
        except _Ended as ended:
            print("gate: ended", ended.__cause__ or "", file=sys.stderr, flush=True)  # noqa: T201 - rclone's log

    def _ask(self) -> None:
        if self._held is not None:  # the device says that it has ended, whatever was asked of it
            raise _Ended
        try:
            size = os.readv(self._device, [self._asked])
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR, errno.ENOENT):  # the last: who asked has gone meanwhile
                return
            raise _Ended from error
        message = self._ask_view[:size]
        answer = self._rules.ask(message)
        if answer is not None:
            self._tell_kernel(answer)
        else:
            self._tell_rclone(message)

    def _tell_rclone(self, message: memoryview) -> None:
        try:
            self._rclone.send(message)
        except BlockingIOError:
            if self._held is None:
                self._held = message
                self._poll.modify(self._device, 0)
                self._poll.modify(self._rclone, select.POLLIN | select.POLLOUT)
            return
        except OSError as error:
            raise _Ended from error
        if self._held is not None:
            self._held = None
            self._poll.modify(self._device, select.POLLIN)
            self._poll.modify(self._rclone, select.POLLIN)

    def _hear_rclone(self) -> None:
        if self._held is not None:
            self._tell_rclone(self._held)
        try:
            size = self._rclone.recv_into(self._answered)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise _Ended from error
        if not size:
            raise _Ended
        message = self._answer_view[:size]
        self._rules.answer(message)
        self._tell_kernel(message)

    def _tell_kernel(self, message: memoryview | bytes) -> None:
        try:
            os.write(self._device, message)
        except OSError as error:
            # Of anything else the kernel says that nobody waits for it any more.
            if error.errno in (errno.ENODEV, errno.EPERM):
                raise _Ended from error

    def _hear_news(self) -> None:
        try:
            said = self._ear.recv(_NEWS_LIMIT)
        except OSError:
            return
        if said == MARK:
            self._rules.mark()
            return
        with contextlib.suppress(ValueError):
            what, limit, used, unsent_files, unsent = said.split()
            if what == LOOK:
                room = Room(limit=None if limit == b"-" else int(limit), used=int(used))
                self._rules.look(room, unsent=int(unsent), is_quiet=not int(unsent_files))


class GateNews:
    """The agent's side: what it tells a gate, if there is one."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def mark(self) -> None:
        """What is asked from now on is told with the next look."""
        self._send(MARK)

    def look(self, room: Room, *, unsent_files: int, unsent: int) -> None:
        limit = "-" if room.limit is None else str(room.limit)
        self._send(b"%b %b %d %d %d" % (LOOK, limit.encode(), room.used, unsent_files, unsent))

    def _send(self, what: bytes) -> None:
        voice = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with voice, contextlib.suppress(OSError):  # there is none, or it hears the next one
            voice.sendto(what, self._path)


def _log_of(rclone: int) -> int:
    """Return where rclone writes what goes wrong, or nowhere if that is none to be opened."""
    try:
        return os.open(f"/proc/{rclone}/fd/2", os.O_WRONLY | os.O_APPEND)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def _keep_only(*descriptors: int) -> None:
    """Close everything else: rclone waits for the end of what its helper says, and each side's end must be seen."""
    first = 3
    for kept in sorted(descriptors):
        os.closerange(first, kept)
        first = kept + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
