"""Supervised programs: started again, but not for ever."""

import signal
from dataclasses import dataclass, field

import pytest

from fanlight.agent.accounts import Account, Seat
from fanlight.agent.processes import ExitHandler, KernelProcesses, Program
from fanlight.agent.services import RESTART_WINDOW_IN_SECONDS, RESTARTS_ALLOWED, Service


@dataclass
class OneProcess:
    """Runs at most one program at a time, and lets the test end it."""

    starts: int = 0
    on_exit: ExitHandler | None = None
    signals: list[int] = field(default_factory=list)
    refuse: bool = False

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        assert self.on_exit is None
        if self.refuse:
            raise FileNotFoundError(2, "No such file")
        self.starts, self.on_exit = self.starts + 1, on_exit
        return self.starts

    def die(self, status: int = 1) -> None:
        on_exit, self.on_exit = self.on_exit, None
        assert on_exit is not None
        on_exit(status)

    def signal(self, pid: int, number: int) -> None:
        assert pid == self.starts
        self.signals.append(number)

    def signal_all_of(self, account: Account, number: int) -> bool:
        raise AssertionError("not asked for here")


class Bench:
    def __init__(self, *, may_restart: bool = True) -> None:
        self.processes = OneProcess()
        self.now = 0.0
        self.failures: list[str] = []
        self.service = Service(
            lambda: Program(name="sound", seat=Seat(0), arguments=["/bin/sound"], account=Seat(0).display),
            processes=self.processes,
            clock=lambda: self.now,
            on_failure=self.failures.append,
            may_restart=may_restart,
        )


def test_program_that_ends_is_started_again() -> None:
    bench = Bench()
    bench.service.start()
    bench.service.start()
    assert bench.processes.starts == 1
    bench.processes.die()
    assert bench.processes.starts == 2
    assert bench.failures == []


def test_program_that_ends_too_often_is_a_failure() -> None:
    bench = Bench()
    bench.service.start()
    for _ in range(RESTARTS_ALLOWED + 1):
        bench.processes.die(-11)
    assert bench.processes.starts == RESTARTS_ALLOWED + 1
    assert len(bench.failures) == 1
    assert "sound ended with status -11" in bench.failures[0]


def test_old_endings_are_forgotten() -> None:
    bench = Bench()
    bench.service.start()
    for _ in range(RESTARTS_ALLOWED * 3):
        bench.processes.die()
        bench.now += RESTART_WINDOW_IN_SECONDS / 2
    assert bench.failures == []


def test_program_that_must_not_restart_fails_at_its_first_end() -> None:
    bench = Bench(may_restart=False)
    bench.service.start()
    bench.processes.die(0)
    assert bench.processes.starts == 1
    assert "sound ended" in bench.failures[0]


def test_stopped_program_stays_ended() -> None:
    bench = Bench()
    bench.service.start()
    bench.service.stop(signal.SIGTERM)
    bench.processes.die(0)
    assert bench.processes.signals == [signal.SIGTERM]
    assert bench.processes.starts == 1
    assert bench.failures == []
    assert not bench.service.is_running


def test_program_that_cannot_start_is_a_failure() -> None:
    bench = Bench()
    bench.processes.refuse = True
    bench.service.start()
    assert "sound cannot be started" in bench.failures[0]


def test_signal_to_a_process_that_was_never_ours_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, number: sent.append(pid))
    KernelProcesses().signal(1, signal.SIGTERM)
    assert sent == []
