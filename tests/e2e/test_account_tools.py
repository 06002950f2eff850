"""The tools that account owners run over everything they have: Cloud Custodian and Prowler, unmodified, and every paginator."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from e2e.administrators import SAMPLE_IMAGE
from e2e.installation import Installation
from e2e.programs import program
from e2e.test_clients import environment

POLICIES = """
policies:
  - name: long-sessions
    resource: aws.appstream-fleet
    filters:
      - {type: value, key: MaxUserDurationInSeconds, op: gt, value: 3600}
      - "tag:env": test
    actions:
      - {type: tag, key: seen-by, value: custodian}
  - name: forgotten-stacks
    resource: aws.appstream-stack
    filters:
      - "tag:owner": nobody
    actions:
      - {type: remove-tag, tags: [owner]}
"""
REAL_PAGINATORS = {
    "describe_fleets": ({}, "Fleets"),
    "describe_image_builders": ({}, "ImageBuilders"),
    "describe_images": ({}, "Images"),
    "describe_sessions": ({"StackName": "tools-strict", "FleetName": "tools-strict"}, "Sessions"),
    "describe_stacks": ({}, "Stacks"),
    "list_associated_fleets": ({"StackName": "tools-strict"}, "Names"),
    "list_associated_stacks": ({"FleetName": "tools-strict"}, "Names"),
}


@pytest.fixture(scope="module")
def fleets(simulated: Installation) -> Iterator[dict[str, str]]:
    """Two fleets with stacks, one as strict as auditors want them; return name → ARN."""
    client = simulated.client()
    arns = {}
    for name, members in {
        "tools-strict": {"MaxUserDurationInSeconds": 3600, "DisconnectTimeoutInSeconds": 300}
        | {"IdleDisconnectTimeoutInSeconds": 600, "EnableDefaultInternetAccess": False},
        "tools-lax": {"EnableDefaultInternetAccess": True, "MaxUserDurationInSeconds": 57600},
    }.items():
        made = client.create_fleet(
            Name=name,
            ImageName=SAMPLE_IMAGE,
            InstanceType="stream.standard.small",
            ComputeCapacity={"DesiredInstances": 1},
            Tags={"env": "test"},
            **members,
        )
        arns[name] = made["Fleet"]["Arn"]
        client.create_stack(Name=name, Tags={"owner": "nobody" if name == "tools-lax" else "somebody"})
        client.associate_fleet(StackName=name, FleetName=name)
    yield arns
    for name in arns:
        client.disassociate_fleet(StackName=name, FleetName=name)
        client.delete_stack(Name=name)
        client.delete_fleet(Name=name)


def run(simulated: Installation, directory: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        env=environment(simulated) | {"HOME": str(directory)},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in (0, 3), done.stdout[-2000:] + done.stderr[-2000:]  # 3: Prowler found something
    return done.stdout + done.stderr


def test_cloud_custodian_finds_and_tags(simulated: Installation, fleets: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "policies.yml").write_text(POLICIES)
    custodian = program("custodian", "custodian")
    run(simulated, tmp_path, custodian, "run", "-s", "out", "--region", "us-east-1", "policies.yml")

    found = {
        path.parent.name: [each["Name"] for each in json.loads(path.read_text())]
        for path in tmp_path.glob("out/*/resources.json")
    }
    assert found == {"long-sessions": ["tools-lax"], "forgotten-stacks": ["tools-lax"]}
    client = simulated.client()
    tags = {name: client.list_tags_for_resource(ResourceArn=arn)["Tags"] for name, arn in fleets.items()}
    assert tags == {"tools-lax": {"env": "test", "seen-by": "custodian"}, "tools-strict": {"env": "test"}}
    stack = client.describe_stacks(Names=["tools-lax"])["Stacks"][0]
    assert client.list_tags_for_resource(ResourceArn=stack["Arn"])["Tags"] == {}


def test_prowler_judges_fleets(simulated: Installation, fleets: dict[str, str], tmp_path: Path) -> None:
    prowler = program("prowler", "prowler")
    words = ("--service", "appstream", "--region", "us-east-1", "--output-formats", "json-ocsf", "--no-banner")
    run(simulated, tmp_path, prowler, "aws", *words, "--output-directory", str(tmp_path / "out"))

    (report,) = (tmp_path / "out").glob("*.ocsf.json")
    verdicts: dict[str, dict[str, str]] = {}
    for finding in json.loads(report.read_text()):
        arn = finding["resources"][0]["uid"]
        verdicts.setdefault(arn, {})[finding["metadata"]["event_code"]] = finding["status_code"]
    checks = {
        "appstream_fleet_default_internet_access_disabled",
        "appstream_fleet_maximum_session_duration",
        "appstream_fleet_session_disconnect_timeout",
        "appstream_fleet_session_idle_disconnect_timeout",
    }
    assert verdicts[fleets["tools-strict"]] == dict.fromkeys(checks, "PASS")
    assert verdicts[fleets["tools-lax"]] == dict.fromkeys(checks, "FAIL")


def paginators() -> list[str]:
    from botocore.session import get_session

    model = get_session().get_component("data_loader").load_service_model("appstream", "paginators-1")
    from botocore import xform_name

    return sorted(xform_name(name) for name in model["pagination"])


@pytest.mark.parametrize("name", paginators())
@pytest.mark.usefixtures("fleets")
def test_every_paginator_comes_to_its_end(name: str, simulated: Installation) -> None:
    """Those of operations that are not built end in the refusal that the coverage page announces."""
    paginator: Any = simulated.client().get_paginator(name)
    asked, member = REAL_PAGINATORS.get(name, ({}, ""))
    if not member:
        required = {"describe_user_stack_associations": {"StackName": "x"}, "describe_users": {}}
        asked = required.get(name, {}) | ({"AuthenticationType": "USERPOOL"} if name == "describe_users" else {})
        with pytest.raises(ClientError) as refused:
            paginator.paginate(**asked).build_full_result()
        assert refused.value.response["Error"]["Code"] in ("OperationNotPermittedException", "UnsupportedOperation")
        return
    names = [each if isinstance(each, str) else each.get("Name") for each in paginator.paginate(**asked).search(member)]
    assert len(names) == len(set(names))
    expected = {
        "describe_image_builders": set(),
        "describe_images": {SAMPLE_IMAGE},
        "describe_sessions": set(),
    }.get(name, {"tools-strict"})
    assert expected <= set(names)
