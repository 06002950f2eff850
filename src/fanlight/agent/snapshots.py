"""Leave in an image builder what belongs into an image, and nothing else.

Gone: the administrator with home and sudo, test users, secrets and names of this very instance, logs, caches, history,
what lies in temporary places. Kept: installed software, the catalogue, and the defaults that Template User set, which
become everybody's: /etc/skel, and the home of the account that a session of one user has.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fanlight.agent import builder
from fanlight.agent.accounts import ADMINISTRATOR, TEMPLATE_USER, TEST_USER
from fanlight.agentwire import ADMINISTRATOR_UID, LATER_SEATS_UID, TEST_USER_UID

SKELETON = "etc/skel"
# Of a home: what a program makes again, what says what somebody did, and what is true of one session only.
NOT_DEFAULTS = frozenset({
    ".cache", ".bash_history", ".python_history", ".lesshst", ".viminfo", ".wget-hsts", ".sudo_as_admin_successful",
    ".Xauthority", ".ICEauthority", ".xsession-errors", ".dbus", ".ssh", ".gnupg", "MyFiles", ".local/share/Trash",
    ".local/share/recently-used.xbel", ".local/state", ".config/pulse",
})  # fmt: skip
EMPTIED = (
    "var/lib/apt/lists", "var/cache/apt", "var/cache/debconf", "var/tmp", "tmp", "var/log/fanlight", "var/crash",
    "root/.cache", "var/lib/systemd/coredump",
)  # fmt: skip
REMOVED = (
    "var/lib/dbus/machine-id", "root/.bash_history", "root/.lesshst", "root/.viminfo", "root/.wget-hsts",
    "root/.python_history", "root/.sudo_as_admin_successful", "root/.Xauthority", "var/lib/fanlight",
    "var/lib/sudo", "var/lib/systemd/random-seed", "var/spool/cron/crontabs/ImageBuilderAdmin",
    "etc/profile.d/appstream_user_vars.sh", "etc/profile.d/appstream_system_vars.sh", "var/mail/ImageBuilderAdmin",
)  # fmt: skip
HOST_KEYS = "etc/ssh", "ssh_host_*"
ACCOUNT_FILES = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
OWNED_BY_ROOT = (0, 0)


def clean(root: Path = Path("/"), *, give: Callable[[Path, int, int], None] | None = None) -> None:
    """Do it all; nothing else may run. `give` hands a file to an owner (tests are not root). Raises OSError."""
    give = give or _give
    keep_defaults(root, give)
    _forget_people(root, give)
    builder.strip(root)
    for path in REMOVED:
        remove(root / path)
    for path in EMPTIED:
        for below in _below(root / path):
            remove(below)
    for key in (root / HOST_KEYS[0]).glob(HOST_KEYS[1]):
        remove(key)
    _empty_logs(root / "var/log")
    _forget_name(root)
    builder.forget_last_run(root / builder.RUN)


def keep_defaults(root: Path, give: Callable[[Path, int, int], None]) -> None:
    """Make one set of defaults of /etc/skel and Template User's home, the newer file counting, and put it into both."""
    home, skeleton = root / TEMPLATE_USER.home.lstrip("/"), root / SKELETON
    for path in NOT_DEFAULTS:
        remove(home / path)
    if not home.is_dir():
        return
    skeleton.mkdir(mode=0o755, parents=True, exist_ok=True)
    owner = (TEMPLATE_USER.uid, TEMPLATE_USER.group)
    copy_newer(home, skeleton, lambda path: give(path, *OWNED_BY_ROOT))
    copy_newer(skeleton, home, lambda path: give(path, *owner))


def copy_newer(source: Path, target: Path, own: Callable[[Path], None]) -> None:
    """Copy files and links that the target has not, or has older; sockets and the like are no defaults."""
    for directory, names, files in os.walk(source):
        there = target / Path(directory).relative_to(source)
        if there.is_symlink() or (there.exists() and not there.is_dir()):
            names.clear()
            continue
        if not there.exists():
            there.mkdir()
            there.chmod(stat.S_IMODE(Path(directory).stat().st_mode))
            own(there)
        links = [name for name in names if Path(directory, name).is_symlink()]
        for name in (*files, *links):
            origin, copy = Path(directory, name), there / name
            kind = origin.lstat()
            if not (stat.S_ISREG(kind.st_mode) or stat.S_ISLNK(kind.st_mode)):
                continue
            if os.path.lexists(copy) and (copy.lstat().st_mtime >= kind.st_mtime or copy.is_dir()):
                continue
            remove(copy)
            shutil.copy2(origin, copy, follow_symlinks=False)
            own(copy)


def _forget_people(root: Path, give: Callable[[Path, int, int], None]) -> None:
    """Remove accounts of builders and of later seats, with their homes; what they have elsewhere becomes root's."""
    names = {ADMINISTRATOR, TEST_USER.name, *_later_displays(root)}
    for name in (ADMINISTRATOR, TEST_USER.name):
        remove(root / "home" / name)
    for file in ACCOUNT_FILES:
        for path in (root / "etc" / file, root / "etc" / f"{file}-"):
            if path.is_file():
                _keep_lines(path, lambda line: line.split(":")[0] not in names)
    if (root / "etc/group").is_file():
        _leave_groups(root / "etc/group", names)
    uids = {ADMINISTRATOR_UID, TEST_USER_UID}
    for path in _walk(root):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if found.st_uid in uids or found.st_gid in uids:
                give(path, *OWNED_BY_ROOT)


def _later_displays(root: Path) -> Iterator[str]:
    passwd = root / "etc/passwd"
    for line in passwd.read_text(encoding="utf-8").splitlines() if passwd.is_file() else ():
        name, _, uid, *_ = (*line.split(":"), "", "", "")
        if uid.isdigit() and int(uid) >= LATER_SEATS_UID and name.startswith(("display", "user")):
            yield name


def _leave_groups(path: Path, names: set[str]) -> None:
    def without(line: str) -> str:
        *fields, members = line.rstrip("\n").split(":")
        return ":".join([*fields, ",".join(each for each in members.split(",") if each not in names)]) + "\n"

    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    _rewrite(path, "".join(without(line) if ":" in line else line for line in lines))


def _empty_logs(logs: Path) -> None:
    """Software finds its directories again, and empty files where it had written; what was rotated goes."""
    for path in _walk(logs):
        if path.is_file() and not path.is_symlink():
            rotated = path.suffix in (".gz", ".xz", ".zst", ".old") or path.suffix[1:].isdigit()
            path.unlink() if rotated else os.truncate(path, 0)


def _forget_name(root: Path) -> None:
    for path in ("etc/machine-id", "etc/resolv.conf"):
        remove(root / path)
        (root / path).touch(mode=0o644)
    hosts = root / "etc/hosts"
    if hosts.is_file():
        _keep_lines(hosts, lambda line: not line.startswith("127.0.1.1"))
    remove(root / "etc/hostname")


def _keep_lines(path: Path, is_kept: Callable[[str], bool]) -> None:
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
    if any(not is_kept(line) for line in lines):
        _rewrite(path, "".join(line for line in lines if is_kept(line)))


def _rewrite(path: Path, text: str) -> None:
    """Write it in place: mode and owner (the shadow group's) stay."""
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _walk(top: Path) -> Iterator[Path]:
    """Yield everything below, following no link and leaving the file system of the top at no mount."""
    try:
        device = top.lstat().st_dev
    except OSError:
        return
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            yield Path(directory, name)
        names[:] = [name for name in names if _device(f"{directory}/{name}") == device]


def _device(path: str) -> int:
    try:
        return os.lstat(path).st_dev
    except OSError:
        return -1


def _below(path: Path) -> Iterable[Path]:
    return list(path.iterdir()) if path.is_dir() and not path.is_symlink() else ()


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _give(path: Path, uid: int, gid: int) -> None:
    os.chown(path, uid, gid, follow_symlinks=False)
