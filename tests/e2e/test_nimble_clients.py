"""What the last AWS CLI with Nimble Studio in it says and once said, against the simulated engine.

The lives with boto3 and JavaScript are on real machines: `test_nimble_sessions`.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from botocore import xform_name

from e2e.administrators import SAMPLE_IMAGE
from e2e.installation import Installation
from e2e.programs import program
from e2e.test_clients import environment
from fanlight.api.spec.nimble_model import nimble_table

EULAS = f'[[eula]]\nname = "Sample"\ncontent = "https://example.com/eula"\nimages = ["{SAMPLE_IMAGE}"]\n'


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Fanlight on the simulated engine, whose image comes with a licence agreement."""
    directory = tmp_path_factory.mktemp("sim")
    (directory / "eulas.toml").write_text(EULAS)
    made = Installation(directory, {"compute": "simulated", "nimble_eulas_file": str(directory / "eulas.toml")})
    try:
        made.start()
        yield made
    finally:
        made.stop()


def ami_of(installation: Installation, image_name: str) -> str:
    """Return what `fanlight images list` shows where there is an engine."""
    with closing(sqlite3.connect(installation.data_dir / "state" / "fanlight.db")) as store:
        ((image_id,),) = store.execute("SELECT image_id FROM images WHERE name = ?", (image_name,)).fetchall()
    return f"ami-{image_id[:17]}"


def test_the_aws_cli_of_2024_runs_every_operation(simulated: Installation) -> None:
    done = subprocess.run(
        [
            program("nimble", "python"),
            Path(__file__).with_name("nimble_cli_walk.py"),
            ami_of(simulated, SAMPLE_IMAGE),
        ],
        env=environment(simulated) | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert {xform_name(name, "-") for name in nimble_table()["operations"]} == said.keys() - {"wait"}
    assert "ValidationException" in said["start-studio-sso-configuration-repair"]
    assert said["update-studio"]["studio"]["displayName"] == "Renamed"
    assert said["list-tags-for-resource"]["tags"] == {"team": "tests"}
    assert said["get-eula"]["eula"]["name"] == "Sample"
    assert said["get-launch-profile-initialization"]["launchProfileInitialization"]["platform"] == "LINUX"
    assert said["get-launch-profile-member"]["member"]["persona"] == "USER"
    assert said["get-streaming-session-stream"]["stream"]["url"].startswith(simulated.portal_url)
    backup_id = said["get-streaming-session-backup"]["streamingSessionBackup"]["backupId"]
    assert said["list-streaming-sessions"]["sessions"][0]["startedFromBackupId"] == backup_id
    assert said["get-studio"]["studio"]["state"] == "DELETED"


def printed_by(command: str) -> str:
    """Return what the CLI's own page of a command shows as its output; one of a list that is cut short is closed."""
    where = subprocess.run(
        [program("nimble", "python"), "-c", "import awscli; print(awscli.__path__[0])"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()
    page = (Path(where) / "examples" / "nimble" / f"{command}.rst").read_text()
    output = page.partition("Output::")[2].partition("\nFor more information")[0]
    return output.replace("},\n        ...\n", "}\n        ]\n")


def test_the_import_command_brings_back_what_the_cli_printed_once(simulated: Installation, tmp_path: Path) -> None:
    """The sample outputs of the CLI itself: with more members than any request has, and not everything of a studio."""
    role = "arn:aws:iam::123456789012:role/studio-admin-role"
    studio = json.loads(printed_by("get-studio"))
    assert (studio["studio"]["studioName"], studio["studio"]["adminRoleArn"]) == ("studio-name", role)
    studio["studio"]["studioName"] = "studioname"  # the page hides the real one behind a name that the service refused
    (tmp_path / "1-studio.json").write_text(json.dumps(studio), encoding="utf-16")  # as PowerShell's > writes it
    for number, command in enumerate(("list-studio-components", "get-launch-profile-details", "list-launch-profiles")):
        (tmp_path / f"{number + 2}.json").write_text(printed_by(command))
    command = [sys.executable, "-m", "fanlight", "nimble", "import", *map(str, sorted(tmp_path.iterdir()))]
    command += ["--image", f"YGXAqgoWTnCNSV8VP20sHQ={ami_of(simulated, SAMPLE_IMAGE)}"]
    first, second = (
        subprocess.run(
            command, env=simulated.environment(), capture_output=True, text=True, check=True, timeout=120
        ).stdout
        for _ in range(2)
    )
    names = [
        "studio us-west-2:stid-EXAMPLE11111",
        "streaming image YGXAqgoWTnCNSV8VP20sHQ",
        "studio component ZQuMxN99Qfa_Js6ma9TwdA",
        "launch profile yeG7lDwNQEiwNTRT7DrV7Q",
        "launch profile jDCIm1jRSaa9e44PZ3w7gg",
    ]
    for said, heading in ((first, "made"), (second, "there already")):
        assert said.startswith(f"{heading}\n")
        above = said.partition("left out")[0]
        assert [line.strip().partition(" → ")[0] for line in above.splitlines()[1:]] == names
        for left in (
            "streaming image Cw_jXnp1QcSSXhE2hkNRoQ (NimbleStudioWindowsStreamImage)",
            "yeG7lDwNQEiwNTRT7DrV7Q: some of its studio components are not here",
            "ZQuMxN99Qfa_Js6ma9TwdA: say in the file systems file",
            "not offered here: subnet-EXAMPLE11111",
            "not offered here: sg-EXAMPLE11111",
        ):
            assert left in said, left
    assert "made\n" not in second
