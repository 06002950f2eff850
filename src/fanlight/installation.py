"""Directories, owners and the first key of an installation: what must be there before the processes start.

Runs as root for real engines and as the caller for the simulated one; every call may be repeated.
"""

import configparser
import grp
import os
import pwd
import secrets
import string
from dataclasses import dataclass
from pathlib import Path

from fanlight.config import Settings

# Which instances of an engine are this installation's; travels with a backup.
INSTALLATION_ID = Path("state") / "installation.id"
# Who has this may read the metrics of all accounts; Prometheus gets a copy.
METRICS_TOKEN = Path("metrics.token")
# Opens our own S3 endpoint for our own servers.
STORAGE_KEY = Path("storage") / "s3.key"
SHARED_GROUP = "fanlight"
_SECRET_ALPHABET = string.ascii_letters + string.digits + "+/"


class NotInstallable(Exception):
    """The host is not prepared for these settings. The text names what is missing and the command that mends it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Numeric user and group of one process."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Credentials:
    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id!r})"


def is_split(settings: Settings) -> bool:
    """Return whether the processes run as users of their own: with a real engine, started by root (and dropped since)."""
    return settings.compute == "incus" and (
        os.geteuid() == 0 or _own_name() in {settings.api_user, settings.gateway_user, settings.storage_user}
    )


def _own_name() -> str | None:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return None


def identity_of(settings: Settings, role: str) -> Identity:
    """Return who runs `role` (api, gateway, storage). Raises NotInstallable when the user does not exist."""
    if not is_split(settings):
        return Identity(os.geteuid(), os.getegid())
    name = {"api": settings.api_user, "gateway": settings.gateway_user, "storage": settings.storage_user}[role]
    try:
        return Identity(pwd.getpwnam(name).pw_uid, grp.getgrnam(SHARED_GROUP).gr_gid)
    except KeyError:
        raise NotInstallable(
            f"The user {name} or the group {SHARED_GROUP} does not exist on this host: run scripts/host-setup as root."
        ) from None


def prepare_directories(settings: Settings) -> None:
    """Make DATA_DIR and RUN_DIR with the owners and modes of docs/architecture.md. Raises NotInstallable."""
    api, gateway = identity_of(settings, "api"), identity_of(settings, "gateway")
    data, run = settings.data_dir, settings.effective_run_dir
    _directory(data, 0o755)
    _directory(data / "state", 0o700, api)
    _directory(data / "gateway", 0o700, gateway)
    if settings.compute == "incus":
        storage = identity_of(settings, "storage")
        _directory(data / "storage", 0o700, storage)
        _directory(data / "storage" / "buckets", 0o700, storage)
        if not (data / STORAGE_KEY).exists():
            _write_once(data / STORAGE_KEY, secrets.token_urlsafe(32).encode() + b"\n", storage)
    _directory(data / "images", 0o755)
    _directory(data / "runtime", 0o755)
    _directory(data / "audit", 0o750, api)
    if settings.compute == "simulated":
        _directory(data / "simulated", 0o700, api)
    # The control socket is made by the api process in a directory that others cannot write to.
    _directory(run, 0o755, api if not is_split(settings) else None)
    _directory(run / "control", 0o750, api)
    _directory(run / "instances", 0o755)
    if settings.compute == "incus":  # others of the group may pass, to the sockets that are theirs
        _directory(run / "storage", 0o710, identity_of(settings, "storage"))
    for path, content in (
        (data / "state" / "signing.key", secrets.token_bytes(32)),
        (data / INSTALLATION_ID, secrets.token_hex(8).encode() + b"\n"),
        (data / METRICS_TOKEN, secrets.token_urlsafe(32).encode() + b"\n"),
    ):
        if not path.exists():
            _write_once(path, content, api)
    for role in ("compute", "api", "gateway", "storage"):
        (data / f".lock-{role}").touch(mode=0o600)  # a confined process may lock it but not make it


def bootstrap_credentials(settings: Settings) -> Credentials:
    """Return the first key: as configured, else from DATA_DIR/credentials, which is written (0600) if it is not there."""
    if settings.bootstrap_access_key_id and settings.bootstrap_secret_access_key:
        return Credentials(settings.bootstrap_access_key_id, settings.bootstrap_secret_access_key)
    path = settings.data_dir / "credentials"
    if not path.exists():
        made = Credentials(
            "AKIA" + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16)),
            "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(40)),
        )
        text = (
            f"[default]\naws_access_key_id = {made.access_key_id}\naws_secret_access_key = {made.secret_access_key}\n"
        )
        _write_once(path, text.encode())
    return read_credentials(settings)


def read_credentials(settings: Settings) -> Credentials:
    """Return the bootstrap key of a running installation. Raises NotInstallable when it cannot be read."""
    if settings.bootstrap_access_key_id and settings.bootstrap_secret_access_key:
        return Credentials(settings.bootstrap_access_key_id, settings.bootstrap_secret_access_key)
    path = settings.data_dir / "credentials"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text())
        return Credentials(parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"])
    except (OSError, KeyError, configparser.Error) as error:
        raise NotInstallable(
            f"{path} cannot be read ({error.__class__.__name__}): start `fanlight serve` once, run this as the same user, "
            "or name the right --data-dir."
        ) from error


def drop_privileges(settings: Settings, role: str) -> None:
    """Become the user of `role` for good. Does nothing when the processes share one user, nor for compute, which is root's."""
    if role == "compute" or not is_split(settings) or os.geteuid() != 0:
        return
    _become(identity_of(settings, role), settings)


def _become(identity: Identity, settings: Settings) -> None:
    if identity.uid == os.geteuid():
        return
    os.setgroups([])
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    os.environ["HOME"] = str(settings.data_dir)


def act_as_store_owner(settings: Settings) -> None:
    """Become the user who owns the database, so that a command run by root leaves no file there that the service cannot open.

    An installation that is there knows its owner itself, whatever engine the settings of this command name. Raises
    NotInstallable.
    """
    state = settings.data_dir / "state"
    if not state.is_dir():
        prepare_directories(settings)
        drop_privileges(settings, "api")
    elif os.geteuid() == 0:
        found = state.stat(follow_symlinks=False)
        _become(Identity(found.st_uid, found.st_gid), settings)


def _directory(path: Path, mode: int, owner: Identity | None = None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    if owner:
        os.chown(path, owner.uid, owner.gid)


def _write_once(path: Path, content: bytes, owner: Identity | None = None) -> None:
    """Create the file with mode 0600; never replaces one, and never leaves half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner:  # by descriptor: the directory is the owner's, who could put a link in the path's place
                os.fchown(file.fileno(), owner.uid, owner.gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink()
