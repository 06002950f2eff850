"""Run the session scripts of the image: at the start before the session is shown, at the end before its programs go.

System scripts run as the instance's root, user scripts as the session's user; both get the session's variables. What
they print goes into a file in the instance; the host gets one line. No script holds a session up for longer than the
waiting time of its event: what still runs then is killed, with everything that stayed in its process group.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlight.agent.accounts import Account, Seat
from fanlight.agent.processes import Processes, Program
from fanlight.agent.script_configs import (
    EventScripts,
    Script,
    ScriptConfig,
    ScriptContext,
    ScriptEvent,
    ScriptsRefused,
    read_config,
    require_trusted,
)

log = logging.getLogger(__name__)

ROOT = Account("root", 0, 0, "/root", 0, runs_applications=False)
ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOLD_BYTES = 160  # of the end of a script's output
_OF_THE_USER = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # root has no business with the user's own sockets
_LOG_NAMES = {ScriptEvent.START: "session-start", ScriptEvent.TERMINATION: "session-termination"}


@dataclass(frozen=True, slots=True)
class ScriptsReport:
    """What became of the scripts of an event; `text` is empty when there was none to run."""

    text: str = ""
    has_failed: bool = False


@dataclass(slots=True, kw_only=True)
class _Run:
    script: Script
    began_at: float
    log_path: Path
    log_began_at: int
    ended: asyncio.Future[int]
    pid: int = 0
    problem: str = ""


class SessionScripts:
    """One for each session. `root` is where the file system begins, `owner` whose it is, root's (tests move both)."""

    def __init__(
        self,
        processes: Processes,
        *,
        seat: Seat,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        root: Path = Path("/"),
        owner: int = 0,
    ) -> None:
        self._processes, self._sleep, self._clock = processes, sleep, clock
        self._root, self._owner = root, owner
        self._seat = seat
        self._config: ScriptConfig | None = None
        self._running: list[_Run] = []

    async def start(self, user: Account, environment: Mapping[str, str]) -> ScriptsReport:
        """Run the scripts of a session that starts; return within their waiting time. Never raises.

        `environment` is that of the user's programs.
        """
        try:
            self._config = read_config(self._root, self._owner)
        except ScriptsRefused as error:
            log.warning("session scripts refused", extra={"why": str(error)})
            return ScriptsReport(f"session scripts: {error}", has_failed=True)
        return await self._run(ScriptEvent.START, user, environment)

    async def terminate(self, user: Account, environment: Mapping[str, str]) -> ScriptsReport:
        """Run the scripts of a session that ends, as the configuration was when it started. Never raises."""
        self._kill(self._running)  # those of a start that nobody waits for any more
        return await self._run(ScriptEvent.TERMINATION, user, environment)

    def _kill(self, runs: Sequence[_Run]) -> None:
        for run in runs:
            if not run.ended.done():
                self._processes.signal_group(run.pid, signal.SIGKILL)

    async def _run(self, event: ScriptEvent, user: Account, environment: Mapping[str, str]) -> ScriptsReport:
        wanted = self._config.of(event) if self._config else EventScripts()
        if not wanted.scripts:
            return ScriptsReport()
        runs = [self._begin(event, script, user, environment) for script in wanted.scripts]
        started = self._running = [run for run in runs if not run.problem]
        await self._wait(started, wanted.waiting_time_in_seconds)
        self._kill(started)
        said = [self._said(run, wanted.waiting_time_in_seconds) for run in runs]
        report = ScriptsReport(
            f"{event}: {'; '.join(text for text, _ in said)}", has_failed=not all(is_fine for _, is_fine in said)
        )
        log.log(logging.WARNING if report.has_failed else logging.INFO, "session scripts", extra={"said": report.text})
        return report

    def _begin(self, event: ScriptEvent, script: Script, user: Account, environment: Mapping[str, str]) -> _Run:
        is_system = script.context is ScriptContext.SYSTEM
        account = ROOT if is_system else user
        name = f"{_LOG_NAMES[event]}-{script.context}"
        log_path = self._root / self._seat.log_directory.lstrip("/") / f"{name}.log"
        run = _Run(
            script=script,
            began_at=self._clock(),
            log_path=log_path,
            log_began_at=log_path.stat().st_size if log_path.exists() else 0,
            ended=asyncio.get_running_loop().create_future(),
        )
        try:
            if is_system:
                require_trusted(script.path, self._root, self._owner)
            program = Program(
                name=name,
                seat=self._seat,
                arguments=[script.path, *script.arguments],
                account=account,
                environment=environment_of_root(environment) if is_system else environment,
                working_directory=account.home,
            )
            run.pid = self._processes.start(program, lambda status: _note(run.ended, status))
        except ScriptsRefused as error:
            run.problem = str(error)
        except OSError as error:
            run.problem = f"{script.path} cannot be started: {error.strerror or error}"
        return run

    async def _wait(self, runs: Sequence[_Run], seconds: float) -> None:
        limit: asyncio.Future[Any] = asyncio.ensure_future(self._sleep(seconds))
        try:
            while not limit.done() and (waiting := {run.ended for run in runs if not run.ended.done()}):
                await asyncio.wait([limit, *waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()

    def _said(self, run: _Run, limit_in_seconds: float) -> tuple[str, bool]:
        """Return one run in words, and whether it went well."""
        context = run.script.context
        if run.problem:
            return f"{context} {run.problem}", False
        last = _last_words(run) if run.script.is_told else ""
        if not run.ended.done():
            return f"{context} was stopped after {limit_in_seconds:.0f} s{last}", False
        status = run.ended.result()
        return f"{context} ended with {status} after {self._clock() - run.began_at:.1f} s{last}", status == 0


def environment_of_root(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a system script sees: the session's variables and its display, in root's own surroundings."""
    kept = {name: value for name, value in environment.items() if name not in _OF_THE_USER}
    return {**kept, "HOME": ROOT.home, "USER": ROOT.name, "LOGNAME": ROOT.name, "PATH": ROOT_PATH}


def _note(ended: asyncio.Future[int], status: int) -> None:
    if not ended.done():
        ended.set_result(status)


def _last_words(run: _Run) -> str:
    """Return the end of what the script printed, on one line, or nothing."""
    try:
        with run.log_path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(run.log_began_at, size - TOLD_BYTES))
            text = file.read(TOLD_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f": {words}" if words else ""
