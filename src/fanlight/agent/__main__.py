"""Process 1 of an instance."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path

from fanlight.agent import builder, read_ahead, seats, system
from fanlight.agent.accounts import Seat
from fanlight.agent.application_checks import ApplicationChecks
from fanlight.agent.application_settings import ApplicationSettings
from fanlight.agent.builder_side import BuilderSide
from fanlight.agent.channel import HostChannel
from fanlight.agent.commands import Commands
from fanlight.agent.desktop import Desktop
from fanlight.agent.display_names import DisplayNames, hold
from fanlight.agent.initialization import InitializationScripts
from fanlight.agent.instance import InstanceLife
from fanlight.agent.left_sessions import left_session
from fanlight.agent.maintenance import Maintenance
from fanlight.agent.packages import Packages
from fanlight.agent.processes import KernelProcesses
from fanlight.agent.screen import Screen
from fanlight.agent.session_notes import found_notes
from fanlight.agent.session_scripts import SessionScripts
from fanlight.agent.session_storage import SessionStorage
from fanlight.agent.sessions import SeatLife
from fanlight.agent.work import HostedWork, Task
from fanlight.agentwire import MAX_SEATS, PROTOCOL, RUNTIME_DIRECTORY
from fanlight.agentwire.messages import ImageAnswer, Maintain, Message, PrepareSnapshot, RunScript, Status

log = logging.getLogger(__name__)

# Incus asks with SIGPWR; an administrator's tools with the others.
SHUTDOWN_SIGNALS = (signal.SIGPWR, signal.SIGTERM, signal.SIGINT)
NAME_SERVER_VARIABLE = "FANLIGHT_NAMESERVER"  # from the engine, when the instance has a way out
ROLE_VARIABLE = "FANLIGHT_ROLE"  # from the engine: what the instance was launched for
PLACES_VARIABLE = "FANLIGHT_SESSIONS"  # from the engine: how many sessions there may be at a time
STREAMING, MAINTENANCE, QUALIFICATION = "streaming", "maintenance", "qualification"
IMAGE_BUILDER, WORKSTATION = "image-builder", "workstation"
OUTLIVES_SESSIONS = (IMAGE_BUILDER, WORKSTATION)  # and stops: its disk stays
SHUTDOWN_GRACE_IN_SECONDS = 0.3  # instances are thrown away: nothing here is worth waiting for
STANDARD_LOG_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _LineFormatter(logging.Formatter):
    """Constant message, then the fields as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in STANDARD_LOG_RECORD}
        return f"{super().format(record)} {json.dumps(fields, default=str)}" if fields else super().format(record)


def main() -> None:
    """Run the instance until it is told to shut down."""
    name_server = os.environ.get(NAME_SERVER_VARIABLE, "")
    places = int(os.environ.get(PLACES_VARIABLE, "1"))
    role = os.environ.get(ROLE_VARIABLE, STREAMING)
    os.environ.clear()
    os.environ["GCONV_PATH"] = f"{RUNTIME_DIRECTORY}/lib"  # or the C library would load the image's converters
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_LineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        if role in OUTLIVES_SESSIONS:
            builder.forget_last_run()
        if role == IMAGE_BUILDER:
            builder.furnish()
        system.prepare(name_server)
        problem = ""
    except OSError as error:
        problem = str(error)
    asyncio.run(_run(problem, places, role))
    os.sync()


async def _run(problem: str, places: int, role: str) -> None:
    processes = KernelProcesses()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, processes.reap)
    stop = asyncio.Event()
    for number in SHUTDOWN_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    tasks: set[asyncio.Task[None]] = set()

    def in_background(work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    opened: list[tuple[SeatLife, Screen]] = []

    def open_seat(number: int) -> SeatLife:
        seat = Seat(
            number,
            is_shared=places > 1,
            is_administrators=role == IMAGE_BUILDER,
            is_workstation=role == WORKSTATION,
        )
        opened.append(_open_seat(seat, processes, names, on_change=lambda: life.seat_changed()))  # noqa: PLW0108
        return opened[-1][0]

    # They know each other in a circle; the names are bound before anything happens.
    names = DisplayNames(hold, is_shared=places > 1, limit=MAX_SEATS)
    life = InstanceLife(
        open_seat,
        places=places,
        numbers=names,
        on_change=lambda: channel.status_changed(),  # noqa: PLW0108
        in_background=in_background,
        is_for_many=role in OUTLIVES_SESSIONS,
    )
    version = _runtime_version()
    tasks_of_host = _tasks_of(role, processes, opened) if not problem else {}
    work = HostedWork(tasks_of_host, on_change=lambda: channel.status_changed(), in_background=in_background)  # noqa: PLW0108

    async def status() -> Status:
        return Status(
            protocol=PROTOCOL,
            runtime_version=version,
            phase=life.phase,
            sessions=await life.reports(),
            detail=life.detail,
            work=work.report,
        )

    builders = BuilderSide(life, processes, lambda: [seat for seat, _ in opened], in_background)

    def handle(message: Message) -> None:
        if isinstance(message, Maintain | RunScript):
            work.handle(message)
        elif isinstance(message, ImageAnswer | PrepareSnapshot):
            builders.handle(message)
        else:
            life.handle(message)

    channel = HostChannel(status=status, handle=handle, requests=builders.requests)
    in_background(channel.run())
    if problem or role != STREAMING or not _sends_what_was_left(life, processes, places):
        _begin(life, problem, places, role, builders)
    await stop.wait()
    log.info("shutting down")
    running = list(tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    os.kill(-1, signal.SIGTERM)
    await asyncio.sleep(SHUTDOWN_GRACE_IN_SECONDS)


def _sends_what_was_left(life: InstanceLife, processes: KernelProcesses, places: int) -> bool:
    """Have the instance do nothing else, if there were sessions when it stopped; return whether there were."""
    notes = found_notes()
    for note in notes:
        seat = left_session(note, processes, is_shared=places > 1, on_change=life.seat_changed)
        life.adopt(note.seat, seat)
    if notes:
        life.take_nobody()
    return bool(notes)


def _begin(life: InstanceLife, problem: str, places: int, role: str, builders: BuilderSide) -> None:
    if problem:
        life.fail(f"boot: {problem}")
    elif role == MAINTENANCE:
        life.take_nobody()
    else:
        if places > 1:
            seats.keep_home_template()
        if role == IMAGE_BUILDER:
            builders.start()
        life.boot()
        if role == STREAMING:
            read_ahead.begin()


def _tasks_of(role: str, processes: KernelProcesses, opened: Sequence[tuple[SeatLife, Screen]]) -> Mapping[str, Task]:
    """Return what the host may ask of an instance that was launched for this."""
    if role == MAINTENANCE:
        commands = Commands(processes)
        return Maintenance(commands, Packages(commands)).tasks
    if role == QUALIFICATION:
        checks = ApplicationChecks(lambda: opened[0][0], processes, lambda: opened[0][1].client_windows())  # noqa: PLW0108 - not there yet
        return {"check": checks.check}
    if role == WORKSTATION:

        def seat_of(session_id: str) -> SeatLife | None:
            return next((life for life, _ in reversed(opened) if life.session_id == session_id), None)

        return InitializationScripts(Commands(processes), processes, seat_of).tasks
    return {}


def _open_seat(
    seat: Seat, processes: KernelProcesses, names: DisplayNames, *, on_change: Callable[[], None]
) -> tuple[SeatLife, Screen]:
    async def clean() -> None:
        await seats.clean(seat, processes)
        names.release(seat.number)

    screen = Screen(seat.x_socket)
    # The two know each other; the name is bound before anything happens.
    desktop = Desktop(processes, screen, seat, on_failure=lambda detail: life.fail(detail))  # noqa: PLW0108
    # A builder's session runs none of the scripts that are for users.
    scripts = SessionScripts(processes, seat=seat, root=Path("/nonexistent" if seat.is_administrators else "/"))
    life = SeatLife(
        desktop,
        processes,
        seat,
        on_change=on_change,
        scripts=scripts,
        storage=SessionStorage(
            seat,
            processes,
            settings=ApplicationSettings(Commands(processes, seat=seat), seat, on_change=on_change),
            on_change=on_change,
        ),
        clean=clean if seat.is_shared or seat.keeps_user else None,
    )
    return life, screen


def _runtime_version() -> str:
    return (Path(RUNTIME_DIRECTORY) / "VERSION").read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    main()
