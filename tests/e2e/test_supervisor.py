"""The supervisor and its processes: what is killed comes back, what lost its supervisor goes, and nobody runs twice."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.installation import Installation, wait_for


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "data", {"compute": "simulated"})
    made.data_dir.mkdir()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


def serve_beside(first: Installation) -> subprocess.CompletedProcess[str]:
    other = Installation(first.data_dir, first.settings)
    return subprocess.run(
        [sys.executable, "-m", "fanlight", "serve"],
        env=other.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_second_service_on_the_same_data_is_refused_in_words(installation: Installation) -> None:
    installation.start()
    done = serve_beside(installation)
    assert done.returncode == 78
    assert "Fanlight already runs on" in done.stderr
    assert "Traceback" not in done.stderr


def test_processes_end_with_a_killed_supervisor_and_the_next_start_finds_everything(installation: Installation) -> None:
    installation.start()
    installation.client().create_stack(Name="kept")
    pids = installation.pids()
    assert installation.process is not None
    os.kill(pids["serve"], signal.SIGKILL)
    installation.process.wait(10)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids.values()), timeout=15, what="no orphans")
    installation.start()
    assert [s["Name"] for s in installation.client().describe_stacks()["Stacks"]] == ["kept"]


@pytest.mark.parametrize("role", ["api", "gateway"])
def test_a_killed_process_is_started_again(installation: Installation, role: str) -> None:
    installation.start()
    before = installation.pids()[role]
    installation.kill(role)
    wait_for(lambda: installation.pids().get(role, before) != before, timeout=10, what=f"{role} is back")


def test_a_taken_port_is_said_in_words_and_ends_the_service(installation: Installation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", installation.portal_port))
        taken.listen()
        done = serve_beside_on(installation, installation.portal_port)
    assert done.returncode == 78
    assert str(installation.portal_port) in done.stderr or "in use" in done.stderr
    assert "Traceback" not in done.stderr


def serve_beside_on(installation: Installation, portal_port: int) -> subprocess.CompletedProcess[str]:
    environment = installation.environment() | {"FANLIGHT_PORTAL_PORT": str(portal_port)}
    return subprocess.run(
        [sys.executable, "-m", "fanlight", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_processes_see_nothing_of_the_operators_environment(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "a-secret-of-the-operator")
    installation.start()
    for role, pid in installation.pids().items():
        seen = Path(f"/proc/{pid}/environ").read_bytes()
        if role != "serve":
            assert b"a-secret-of-the-operator" not in seen
        if role == "gateway":
            assert b"BOOTSTRAP" not in seen
            assert b"DATABASE_URL" not in seen
