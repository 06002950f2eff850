"""What makes an instance an image builder: its administrator with sudo, the Image Assistant on PATH, quiet packages.

All of it is made anew at every start and taken away before an image is made (see `snapshots`), so no image carries it.
The administrator becomes root with sudo: here, and in no other kind of instance, that is what they are for.
"""

import contextlib
import os
import shutil
from pathlib import Path

from fanlight.agent.accounts import ADMINISTRATOR, Seat
from fanlight.agent.system import make_directory
from fanlight.agentwire import RUNTIME_DIRECTORY

SHADOW = "etc/shadow"
SUDOERS = "etc/sudoers.d/fanlight-image-builder"
SUDOERS_TEXT = f"""{ADMINISTRATOR} ALL=(ALL:ALL) NOPASSWD: ALL
Defaults:{ADMINISTRATOR} !syslog, env_keep += "DISPLAY XAUTHORITY DEBIAN_FRONTEND DBUS_SESSION_BUS_ADDRESS LANG"
"""
# The agent is process 1, and nothing else starts services here: a package that asks for its daemon is told no.
NO_DAEMONS, NO_DAEMONS_TEXT = "usr/sbin/policy-rc.d", "#!/bin/sh\n# of the image builder\nexit 101\n"
ASSISTANT = "AppStreamImageAssistant"
ASSISTANT_PLACE = f"usr/local/appstream/image-assistant/{ASSISTANT}"
ASSISTANT_LINK = f"usr/bin/{ASSISTANT}"
ASSISTANT_PROGRAM = f"{RUNTIME_DIRECTORY}/bin/fanlight-image-assistant"
# What a start finds of the one before; only what the engine mounts stays.
RUN, MOUNTED = "run", ("fanlight",)


def furnish(root: Path = Path("/")) -> None:
    """Call at every start, before there is a seat. Raises OSError."""
    if (sudoers := root / SUDOERS).parent.is_dir():
        _write(sudoers, SUDOERS_TEXT, 0o440)
    _let_in(root / SHADOW)
    if not (policy := root / NO_DAEMONS).exists() and policy.parent.is_dir():
        _write(policy, NO_DAEMONS_TEXT, 0o755)
    for link, target in ((ASSISTANT_PLACE, ASSISTANT_PROGRAM), (ASSISTANT_LINK, f"/{ASSISTANT_PLACE}")):
        path = root / link
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def _let_in(shadow: Path) -> None:
    """Give the administrator an entry without a password: sudo refuses whom the file does not know at all."""
    if not shadow.is_file():
        return
    text = shadow.read_text(encoding="utf-8", errors="surrogateescape")
    if not any(line.startswith(f"{ADMINISTRATOR}:") for line in text.splitlines()):
        shadow.write_text(
            f"{text.rstrip()}\n{ADMINISTRATOR}:*:20000::::::\n", encoding="utf-8", errors="surrogateescape"
        )


def strip(root: Path) -> None:
    """Take away what `furnish` made. Raises OSError."""
    for path in (SUDOERS, ASSISTANT_LINK, ASSISTANT_PLACE):
        (root / path).unlink(missing_ok=True)
    policy = root / NO_DAEMONS
    if policy.is_file() and policy.read_text(encoding="utf-8", errors="replace") == NO_DAEMONS_TEXT:
        policy.unlink()
    for directory in (root / ASSISTANT_PLACE).parents[:2]:
        with contextlib.suppress(OSError):  # somebody else's file is there too
            directory.rmdir()


def make_administrators_home(seat: Seat, skeleton: Path = Path("/etc/skel")) -> None:
    """Make the administrator's home where there is none; whose it was before, it stays. Raises OSError."""
    home = Path(seat.user.home)
    if home.exists():
        return
    if skeleton.is_dir():
        shutil.copytree(skeleton, home, symlinks=True)
    make_directory(str(home), seat.user.uid, seat.user.group, 0o700)
    for directory, names, files in os.walk(home):
        for name in (*names, *files):
            os.chown(f"{directory}/{name}", seat.user.uid, seat.user.group, follow_symlinks=False)


def forget_last_run(run: Path = Path("/", RUN)) -> None:
    """Empty /run, as a machine finds it that starts. Call before anything is made there. Raises OSError."""
    for path in run.iterdir() if run.is_dir() else ():
        if path.name in MOUNTED or path.is_mount():
            continue
        if path.is_dir() and not path.is_symlink():
            for below in sorted(path.rglob("*"), reverse=True):
                with contextlib.suppress(OSError):  # a directory that holds something mounted
                    below.rmdir() if below.is_dir() and not below.is_symlink() else below.unlink()
        else:
            path.unlink(missing_ok=True)


def _write(path: Path, text: str, mode: int) -> None:
    fresh = path.with_name(f"{path.name}.new~")  # sudo reads no file with such a name
    fresh.unlink(missing_ok=True)
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(mode)
    fresh.replace(path)
