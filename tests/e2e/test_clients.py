"""The clients that people have, unmodified, against the simulated engine: boto3 in both protocols, the AWS CLI, JavaScript."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from e2e.administrators import OFTEN, SAMPLE_IMAGE, Administrator
from e2e.http_clients import ask
from e2e.installation import KEY_ID, SECRET, Installation, wait_for
from e2e.programs import node_project_with, program
from fanlight.api.appstream import associations, fleets, stacks, streaming_sessions, tags
from fanlight.api.registry import Registry

JS_CLIENT = "@aws-sdk/client-appstream@3.1112.0"
JS_PROGRAM = """
import { AppStreamClient, DescribeFleetsCommand, CreateStackCommand, DescribeStacksCommand, StartFleetCommand }
  from "@aws-sdk/client-appstream";
const client = new AppStreamClient({});
const said = {};
await client.send(new CreateStackCommand({ Name: "from-javascript", Tags: { made: "by JavaScript" } }));
said.stacks = (await client.send(new DescribeStacksCommand({ Names: ["from-javascript"] }))).Stacks;
try { await client.send(new StartFleetCommand({ Name: "no-such-fleet" })); } catch (error) {
  said.error = { name: error.name, message: error.message, status: error.$metadata.httpStatusCode,
                 requestId: error.$metadata.requestId };
}
try { await client.send(new DescribeFleetsCommand({ Names: ["no-such-fleet"] })); } catch (error) { said.second = error.name; }
console.log(JSON.stringify(said));
"""


def environment(installation: Installation) -> dict[str, str]:
    """Return what `eval "$(fanlight env)"` sets, as the command prints it."""
    printed = subprocess.run(
        [sys.executable, "-m", "fanlight", "env"],
        env=installation.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    evaluated = subprocess.run(
        ["sh", "-c", f"{printed}\nenv"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
    ).stdout
    values = dict(line.partition("=")[::2] for line in evaluated.splitlines())
    assert (values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"]) == (KEY_ID, SECRET)
    assert values["AWS_ENDPOINT_URL"] == installation.api_url
    return values | {"HOME": str(installation.data_dir), "AWS_PAGER": ""}


@pytest.mark.parametrize("protocol", ["json", "smithy-rpc-v2-cbor"])
def test_boto3_walks_from_nothing_to_a_session_and_back(protocol: str, simulated: Installation) -> None:
    appstream = _client(simulated, protocol)
    name = f"walk-{protocol[:4]}"
    appstream.create_stack(Name=name, DisplayName="A walk", Tags={"team": "tests"})
    created = appstream.create_fleet(
        Name=name,
        ImageName=SAMPLE_IMAGE,
        InstanceType="stream.standard.small",
        ComputeCapacity={"DesiredInstances": 2},
        MaxUserDurationInSeconds=3600,
        DisconnectTimeoutInSeconds=120,
    )["Fleet"]
    assert (created["State"], created["FleetType"]) == ("STOPPED", "ALWAYS_ON")
    assert appstream.update_fleet(Name=name, DisplayName="Renamed")["Fleet"]["DisplayName"] == "Renamed"
    assert appstream.update_stack(Name=name, Description="Changed")["Stack"]["Description"] == "Changed"
    with pytest.raises(ClientError) as refused:
        appstream.create_streaming_url(StackName=name, FleetName=name, UserId="eve")
    assert refused.value.response["Error"]["Code"] == "OperationNotPermittedException"

    appstream.associate_fleet(FleetName=name, StackName=name)
    assert appstream.list_associated_fleets(StackName=name)["Names"] == [name]
    assert appstream.list_associated_stacks(FleetName=name)["Names"] == [name]
    appstream.start_fleet(Name=name)
    appstream.get_waiter("fleet_started").wait(Names=[name], WaiterConfig=OFTEN)
    assert appstream.describe_fleets(Names=[name])["Fleets"][0]["ComputeCapacityStatus"]["Available"] == 2

    administrator = Administrator(appstream)
    opened = ask("GET", administrator.url(name, "eve", "text-editor"))
    assert opened.status == 303
    assert "signature" not in opened.headers["location"]
    session = administrator.session(name, "eve")
    assert (session["UserId"], session["AuthenticationType"]) == ("eve", "API")
    appstream.expire_session(SessionId=session["Id"])
    wait_for(lambda: not administrator.sessions(name, "eve"), timeout=5, what="the session is over")
    administrator.wait_for_capacity(name, available=2)

    with pytest.raises(appstream.exceptions.ResourceInUseException):
        appstream.delete_fleet(Name=name)
    administrator.remove(name)
    with pytest.raises(appstream.exceptions.ResourceNotFoundException):
        appstream.describe_fleets(Names=[name])


def _client(installation: Installation, protocol: str) -> Any:
    """boto3 picks the protocol; the environment can only narrow the choice, so look at what is really sent."""
    import boto3
    from botocore.config import Config

    session = boto3.Session()
    loader = session._session.get_component("data_loader")
    model = loader.load_service_model("appstream", "service-2")
    assert protocol in model["metadata"]["protocols"]
    model["metadata"] |= {"protocols": [protocol], "protocol": protocol}
    client = session.client(
        "appstream",
        region_name="us-east-1",
        endpoint_url=installation.api_url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        config=Config(retries={"max_attempts": 1}),
    )
    assert client.meta.service_model.resolved_protocol == protocol
    return client


def test_accounts_of_other_regions_see_nothing(simulated: Installation) -> None:
    simulated.client().create_stack(Name="only-here")
    elsewhere = simulated.client(region="eu-west-1")
    assert elsewhere.describe_stacks()["Stacks"] == []
    with pytest.raises(elsewhere.exceptions.ResourceNotFoundException):
        elsewhere.delete_stack(Name="only-here")
    simulated.client().delete_stack(Name="only-here")


def test_the_aws_cli_speaks_to_it_as_it_is(simulated: Installation) -> None:
    command = Path(sys.executable).with_name("aws")

    def aws(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, "appstream", *words, "--output", "json"],
            env=environment(simulated),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    made = aws("create-stack", "--name", "from-cli", "--display-name", "From the CLI")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["Stack"]["DisplayName"] == "From the CLI"
    images = json.loads(aws("describe-images", "--type", "PUBLIC").stdout)["Images"]
    assert SAMPLE_IMAGE in {image["Name"] for image in images}
    assert aws("delete-stack", "--name", "from-cli").returncode == 0
    again = aws("delete-stack", "--name", "from-cli")
    assert again.returncode != 0
    assert "ResourceNotFoundException" in again.stderr


def test_the_aws_cli_runs_every_operation_of_fleets_stacks_sessions_and_tags(simulated: Installation) -> None:
    """Its own entry point, called in one process: a command after the other as an administrator would type them."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("cli_walk.py"), SAMPLE_IMAGE],
        env=environment(simulated) | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    built = Registry.of_modules(associations, fleets, stacks, streaming_sessions, tags).built
    assert {xform_name(name, "-") for name in built} <= said.keys()
    assert said["describe-stacks"]["Stacks"][0]["DisplayName"] == "From the CLI"
    settings = {one["Action"]: one["Permission"] for one in said["describe-stacks"]["Stacks"][0]["UserSettings"]}
    assert (settings["FILE_DOWNLOAD"], settings["FILE_UPLOAD"]) == ("DISABLED", "ENABLED")
    assert said["update-fleet"]["Fleet"]["IdleDisconnectTimeoutInSeconds"] == 70
    assert said["list-tags-for-resource"]["Tags"] == {"team": "tests"}
    assert said["list-associated-fleets"]["Names"] == said["list-associated-stacks"]["Names"] == ["cli-walk"]
    assert said["create-streaming-url"]["StreamingURL"].startswith("http")
    assert "ResourceNotFoundException" in said["drain-session-instance"]


@pytest.fixture(scope="module")
def node_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = node_project_with(JS_CLIENT, tmp_path_factory.mktemp("node"))
    (directory / "program.js").write_text(JS_PROGRAM)
    return directory


def test_the_javascript_sdk_speaks_to_it_as_it_is(simulated: Installation, node_project: Path) -> None:
    done = subprocess.run(
        [program("node", "node"), "program.js"],
        cwd=node_project,
        env=environment(simulated),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [stack["Name"] for stack in said["stacks"]] == ["from-javascript"]
    assert said["error"]["name"] == "ResourceNotFoundException"
    assert said["error"]["status"] == 400
    assert "no-such-fleet" in said["error"]["message"]
    assert said["error"]["requestId"]
    assert said["second"] == "ResourceNotFoundException"
    simulated.client().delete_stack(Name="from-javascript")
