"""Put a backup back: everything is checked before anything of the installation is touched."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fanlight import __version__
from fanlight.config import Settings
from fanlight.installation import identity_of
from fanlight.operations import archives, databases
from fanlight.operations.errors import OperationFailed
from fanlight.operations.presence import maintenance

Report = Callable[[str], None]

_STAGING = ".restore-"
_PRIVATE = 0o700
_PUBLIC = 0o755
_SPARE = 64 * 2**20  # bytes left free, so that a restore does not fill the disk under the service


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back; `aside` holds what stood there before, if anything did.

    A directory of the backup replaces the whole directory: an image made since the backup goes aside with the rest.
    """

    manifest: archives.Manifest
    aside: Path | None
    config: Path | None
    networks: Path | None


def known_revisions() -> frozenset[str]:
    """Return the database schemas that this version can bring to its own."""
    from alembic.script import ScriptDirectory

    from fanlight.store.upgrade import configuration

    script = ScriptDirectory.from_config(configuration())
    return frozenset(revision.revision for revision in script.walk_revisions())


def restore_backup(
    settings: Settings, source: Path, *, known_revisions: frozenset[str], now: datetime, report: Report
) -> Restored:
    """Replace the installation in DATA_DIR (and the PostgreSQL database, if it is configured) by a backup.

    Refused while the service runs. What was there is moved to `DATA_DIR/before-restore-<time>`, and back again should a
    step fail. Raises OperationFailed; OSError when a disk is full, with nothing changed.
    """
    if not source.is_file():
        raise OperationFailed(f"There is no file {source}.")
    with maintenance(settings, "a restore"), ExitStack() as stack:
        for left_by_a_crash in settings.data_dir.glob(f"{_STAGING}*"):
            shutil.rmtree(left_by_a_crash)
        # In the data directory: what is staged is put in place by renaming, which needs one file system.
        staging = tempfile.TemporaryDirectory(prefix=_STAGING, dir=settings.data_dir)
        staged = Path(stack.enter_context(staging))
        report("reading and checking")
        manifest = _unpack(settings, source, staged, known_revisions)
        report("putting in place")
        aside = settings.data_dir / f"before-restore-{now:%Y%m%dT%H%M%S}"
        _give_owners(settings, staged)
        _put_in_place(settings, staged, aside, manifest)
    config, networks = (
        settings.data_dir / name if _has(manifest, name) else None for name in ("config.toml", "networks.toml")
    )
    return Restored(manifest, aside if aside.exists() else None, config, networks)


def _unpack(settings: Settings, source: Path, staged: Path, known_revisions: frozenset[str]) -> archives.Manifest:
    with archives.open_archive(source) as (manifest, files):
        _check_manifest(settings, manifest, known_revisions)
        archives.ensure_room(staged, manifest.size + _SPARE)
        for entry, content in files:
            target = staged / entry.path
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with target.open("xb") as file:
                for chunk in content:
                    file.write(chunk)
                os.fsync(file.fileno())
    if manifest.database == "sqlite":
        found = databases.check_sqlite(staged / archives.SQLITE_FILE)
        if found != manifest.schema_revision:
            raise OperationFailed(
                f"The database in {source} has schema {found}, its manifest says {manifest.schema_revision}. "
                "Nothing was changed."
            )
    return manifest


def _check_manifest(settings: Settings, manifest: archives.Manifest, known_revisions: frozenset[str]) -> None:
    if manifest.format > archives.FORMAT or _version(manifest.fanlight_version) > _version(__version__):
        raise OperationFailed(
            f"The backup was made by Fanlight {manifest.fanlight_version}, this is {__version__}: install that version "
            "or a later one first. Nothing was changed."
        )
    if manifest.format != archives.FORMAT:
        raise OperationFailed(f"Backups of format {manifest.format} never existed. Nothing was changed.")
    if manifest.schema_revision not in known_revisions:
        raise OperationFailed(
            f"The backup's database has schema {manifest.schema_revision}, which this version does not know: a newer "
            "Fanlight wrote it. Nothing was changed."
        )
    configured = "postgresql" if databases.is_postgresql(settings) else "sqlite"
    if manifest.database != configured:
        raise OperationFailed(
            f"The backup holds a {manifest.database} database, this installation is configured for {configured}: set "
            "FANLIGHT_DATABASE_URL as it was. Nothing was changed."
        )
    wanted = archives.SQLITE_FILE if configured == "sqlite" else archives.POSTGRESQL_DUMP
    for path in (wanted, "state/signing.key"):
        if not _has(manifest, path):
            raise OperationFailed(f"The backup lacks {path}. Nothing was changed.")
    if configured == "sqlite":
        database = databases.sqlite_path(settings)
        if database.absolute() != (settings.data_dir / archives.SQLITE_FILE).absolute():
            raise OperationFailed(
                f"The database is configured as {database}, a restore puts it into {settings.data_dir / 'state'}: run it "
                "without FANLIGHT_DATABASE_URL, then move the file. Nothing was changed."
            )


def _has(manifest: archives.Manifest, path: str) -> bool:
    return any(entry.path == path for entry in manifest.files)


def _version(text: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _give_owners(settings: Settings, staged: Path) -> None:
    """Give what was staged the owners and modes of docs/architecture.md."""
    api = identity_of(settings, "api")
    owners = {"state": api, "metrics.token": api, "gateway": identity_of(settings, "gateway")}
    tls_group = api.gid
    is_root = os.geteuid() == 0
    for path in staged.rglob("*"):
        part = path.relative_to(staged).parts[0]
        is_public = part == "images" or path.name == "cert.pem" or (part == "tls" and path.is_dir())
        if path.is_dir():
            path.chmod(_PUBLIC if is_public else _PRIVATE)
        else:
            path.chmod(0o644 if is_public else 0o600)
        if path.name == "key.pem" and is_root:
            os.chown(path, 0, tls_group)
            path.chmod(0o640)
        elif part in owners and is_root:
            os.chown(path, owners[part].uid, owners[part].gid)


def _put_in_place(settings: Settings, staged: Path, aside: Path, manifest: archives.Manifest) -> None:
    """Rename everything into place; a failure undoes what was done before it."""
    with ExitStack() as undo:
        if manifest.database == "postgresql":
            aside.mkdir(mode=_PRIVATE)
            undo.callback(_remove_if_empty, aside)
            # The database is the only thing that cannot be renamed back, hence its copy, and hence its place: last.
            if databases.has_postgresql_content(settings):
                databases.dump_postgresql(settings, aside / "database.pgdump")
        for part in sorted(entry.name for entry in staged.iterdir()):
            _swap(settings.data_dir / part, staged / part, aside, undo)
        if manifest.database == "postgresql":
            databases.restore_postgresql(settings, settings.data_dir / archives.POSTGRESQL_DUMP)
            (settings.data_dir / archives.POSTGRESQL_DUMP).unlink()
        undo.pop_all()


def _swap(place: Path, staged: Path, aside: Path, undo: ExitStack) -> None:
    if os.path.lexists(place):
        if not aside.exists():
            aside.mkdir(mode=_PRIVATE)
            undo.callback(_remove_if_empty, aside)
        place.rename(aside / place.name)
        undo.callback((aside / place.name).rename, place)
    staged.rename(place)
    undo.callback(_discard, place)


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _remove_if_empty(directory: Path) -> None:
    if not any(directory.iterdir()):
        directory.rmdir()
