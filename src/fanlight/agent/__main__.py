"""Process 1 of an instance."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

from fanlight.agent import seats, system
from fanlight.agent.accounts import Seat
from fanlight.agent.channel import HostChannel
from fanlight.agent.desktop import Desktop
from fanlight.agent.instance import InstanceLife
from fanlight.agent.processes import KernelProcesses
from fanlight.agent.screen import Screen
from fanlight.agent.session_scripts import SessionScripts
from fanlight.agent.sessions import SeatLife
from fanlight.agentwire import PROTOCOL, RUNTIME_DIRECTORY
from fanlight.agentwire.messages import Status

log = logging.getLogger(__name__)

# Incus asks with SIGPWR; an administrator's tools with the others.
SHUTDOWN_SIGNALS = (signal.SIGPWR, signal.SIGTERM, signal.SIGINT)
NAME_SERVER_VARIABLE = "FANLIGHT_NAMESERVER"  # from the engine, when the instance has a way out
PLACES_VARIABLE = "FANLIGHT_SESSIONS"  # from the engine: how many sessions there may be at a time
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
    os.environ.clear()
    os.environ["GCONV_PATH"] = f"{RUNTIME_DIRECTORY}/lib"  # or the C library would load the image's converters
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_LineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        system.prepare(name_server)
        problem = ""
    except OSError as error:
        problem = str(error)
    asyncio.run(_run(problem, places))
    os.sync()


async def _run(problem: str, places: int) -> None:
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

    # They know each other in a circle; the names are bound before anything happens.
    life = InstanceLife(
        lambda number: _open_seat(Seat(number, is_shared=places > 1), processes, on_change=lambda: life.seat_changed()),  # noqa: PLW0108
        places=places,
        on_change=lambda: channel.status_changed(),  # noqa: PLW0108
        in_background=in_background,
    )
    version = _runtime_version()

    async def status() -> Status:
        sessions = await life.reports()
        return Status(
            protocol=PROTOCOL, runtime_version=version, phase=life.phase, sessions=sessions, detail=life.detail
        )

    channel = HostChannel(status=status, handle=life.handle)
    in_background(channel.run())
    if problem:
        life.fail(f"boot: {problem}")
    else:
        if places > 1:
            seats.keep_home_template()
        life.boot()
    await stop.wait()
    log.info("shutting down")
    running = list(tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    os.kill(-1, signal.SIGTERM)
    await asyncio.sleep(SHUTDOWN_GRACE_IN_SECONDS)


def _open_seat(seat: Seat, processes: KernelProcesses, *, on_change: Callable[[], None]) -> SeatLife:
    # The two know each other; the name is bound before anything happens.
    desktop = Desktop(processes, Screen(seat.x_socket), seat, on_failure=lambda detail: life.fail(detail))  # noqa: PLW0108
    scripts = SessionScripts(processes, seat=seat)
    life = SeatLife(
        desktop,
        processes,
        seat,
        on_change=on_change,
        scripts=scripts,
        clean=(lambda: seats.clean(seat, processes)) if seat.is_shared else None,
    )
    return life


def _runtime_version() -> str:
    return (Path(RUNTIME_DIRECTORY) / "VERSION").read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    main()
