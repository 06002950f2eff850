"""Run programs as the instance's root and learn what they said, one after another."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from fanlight.agent.accounts import Seat
from fanlight.agent.processes import Processes, Program
from fanlight.agent.session_scripts import ROOT, ROOT_PATH

LARGEST_OUTPUT = 8 << 20
TOLD_BYTES = 400  # of the end of what a failed program printed
PIPE_BYTES = 4096
ENVIRONMENT = {"HOME": ROOT.home, "USER": ROOT.name, "LOGNAME": ROOT.name, "PATH": ROOT_PATH, "LANG": "C.UTF-8"}

# Given the descriptor that the program writes its status lines to.
WithStatus = Callable[[int], Sequence[str]]


class CommandFailed(Exception):
    """A program could not be started, ended with an error, or took too long. The text has its last words."""


class Commands:
    """`root` is where the file system begins (tests move it). What a program prints is in the seat's log directory."""

    def __init__(self, processes: Processes, *, seat: Seat = Seat(0), root: Path = Path("/")) -> None:  # noqa: B008 - it cannot change
        self._processes = processes
        self._seat = seat
        self._logs = root / self._seat.log_directory.lstrip("/")

    async def run(
        self,
        name: str,
        arguments: Sequence[str] | WithStatus,
        *,
        limit_in_seconds: float,
        environment: Mapping[str, str] | None = None,
        on_status: Callable[[str], None] | None = None,
    ) -> str:
        """Return what it printed. `on_status` hears the lines of its status descriptor. Raises CommandFailed."""
        log = self._logs / f"{name}.log"
        log.unlink(missing_ok=True)
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        with contextlib.ExitStack() as stack:
            hand_over: tuple[int, ...] = ()
            if callable(arguments):
                reader, writer = os.pipe()
                stack.callback(os.close, reader)
                stack.enter_context(_listening(reader, on_status or _ignore))
                arguments, hand_over = arguments(writer), (writer,)
            program = Program(
                name=name,
                seat=self._seat,
                arguments=arguments,
                account=ROOT,
                environment={**ENVIRONMENT, **(environment or {})},
                hand_over=hand_over,
            )
            try:
                pid = self._processes.start(program, lambda status: _note(ended, status))
            except OSError as error:
                raise CommandFailed(f"{arguments[0]} cannot be started: {error.strerror or error}") from error
            try:
                async with asyncio.timeout(limit_in_seconds):
                    status = await ended
            except TimeoutError:
                raise CommandFailed(f"{name} took longer than {limit_in_seconds:.0f} s{_last_words(log)}") from None
            finally:
                if not ended.done() or ended.cancelled():
                    self._processes.signal_group(pid, signal.SIGKILL)
        if status != 0:
            raise CommandFailed(f"{name} ended with {status}{_last_words(log)}")
        return _read(log)


@contextlib.contextmanager
def _listening(reader: int, on_line: Callable[[str], None]) -> Iterator[None]:
    """Call `on_line` with each line that comes out of a pipe."""
    os.set_blocking(reader, False)
    unfinished = bytearray()
    loop = asyncio.get_running_loop()

    def is_readable() -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(reader, PIPE_BYTES)
            if not data:
                loop.remove_reader(reader)
                return
            unfinished.extend(data)
            *lines, rest = bytes(unfinished).split(b"\n")
            unfinished[:] = rest[-PIPE_BYTES:]
            for line in lines:
                on_line(line.decode("utf-8", "replace"))

    loop.add_reader(reader, is_readable)
    try:
        yield
    finally:
        loop.remove_reader(reader)


def _ignore(_: str) -> None:
    pass


def _note(ended: asyncio.Future[int], status: int) -> None:
    if not ended.done():
        ended.set_result(status)


def _read(log: Path, *, last: int = LARGEST_OUTPUT) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - last))
            return file.read(last).decode("utf-8", "replace")
    except OSError:
        return ""


def _last_words(log: Path) -> str:
    words = " ".join(_read(log, last=TOLD_BYTES).split())
    return f": {words}" if words else ""
