"""`fanlight keys` from the command line, on a database of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from typer.testing import CliRunner

from fanlight.key_commands import keys_app

POLICY = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "appstream:*", "Resource": "*"}}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    environment = {"FANLIGHT_COMPUTE": "simulated", "FANLIGHT_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "80"}

    def do(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(keys_app, list(arguments), env=environment)
        assert result.exit_code == code, result.output
        return re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─]", " ", result.output))

    return do


def made(output: str) -> str:
    match = re.search(r"aws_access_key_id = (AKIA\w{16})", output)
    assert match
    return match[1]


def test_keys_are_made_listed_shown_and_deleted(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(POLICY), encoding="utf-8")
    everything = made(run("create"))
    seeing = made(run("create", "--read-only", "--account", "123456789012", "--expires", "90d"))
    limited = made(run("create", "--policy", str(file), "--expires", "2099-01-31T18:00Z"))
    somebody = made(run("create", "--nimble-principal", "ada@example"))
    listed = run("list")
    assert re.search(rf"{somebody} 000000000000 \S+ never as ada@example", listed)
    assert re.search(rf"{everything} 000000000000 \S+ never everything", listed)
    assert re.search(rf"{seeing} 123456789012 \S+ \d{{4}}-\d\d-\d\d \d\d:\d\d read only", listed)
    assert re.search(rf"{limited} 000000000000 \S+ 2099-01-31 18:00 a policy", listed)
    assert json.loads(run("policy", limited)) == POLICY
    assert run("policy", everything) == ""
    run("delete", limited)
    assert limited not in run("list")
    run("delete", limited, code=1)
    run("policy", limited, code=2)


def test_an_installation_knows_whose_it_is_whatever_engine_the_command_thinks_of(run: Any, tmp_path: Path) -> None:
    """As beside a simulated installation that was started with a flag, which the environment does not repeat."""
    everything = made(run("create"))
    state = tmp_path / "data" / "state"
    before = state.stat()
    beside = CliRunner().invoke(
        keys_app, ["list"], env={"FANLIGHT_COMPUTE": "incus", "FANLIGHT_DATA_DIR": str(tmp_path / "data")}
    )
    assert beside.exit_code == 0, beside.output
    assert everything in beside.output
    assert (before.st_uid, before.st_gid) == (state.stat().st_uid, state.stat().st_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_leaves_no_file_of_its_own_in_the_state_of_another_user(run: Any) -> None:
    with TemporaryDirectory(dir="/var/tmp") as place:  # where that user may go
        Path(place).chmod(0o755)
        environment = {**os.environ, "FANLIGHT_DATA_DIR": f"{place}/data"}
        run("create", "--data-dir", f"{place}/data")
        state = Path(place) / "data" / "state"
        for path in (state, *state.iterdir()):
            os.chown(path, 12345, 12345)

        def keys(*words: str) -> str:
            # In a process of its own: what it gives up, this one keeps.
            done = subprocess.run(
                [sys.executable, "-m", "fanlight", "keys", *words],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        key = made(keys("create"))
        assert {path.stat().st_uid for path in state.iterdir()} == {12345}
        assert key in keys("list")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--account", "12"], "12 digits"),
        (["--expires", "tomorrow"], "neither a duration like 90d"),
        (["--policy", "/nowhere/policy.json"], "cannot be read"),
        (["--read-only", "--policy", "x"], "Give one of"),
    ],
)
def test_what_makes_no_sense_is_refused_and_no_key_is_made(run: Any, arguments: list[str], words: str) -> None:
    assert words in run("create", *arguments, code=2)
    assert "AKIA" not in run("list")


def test_a_key_that_has_expired_already_is_not_made(run: Any) -> None:
    run("create", "--expires", "2020-01-01", code=1)
    assert "AKIA" not in run("list")


def test_a_policy_with_a_condition_is_refused_with_the_reason(run: Any, tmp_path: Path) -> None:
    statement = {**POLICY["Statement"], "Condition": {"Bool": {}}}  # type: ignore[dict-item]
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({**POLICY, "Statement": statement}), encoding="utf-8")
    assert "Condition in statement 1 is not supported: conditions are not evaluated" in run(
        "create", "--policy", str(file), code=2
    )
    assert "AKIA" not in run("list")
