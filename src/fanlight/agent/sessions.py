"""The life of a seat as its agent sees it: boot, one session, the end.

    BOOTING → READY → STARTING_SESSION → IN_SESSION → FLUSHING → ENDED          any → FAILED

FLUSHING only if files that the user saved have not arrived yet.

A seat serves one session in its life. What the host sends are wishes that it repeats until the status says so;
therefore every message may come twice, early, or for another session.
"""

import asyncio
import contextlib
import logging
import os
import re
import shlex
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from fanlight.agent.accounts import Account, Seat
from fanlight.agent.processes import ExitHandler, Processes, Program
from fanlight.agent.session_scripts import SessionScripts
from fanlight.agent.time_zones import with_known_zone
from fanlight.agentwire.messages import (
    ApplicationToLaunch,
    BeginSession,
    EndSession,
    LaunchApplication,
    Message,
    RefreshStorage,
    StorageMount,
    StorageReport,
)

log = logging.getLogger(__name__)

BOOTING, READY, STARTING_SESSION, IN_SESSION, FLUSHING, ENDED, FAILED = (
    "BOOTING", "READY", "STARTING_SESSION", "IN_SESSION", "FLUSHING", "ENDED", "FAILED",
)  # fmt: skip
MAX_DETAIL = 500
GRACE_IN_SECONDS = 3.0  # programs may save what they have; the user has been asked before
END_POLL_IN_SECONDS = 0.05
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
USER_VARIABLES = "appstream_user_vars.sh"
MACHINE_VARIABLES = "appstream_system_vars.sh"
CONTEXT_VARIABLE = "APPSTREAM_SESSION_CONTEXT"


class SessionDesktop(Protocol):
    async def boot(self) -> None: ...
    def begin(
        self, stream_view: str, stream_settings: Mapping[str, str], environment: Mapping[str, str]
    ) -> Awaitable[None]: ...
    async def until_managed(self) -> None: ...
    async def idle_seconds(self) -> float: ...
    def release(self) -> None: ...
    def end(self) -> None: ...


class SeatStorage(Protocol):
    """See `session_storage`."""

    @property
    def reports(self) -> tuple[StorageReport, ...]: ...
    def begin(self, session_id: str, mounts: Sequence[StorageMount]) -> None: ...
    async def restore(self, mounts: Sequence[StorageMount]) -> None: ...
    def refresh(self) -> None: ...
    async def end(self, on_unsent: Callable[[], None]) -> None: ...


class Refused(Exception):
    """A message that cannot be carried out. The text goes into the status."""


class SeatLife:
    """`on_change` is called after every change of what the status says. `root` is where /etc is (tests move it).

    `clean` takes everything of the session away, where others share the instance; else the instance goes anyway.
    """

    def __init__(
        self,
        desktop: SessionDesktop,
        processes: Processes,
        seat: Seat,
        *,
        on_change: Callable[[], None],
        scripts: SessionScripts,
        storage: SeatStorage,
        clean: Callable[[], Awaitable[None]] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        root: Path = Path("/"),
    ) -> None:
        self.phase = BOOTING
        self.session_id: str | None = None
        self.detail = ""
        self.has_script_failed = False
        self._desktop = desktop
        self._processes = processes
        self._seat = seat
        self._on_change = on_change
        self._scripts = scripts
        self._storage = storage
        self._clean = clean
        self._sleep = sleep
        self._root = root
        self._wanted: BeginSession | None = None
        self._launched: set[str] = set()
        self._is_ending = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def seat(self) -> Seat:
        return self._seat

    @property
    def storage(self) -> tuple[StorageReport, ...]:
        return self._storage.reports

    @property
    def is_in_session(self) -> bool:
        return self.phase == IN_SESSION

    # ── What happens ──────────────────────────────────────────────────────────────────────────────────────────────

    async def boot(self) -> None:
        """Bring the desktop up; a session asked for meanwhile starts at once."""
        try:
            await self._desktop.boot()
        except Exception as error:  # noqa: BLE001 - whatever it is, the host must hear of it
            self.fail(f"boot: {str(error) or type(error).__name__}")
            return
        if self.phase == BOOTING:
            self._set(READY)
            if self._wanted is not None:
                self._begin(self._wanted)

    async def idle_seconds(self) -> float:
        """Return seconds since the last key or pointer event, -1 when unknown."""
        return -1.0 if self.phase in (BOOTING, FLUSHING, ENDED, FAILED) else await self._desktop.idle_seconds()

    def fail(self, detail: str) -> None:
        """Something that the session needs is gone for good."""
        if self.phase not in (ENDED, FAILED):
            log.error("seat failed", extra={"seat": self._seat.number, "detail": detail})
            self._set(FAILED, detail)

    def handle(self, message: Message) -> None:
        """Act on a wish of the host. Never raises; what cannot be done is told in the status."""
        try:
            if isinstance(message, BeginSession):
                self._asked_to_begin(message)
            elif isinstance(message, LaunchApplication):
                self._asked_to_launch(message)
            elif isinstance(message, RefreshStorage):
                self._storage.refresh()
            elif isinstance(message, EndSession):
                self._asked_to_end(message)
        except (Refused, OSError) as error:
            self._set(self.phase, str(error))

    # ── Begin ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _asked_to_begin(self, message: BeginSession) -> None:
        if self._is_ending:
            raise Refused("this seat has ended its session")
        owner = self.session_id or (self._wanted and self._wanted.session_id)
        if owner is not None and owner != message.session_id:
            raise Refused(f"this seat belongs to session {owner}")
        if self.phase == BOOTING:
            self._wanted = message
            self.session_id = message.session_id
        elif self.phase == READY:
            self._begin(message)

    def _begin(self, message: BeginSession) -> None:
        message = replace(message, environment=with_known_zone(message.environment, self._root))
        self._wanted = message
        self.session_id = message.session_id
        self._set(STARTING_SESSION)
        self._storage.begin(message.session_id, message.storage)  # beside all else: no session waits for its files
        self._in_background(self._start_session(message))

    async def _start_session(self, message: BeginSession) -> None:
        await self._storage.restore(message.storage)
        if not self._is_ending:
            await self._start_programs(message)

    async def _start_programs(self, message: BeginSession) -> None:
        try:
            if not self._seat.is_administrators:  # a builder's session has no user of whom there is much to say
                self._write_variables(USER_VARIABLES, message.environment)
            self._write_variables(MACHINE_VARIABLES, message.machine_environment)
            report = await self._scripts.start(self._seat.user, self._environment())
            self.has_script_failed, detail = report.has_failed, report.text
            if self._is_ending:
                return
            stream = self._desktop.begin(message.stream_view, message.stream_settings, self._environment())
            try:
                if message.application is not None:
                    await self._desktop.until_managed()
                    if not self._is_ending:
                        self._launch(message.application)
            except (Refused, OSError) as error:
                # The session is there nevertheless: the user may choose another application.
                detail = "; ".join(text for text in (str(error), report.text) if text)
            await stream
        except Exception as error:  # noqa: BLE001 - whatever it is, the host must hear of it
            self.fail(f"session start: {str(error) or type(error).__name__}")
            return
        if self.phase == STARTING_SESSION:
            self._set(IN_SESSION, detail)

    def abandon(self) -> None:
        """Stop the desktop of a seat that nobody got."""
        self._is_ending = True
        self._desktop.release()
        self._desktop.end()

    # ── Applications ──────────────────────────────────────────────────────────────────────────────────────────────

    def _asked_to_launch(self, message: LaunchApplication) -> None:
        if message.session_id != self.session_id or self.phase not in (STARTING_SESSION, IN_SESSION):
            raise Refused(f"no session {message.session_id} to launch {message.application.name} in")
        if message.launch_id in self._launched:
            return
        self._launched.add(message.launch_id)
        self._launch(message.application)

    def _launch(self, application: ApplicationToLaunch) -> None:
        """Start it as the user. Raises Refused, OSError."""
        self.launch_as(self._seat.user, application)

    def launch_as(self, account: Account, application: ApplicationToLaunch) -> None:
        """Start it on this seat's display. Raises Refused, OSError."""

        def ended(status: int) -> None:
            log.info("application ended", extra={"application": application.name, "status": status})

        self.start_application(application, ended, account)

    def start_application(
        self, application: ApplicationToLaunch, on_end: ExitHandler, account: Account | None = None
    ) -> int:
        """Start it, as the user unless told otherwise; return its process id. Raises Refused, OSError."""
        account = account or self._seat.user
        try:
            parameters = shlex.split(application.launch_parameters)
        except ValueError as error:
            raise Refused(f"launch parameters of {application.name}: {error}") from error
        directory = self._seat.own(application.working_directory or account.home)
        if not (self._root / directory.lstrip("/")).is_dir():
            raise Refused(f"the working directory {directory} of {application.name} does not exist")
        self._reveal_context()
        program = Program(
            name="applications",
            seat=self._seat,
            arguments=[application.launch_path, *parameters],
            account=account,
            environment=self._environment(account),
            working_directory=directory,
        )
        try:
            pid = self._processes.start(program, on_end)
        except OSError as error:
            raise Refused(f"{application.name} cannot be started: {error}") from error
        log.info("application launched", extra={"application": application.name})
        return pid

    def _reveal_context(self) -> None:
        """The session context exists for programs from the first application launch on."""
        wanted = self._wanted
        if wanted is not None and wanted.session_context:
            self._write_variables(MACHINE_VARIABLES, self._machine_environment(wanted))

    def _environment(self, account: Account | None = None) -> dict[str, str]:
        assert self._wanted is not None  # noqa: S101 - there is a session
        return {
            **self._seat.environment_of(account or self._seat.user),
            **self._machine_environment(self._wanted),
            **self._wanted.environment,
        }

    @staticmethod
    def _machine_environment(wanted: BeginSession) -> dict[str, str]:
        context = {CONTEXT_VARIABLE: wanted.session_context} if wanted.session_context else {}
        return {**wanted.machine_environment, **context}

    def _write_variables(self, name: str, variables: Mapping[str, str]) -> None:
        """Write a profile file that the shells of this seat's user may source; others skip what they cannot read.

        Raises Refused for a name that no shell accepts.
        """
        for variable, value in variables.items():
            if not VARIABLE.fullmatch(variable) or "\0" in value:
                raise Refused(f"{variable!r} cannot be an environment variable")
        lines = [f"export {variable}={shlex.quote(value)}\n" for variable, value in variables.items()]
        target = self._root / self._seat.variables_directory.lstrip("/") / name
        temporary = target.with_name(f".{target.name}.new")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_text("".join(lines), encoding="utf-8")
        with contextlib.suppress(PermissionError):  # not root, as in a test: then nobody else may read it
            os.chown(temporary, -1, self._seat.user.group)
        temporary.chmod(0o640)
        temporary.replace(target)

    # ── End ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _asked_to_end(self, message: EndSession) -> None:
        owner = self.session_id or (self._wanted and self._wanted.session_id)
        if owner is not None and owner != message.session_id:
            raise Refused(f"this seat belongs to session {owner}")
        if self._is_ending:
            return
        self._is_ending = True
        self.session_id = message.session_id
        self._in_background(self._end())

    async def _end(self) -> None:
        """Run the image's scripts, end the user's programs, the stubborn ones after GRACE_IN_SECONDS, then the stream.

        Then wait until everything that was saved has arrived.
        """
        detail = ""
        if self._wanted is not None:
            detail = (await self._scripts.terminate(self._seat.user, self._environment())).text
        self._desktop.release()
        self._processes.signal_all_of(self._seat.user, signal.SIGTERM)
        waited = 0.0
        while self._processes.signal_all_of(self._seat.user, 0) and waited < GRACE_IN_SECONDS:
            await self._sleep(END_POLL_IN_SECONDS)
            waited += END_POLL_IN_SECONDS
        self._processes.signal_all_of(self._seat.user, signal.SIGKILL)
        self._desktop.end()
        await self._storage.end(lambda: self._set(FLUSHING, detail))
        detail = "; ".join(text for text in (detail, *(report.detail for report in self._storage.reports)) if text)
        if self._clean is not None:
            try:
                await self._clean()
            except OSError as error:
                self._set(FAILED, f"something is left of the session: {error}")
                return
        self._set(ENDED, detail)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _set(self, phase: str, detail: str = "") -> None:
        if (phase, detail) != (self.phase, self.detail):
            log.info("phase", extra={"seat": self._seat.number, "before": self.phase, "after": phase, "detail": detail})
            self.phase, self.detail = phase, detail[:MAX_DETAIL]
            self._on_change()
