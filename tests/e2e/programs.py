"""Programs of others that tests run, each in an environment of its own with locked dependencies."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def program(name: str, command: str) -> str:
    """Return the path of a command of the environment `name`, which is made if need be."""
    made = subprocess.run(
        [ROOT / "scripts" / "client-setup", name], capture_output=True, text=True, check=False, timeout=280
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return f"{made.stdout.splitlines()[-1]}/bin/{command}"
