"""Work on the instance that the host asks for: one piece in its life of each id, its end told in the status."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from fanlight.agentwire.messages import Maintain, RunScript, WorkReport

log = logging.getLogger(__name__)

RUNNING, DONE, FAILED = "RUNNING", "DONE", "FAILED"
MAX_DETAIL = 500
MAX_PROBLEMS, MAX_PROBLEM = 50, 300  # so that the status fits into a line

Progress = Callable[[str], None]
# Does it and returns what it found, in the members of a WorkReport; whatever it raises is why it failed. Each is given
# the kind of message that asks for it.
Task = Callable[[Any, Progress], Awaitable[WorkReport]]


class HostedWork:
    """`tasks` are what this instance was launched for, by the names that Maintain has for them; a script's is RunScript's."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        *,
        on_change: Callable[[], None],
        in_background: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        self.report: WorkReport | None = None
        self._tasks, self._on_change, self._in_background = tasks, on_change, in_background

    def handle(self, message: Maintain | RunScript) -> None:
        """Begin it, unless it was begun. Never raises."""
        if self.report is not None and self.report.work_id == message.work_id:
            return
        if self.report is not None and self.report.phase == RUNNING:
            return  # asked again when that is done
        name = message.task if isinstance(message, Maintain) else message.TYPE
        task = self._tasks.get(name)
        if task is None:
            why = f"this instance was not launched to {name}"
            self._set(WorkReport(work_id=message.work_id, phase=FAILED, detail=why))
            return
        self._set(WorkReport(work_id=message.work_id, phase=RUNNING))
        self._in_background(self._run(task, message))

    async def _run(self, task: Task, message: Maintain | RunScript) -> None:
        try:
            found = await task(message, self._progress)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the host must hear of it
            detail = str(error) or type(error).__name__
            self._set(WorkReport(work_id=message.work_id, phase=FAILED, detail=detail[:MAX_DETAIL]))
            return
        problems = tuple(problem[:MAX_PROBLEM] for problem in found.problems[:MAX_PROBLEMS])
        self._set(replace(found, work_id=message.work_id, phase=DONE, problems=problems))

    def _progress(self, text: str) -> None:
        if self.report is not None and self.report.progress != text:
            self._set(replace(self.report, progress=text[:MAX_DETAIL]))

    def _set(self, report: WorkReport) -> None:
        log.info("work", extra={"work_id": report.work_id, "phase": report.phase, "progress": report.progress})
        self.report = report
        self._on_change()
