"""Programs that must run as long as the instance does: started again when they end, but not for ever."""

import logging
from collections import deque
from collections.abc import Callable

from fanlight.agent.processes import Processes, Program

log = logging.getLogger(__name__)

RESTARTS_ALLOWED = 3  # within RESTART_WINDOW_IN_SECONDS; a program that ends more often than that will not recover
RESTART_WINDOW_IN_SECONDS = 60.0


class Service:
    """One supervised program.

    `on_failure` is called with a sentence when it ended too often. `prepare` makes a fresh Program for every start:
    one may carry a descriptor that only one process can have.
    """

    def __init__(
        self,
        prepare: Callable[[], Program],
        *,
        processes: Processes,
        clock: Callable[[], float],
        on_failure: Callable[[str], None],
        may_restart: bool = True,
    ) -> None:
        self._prepare = prepare
        self._processes = processes
        self._clock = clock
        self._on_failure = on_failure
        self._allowed = RESTARTS_ALLOWED if may_restart else 0
        self._ended_at: deque[float] = deque()
        self._pid: int | None = None
        self._name = ""
        self._is_wanted = False

    @property
    def is_running(self) -> bool:
        return self._pid is not None

    def start(self) -> None:
        """Start it unless it runs. A program that cannot be started at all is a failure at once."""
        self._is_wanted = True
        if self._pid is not None:
            return
        program = self._prepare()
        self._name = program.name
        try:
            self._pid = self._processes.start(program, self._ended)
        except OSError as error:
            self._on_failure(f"{program.name} cannot be started: {error}")

    def signal(self, number: int) -> None:
        if self._pid is not None:
            self._processes.signal(self._pid, number)

    def stop(self, number: int) -> None:
        """Signal it and let it stay ended."""
        self._is_wanted = False
        self.signal(number)

    def _ended(self, status: int) -> None:
        self._pid = None
        if not self._is_wanted:
            return
        now = self._clock()
        self._ended_at.append(now)
        while self._ended_at and now - self._ended_at[0] > RESTART_WINDOW_IN_SECONDS:
            self._ended_at.popleft()
        if len(self._ended_at) > self._allowed:
            self._is_wanted = False
            self._on_failure(f"{self._name} ended with status {status}, {len(self._ended_at)} times within a minute")
            return
        log.warning("program ended and is started again", extra={"program": self._name, "status": status})
        self.start()
