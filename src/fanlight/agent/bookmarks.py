"""Where file choosers offer the user's folders: the bookmarks that GTK's dialogs and file managers share."""

import contextlib
import os
import stat
from pathlib import Path
from urllib.parse import quote

from fanlight.agent.accounts import Account
from fanlight.agent.folder_mounts import opened

LARGEST_BOOKMARKS = 65_536
_NAMES = {"HomeFolder": "Home Folder"}


def add_bookmark(home: Path, account: Account, path: str) -> None:
    """Add it unless it is there. Whatever else is in the file stays. Raises OSError.

    We are root in a home whose user may have put anything there: no link is followed, and only a file is written to.
    """
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(opened(str(home)))
        for step in (".config", "gtk-3.0"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(step, 0o700, dir_fd=place)
                os.chown(step, account.uid, account.group, dir_fd=place, follow_symlinks=False)
            place = os.open(step, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
            stack.callback(os.close, place)
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open("bookmarks", flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=place)
            os.fchown(file, account.uid, account.group)
        except FileExistsError:
            file = os.open("bookmarks", flags, dir_fd=place)
        stack.callback(os.close, file)
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != account.uid or about.st_nlink != 1:
            raise OSError("the bookmarks are no file of the user's own")
        name = path.rpartition("/")[2]
        line = f"file://{quote(path)} {_NAMES.get(name, name)}\n".encode()
        known = os.read(file, LARGEST_BOOKMARKS)
        if line not in known.splitlines(keepends=True):
            os.write(file, line if not known or known.endswith(b"\n") else b"\n" + line)
