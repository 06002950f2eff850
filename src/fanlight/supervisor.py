"""Start the processes, keep them running, stop them together.

A process that dies is started again, after a pause that doubles while it keeps dying. State lives in the store and in
the engine, so a restart loses nothing but open connections. SIGTERM and SIGINT stop all processes; instances go on.
"""

import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fanlight.config import Settings
from fanlight.installation import Credentials

log = logging.getLogger(__name__)

GRACE_IN_SECONDS = 8.0  # Shorter than the ten seconds that process managers allow before SIGKILL.
FIRST_PAUSE_IN_SECONDS = 0.2
LONGEST_PAUSE_IN_SECONDS = 10.0
HEALTHY_AFTER_IN_SECONDS = 20.0
EXIT_NOT_READY = 78  # EX_CONFIG: the host or the settings must be mended first; starting again does not help
SUPERVISED_BY = "FANLIGHT_SUPERVISED_BY"  # process id of the supervisor, for `end_with_supervisor`
# Nothing else of the operator's environment reaches the processes: it may hold keys, and browsers reach one of them.
_INHERITED = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "INCUS_SKIP_INSTANCE_TYPES",
)
_PR_SET_PDEATHSIG = 1
# Together: an endpoint without its keys is a mistake in the settings.
_KEYS_TO_STORAGE = {"s3_endpoint_url", "s3_access_key_id", "s3_secret_access_key"}
_DRIVE_SECRETS = {"google_drive_client_secret", "one_drive_client_secret", "drives_proxy_url"}
_SECRETS = {
    "bootstrap_access_key_id",
    "bootstrap_secret_access_key",
    "database_url",
    *_KEYS_TO_STORAGE,
    *_DRIVE_SECRETS,
}


def roles(settings: Settings) -> Sequence[str]:
    """Return the processes of this installation, in the order in which they start."""
    return ("api", "gateway") if settings.compute == "simulated" else ("compute", "storage", "api", "gateway")


def environment_for(settings: Settings, role: str, credentials: Credentials) -> dict[str, str]:
    """Return the environment of one process: its settings, and of the secrets those that it needs.

    The database's address is for the api process alone, the first key for it and the server of our own S3 endpoint,
    the keys of a configured S3 endpoint for those two, the secrets of OAuth clients and the proxy to their providers for the storage process.
    """
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    kept[SUPERVISED_BY] = str(os.getpid())
    values: dict[str, Any] = settings.model_dump(mode="json", exclude=_SECRETS, exclude_none=True)
    kept |= {f"FANLIGHT_{k.upper()}": v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
    if role == "api":
        kept["FANLIGHT_DATABASE_URL"] = settings.effective_database_url
    if role in ("api", "storage"):
        kept["FANLIGHT_BOOTSTRAP_ACCESS_KEY_ID"] = credentials.access_key_id
        kept["FANLIGHT_BOOTSTRAP_SECRET_ACCESS_KEY"] = credentials.secret_access_key
        if settings.s3_endpoint_url and settings.s3_access_key_id and settings.s3_secret_access_key:
            kept["FANLIGHT_S3_ENDPOINT_URL"] = settings.s3_endpoint_url
            kept["FANLIGHT_S3_ACCESS_KEY_ID"] = settings.s3_access_key_id
            kept["FANLIGHT_S3_SECRET_ACCESS_KEY"] = settings.s3_secret_access_key
    if role == "storage":
        secrets = settings.model_dump(include=_DRIVE_SECRETS, exclude_none=True)
        kept |= {f"FANLIGHT_{name.upper()}": secret for name, secret in secrets.items()}
    return kept


@dataclass(slots=True)
class Supervisor:
    settings: Settings
    credentials: Credentials
    exit_code: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Run until `stop`, a signal, or a process that cannot start on this host; returns when every process is gone."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            await asyncio.gather(*(self._keep_running(role) for role in roles(self.settings)))
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    async def _keep_running(self, role: str) -> None:
        pause = FIRST_PAUSE_IN_SECONDS
        while not self._stopping.is_set():
            started = time.monotonic()
            exit_code = await self._run_once(role)
            if self._stopping.is_set():
                return
            if exit_code == EXIT_NOT_READY:
                self.exit_code = EXIT_NOT_READY
                self.stop()
                return
            if time.monotonic() - started > HEALTHY_AFTER_IN_SECONDS:
                pause = FIRST_PAUSE_IN_SECONDS
            log.warning(
                "a process ended and is started again",
                extra={"role": role, "exit_code": exit_code, "pause_in_seconds": round(pause, 1)},
            )
            # Not wait_for, here and below: in Python 3.11 it may swallow a cancellation.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(pause * 2, LONGEST_PAUSE_IN_SECONDS)

    async def _run_once(self, role: str) -> int | None:
        """Return the exit code, or None when the process could not be started (no memory, no process ids)."""
        try:
            process = await self._start(role)
        except OSError as error:
            log.warning("a process cannot be started", extra={"role": role, "why": str(error)})
            return None
        await self._wait(role, process)
        return process.returncode

    async def _start(self, role: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # never import from the working directory: the compute process is root
            "-m",
            "fanlight",
            "process",
            role,
            env=environment_for(self.settings, role, self.credentials),
            stdin=asyncio.subprocess.DEVNULL,
            # A process group of its own: Ctrl-C reaches the supervisor alone, which stops the others in order.
            process_group=0,
        )
        log.debug("process started", extra={"role": role, "pid": process.pid})
        return process

    async def _wait(self, role: str, process: asyncio.subprocess.Process) -> None:
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            with suppress(ProcessLookupError):
                process.terminate()
            _, late = await asyncio.wait({ended}, timeout=GRACE_IN_SECONDS)
            if late:
                log.warning("a process did not stop in time and is killed", extra={"role": role})
                with suppress(ProcessLookupError):
                    process.kill()
                await ended


def end_with_supervisor() -> None:
    """Have the kernel send this process SIGTERM when its supervisor dies, however it dies.

    Called by a process after it became its final user: the kernel forgets the wish when the user changes. Does nothing
    for a process that no supervisor started.
    """
    supervisor = os.environ.get(SUPERVISED_BY)
    if supervisor is None:
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        log.warning("this process will outlive its supervisor", extra={"errno": ctypes.get_errno()})
    if os.getppid() != int(supervisor):  # it died before we asked
        raise SystemExit(0)
