"""Hold the abstract names of displays, so that no program can stand in for the X server of another seat.

An X client tries a name in the abstract namespace before the socket in /tmp. All seats of an instance share that
namespace, as they share the network, and display numbers are easy to guess: who listened there first would be given the
secret of the display and everything typed into it. So the agent takes the names, long before anybody could need them,
and never listens: clients are refused and go on to the socket in /tmp, which each seat has in a view of its own.
"""

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

# Names are taken this far ahead. A program may sit on later ones: the numbers that go with them are passed over.
AHEAD = 256


class Held(Protocol):
    def close(self) -> None: ...


def hold(number: int) -> Held | None:
    """Take the name of a display and never listen there; None when somebody else has it. Raises OSError."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(b"\0/tmp/.X11-unix/X%d" % number)
    except OSError as error:
        held.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return held


class DisplayNames:
    """Iterate over the numbers of seats whose displays' names are held here; there are `limit` numbers in all.

    Making one, and each step, may raise OSError.
    """

    def __init__(self, hold: Callable[[int], Held | None], *, is_shared: bool, limit: int) -> None:
        self._hold = hold
        self._numbers = iter(range(limit))
        self._ahead: deque[int] = deque()
        self._held: dict[int, Held] = {}
        self._wanted = AHEAD if is_shared else 1
        self._hold_more()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        """Raises StopIteration when there is none left."""
        self._hold_more()
        if not self._ahead:
            raise StopIteration
        return self._ahead.popleft()

    def release(self, number: int) -> None:
        """Give a name up: its seat is gone, and its number never comes again."""
        if (held := self._held.pop(number, None)) is not None:
            held.close()

    def _hold_more(self) -> None:
        while len(self._ahead) < self._wanted and (number := next(self._numbers, None)) is not None:
            if (held := self._hold(number)) is not None:
                self._held[number] = held
                self._ahead.append(number)
