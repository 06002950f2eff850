"""Programs of others that tests run, each in an environment of its own with locked dependencies."""

import os
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


def node_project_with(package: str, directory: Path) -> Path:
    """Make a Node.js project of ES modules in `directory`, with an npm package; return it."""
    npm = program("node", "npm")
    (directory / "package.json").write_text('{"type": "module", "private": true}')
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", package],
        cwd=directory,
        env={**os.environ, "PATH": f"{Path(npm).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return directory
