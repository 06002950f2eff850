"""Make the place of a session: accounts, directories, and the secret that opens its display."""

import os
import secrets
import shutil
from pathlib import Path

from fanlight.agent.accounts import Account, Seat
from fanlight.agent.screen import x_authority
from fanlight.agent.system import make_directory

SKELETON = "/etc/skel"
COOKIE_BYTES = 16


def prepare(seat: Seat) -> bytes:
    """Make the seat ready for its programs; return the secret of its display. Raises OSError."""
    for account in seat.accounts:
        _make_account(account)
    user, display = seat.accounts
    if not Path(user.home).exists():
        shutil.copytree(SKELETON, user.home, symlinks=True)
        _give(user.home, user)
    # The display account passes through the home to the one folder that the browser may reach, and sees nothing else.
    make_directory(user.home, user.uid, display.group, 0o710)
    make_directory(seat.files_directory, user.uid, display.group, 0o2770)
    for account in seat.accounts:
        make_directory(account.runtime_directory, account.uid, account.group, 0o700)
    make_directory(seat.pulse_directory, display.uid, user.group, 0o750)
    make_directory(seat.log_directory, 0, 0, 0o700)
    make_directory(seat.directory, 0, 0, 0o711)
    make_directory(seat.print_spool, display.uid, user.group, 0o1730)  # the user puts in, the display account takes out
    cookie = secrets.token_bytes(COOKIE_BYTES)
    for account in seat.accounts:
        _write_for(account, seat.x_authority_of(account), x_authority(seat.number, cookie))
    return cookie


def _make_account(account: Account) -> None:
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
