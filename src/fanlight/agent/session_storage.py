"""The places of a session's files in its instance, from the session's begin to its end."""

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from fanlight.agent.accounts import Seat
from fanlight.agent.folders import OFFLINE, Folder
from fanlight.agent.processes import Processes
from fanlight.agent.rclone import CACHES, FolderPlace
from fanlight.agent.session_notes import SessionNote
from fanlight.agentwire.messages import StorageMount, StorageReport

log = logging.getLogger(__name__)


class KeptSettings(Protocol):
    """See `application_settings`."""

    @property
    def report(self) -> StorageReport | None: ...
    async def restore(self, mounts: Sequence[StorageMount]) -> None: ...
    async def save(self, on_unsent: Callable[[], None]) -> None: ...


class SessionStorage:
    """Everything of one session. `on_change` is called when the reports say something new.

    Without `settings` there is nothing to restore and to keep: of an earlier life of the instance only folders are left.
    """

    def __init__(
        self,
        seat: Seat,
        processes: Processes,
        *,
        on_change: Callable[[], None],
        settings: KeptSettings | None = None,
    ) -> None:
        self._seat, self._processes, self._on_change = seat, processes, on_change
        self._settings = settings
        self._folders: list[Folder] = []
        self._failed: list[StorageReport] = []

    @property
    def reports(self) -> tuple[StorageReport, ...]:
        settings = (self._settings.report,) if self._settings and self._settings.report else ()
        return (*(folder.report for folder in self._folders), *self._failed, *settings)

    def begin(self, session_id: str, mounts: Sequence[StorageMount]) -> None:
        """Have the folders mounted, each as soon as it can be. Nothing that goes wrong with one concerns the session."""
        with_folders = tuple(mount for mount in mounts if mount.folder)  # the others: see StorageMount
        for mount in with_folders:
            folder = Folder(FolderPlace(seat=self._seat, mount=mount), self._processes, on_change=self._on_change)
            try:
                folder.begin()
            except OSError as error:
                log.warning("a folder cannot be shown", extra={"kind": mount.kind, "why": str(error)})
                report = StorageReport(kind=mount.kind, state=OFFLINE, detail=f"the folder cannot be shown: {error}")
                self._failed.append(report)
            else:
                self._folders.append(folder)
        if self._folders:
            try:
                SessionNote(self._seat.number, session_id, with_folders).write()
            except OSError as error:  # then what is unsent is lost with the instance, and nothing else
                log.warning("no note of the session can be kept", extra={"why": str(error)})

    def begin_left(self, mounts: Sequence[StorageMount]) -> None:
        """Have what an earlier life of the instance left sent. Raises OSError."""
        for mount in mounts:
            folder = Folder(FolderPlace(seat=self._seat, mount=mount), self._processes, on_change=self._on_change)
            folder.begin(has_user=False)
            self._folders.append(folder)

    async def restore(self, mounts: Sequence[StorageMount]) -> None:
        """Return when the home has the settings that programs should find there, or as much of them as can be had."""
        if self._settings is not None:
            await self._settings.restore(mounts)

    def refresh(self) -> None:
        for folder in self._folders:
            folder.refresh()

    async def end(self, on_unsent: Callable[[], None]) -> None:
        """Send what is left and take all folders away. `on_unsent` is called while something is left."""
        settings = (self._settings.save(on_unsent),) if self._settings else ()
        await asyncio.gather(*settings, *(folder.end(on_unsent) for folder in self._folders))
        if self._folders:
            shutil.rmtree(Path(CACHES) / str(self._seat.number), ignore_errors=True)
