"""A real Fanlight for tests: the real command, real processes, its own data directory, ports and Incus project."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from free_ports import free_port

KEY_ID, SECRET = "AKIATESTTESTTESTTEST", "test-secret-that-is-no-secret"
START_TIMEOUT_IN_SECONDS = 120.0
PATIENCE_IN_SECONDS = 60.0


def wait_for(condition: Any, *, timeout: float = PATIENCE_IN_SECONDS, what: str, interval: float = 0.05) -> Any:
    """Return the first true value of `condition()`; fail with `what` when there is none in time.

    `timeout` says how long it takes on a quiet machine; none is impatient with a busy one.
    """
    timeout = max(timeout, PATIENCE_IN_SECONDS)
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            msg = f"not within {timeout} s: {what}"
            raise AssertionError(msg)
        time.sleep(interval)


@dataclass(slots=True)
class Installation:
    """`start` and `stop` as often as you like: everything that must survive is in `data_dir` and in the engine."""

    data_dir: Path
    settings: Mapping[str, str]
    api_port: int = field(default_factory=free_port)
    portal_port: int = field(default_factory=free_port)
    s3_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    authorities: Path | None = None  # trusted instead of the system's own

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def portal_url(self) -> str:
        return f"http://localhost:{self.portal_port}"

    @property
    def log_path(self) -> Path:
        return self.data_dir / "test.log"

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FANLIGHT_", "AWS_"))}
        own = {
            "data_dir": str(self.data_dir),
            "api_port": str(self.api_port),
            "portal_port": str(self.portal_port),
            "s3_port": str(self.s3_port),
            "bootstrap_access_key_id": KEY_ID,
            "bootstrap_secret_access_key": SECRET,
            "log_level": "debug",
            **self.settings,
        }
        if self.authorities is not None:
            kept["SSL_CERT_FILE"] = str(self.authorities)
        return kept | {f"FANLIGHT_{k.upper()}": v for k, v in own.items()}

    def start(self) -> float:
        """Start it and return the seconds until API and portal answered."""
        began = time.monotonic()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fanlight", "serve"],
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_until_it_answers()
        return time.monotonic() - began

    def wait_until_it_answers(self) -> None:
        """Wait for API and portal, at the start or after one of them was killed."""
        for url in (self.api_url, self.portal_url):
            wait_for(
                lambda url=url: self._answers(f"{url}/healthz"),
                timeout=START_TIMEOUT_IN_SECONDS,
                what=f"{url} answers; log: {self.log_path}",
            )

    def _answers(self, url: str) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (
            f"fanlight ended with {self.process.returncode}: {self.log_path.read_text()[-3000:]}"
        )
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def stop(self) -> int:
        """Stop it as Ctrl-C does; return the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self.process = None
        return code

    def pids(self) -> dict[str, int]:
        """Return the process ids of the parts, and of the supervisor."""
        assert self.process is not None
        found = {"serve": self.process.pid}
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in children:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"process" in words:
                found[words[words.index(b"process") + 1].decode()] = int(pid)
        return found

    def kill(self, role: str) -> None:
        """kill -9 one part; the supervisor starts it again."""
        os.kill(self.pids()[role], signal.SIGKILL)

    def kill_everything(self) -> None:
        """kill -9 of all processes at once, as a power cut would."""
        pids = self.pids()
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)
        self.process = None
        # The parts are re-parented; wait until none is left, or the next start finds its ports taken.
        wait_for(
            lambda: not any(Path(f"/proc/{pid}").exists() and not _is_zombie(pid) for pid in pids.values()),
            timeout=10,
            what="all gone",
        )

    def client(self, service: str = "appstream", *, region: str = "us-east-1", **config: Any) -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.api_url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            config=Config(**({"retries": {"max_attempts": 5}} | config)),
        )

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def read_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)
