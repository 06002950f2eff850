"""Who uses a data directory now: the service, or maintenance that must have it alone.

Processes of the service hold a shared lock on `DATA_DIR/.lock`, maintenance (restore, uninstall) an exclusive one. Each
process of the service also holds an exclusive lock of its role, `DATA_DIR/.lock-<role>`: two api processes would fight
for the same sessions. The kernel drops all of them when their process ends, however it ends, so there is no stale lock
to clean up. The sockets are asked as well, because a process that somebody started by other means holds no lock.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fanlight.config import Settings
from fanlight.operations.errors import OperationFailed

LOCK_NAME = ".lock"
_ANSWER_IN_SECONDS = 1.0
# A process whose supervisor was killed is told so by the kernel, and needs a moment to end.
PREDECESSOR_IN_SECONDS = 10.0
_POLL_IN_SECONDS = 0.1


def is_lock(path: Path) -> bool:
    """Return whether this file of a data directory is one of the locks."""
    return path.name == LOCK_NAME or path.name.startswith(f"{LOCK_NAME}-")


@contextmanager
def serving(settings: Settings, role: str, *, patience_in_seconds: float = 0.0) -> Iterator[None]:
    """Say that the process of this role uses the data directory. Enter it before privileges are dropped.

    Raises OperationFailed while a restore or an uninstallation is under way, and when another process of this role is
    still there after `patience_in_seconds`.
    """
    with _locked(settings, fcntl.LOCK_SH) as is_ours:
        if not is_ours:
            raise OperationFailed(
                f"A restore or an uninstallation of {settings.data_dir} is under way: wait until it has ended."
            )
        name = f"{LOCK_NAME}-{role}"
        with _locked(settings, fcntl.LOCK_EX, name=name, patience_in_seconds=patience_in_seconds) as is_alone:
            if not is_alone:
                raise OperationFailed(
                    f"Fanlight already runs on {settings.data_dir} ({name} is held). Stop it first, or name another "
                    "--data-dir, --api-port and --portal-port for a second one."
                )
            yield


@contextmanager
def maintenance(settings: Settings, purpose: str) -> Iterator[None]:
    """Have the data directory alone. `purpose` is what is refused ("restore").

    Raises OperationFailed while the service runs.
    """
    with _locked(settings, fcntl.LOCK_EX) as is_ours:
        answering = next((s for s in _sockets(settings) if _answers(s)), None)
        if not is_ours or answering:
            seen = f"{answering} answers" if answering else f"{settings.data_dir / LOCK_NAME} is held"
            raise OperationFailed(
                f"Fanlight is running on {settings.data_dir} ({seen}), so {purpose} is refused. Stop it first: Ctrl-C where "
                "`fanlight serve` runs, or `systemctl stop 'fanlight*'`."
            )
        yield


@contextmanager
def _locked(
    settings: Settings, kind: int, *, name: str = LOCK_NAME, patience_in_seconds: float = 0.0
) -> Iterator[bool]:
    is_new = not settings.data_dir.exists()
    descriptor = _open_lock(settings.data_dir, name)
    try:
        yield _lock(descriptor, kind, time.monotonic() + patience_in_seconds)
    finally:
        os.close(descriptor)
        if is_new:  # a restore has filled it; whatever else looked for an installation leaves no trace
            _forget(settings.data_dir)


def _lock(descriptor: int, kind: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_IN_SECONDS)
        else:
            return True


def _open_lock(data_dir: Path, name: str) -> int:
    try:
        with suppress(FileNotFoundError):  # reading is enough, and all that a confined process may do here
            return os.open(data_dir / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        # 0600: a local user who could open the file could also lock it and keep the service from starting.
        return os.open(data_dir / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperationFailed(
            f"The data directory {data_dir} cannot be used ({error.strerror}): run this as the user who runs the service "
            "(root, unless the engine is simulated), or name another --data-dir."
        ) from error


def _forget(data_dir: Path) -> None:
    if data_dir.exists() and all(is_lock(entry) for entry in data_dir.iterdir()):
        for entry in data_dir.iterdir():
            entry.unlink(missing_ok=True)
        data_dir.rmdir()


def _sockets(settings: Settings) -> tuple[Path, ...]:
    run = settings.effective_run_dir
    return (run / "compute.sock", run / "control" / "control.sock")


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_ANSWER_IN_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:  # absent, refused, or longer than a socket path can be: nobody listens
            return False
        return True
