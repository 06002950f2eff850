"""Run the initialization scripts of a workstation: as root before anybody comes, as its user when the desktop is opened.

Each is one piece of the host's work. Its text is a file that only root, or root and that user, can read, for as long as it
runs: parameters of components may be secrets.
"""

import asyncio
import os
import shlex
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from fanlight.agent.accounts import SEATS_DIRECTORY, Account
from fanlight.agent.commands import CommandFailed, Commands
from fanlight.agent.processes import Processes
from fanlight.agent.session_scripts import ROOT
from fanlight.agent.sessions import SeatLife
from fanlight.agent.work import DONE, Progress, Task
from fanlight.agentwire.messages import ApplicationToLaunch, RunScript, WorkReport

LIMIT_IN_SECONDS = 600.0
SHELL = "/bin/bash"
NAME = "initialization"


class InitializationScripts:
    """`seat_of` returns the seat of a session that is under way, None when there is none. `root` is moved by tests."""

    def __init__(
        self,
        commands: Commands,
        processes: Processes,
        seat_of: Callable[[str], SeatLife | None],
        *,
        root: Path = Path("/"),
    ) -> None:
        self._commands, self._processes, self._seat_of = commands, processes, seat_of
        self._directory = root / SEATS_DIRECTORY.lstrip("/") / "scripts"

    @property
    def tasks(self) -> Mapping[str, Task]:
        return {RunScript.TYPE: self._run}

    async def _run(self, message: RunScript, progress: Progress) -> WorkReport:
        """Raises CommandFailed, OSError."""
        progress("running a script")
        if message.session_id:
            await self._run_as_user(message)
        else:
            path = self._write(message, ROOT)
            try:
                await self._commands.run(
                    NAME, _call(message, path), limit_in_seconds=LIMIT_IN_SECONDS, environment=message.variables
                )
            finally:
                path.unlink(missing_ok=True)
        return WorkReport(work_id=message.work_id, phase=DONE)

    async def _run_as_user(self, message: RunScript) -> None:
        life = self._seat_of(message.session_id)
        if life is None or not life.is_in_session:
            raise CommandFailed(f"there is no session {message.session_id}")
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        path = self._write(message, life.seat.user)
        variables = [f"{name}={value}" for name, value in message.variables.items()]
        program = ApplicationToLaunch(
            name=NAME,
            launch_path="/usr/bin/env",
            launch_parameters=shlex.join([*variables, *_call(message, path)]),
        )
        try:
            pid = life.start_application(program, lambda status: _note(ended, status))
            try:
                async with asyncio.timeout(LIMIT_IN_SECONDS):
                    status = await ended
            except TimeoutError:
                raise CommandFailed(f"{NAME} took longer than {LIMIT_IN_SECONDS:.0f} s") from None
            finally:
                if not ended.done() or ended.cancelled():
                    self._processes.signal_group(pid, signal.SIGKILL)
        finally:
            path.unlink(missing_ok=True)
        if status != 0:
            raise CommandFailed(f"{NAME} ended with {status}")

    def _write(self, message: RunScript, account: Account) -> Path:
        """Leave the text where root and the account can read and run it. Raises OSError."""
        self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        path = self._directory / f"{NAME}-{account.uid}"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o700)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(message.script)
            if account != ROOT:
                os.fchown(file.fileno(), -1, account.group)
                os.fchmod(file.fileno(), 0o750)
        return path


def _call(message: RunScript, path: Path) -> list[str]:
    return [str(path)] if message.script.startswith("#!") else [SHELL, str(path)]


def _note(ended: asyncio.Future[int], status: int) -> None:
    if not ended.done():
        ended.set_result(status)
