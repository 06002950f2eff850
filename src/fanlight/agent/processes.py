"""Start programs, learn of their end, and reap whatever else dies below process 1.

Process 1 inherits every orphan, so nobody else here may wait for a child: asyncio's and subprocess's own waiting are
never used, `reap` is called on SIGCHLD and takes all there is.
"""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fanlight.agent.accounts import Account

log = logging.getLogger(__name__)

ExitHandler = Callable[[int], None]

PR_SET_NO_NEW_PRIVS = 38
# When memory ends, an application has to go rather than the display with all of them.
OOM_SCORE_OF_APPLICATIONS = "500"
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """`hand_over` are descriptors that the program inherits, and that are closed here once it has them."""

    name: str
    log_directory: str
    arguments: Sequence[str]
    account: Account
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/"
    hand_over: Sequence[int] = ()


class Processes(Protocol):
    """The boundary to the kernel; unit tests have their own."""

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


def _bind() -> None:
    """In the child: whatever set-user-id programs an image has, nothing started here ever gains by them."""
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        os._exit(126)


class KernelProcesses:
    """The real thing."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[subprocess.Popen[bytes], ExitHandler]] = {}

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        log_path = Path(program.log_directory) / f"{program.name}.log"
        try:
            with log_path.open("ab") as output:
                process = subprocess.Popen(  # noqa: S603 - the host says what runs here
                    list(program.arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(program.environment),
                    cwd=program.working_directory,
                    user=program.account.uid,
                    group=program.account.main_group,
                    extra_groups=[program.account.group],
                    pass_fds=program.hand_over,
                    start_new_session=True,
                    umask=0o022,
                    preexec_fn=_bind,  # noqa: PLW1509 - no threads fork here
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
        """A child becomes the account and signals -1: the kernel then reaches all of them, however fast they fork."""
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(account.group, account.group, account.group)
                os.setresuid(account.uid, account.uid, account.uid)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.kill(-1, number)
            except ProcessLookupError:
                os._exit(1)
            except BaseException:  # noqa: BLE001 - a forked child must never return into the agent
                os._exit(2)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) == 0

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
