"""Process 1 of an instance."""

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

from fanlight.agent import system
from fanlight.agent.channel import HostChannel
from fanlight.agent.desktop import Desktop
from fanlight.agent.processes import KernelProcesses
from fanlight.agent.screen import Screen
from fanlight.agent.session_scripts import SessionScripts
from fanlight.agent.sessions import BOOTING, FAILED, InstanceLife
from fanlight.agentwire import PROTOCOL, RUNTIME_DIRECTORY
from fanlight.agentwire.messages import Status

log = logging.getLogger(__name__)

# Incus asks with SIGPWR; an administrator's tools with the others.
SHUTDOWN_SIGNALS = (signal.SIGPWR, signal.SIGTERM, signal.SIGINT)
NAME_SERVER_VARIABLE = "FANLIGHT_NAMESERVER"  # from the engine, when the instance has a way out
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
    asyncio.run(_run(problem))
    os.sync()


async def _run(problem: str) -> None:
    processes = KernelProcesses()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, processes.reap)
    stop = asyncio.Event()
    for number in SHUTDOWN_SIGNALS:
        loop.add_signal_handler(number, stop.set)

    # The three know each other in a circle; the names are bound before anything happens.
    screen = Screen()
    desktop = Desktop(processes, screen, on_failure=lambda detail: life.fail(detail))  # noqa: PLW0108
    life = InstanceLife(
        desktop,
        processes,
        on_change=lambda: channel.status_changed(),  # noqa: PLW0108
        scripts=SessionScripts(processes),
    )
    version = _runtime_version()

    async def status() -> Status:
        seconds = -1.0 if life.phase in (BOOTING, FAILED) else await screen.idle_seconds()
        return Status(
            protocol=PROTOCOL,
            runtime_version=version,
            phase=life.phase,
            session_id=life.session_id,
            idle_seconds=seconds,
            detail=life.detail,
            has_script_failed=life.has_script_failed,
        )

    channel = HostChannel(status=status, handle=life.handle)
    tasks = [asyncio.create_task(channel.run())]
    if problem:
        life.fail(f"boot: {problem}")
    else:
        tasks.append(asyncio.create_task(life.boot()))
    await stop.wait()
    log.info("shutting down")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    os.kill(-1, signal.SIGTERM)
    await asyncio.sleep(SHUTDOWN_GRACE_IN_SECONDS)


def _runtime_version() -> str:
    return (Path(RUNTIME_DIRECTORY) / "VERSION").read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    main()
