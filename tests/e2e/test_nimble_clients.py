"""Clients of Nimble Studio from before it was closed, unmodified, against the simulated engine: boto3 1.34, JavaScript."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from e2e.administrators import SAMPLE_IMAGE
from e2e.installation import Installation
from e2e.programs import node_project_with, program
from e2e.test_clients import environment
from fanlight.api.spec.nimble_model import nimble_table

JS_CLIENT = "@aws-sdk/client-nimble@3.523.0"
JS_PROGRAM = """
import { NimbleClient, CreateStudioCommand, GetStudioCommand, DeleteStudioCommand, ListTagsForResourceCommand, TagResourceCommand,
  UntagResourceCommand, CreateStudioComponentCommand, DeleteStudioComponentCommand, paginateListStudioComponents,
  waitUntilStudioReady, waitUntilStudioComponentReady, waitUntilStudioComponentDeleted, waitUntilStudioDeleted }
  from "@aws-sdk/client-nimble";
const client = new NimbleClient({});
const waits = { client, maxWaitTime: 60, minDelay: 1, maxDelay: 2 };
const said = {};
const role = "arn:aws:iam::000000000000:role/r";
const made = await client.send(new CreateStudioCommand({ studioName: "script", displayName: "S", adminRoleArn: role, userRoleArn: role }));
const studioId = made.studio.studioId;
said.createdAt = made.studio.createdAt instanceof Date;
await waitUntilStudioReady(waits, { studioId });
await client.send(new TagResourceCommand({ resourceArn: made.studio.arn, tags: { a: "b", c: "d" } }));
await client.send(new UntagResourceCommand({ resourceArn: made.studio.arn, tagKeys: ["a"] }));
said.tags = (await client.send(new ListTagsForResourceCommand({ resourceArn: made.studio.arn }))).tags;
const ids = [];
for (const name of ["one", "two", "three"]) {
  const component = await client.send(new CreateStudioComponentCommand({ studioId, name, type: "CUSTOM" }));
  ids.push(component.studioComponent.studioComponentId);
  await waitUntilStudioComponentReady(waits, { studioId, studioComponentId: ids.at(-1) });
}
said.pages = [];
for await (const page of paginateListStudioComponents({ client, pageSize: 2 }, { studioId, types: ["CUSTOM", "COMPUTE_FARM"] }))
  said.pages.push(page.studioComponents.length);
said.errors = {};
for (const [name, command] of Object.entries({
  notFound: new GetStudioCommand({ studioId: "us-east-1:stid-0000000000000000" }),
  conflict: new CreateStudioCommand({ studioName: "script", displayName: "S", adminRoleArn: role, userRoleArn: role }),
  invalid: new CreateStudioCommand({ studioName: "Script!", displayName: "S", adminRoleArn: role, userRoleArn: role }) })) {
  try { await client.send(command); } catch (error) {
    said.errors[name] = [error.name, error.$metadata.httpStatusCode, Boolean(error.$metadata.requestId), Boolean(error.context)];
  }
}
for (const studioComponentId of ids) {
  await client.send(new DeleteStudioComponentCommand({ studioId, studioComponentId }));
  await waitUntilStudioComponentDeleted(waits, { studioId, studioComponentId });
}
await client.send(new DeleteStudioCommand({ studioId }));
await waitUntilStudioDeleted(waits, { studioId });
said.state = (await client.send(new GetStudioCommand({ studioId }))).studio.state;
console.log(JSON.stringify(said));
"""
JS_LIFE = """
import * as nimble from "@aws-sdk/client-nimble";
const client = new nimble.NimbleClient({});
const waits = { client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 };
const send = (name, input) => client.send(new nimble[`${name}Command`](input));
const said = { states: [] };
const role = "arn:aws:iam::000000000000:role/r";
const { studio: { studioId } } = await send("CreateStudio", { studioName: "life", displayName: "L", adminRoleArn: role, userRoleArn: role });
await nimble.waitUntilStudioReady(waits, { studioId });
const { streamingImage: { streamingImageId } } = await send("CreateStreamingImage", { studioId, name: "image", ec2ImageId: process.argv[2] });
await nimble.waitUntilStreamingImageReady(waits, { studioId, streamingImageId });
const { studioComponent: { studioComponentId } } = await send("CreateStudioComponent", { studioId, name: "files", type: "SHARED_FILE_SYSTEM",
  configuration: { sharedFileSystemConfiguration: { shareName: "nowhere", linuxMountPoint: "/mnt/nowhere" } } });
await nimble.waitUntilStudioComponentReady(waits, { studioId, studioComponentId });
const { launchProfile: { launchProfileId } } = await send("CreateLaunchProfile", { studioId, name: "artists", ec2SubnetIds: [],
  launchProfileProtocolVersions: ["2021-03-31"], studioComponentIds: [studioComponentId], streamConfiguration: { clipboardMode: "ENABLED",
  ec2InstanceTypes: ["g4dn.xlarge"], streamingImageIds: [streamingImageId], maxStoppedSessionLengthInMinutes: 60,
  sessionBackup: { mode: "AUTOMATIC", maxBackupsToRetain: 2 } } });
await nimble.waitUntilLaunchProfileReady(waits, { studioId, launchProfileId });
const { session: { sessionId } } = await send("CreateStreamingSession", { studioId, launchProfileId, ownedBy: "artist" });
const at = { studioId, sessionId };
const note = async () => said.states.push((await send("GetStreamingSession", at)).session.state);
await nimble.waitUntilStreamingSessionReady(waits, at);
await note();
said.message = (await send("GetStreamingSession", at)).session.statusMessage;
const { stream: { streamId } } = await send("CreateStreamingSessionStream", at);
await nimble.waitUntilStreamingSessionStreamReady(waits, { ...at, streamId });
said.url = (await send("GetStreamingSessionStream", { ...at, streamId })).stream.url;
await send("StopStreamingSession", at);
await nimble.waitUntilStreamingSessionStopped(waits, at);
await note();
const backups = [];
for await (const page of nimble.paginateListStreamingSessionBackups({ client }, { studioId })) backups.push(...page.streamingSessionBackups);
said.backups = backups.map((one) => [one.state, one.createdAt instanceof Date]);
await send("StartStreamingSession", { ...at, backupId: backups[0].backupId });
await nimble.waitUntilStreamingSessionReady(waits, at);
await note();
said.restored = (await send("GetStreamingSession", at)).session.startedFromBackupId === backups[0].backupId;
said.sessions = 0;
for await (const page of nimble.paginateListStreamingSessions({ client }, { studioId, ownedBy: "artist" })) said.sessions += page.sessions.length;
await send("DeleteStreamingSession", at);
await nimble.waitUntilStreamingSessionDeleted(waits, at);
await note();
await send("DeleteLaunchProfile", { studioId, launchProfileId });
await nimble.waitUntilLaunchProfileDeleted(waits, { studioId, launchProfileId });
await send("DeleteStudioComponent", { studioId, studioComponentId });
await nimble.waitUntilStudioComponentDeleted(waits, { studioId, studioComponentId });
await send("DeleteStreamingImage", { studioId, streamingImageId });
await nimble.waitUntilStreamingImageDeleted(waits, { studioId, streamingImageId });
await send("DeleteStudio", { studioId });
await nimble.waitUntilStudioDeleted(waits, { studioId });
console.log(JSON.stringify(said));
"""


def ami_of(installation: Installation, image_name: str) -> str:
    """Return what `fanlight images list` shows where there is an engine."""
    with closing(sqlite3.connect(installation.data_dir / "state" / "fanlight.db")) as store:
        ((image_id,),) = store.execute("SELECT image_id FROM images WHERE name = ?", (image_name,)).fetchall()
    return f"ami-{image_id[:17]}"


def test_boto3_of_2024_lives_the_whole_life_of_a_studio(simulated: Installation) -> None:
    done = subprocess.run(
        [
            program("nimble", "python"),
            Path(__file__).with_name("nimble_walk.py"),
            ami_of(simulated, SAMPLE_IMAGE),
        ],
        env=environment(simulated) | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["version"].startswith("1.34.")
    assert said["same"]
    assert said["waited"] == said["waiters"]
    assert len(said["waiters"]) == len(nimble_table()["waiters"]) == 12
    assert said["pages"] == {
        "list_eula_acceptances": 0,
        "list_eulas": 0,
        "list_launch_profile_members": 1,
        "list_launch_profiles": 1,
        "list_streaming_images": 1,
        "list_streaming_session_backups": 1,
        "list_streaming_sessions": 1,
        "list_studio_components": 1,
        "list_studio_members": 1,
        "list_studios": 1,
    }
    assert said["errors"] == {
        "create_studio": ["ConflictException", 409, True],
        "start_studio_sso_configuration_repair": ["ValidationException", 400, True],
        "get_studio": ["ResourceNotFoundException", 404, True],
        "delete_studio_component": ["ConflictException", 409, True],
    }
    assert (said["tags"], said["details"], said["started_from"]) == ({"c": "d"}, [1, 1], True)
    assert said["url"].startswith(simulated.portal_url)


@pytest.fixture(scope="module")
def node_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = node_project_with(JS_CLIENT, tmp_path_factory.mktemp("node"))
    (directory / "program.js").write_text(JS_PROGRAM)
    (directory / "life.js").write_text(JS_LIFE)
    return directory


def test_the_javascript_client_of_2024_speaks_to_it_as_it_is(simulated: Installation, node_project: Path) -> None:
    done = subprocess.run(
        [program("node", "node"), "program.js"],
        cwd=node_project,
        env=environment(simulated),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {
        "createdAt": True,
        "tags": {"c": "d"},
        "pages": [2, 1],
        "errors": {
            "notFound": ["ResourceNotFoundException", 404, True, True],
            "conflict": ["ConflictException", 409, True, True],
            "invalid": ["ValidationException", 400, True, False],
        },
        "state": "DELETED",
    }


def test_the_javascript_client_of_2024_lives_the_life_of_a_session(simulated: Installation, node_project: Path) -> None:
    done = subprocess.run(
        [program("node", "node"), "life.js", ami_of(simulated, SAMPLE_IMAGE)],
        cwd=node_project,
        env=environment(simulated),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said.pop("url").startswith(simulated.portal_url)
    assert "Not mounted: files: " in said.pop("message")
    assert said == {
        "states": ["READY", "STOPPED", "READY", "DELETED"],
        "backups": [["READY", True]],
        "restored": True,
        "sessions": 1,
    }


def test_the_import_command_brings_a_studio_back_once(simulated: Installation, tmp_path: Path) -> None:
    """The sample outputs of the AWS CLI have more members than any request: what belongs in none is left out."""
    role = "arn:aws:iam::123456789012:role/studio-admin"
    studio = {
        "studio": {
            "studioId": "us-west-2:stid-nyoqq12fteqy1x48",
            "studioName": "oldstudio",
            "displayName": "Old Studio",
            "adminRoleArn": role,
            "userRoleArn": role,
            "state": "READY",
            "createdAt": "2022-01-27T20:29:35+00:00",
        }
    }
    component = {"studioComponentId": "oldOne", "name": "farm", "type": "COMPUTE_FARM", "state": "READY"}
    image = {"streamingImageId": "oldImage", "name": "Linux", "ec2ImageId": "ami-1", "state": "READY"}
    profile = {
        "launchProfileId": "oldProfile",
        "name": "artists",
        "ec2SubnetIds": [],
        "launchProfileProtocolVersions": ["2021-03-31"],
        "streamConfiguration": {
            "clipboardMode": "ENABLED",
            "ec2InstanceTypes": ["g4dn.xlarge"],
            "streamingImageIds": ["oldImage"],
        },
        "studioComponentIds": ["oldOne"],
        "state": "READY",
    }
    documents = [studio, {"studioComponents": [component]}, {"streamingImages": [image]}, {"launchProfile": profile}]
    for number, document in enumerate(documents):
        (tmp_path / f"{number}.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "fanlight", "nimble", "import", *map(str, sorted(tmp_path.iterdir()))]
    command += ["--image", f"ami-1={ami_of(simulated, SAMPLE_IMAGE)}"]
    said = [
        subprocess.run(
            command, env=simulated.environment(), capture_output=True, text=True, check=True, timeout=60
        ).stdout
        for _ in range(2)
    ]
    names = ["studio us-west-2:stid-nyoqq12fteqy1x48", "streaming image oldImage", "studio component oldOne"]
    for name in [*names, "launch profile oldProfile"]:
        assert f"  {name} → " in said[0].partition("to be done by hand")[0]
    assert said[0].startswith("made\n")
    assert said[1].startswith("there already\n")
    assert "made\n" not in said[1]
