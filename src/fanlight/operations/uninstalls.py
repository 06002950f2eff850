"""What an installation consists of on this host, and how each part goes.

Only what Fanlight made: in Incus what carries its mark, in directories what has its names, of users those that
`scripts/host-setup` makes. Packages, Incus itself and a PostgreSQL database stay. Every step may be repeated.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from fanlight.config import DEFAULT_DATA_DIR, Settings
from fanlight.drivers.incus.socket_directories import Owner, SocketDirectories
from fanlight.installation import SHARED_GROUP
from fanlight.operations import databases, incus_removals, systemd
from fanlight.operations.errors import OperationFailed
from fanlight.operations.presence import is_lock
from fanlight.operations.removals import Finding, Removal, Spared

_DATA_NAMES = (
    "state",
    "gateway",
    "storage",
    "credentials",
    "metrics.token",
    "images",
    "runtime",
    "audit",
    "simulated",
    "tls",
    "cache",
    "config.toml",
    "networks.toml",
)
_DATA_PATTERNS = ("before-restore-*", ".restore-*")
_RUN_NAMES = ("compute.sock", "control", "instances", "storage", systemd.BOOTSTRAP_FILE)
_SETUP_FILES = (Path("/etc/systemd/system/incus.service.d/fanlight.conf"), Path("/var/log/fanlight-setup.log"))
_BACKPORTS = Path("/etc/apt/sources.list.d/fanlight-backports.sources")
_FIRST_PERSON = 1000  # user ids below belong to the system, from here to people


def survey(settings: Settings, *, is_data_kept: bool, units: Path) -> Sequence[Finding]:
    """Return everything that is there, in the order in which it goes. Reads only.

    `units` is where systemd's unit files are. Raises OperationFailed when Incus is there and does not answer.
    """
    findings: list[Finding] = [*systemd.survey(settings, units)]
    if settings.compute == "incus":
        findings += incus_removals.survey(settings)
    findings += survey_run_dir(settings)
    if is_data_kept:
        findings.append(Spared(str(settings.data_dir), "--keep-data; the users that own its files stay with it"))
    else:
        findings += _survey_data_dir(settings)
        if settings.compute == "incus":
            findings += _survey_host(settings)
    return findings


def _survey_host(settings: Settings) -> Sequence[Finding]:
    """Return what `scripts/host-setup` made once for all installations on this host."""
    if settings.data_dir != DEFAULT_DATA_DIR:
        return [Spared("users and host files", f"the installation in {DEFAULT_DATA_DIR}, if any, needs them too")]
    return [*_survey_users(settings), *_survey_setup_files()]


def survey_run_dir(settings: Settings) -> Sequence[Finding]:
    run = settings.effective_run_dir
    if not any((run / name).exists() for name in _RUN_NAMES):
        return ()
    return [Removal(str(run), "sockets and socket directories", partial(_remove_run_dir, run))]


def _remove_run_dir(run: Path) -> None:
    directories = SocketDirectories(run, Owner(os.geteuid(), os.getegid(), os.geteuid()))
    for instance_id in directories.ids():
        directories.remove(instance_id)  # unmounts its `guest/` first
    for name in _RUN_NAMES:
        _remove(run / name)
    _remove_if_empty(run)


def _survey_data_dir(settings: Settings) -> Sequence[Finding]:
    data = settings.data_dir
    ours = [path for path in _ours_in(data) if os.path.lexists(path)]
    findings: list[Finding] = []
    if ours:
        names = ", ".join(path.name for path in ours)
        findings.append(Removal(str(data), names, partial(_remove_data, data)))
    if databases.is_postgresql(settings):
        findings.append(Spared("PostgreSQL database", "it is the server's: drop it there (dropdb)"))
    return findings


def _ours_in(data: Path) -> list[Path]:
    found = [path for pattern in _DATA_PATTERNS for path in sorted(data.glob(pattern))]
    return [data / name for name in _DATA_NAMES] + found


def _remove_data(data: Path) -> None:
    for path in _ours_in(data):
        _remove(path)
    left = sorted(path.name for path in data.iterdir() if not is_lock(path))
    if left:
        raise OperationFailed(f"{data} also holds what Fanlight did not make, which stays: {', '.join(left[:5])}.")
    for lock in filter(is_lock, sorted(data.iterdir())):
        _remove(lock)
    _remove_if_empty(data)


def _survey_users(settings: Settings) -> Sequence[Finding]:
    findings: list[Finding] = []
    for name in dict.fromkeys((settings.api_user, settings.gateway_user, settings.storage_user)):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        if user.pw_uid >= _FIRST_PERSON or user.pw_dir != "/nonexistent":
            findings.append(Spared(f"user {name}", "scripts/host-setup did not make it: it has a home directory"))
        else:
            findings.append(Removal(f"user {name}", "runs one process of the service", partial(_remove_user, name)))
    return findings


def _remove_user(name: str) -> None:
    _system("userdel", name)
    # Fails as long as the other user is in it, and goes with the last one.
    with suppress(OperationFailed):
        _system("groupdel", SHARED_GROUP)


def _system(*command: str) -> None:
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not program:
        raise OperationFailed(f"The program {command[0]} is not installed.")
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise OperationFailed(f"{' '.join(command)} failed: {done.stderr.strip()}")


def _survey_setup_files() -> Sequence[Finding]:
    there = [path for path in _SETUP_FILES if path.exists()]
    findings: list[Finding] = []
    if there:
        detail = ", ".join(map(str, there))
        findings.append(Removal("files of scripts/host-setup", detail, partial(_remove_all, there)))
    if _BACKPORTS.exists():
        findings.append(Spared(str(_BACKPORTS), "Incus gets its updates from there as long as it is installed"))
    return findings


def _remove_all(paths: Sequence[Path]) -> None:
    for path in paths:
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or a whole directory, and nothing that is mounted in it. Absent is success."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    mounted = _mounts_under(path)
    if mounted:
        raise OperationFailed(f"{mounted[0]} is a mounted file system: unmount it first (umount {mounted[0]}).")
    shutil.rmtree(path)


def _mounts_under(path: Path) -> list[str]:
    start = f"{path.resolve()}/"
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split(" ", 5)[4].encode().decode("unicode_escape") for line in lines]
    return sorted((point for point in points if f"{point}/".startswith(start)), reverse=True)


def _remove_if_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
