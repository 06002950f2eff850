"""An instance that exists to look after the packages of its image. It has no seat: nobody ever comes."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from fanlight.agent.accounts import LOG_DIRECTORY, Seat
from fanlight.agent.commands import Commands
from fanlight.agent.font_caches import keep_font_caches
from fanlight.agent.packages import Packages
from fanlight.agent.work import DONE, Progress, Task
from fanlight.agentwire.messages import Maintain, WorkReport


class Maintenance:
    """The work of a maintenance instance. `root` is where the file system begins (tests move it)."""

    def __init__(self, commands: Commands, packages: Packages, *, root: Path = Path("/")) -> None:
        self._commands, self._packages, self._root = commands, packages, root
        # Programs begin to write as soon as there is work.
        (root / Seat(0).log_directory.lstrip("/")).mkdir(parents=True, exist_ok=True)

    @property
    def tasks(self) -> Mapping[str, Task]:
        return {"look": self._look, "upgrade": self._upgrade}

    async def _look(self, message: Maintain, progress: Progress) -> WorkReport:
        found = await self._packages.look(progress)
        return _done(message, len(found))

    async def _upgrade(self, message: Maintain, progress: Progress) -> WorkReport:
        count = await self._packages.upgrade(progress)
        progress("cleaning up")
        await keep_font_caches(self._commands, root=self._root)
        self._packages.forget_downloads()
        self._forget_this_instance()
        return _done(message, count)

    def _forget_this_instance(self) -> None:
        """Take away what the agent itself put into the file system at boot: it belongs to no image."""
        shutil.rmtree(self._root / LOG_DIRECTORY.lstrip("/"), ignore_errors=True)
        etc = self._root / "etc"
        for name in ("machine-id", "resolv.conf"):
            (etc / name).unlink(missing_ok=True)
            (etc / name).write_text("", encoding="ascii")
        hosts = etc / "hosts"
        if hosts.exists():
            lines = hosts.read_text(encoding="utf-8").splitlines(keepends=True)
            hosts.write_text("".join(line for line in lines if not line.startswith("127.0.1.1 ")), encoding="utf-8")


def _done(message: Maintain, updates: int) -> WorkReport:
    return WorkReport(work_id=message.work_id, phase=DONE, updates=updates)
