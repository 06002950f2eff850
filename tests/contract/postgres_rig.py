"""A real PostgreSQL for tests: a server of our own in a temporary directory, reachable through a unix socket only."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_TIMEOUT_IN_SECONDS = 30


def find_binaries() -> Path | None:
    """Return the directory that holds initdb and postgres. Debian keeps it out of PATH."""
    if (found := shutil.which("postgres")) and (beside := Path(found).resolve().parent / "initdb").exists():
        return beside.parent
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
    return candidates[0].parent if candidates else None


@contextmanager
def postgres_server(binaries: Path) -> Iterator[str]:
    """Run a server as an unprivileged user and yield the URL of its maintenance database."""
    directory = Path(tempfile.mkdtemp(prefix="fanlight-postgres-"))
    user = _unprivileged_user()
    try:
        if user is not None:
            shutil.chown(directory, user)
        # Not the C locale: what we sort has to come out in Python's order all the same.
        _run([binaries / "initdb", "-D", directory / "data", "-U", "fanlight", "-A", "trust", "--no-sync",
              "--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=de-DE"], user)  # fmt: skip
        server = subprocess.Popen(
            [binaries / "postgres", "-D", directory / "data", "-k", directory, "-c", "listen_addresses=",
             "-c", "fsync=off", "-c", "max_connections=50"],
            user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait_until_ready(binaries, directory, server)
            yield f"postgresql://fanlight@/postgres?host={directory}"
        finally:
            server.send_signal(signal.SIGINT)  # fast shutdown: open connections are cut
            server.wait(START_TIMEOUT_IN_SECONDS)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root; anyone else runs it as himself."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _run(command: list[object], user: str | None) -> None:
    done = subprocess.run([str(part) for part in command], user=user, cwd="/", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def _wait_until_ready(binaries: Path, socket_directory: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_IN_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        ready = subprocess.run([binaries / "pg_isready", "-q", "-h", socket_directory, "-U", "fanlight"], check=False)
        if ready.returncode == 0:
            return
        time.sleep(0.05)
    raise AssertionError(f"PostgreSQL did not start; exit status {server.poll()}")
