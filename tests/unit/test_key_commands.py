"""`fanlight keys` from the command line, on a database of its own."""

import json
import re
from pathlib import Path
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
    listed = run("list")
    assert re.search(rf"{everything} 000000000000 \S+ never everything", listed)
    assert re.search(rf"{seeing} 123456789012 \S+ \d{{4}}-\d\d-\d\d \d\d:\d\d read only", listed)
    assert re.search(rf"{limited} 000000000000 \S+ 2099-01-31 18:00 a policy", listed)
    assert json.loads(run("policy", limited)) == POLICY
    assert run("policy", everything) == ""
    run("delete", limited)
    assert limited not in run("list")
    run("delete", limited, code=1)
    run("policy", limited, code=2)


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
