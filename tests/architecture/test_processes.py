"""What each process loads: all start at once, and everybody waits for the last."""

import subprocess
import sys

import pytest

HEAVY = ("sqlalchemy", "alembic", "botocore", "fanlight.api", "fanlight.reconcilers", "fanlight.bootstrap")


@pytest.mark.parametrize(
    "module", ["fanlight.gateway.process", "fanlight.storage.process", "fanlight.drivers.incus.process"]
)
def test_only_the_api_process_loads_the_api(module: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", f"import sys, fanlight.cli, fanlight.processes, {module}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(said).isdisjoint(HEAVY)
