"""Copies of the database: taken while the service writes to it, and put back while it does not."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

from fanlight.config import Settings
from fanlight.operations.errors import OperationFailed

_REVISION_QUERY = "SELECT version_num FROM alembic_version"


@contextmanager
def acting_as_owner_of(directory: Path) -> Iterator[None]:
    """Act with the rights of whoever owns the directory.

    Root reads what unprivileged processes own; with their rights, a symlink that a subverted one left there leads to
    nothing that it could not read itself.
    """
    owner = directory.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])  # root's own would still open what is readable for its group
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def is_postgresql(settings: Settings) -> bool:
    return settings.effective_database_url.startswith("postgresql")


def sqlite_path(settings: Settings) -> Path:
    """Return the file of the SQLite database. Raises OperationFailed for a URL that names no file."""
    url = settings.effective_database_url
    _, _, name = url.partition(":///")
    name = name.partition("?")[0]
    if not url.startswith("sqlite") or name in ("", ":memory:"):
        raise OperationFailed(f"The database {url.partition(':')[0]} is neither a SQLite file nor PostgreSQL.")
    return Path(name)


def snapshot_sqlite(source: Path, target: Path) -> str:
    """Copy the database as it is at one moment, while others write, and return its schema revision.

    One read transaction covers the copy, so writers neither wait nor tear it.
    """
    if not source.is_file():
        raise OperationFailed(f"There is no database at {source}: has `fanlight serve` ever run with this --data-dir?")
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with acting_as_owner_of(source.parent):  # the files are opened by the first statement, hence in here
            connection = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30, isolation_level=None)
            connection.execute("BEGIN")
            revision = _revision(connection, source)
        with closing(connection), closing(sqlite3.connect(target)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, whatever the mode of the original
    except sqlite3.Error as error:
        raise OperationFailed(f"The database {source} cannot be copied: {error}.") from error
    return revision


def check_sqlite(path: Path) -> str:
    """Return the schema revision of a database that is whole. Raises OperationFailed for one that is not."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if verdict != "ok":
                raise OperationFailed(f"The database in the backup is damaged: {verdict}. Nothing was changed.")
            return _revision(connection, path)
    except sqlite3.Error as error:
        raise OperationFailed(f"The database in the backup is damaged: {error}. Nothing was changed.") from error


def _revision(connection: sqlite3.Connection, path: Path) -> str:
    try:
        row = connection.execute(_REVISION_QUERY).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        row = None
    if not row or not isinstance(row[0], str):
        raise OperationFailed(f"{path} has no schema revision, so it is not a database of Fanlight.")
    return row[0]


def dump_postgresql(settings: Settings, target: Path) -> str:
    """Write a custom-format dump with pg_dump, one snapshot of a live database, and return its schema revision."""
    address, environment = _connection(settings.effective_database_url)
    revision = _run(["psql", "-X", "-A", "-t", "-c", _REVISION_QUERY, address], environment).strip()
    _run(["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}", address], environment)
    target.chmod(0o600)
    return revision


def restore_postgresql(settings: Settings, dump: Path) -> None:
    """Replace what is in the database with the dump, in one transaction."""
    address, environment = _connection(settings.effective_database_url)
    command = ["pg_restore", "--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction"]
    _run([*command, "--exit-on-error", f"--dbname={address}", str(dump)], environment)


def has_postgresql_content(settings: Settings) -> bool:
    """Return whether the database holds an installation already."""
    address, environment = _connection(settings.effective_database_url)
    query = "SELECT to_regclass('alembic_version') IS NOT NULL"
    return _run(["psql", "-X", "-A", "-t", "-c", query, address], environment).strip() == "t"


def _connection(url: str) -> tuple[str, dict[str, str]]:
    """Return the URL for libpq without its password, and the environment that holds the password.

    Command lines can be read by every user of the host.
    """
    parts: SplitResult = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if "ssl" in query:  # asyncpg's word for it
        query["sslmode"] = query.pop("ssl")
    user_and_password, at, host = parts.netloc.rpartition("@")
    user, _, password = user_and_password.partition(":")
    address = f"postgresql://{user}{at}{host}{parts.path}"
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    if password:
        environment["PGPASSWORD"] = unquote(password)
    return address + (f"?{urlencode(query)}" if query else ""), environment


def _run(command: Sequence[str], environment: dict[str, str]) -> str:
    program = shutil.which(command[0])
    if not program:
        raise OperationFailed(
            f"The program {command[0]} is not installed, and a PostgreSQL database needs it: apt-get install "
            "postgresql-client (of the server's major version or later)."
        )
    done = subprocess.run(  # noqa: S603 - a fixed command; the address comes from the operator's own settings
        [program, *command[1:]], env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no reason given"]
        raise OperationFailed(f"{command[0]} failed: {words[0]}")
    return done.stdout
