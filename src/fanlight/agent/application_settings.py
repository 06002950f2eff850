"""Bring the settings of a user's applications into a session before the first of them starts, and keep them at its end.

A program of root's does it (see `kept_settings.transfers`); here is decided when, for how long, and what is told.
Settings that cannot be had never keep a session from beginning. If nobody knows what is kept, nothing is kept at the
end: a user who began with nothing because a store was away must not lose what is there.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from fanlight.agent.accounts import Seat
from fanlight.agent.commands import CommandFailed, Commands
from fanlight.agent.kept_settings.archives import too_large
from fanlight.agent.kept_settings.transfers import DONE, LOST, ORDER_VARIABLE, RESTORE, SAVE, Order
from fanlight.agentwire import RUNTIME_DIRECTORY, SETTINGS_TOO_LARGE, STORAGE_SOCKETS
from fanlight.agentwire.messages import StorageMount, StorageReport

log = logging.getLogger(__name__)

KIND = "APPLICATION_SETTINGS"
MOUNTING, MOUNTED, OFFLINE = "MOUNTING", "MOUNTED", "OFFLINE"
PROGRAM = f"{RUNTIME_DIRECTORY}/bin/fanlight-settings"
RESTORE_LIMIT_IN_SECONDS = 30.0  # a user waits for it
SAVE_LIMIT_IN_SECONDS = 1_800.0  # nobody waits any more; an instance that nobody can use is kept for it


@dataclass(frozen=True, slots=True)
class _Outcome:
    name: str
    detail: str


class ApplicationSettings:
    """One for each session. Without a mount of that kind nothing is done and nothing reported."""

    def __init__(self, commands: Commands, seat: Seat, *, on_change: Callable[[], None]) -> None:
        self._commands, self._seat, self._on_change = commands, seat, on_change
        self._mount: StorageMount | None = None
        self._is_known = False
        self._turn = asyncio.Lock()  # a session may end while its settings are still being fetched
        self.report: StorageReport | None = None

    async def restore(self, mounts: Sequence[StorageMount]) -> None:
        """Return when the home is as the user left it, or as good as it gets. Never raises."""
        self._mount = next((mount for mount in mounts if mount.kind == KIND), None)
        if self._mount is None:
            return
        async with self._turn:
            self._tell(StorageReport(kind=KIND, state=MOUNTING))
            outcome = await self._run(RESTORE, RESTORE_LIMIT_IN_SECONDS)
            self._is_known = outcome.name in (DONE, LOST)
            if outcome.name == DONE:
                self._tell(StorageReport(kind=KIND, state=MOUNTED))
            elif outcome.name == LOST:
                text = f"The settings of your applications could not be used: {outcome.detail}."
                self._tell(StorageReport(kind=KIND, state=MOUNTED, detail=text))
            else:
                text = f"The settings of your applications are out of reach, and none will be kept: {outcome.detail}."
                self._tell(StorageReport(kind=KIND, state=OFFLINE, detail=text))

    async def save(self, on_unsent: Callable[[], None]) -> None:
        """Keep what is there now; nothing of the user's runs any more. `on_unsent` is called first. Never raises."""
        async with self._turn:
            if self._mount is None or not self._is_known:
                return
            self._tell(StorageReport(kind=KIND, state=MOUNTED, unsent_files=1))
            on_unsent()
            outcome = await self._run(SAVE, SAVE_LIMIT_IN_SECONDS)
            failed = (
                "" if outcome.name == DONE else f"The settings of your applications were not kept: {outcome.detail}."
            )
            if failed and outcome.detail == too_large(self._mount.max_bytes):
                failed = SETTINGS_TOO_LARGE
            self._mount = None
            self._tell(StorageReport(kind=KIND, state=MOUNTED, detail=failed))

    async def _run(self, action: str, limit_in_seconds: float) -> _Outcome:
        assert self._mount is not None  # noqa: S101 - both callers have seen it
        user = self._seat.user
        order = Order(
            action=action,
            socket=f"{STORAGE_SOCKETS}/{self._mount.socket}",
            token=self._mount.token,
            directory=f"{self._seat.directory}/settings",
            home=user.home,
            uid=user.uid,
            group=user.group,
            max_bytes=self._mount.max_bytes,
        )
        try:
            said = await self._commands.run(
                f"settings-{action}",
                lambda status: [PROGRAM, str(status)],
                limit_in_seconds=limit_in_seconds,
                environment={ORDER_VARIABLE: str(order), "GCONV_PATH": f"{RUNTIME_DIRECTORY}/lib"},
                on_status=self._sending,
            )
            ended = json.loads(said.splitlines()[-1])
            outcome = _Outcome(ended["outcome"], ended["detail"])
        except (CommandFailed, ValueError, LookupError, TypeError) as error:
            outcome = _Outcome("", str(error) or type(error).__name__)
        log.info(
            "settings of applications", extra={"action": action, "outcome": outcome.name, "detail": outcome.detail}
        )
        return outcome

    def _sending(self, line: str) -> None:
        with suppress(ValueError, LookupError, TypeError):  # the last words of a program that was killed
            said = json.loads(line)
            unsent = max(0, int(said["size"]) - int(said["sent"]))
            why = str(said.get("detail", ""))
            self._tell(
                StorageReport(
                    kind=KIND, state=OFFLINE if why else MOUNTED, unsent_files=1, unsent_bytes=unsent, detail=why
                )
            )

    def _tell(self, report: StorageReport) -> None:
        """Counts alone are no news: they go with the next status."""
        before, self.report = self.report, report
        if before is None or replace(before, unsent_bytes=0) != replace(report, unsent_bytes=0):
            self._on_change()
