"""The helper that rclone starts to have its files mounted: it is our `fusermount3`, and nothing in the image is.

The place is in the home of a user, who may put anything there meanwhile, and we are root: each step of the path is
opened without following a link, and the mount goes onto what was opened. If that is not a directory, the files are
mounted out of the user's sight, so that at least what is still to be sent is sent.
"""

import array
import contextlib
import ctypes
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from fanlight.agent.gate.ledger import Room
from fanlight.agent.gate.serving import begin
from fanlight.agent.system import MNT_DETACH, MS_NODEV, MS_NOSUID, mount

# In the environment: "LIMIT USED" in bytes of a folder that has a quota, and where its gate hears how that changes.
ROOM, NEWS = "FANLIGHT_FOLDER_ROOM", "FANLIGHT_FOLDER_NEWS"
FILE_SYSTEM = "fuse.fanlight"
NOTE = "NOT CONNECTED.txt"
NOTE_TEXT = """This folder is not connected to your files at the moment.
It is tried again all the time; until then nothing can be saved here.
"""
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OCTAL = re.compile(r"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """As rclone calls it: `fusermount3 -o OPTIONS -- PLACE` or `fusermount3 -u PLACE`."""
    kind, wished, hidden = os.environ["FANLIGHT_FOLDER_KIND"], os.environ.get("FANLIGHT_FOLDER_PATH"), sys.argv[-1]
    detach(kind)
    if "-u" in sys.argv:
        return
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    try:
        with opened(wished or hidden) as place:
            mount(FILE_SYSTEM, f"/proc/self/fd/{place}", MS_NOSUID | MS_NODEV, options, source=kind)
    except OSError:
        mount(FILE_SYSTEM, hidden, MS_NOSUID | MS_NODEV, options, source=kind)
    given = device
    if room := os.environ.get(ROOM):
        limit, used = room.split()
        given = begin(device, Room(limit=int(limit), used=int(used)), Path(os.environ[NEWS]))
    with socket.socket(fileno=int(os.environ["_FUSE_COMMFD"])) as rclone:
        rclone.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [given]))])


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a directory without following any link on the way. Raises OSError."""
    descriptor = os.open("/", _DIRECTORY)
    try:
        for step in Path(path).parts[1:]:
            following = os.open(step, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        yield descriptor
    finally:
        os.close(descriptor)


def detach(kind: str) -> None:
    """Take every mount of this folder away, those without a living rclone too."""
    for path in reversed(mounted_at(kind)):
        with contextlib.suppress(OSError), opened(path) as place:
            _libc.umount2(f"/proc/self/fd/{place}".encode(), MNT_DETACH)


def mounted_at(kind: str, pid: int | str = "self") -> list[str]:
    """Return where a process sees this folder mounted, the uppermost last. A process that is gone sees none."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        head, _, tail = line.partition(" - ")
        if tail.split(" ")[:2] == [FILE_SYSTEM, kind]:
            found.append(_OCTAL.sub(lambda code: chr(int(code[1], 8)), head.split(" ")[4]))
    return found


def make_placeholder(files_directory: str, folder: str) -> None:
    """Make what the user sees while the files are not there: root's, so that nothing is saved that would never arrive.

    Raises OSError.
    """
    with opened(files_directory) as parent:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o755, dir_fd=parent)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.fchown(place, os.geteuid(), os.getegid())
        os.fchmod(place, 0o755)
        with contextlib.suppress(FileExistsError):
            note = os.open(NOTE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=place)
            with os.fdopen(note, "w") as file:
                file.write(NOTE_TEXT)
    finally:
        os.close(place)


if __name__ == "__main__":
    main()
