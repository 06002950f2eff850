"""Start programs, learn of their end, and reap whatever else dies below process 1.

Process 1 inherits every orphan, so nobody else here may wait for a child: asyncio's and subprocess's own waiting are
never used, `reap` is called on SIGCHLD and takes all there is.
"""

import contextlib
import ctypes
import logging
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fanlight.agent.accounts import Account, Seat
from fanlight.agent.views import View

log = logging.getLogger(__name__)

ExitHandler = Callable[[int], None]

PR_SET_NO_NEW_PRIVS = 38
# When memory ends, an application has to go rather than the display with all of them.
OOM_SCORE_OF_APPLICATIONS = "500"
PROCESSES_OF_ONE_USER = 1_024  # where others share the instance, which has twice as many: nobody takes them all
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """`hand_over` are descriptors that the program inherits, and that are closed here once it has them."""

    name: str
    seat: Seat
    arguments: Sequence[str]
    account: Account
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/"
    hand_over: Sequence[int] = ()


class Processes(Protocol):
    """The boundary to the kernel; unit tests have their own. `views` has those of the seats that have one, by number."""

    views: dict[int, View]

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        """Return the process id. `on_exit` gets the exit status, negative for a signal. Raises OSError."""
        ...

    def signal(self, pid: int, number: int) -> None:
        """Send a signal; a process that is gone is fine."""

    def signal_group(self, pid: int, number: int) -> None:
        """Send a signal to a process and to all that stayed in its group; one that is gone is fine."""

    def signal_all_of(self, account: Account, number: int) -> bool:
        """Send a signal to every process of an account at once; return whether there was any."""
        ...


def _become(program: Program, view: View | None) -> None:
    """In the child: see what the seat sees, be its account, and never be more.

    Whatever set-user-id programs an image has, nothing started here gains by them; only the administrator of an image
    builder has the right to, for sudo.
    """
    account = program.account
    try:
        if view is not None:
            view.enter()
        if program.seat.is_shared and account.runs_applications:
            resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES_OF_ONE_USER, PROCESSES_OF_ONE_USER))
        os.setgroups([account.group])
        os.setresgid(account.main_group, account.main_group, account.main_group)
        os.setresuid(account.uid, account.uid, account.uid)
        os.chdir(program.working_directory)
    except OSError as error:
        os.write(2, f"{program.name}: {error}\n".encode())
        os._exit(126)
    if not account.may_become_root and _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        os._exit(126)


def _has_processes(uid: int) -> bool:
    """Return whether anything runs as this user. What has ended and only waits for its parent does not run."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = dict(line.split(":\t", 1) for line in _status_of(entry) if ":\t" in line)
                if str(uid) in fields["Uid"].split() and fields["State"][:1] not in "ZX":
                    return True
    return False


def _status_of(process: Path) -> list[str]:
    return (process / "status").read_text(encoding="utf-8", errors="replace").splitlines()


class KernelProcesses:
    """The real thing."""

    def __init__(self) -> None:
        self.views: dict[int, View] = {}
        self._running: dict[int, tuple[subprocess.Popen[bytes], ExitHandler]] = {}

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        view = self.views.get(program.seat.number)
        log_path = Path(program.seat.log_directory) / f"{program.name}.log"
        try:
            with log_path.open("ab") as output:
                process = subprocess.Popen(  # noqa: S603 - the host says what runs here
                    list(program.arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(program.environment),
                    pass_fds=program.hand_over,
                    start_new_session=True,
                    umask=0o022,
                    preexec_fn=lambda: _become(program, view),  # noqa: PLW1509 - no threads fork here
                )
        finally:
            for descriptor in program.hand_over:
                os.close(descriptor)
        self._running[process.pid] = (process, on_exit)
        if program.account.runs_applications:
            with contextlib.suppress(OSError):  # it has ended already
                Path(f"/proc/{process.pid}/oom_score_adj").write_text(OOM_SCORE_OF_APPLICATIONS, encoding="ascii")
        return process.pid

    def signal(self, pid: int, number: int) -> None:
        if pid in self._running:  # not reaped yet, so the number cannot be somebody else's
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def signal_group(self, pid: int, number: int) -> None:
        if pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)  # each program is started in a session of its own

    def signal_all_of(self, account: Account, number: int) -> bool:
        """A child becomes the account and signals -1: the kernel then reaches all of them, however fast they fork.

        It says nothing of whether there was any: that it may not signal the others is no error to it.
        """
        had_any = _has_processes(account.uid)
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(account.group, account.group, account.group)
                os.setresuid(account.uid, account.uid, account.uid)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.kill(-1, number)
            finally:
                os._exit(0)  # a forked child must never return into the agent
        os.waitpid(child, 0)
        return had_any

    def reap(self) -> None:
        """Take every dead child. Call on SIGCHLD."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            known = self._running.pop(pid, None)
            if known is None:
                continue
            process, on_exit = known
            process.returncode = os.waitstatus_to_exitcode(status)  # tells Popen that it has been waited for
            on_exit(process.returncode)
