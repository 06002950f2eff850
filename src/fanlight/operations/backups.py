"""Take a consistent copy of everything that cannot be made again, while the service runs."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fanlight import __version__
from fanlight.config import Settings
from fanlight.operations import archives, databases
from fanlight.operations.errors import OperationFailed

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Backup:
    """What was written."""

    target: Path
    size_in_bytes: int
    manifest: archives.Manifest


def make_backup(
    settings: Settings, target: Path, *, config: Path | None, is_forced: bool, now: datetime, report: Report
) -> Backup:
    """Write database, keys, certificate, image catalogues and configuration into one archive (mode 0600).

    Not in it: users' files, instances, root file systems of images, logs. Raises OperationFailed, or OSError when a disk is full; then
    there is no archive, and one that was there before is as it was.
    """
    archives.compression_of(target)
    if not target.parent.is_dir():
        raise OperationFailed(f"There is no directory {target.parent}.")
    if target.exists() and not is_forced:
        raise OperationFailed(f"{target} exists already: choose another name, or --force to replace it.")
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
        staged = Path(name)
        report("database")
        # First: a catalogue that is newer than the database harms nobody, an image without its catalogue would.
        kind, revision = _stage_database(settings, staged)
        for source, path in _sources(settings, config):
            report(path)
            _stage(source, staged, path)
        report("archive")
        manifest = archives.Manifest(
            format=archives.FORMAT,
            fanlight_version=__version__,
            database=kind,
            schema_revision=revision,
            created_at=now.astimezone(UTC).isoformat(timespec="seconds"),
            files=archives.entries_of(staged),
        )
        size = archives.write_archive(target, staged, manifest, is_forced=is_forced)
    return Backup(target, size, manifest)


def _stage_database(settings: Settings, staged: Path) -> tuple[archives.DatabaseKind, str]:
    (staged / "state").mkdir()
    if databases.is_postgresql(settings):
        return "postgresql", databases.dump_postgresql(settings, staged / archives.POSTGRESQL_DUMP)
    return "sqlite", databases.snapshot_sqlite(databases.sqlite_path(settings), staged / archives.SQLITE_FILE)


def _sources(settings: Settings, config: Path | None) -> Iterator[tuple[Path, str]]:
    """Yield what is copied and where it stands in the archive. A file that does not exist is left out."""
    data = settings.data_dir
    for path in (
        "state/signing.key",
        "state/installation.id",
        "gateway/cookie.key",
        "credentials",
        "metrics.token",
        "tls/cert.pem",
        "tls/key.pem",
    ):
        if os.path.lexists(data / path):
            yield data / path, path
    if config:
        yield config, "config.toml"
    if settings.networks_file:
        yield settings.networks_file, "networks.toml"
    made = data / "state" / "images"  # what was made here has its catalogue in the database
    for source in sorted(made.glob("*/icons/*.png")):
        yield source, source.relative_to(data).as_posix()
    images = data / "images"
    for image in sorted(images.iterdir()) if images.is_dir() else ():
        if image.is_symlink() or not image.is_dir() or image.name.startswith("."):  # a dot: being built
            continue
        for source in (image / "catalogue.json", *sorted((image / "icons").glob("*.png"))):
            if os.path.lexists(source):
                yield source, source.relative_to(data).as_posix()


def _stage(source: Path, staged: Path, path: str) -> None:
    """Copy one file, opened with the rights of the directory's owner, and never through a link."""
    if not archives.LAYOUT.fullmatch(path):
        raise OperationFailed(f"{source} is not one of ours: move it out of the data directory, then repeat this.")
    target = staged / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with databases.acting_as_owner_of(source.parent):
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise OperationFailed(f"{source} cannot be read: {error.strerror}. Run this as root.") from error
    with os.fdopen(descriptor, "rb") as file, target.open("xb") as copy:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OperationFailed(f"{source} is not a plain file, so the installation was tampered with.")
        shutil.copyfileobj(file, copy)
