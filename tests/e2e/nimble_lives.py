"""Programs that live the life of a studio with an old client, each in a process of its own, and stop where people come in."""

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from e2e.programs import node_project_with, program

JS_CLIENT = "@aws-sdk/client-nimble@3.523.0"
WALKS = Path(__file__).parent


def boto3_walk() -> list[str]:
    """Return the command of the life with boto3."""
    return [program("nimble", "python"), str(WALKS / "nimble_walk.py")]


def javascript_walk(directory: Path) -> list[str]:
    """Return the command of the life with the JavaScript client, whose packages go into `directory`."""
    node_project_with(JS_CLIENT, directory)
    shutil.copy(WALKS / "nimble_walk.mjs", directory)
    return [program("node", "node"), str(directory / "nimble_walk.mjs")]


class Life:
    """A walk that goes on; `reaches` and `go_on` take turns."""

    def __init__(self, command: Sequence[str], wanted: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.wanted = wanted
        self._complaints: list[str] = []
        self._told: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.process = subprocess.Popen(
            [*command, json.dumps(wanted)],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._listen, self._collect)]
        for reader in self._readers:
            reader.start()

    def reaches(self, moment: str, *, timeout: float = 150) -> dict[str, Any]:
        """Wait until the walk stops at this moment, and return what it tells then."""
        try:
            told = self._told.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"{self.wanted['name']} is not {moment!r} within {timeout} s") from None
        assert told is not None, f"{self.wanted['name']} ended before {moment!r}: {''.join(self._complaints)[-2000:]}"
        assert told.pop("moment") == moment
        return told

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """End it, wherever it is: with what it started, for `node` is a program that runs another one."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        for reader in self._readers:
            reader.join(30)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):  # what was not written yet has nowhere to go
                assert pipe is not None
                pipe.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._told.put(json.loads(line))
        # Not before the complaints are complete: they say why it ended.
        self._readers[1].join(10)
        self._told.put(None)

    def _collect(self) -> None:
        assert self.process.stderr is not None
        self._complaints.extend(self.process.stderr)
