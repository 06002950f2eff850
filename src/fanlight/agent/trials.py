# ruff: noqa: ASYNC110, ASYNC240 - the kernel tells nobody when an account has no process left
"""Let the administrator of an image builder see applications as users would: as Template User and as Test User.

Template User is the account that a session of one user has; what it sets become the defaults of the image. Test User
has no past: each trial begins with the defaults as they are now. Both run on the administrator's own display.
"""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from fanlight.agent import snapshots
from fanlight.agent.accounts import TEMPLATE_USER, TEST_USER, Account, Seat
from fanlight.agent.processes import Processes, Program
from fanlight.agent.sessions import Refused, SeatLife
from fanlight.agent.system import make_directory
from fanlight.agentwire.messages import ApplicationToLaunch

ACCOUNTS = {"template": TEMPLATE_USER, "test": TEST_USER}
BUS_LIMIT_IN_SECONDS, POLL_IN_SECONDS = 3.0, 0.02


class Trials:
    """`current` is the seat of the running session, if there is one."""

    def __init__(self, processes: Processes, current: Callable[[], tuple[Seat, SeatLife] | None]) -> None:
        self._processes, self._current = processes, current
        self._turn = asyncio.Lock()

    async def start(self, who: str, application: ApplicationToLaunch) -> None:
        """Raises Refused, OSError."""
        account, current = ACCOUNTS.get(who), self._current()
        if account is None:
            raise Refused(f"there is no user {who} here")
        if current is None:
            raise Refused("no session is open")
        async with self._turn:
            seat, life = current
            if account is TEST_USER:
                await self._forget(account)
            make_home(account)
            await self._ensure_bus(seat, account)
            life.launch_as(account, application)

    async def _forget(self, account: Account) -> None:
        """End what the last trial left running, and remove its home."""
        self._processes.signal_all_of(account, signal.SIGKILL)
        while self._processes.signal_all_of(account, 0):
            await asyncio.sleep(POLL_IN_SECONDS)
        shutil.rmtree(account.home, ignore_errors=True)

    async def _ensure_bus(self, seat: Seat, account: Account) -> None:
        path = f"{account.runtime_directory}/bus"
        if _accepts(path):
            return
        Path(path).unlink(missing_ok=True)
        program = Program(
            name=f"message-bus-{account.name}",
            seat=seat,
            arguments=["/usr/bin/dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address=unix:path={path}"],
            account=account,
            environment=seat.environment_of(account),
        )
        self._processes.start(program, lambda status: None)  # noqa: ARG005 - it goes with the session
        waited = 0.0
        while not _accepts(path) and waited < BUS_LIMIT_IN_SECONDS:
            await asyncio.sleep(POLL_IN_SECONDS)
            waited += POLL_IN_SECONDS


def make_home(account: Account, root: Path = Path("/")) -> None:
    """Give the account a home with the defaults of the image as they are now, unless it has one. Raises OSError."""
    home = root / account.home.lstrip("/")
    if home.exists():
        return
    template = root / TEMPLATE_USER.home.lstrip("/")
    make_directory(str(home), account.uid, account.group, 0o700)
    sources = [
        path for path in (template, root / snapshots.SKELETON) if account is not TEMPLATE_USER or path != template
    ]
    for source in sources:
        if source.is_dir():
            snapshots.copy_newer(
                source, home, lambda path: os.chown(path, account.uid, account.group, follow_symlinks=False)
            )
    for path in snapshots.NOT_DEFAULTS:
        snapshots.remove(home / path)


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0
