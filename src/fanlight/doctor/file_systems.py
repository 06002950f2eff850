"""The file systems file: can it be read, are its directories there, and whose are its files?"""

from pathlib import Path

from fanlight.config import Settings
from fanlight.doctor.findings import Finding, fatal, ok, warning
from fanlight.doctor.networks import readability
from fanlight.domain.file_systems import SharedDirectory
from fanlight.drivers.incus.file_systems import FIRST_ID, LAST_ID, NOBODY, can_shift
from fanlight.file_systems_file import FileSystemsFileInvalid, read_file_systems


def examine_file_systems(settings: Settings) -> list[Finding]:
    path = settings.nimble_file_systems_file
    if path is None:
        return []
    try:
        directories = read_file_systems(settings)
    except FileSystemsFileInvalid as error:
        return [
            fatal(str(error), f"correct {path}, or leave out --nimble-file-systems-file; docs/nimble.md has an example")
        ]
    findings = readability(path, "file systems file") if settings.compute == "incus" else []
    for directory in directories:
        findings += directory_on_host(directory)
    return findings


def directory_on_host(directory: SharedDirectory, mounts: str | None = None) -> list[Finding]:
    """`mounts` is /proc/self/mountinfo."""
    what = f"the file system {directory.name}, {directory.path},"
    if not directory.path.is_dir():
        return [warning(f"{what} is not there: sessions that need it do not start", f"mount or make {directory.path}")]
    findings: list[Finding] = []
    if not can_shift(directory.path, mounts):
        findings.append(
            warning(
                f"{what} is where owners cannot be shifted: in sessions all its files belong to nobody, and what sessions "
                "write belongs to numbers that nobody else has",
                "open the directory to everybody, or use btrfs, Ceph, ext4, F2FS, tmpfs or XFS",
            )
        )
    elif not directory.is_read_only and (foreign := _foreign_owner(directory.path)):
        findings.append(
            warning(
                f"{what} belongs to the {foreign}: sessions cannot write to what users and groups below {FIRST_ID} have",
                f"chown {FIRST_ID}:{FIRST_ID} {directory.path}",
            )
        )
    mode = "read-only" if directory.is_read_only else "for writing"
    return findings or [ok(f"file system {directory.name}: {directory.path}, {mode}")]


def _foreign_owner(path: Path) -> str:
    """Return what no instance has a number for, "" when it has for both."""
    found = path.stat()
    owners = {"user": found.st_uid, "group": found.st_gid}
    return " and the ".join(
        f"{kind} {owner}" for kind, owner in owners.items() if not FIRST_ID <= owner <= LAST_ID and owner != NOBODY
    )
