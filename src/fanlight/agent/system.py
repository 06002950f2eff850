"""What an operating system's first process must do before anything else can run. Root, once, at boot."""

import ctypes
import fcntl
import logging
import os
import socket
import struct
import uuid
from pathlib import Path

from fanlight.agent.accounts import LOG_DIRECTORY, SEATS_DIRECTORY, STREAMS_GROUP
from fanlight.agentwire import GUEST_DIRECTORY

log = logging.getLogger(__name__)

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)


def prepare(name_server: str) -> None:
    """Mount, make directories, bring up the loopback. Raises OSError when the instance cannot be made safe.

    The engine has given eth0 its address before this runs; `name_server` is empty when there is no way out.
    """
    mount("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777,size=50%")  # noqa: S108 - this makes it
    Path("/dev/shm").mkdir(exist_ok=True)  # noqa: S108
    mount("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777")  # noqa: S108
    _hide_processes_from_other_users()
    make_directory(GUEST_DIRECTORY, 0, STREAMS_GROUP, 0o710)
    make_directory(LOG_DIRECTORY, 0, 0, 0o700)
    make_directory("/tmp/.X11-unix", 0, 0, 0o1777)  # noqa: S108
    make_directory("/tmp/.ICE-unix", 0, 0, 0o1777)  # noqa: S108
    for path in ("/run/user", "/run/pulse", SEATS_DIRECTORY):
        make_directory(path, 0, 0, 0o755)
    Path("/etc/machine-id").write_text(uuid.uuid4().hex + "\n", encoding="ascii")
    _loopback_up()
    _name_this_host()
    resolver = Path("/etc/resolv.conf")
    resolver.unlink(missing_ok=True)  # the image may have had a link here
    resolver.write_text(f"nameserver {name_server}\n" if name_server else "", encoding="ascii")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0)))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def _hide_processes_from_other_users() -> None:
    """A user's program must not see the agent's, Selkies' or another user's processes in /proc."""
    mount("proc", "/proc", MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=2")


def _name_this_host() -> None:
    hosts = Path("/etc/hosts")
    name = socket.gethostname()
    text = hosts.read_text(encoding="utf-8") if hosts.exists() else "127.0.0.1 localhost\n"
    if name not in text.split():
        hosts.write_text(f"{text.rstrip()}\n127.0.1.1 {name}\n", encoding="utf-8")


def mount(kind: str, target: str, flags: int, options: str = "", *, source: str = "") -> None:
    """Raises OSError."""
    what = (source or kind).encode()
    if _libc.mount(what, target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source or kind} on {target} ({options}): {os.strerror(number)}")


def bind(source: str, target: str) -> None:
    """Let `target` show what is at `source`. Raises OSError."""
    mount("none", target, MS_BIND, source=source)


def make_private(target: str) -> None:
    """Let no mount below `target` be seen in another mount namespace, from now on. Raises OSError."""
    mount("none", target, MS_REC | MS_PRIVATE)


def unmount(target: str) -> None:
    """Take a mount away, at the latest when nobody uses it any more; none there is fine."""
    _libc.umount2(target.encode(), MNT_DETACH)


def make_directory(path: str, uid: int, gid: int, mode: int) -> None:
    """Make it so, whatever the image had there. A symbolic link in its place is an error, not followed."""
    Path(path).mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)
