"""Make the place of a session, and take everything of it away where others stay: accounts, directories, secrets."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from fanlight.agent.accounts import PROFILES, Account, Seat
from fanlight.agent.builder import make_administrators_home
from fanlight.agent.processes import Processes
from fanlight.agent.screen import x_authority
from fanlight.agent.system import make_directory
from fanlight.agent.views import View

# What the image put into its user's home, kept for those who come later.
TEMPLATE = "/var/lib/fanlight/home"
COOKIE_BYTES = 16
# Where anybody may leave something; the temporary places are the seat's own, in its view.
SHARED_PLACES = ("/run/lock", "/var/spool", "/var/mail", "/var/lib", "/opt", "/srv", "/run")
DEATH_LIMIT_IN_SECONDS, POLL_IN_SECONDS = 3.0, 0.02


def keep_home_template() -> None:
    """Call once, before anybody uses the first home. Raises OSError."""
    make_directory(str(Path(TEMPLATE).parent), 0, 0, 0o700)
    shutil.copytree(Seat(0).user.home, TEMPLATE, symlinks=True, dirs_exist_ok=True)


def prepare(seat: Seat, processes: Processes) -> bytes:
    """Make the seat ready for its programs; return the secret of its display. Raises OSError."""
    for account in (*seat.accounts, *seat.guests):
        make_account(account)
    user, display = seat.accounts
    if seat.is_administrators:
        make_administrators_home(seat)
    elif not Path(user.home).exists():
        shutil.copytree(TEMPLATE, user.home, symlinks=True)
        _give(user.home, user)
    # The display account passes through the home to the one folder that the browser may reach, and sees nothing else.
    make_directory(user.home, user.uid, display.group, 0o710)
    make_directory(seat.files_directory, user.uid, display.group, 0o2770)
    for account in (*seat.accounts, *seat.guests):
        make_directory(account.runtime_directory, account.uid, account.group, 0o700)
    make_directory(seat.pulse_directory, display.uid, user.group, 0o750)
    make_directory(seat.log_directory, 0, 0, 0o700)
    make_directory(seat.directory, 0, 0, 0o711)
    make_directory(seat.print_spool, display.uid, user.group, 0o1730)  # the user puts in, the display account takes out
    cookie = secrets.token_bytes(COOKIE_BYTES)
    for account in (*seat.accounts, *seat.guests):
        _write_for(account, seat.x_authority_of(account), x_authority(seat.number, cookie))
    if seat.is_shared:
        make_directory(seat.private_directory, 0, 0, 0o700)
        shutil.copytree(PROFILES, seat.variables_directory, symlinks=True)
        processes.views[seat.number] = View.of(seat)
    return cookie


async def clean(seat: Seat, processes: Processes, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Leave nothing of a seat: no process, file or account. Raises OSError when something stays.

    Who has the instance for more than one session keeps account and home, and so do those who run programs at the display
    of an administrator.
    """
    waited = 0.0
    while _kill_all(seat, processes):
        if waited > DEATH_LIMIT_IN_SECONDS:
            raise OSError(f"programs of seat {seat.number} do not end")
        await sleep(POLL_IN_SECONDS)
        waited += POLL_IN_SECONDS
    if (view := processes.views.pop(seat.number, None)) is not None:
        view.close()
    child = os.fork()  # it may take long, and the agent has others to serve
    if child == 0:
        with contextlib.suppress(BaseException):
            _remove_all(seat)
        os._exit(0)
    while _exists(f"/proc/{child}"):
        await sleep(POLL_IN_SECONDS)
    if left := [path for path in _own_paths(seat) if _exists(path)]:
        raise OSError(f"{left[0]} cannot be removed")
    for account in _leaving(seat):
        if seat.number:
            _remove_account(account)


def _kill_all(seat: Seat, processes: Processes) -> bool:
    """Kill every process of the seat; return whether there was any."""
    found = [processes.signal_all_of(account, signal.SIGKILL) for account in (*seat.accounts, *seat.guests)]
    return any(found)


def _exists(path: str) -> bool:
    return os.path.lexists(path)


def _own_paths(seat: Seat) -> tuple[str, ...]:
    runtime = tuple(account.runtime_directory for account in (*seat.accounts, *seat.guests))
    homes = tuple(account.home for account in _leaving(seat) if account.runs_applications)
    sockets = (seat.stream_socket, seat.files_socket)
    return (*homes, *runtime, seat.pulse_directory, seat.log_directory, seat.directory, *sockets)


def _leaving(seat: Seat) -> tuple[Account, ...]:
    return (seat.display,) if seat.keeps_user else seat.accounts


def _remove_all(seat: Seat) -> None:
    for path in _own_paths(seat):
        _remove(path)
    owners = {account.uid for account in _leaving(seat)}
    for place in SHARED_PLACES:
        for path in _owned_below(place, owners):
            _remove(path)


def _owned_below(place: str, owners: set[int]) -> Iterator[str]:
    """Yield what the owners have there, following no link and leaving the file system of the place at no mount."""
    for directory, names, files in os.walk(place):
        for name in (*names, *files):
            path = f"{directory}/{name}"
            with contextlib.suppress(OSError):
                if os.lstat(path).st_uid in owners:
                    yield path
        names[:] = [name for name in names if not os.path.ismount(f"{directory}/{name}")]


def _remove(path: str) -> None:
    if Path(path).is_dir() and not Path(path).is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


def make_account(account: Account) -> None:
    """Add it unless the image has it. Raises OSError when the image gave its name or number to somebody else."""
    for path, line in (
        ("/etc/passwd", f"{account.name}:x:{account.uid}:{account.group}::{account.home}:/bin/bash"),
        ("/etc/group", f"{account.name}:x:{account.group}:"),
    ):
        known = [entry.split(":") for entry in Path(path).read_text(encoding="utf-8").splitlines()]
        name, _, number = line.split(":")[:3]
        same = [entry for entry in known if entry[0] == name or entry[2:3] == [number]]
        if not same:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        elif any(entry[0] != name or entry[2:3] != [number] for entry in same):
            raise OSError(f"the image gave the account {name} or the number {number} to somebody else")


def _remove_account(account: Account) -> None:
    for path in ("/etc/passwd", "/etc/group"):
        lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
        kept = "".join(line for line in lines if line.split(":")[0] != account.name)
        fresh = Path(f"{path}.fanlight")
        fresh.write_text(kept, encoding="utf-8")
        fresh.chmod(0o644)
        fresh.replace(path)


def _give(path: str, account: Account) -> None:
    """Make a tree the account's own, following no link."""
    for directory, _, names in os.walk(path):
        for each in (directory, *(f"{directory}/{name}" for name in names)):
            os.chown(each, account.uid, account.group, follow_symlinks=False)


def _write_for(account: Account, path: str, content: bytes) -> None:
    """Write a secret that root owns and the account may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchown(file.fileno(), 0, account.group)
        os.fchmod(file.fileno(), 0o440)
