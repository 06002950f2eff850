"""Leave font caches that still hold when the root file system comes out of the image store.

A cache is valid for a directory whose time of change is the very one, fractions of a second included. The store keeps
whole seconds only: without this, in a session on such an image the window manager would first read every font there is.
"""

import contextlib
import os
import subprocess
from pathlib import Path

from fanlight.agent.commands import ENVIRONMENT, Commands

PROGRAM = "/usr/bin/fc-cache"
DIRECTORIES = ("usr/share/fonts", "usr/local/share/fonts")
OPTIONS = ("--system-only", "--force")
LIMIT_IN_SECONDS = 600.0
SHORT_LIMIT_IN_SECONDS = 45.0  # an image builder has little more for all of its cleaning


async def keep_font_caches(commands: Commands, *, root: Path = Path("/")) -> None:
    """Round the times of all font directories, and write their caches anew. Raises CommandFailed, OSError."""
    if round_times(root):
        await commands.run("font-caches", [PROGRAM, *OPTIONS], limit_in_seconds=LIMIT_IN_SECONDS)


def keep_now() -> None:
    """Do the same where nothing else runs any more. An image whose caches cannot be written is slow, not wrong."""
    if round_times(Path("/")):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(  # noqa: S603 - constant
                [PROGRAM, *OPTIONS],
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                timeout=SHORT_LIMIT_IN_SECONDS,
                check=False,
            )


def round_times(root: Path) -> bool:
    """Return whether there is a program that writes caches. Raises OSError."""
    if not (root / PROGRAM.lstrip("/")).exists():
        return False
    for directory in DIRECTORIES:
        for path, _, _ in os.walk(root / directory):
            whole = int(Path(path).stat().st_mtime)
            os.utime(path, (whole, whole))
    return True
