"""`fanlight nimble import`: what the AWS CLI once printed comes back, once, and what is left to people is said."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_nimble_streaming_images import add_image

from fanlight.nimble_import import Importer, ImportFailed, Report, read_output
from nimble_rig import Nimble, Studio, ask

OLD_STUDIO = "us-west-2:stid-nyoqq12fteqy1x48"
STUDIO = {
    "adminRoleArn": "arn:aws:iam::123456789012:role/studio-admin",
    "arn": "arn:aws:nimble:us-west-2:123456789012:studio/stid-nyoqq12fteqy1x48",
    "createdAt": "2022-01-27T20:29:35+00:00",
    "displayName": "Old Studio",
    "homeRegion": "us-west-2",
    "ssoClientId": "x",
    "state": "READY",
    "statusCode": "STUDIO_CREATED",
    "studioEncryptionConfiguration": {"keyType": "CUSTOMER_MANAGED_KEY", "keyArn": "arn:aws:kms:k"},
    "studioId": OLD_STUDIO,
    "studioName": "oldstudio",
    "studioUrl": "https://oldstudio.nimblestudio.us-west-2.amazonaws.com",
    "tags": {"team": "a", "aws:cloudformation:stack-name": "s"},
    "userRoleArn": "arn:aws:iam::123456789012:role/studio-user",
}
IMAGES = [
    {"streamingImageId": "oldLinux", "name": "Linux", "ec2ImageId": "ami-1", "platform": "LINUX", "state": "READY"},
    {"streamingImageId": "oldWindows", "name": "W", "ec2ImageId": "ami-2", "platform": "WINDOWS", "state": "READY"},
]
SCRIPT = {
    "launchProfileProtocolVersion": "2021-03-31",
    "platform": "LINUX",
    "runContext": "SYSTEM_INITIALIZATION",
    "script": "echo",
}
COMPONENTS: list[dict[str, Any]] = [
    {
        "studioComponentId": "oldFiles",
        "name": "files",
        "type": "SHARED_FILE_SYSTEM",
        "subtype": "AMAZON_FSX_FOR_LUSTRE",
        "configuration": {"sharedFileSystemConfiguration": {"linuxMountPoint": "/mnt/x", "endpoint": "e"}},
        "initializationScripts": [SCRIPT, {**SCRIPT, "platform": "WINDOWS"}],
        "ec2SecurityGroupIds": ["sg-old"],
        "scriptParameters": [{"key": "AB", "value": "c"}],
        "runtimeRoleArn": "arn:aws:iam::1:role/r",
        "state": "READY",
        "tags": {"resourceArn": "leaked"},
    },
    {"studioComponentId": "gone", "name": "gone", "type": "CUSTOM", "state": "DELETED"},
]


def profile(profile_id: str, image_ids: list[str]) -> dict[str, Any]:
    return {
        "launchProfileId": profile_id,
        "name": profile_id,
        "ec2SubnetIds": ["subnet-old"],
        "launchProfileProtocolVersions": ["2021-03-31"],
        "state": "READY",
        "streamConfiguration": {
            "clipboardMode": "ENABLED",
            "ec2InstanceTypes": ["g4dn.xlarge"],
            "maxSessionLengthInMinutes": 690,
            "maxStoppedSessionLengthInMinutes": 0,
            "streamingImageIds": image_ids,
        },
        "studioComponentIds": ["oldFiles"],
        "validationResults": [],
    }


DOCUMENTS = [
    ("studio.json", {"studio": STUDIO}),
    ("images.json", {"streamingImages": IMAGES}),
    ("components.json", {"studioComponents": COMPONENTS}),
    ("profiles.json", {"launchProfiles": [profile("both", ["oldLinux", "oldWindows"])]}),
    ("details.json", {"launchProfile": profile("windows", ["oldWindows"]), "streamingImages": IMAGES[1:]}),
]


async def bring_back(nimble: Nimble, images: Mapping[str, str], studio_id: str | None = None) -> Report:
    loop = asyncio.get_running_loop()

    def pause() -> None:
        asyncio.run_coroutine_threadsafe(nimble.settle(), loop).result(timeout=20)

    importer = Importer(nimble.client(), images, pause)
    return await asyncio.to_thread(importer.run, read_output(DOCUMENTS), studio_id)


async def test_what_was_printed_comes_back_once(studio: Studio) -> None:
    nimble, ami_id = studio.nimble, (await add_image(studio)).ami_id
    report = await bring_back(nimble, {"ami-1": ami_id})
    assert [line.split(" → ")[0] for line in report.made] == [
        f"studio {OLD_STUDIO}",
        "streaming image oldLinux",
        "studio component oldFiles",
        "launch profile both",
    ]
    assert report.skipped == ["streaming image oldWindows (W)", "launch profile windows (windows)"]
    studio_id = report.made[0].split(" → ")[1]
    (made,) = (await ask(studio.api.list_studio_components, studioId=studio_id))["studioComponents"]
    for name in ("configuration", "initializationScripts", "scriptParameters", "ec2SecurityGroupIds", "subtype"):
        assert made[name] == COMPONENTS[0][name]
    assert made["tags"] == {"fanlight:imported-from": "oldFiles"}
    found = (await ask(studio.api.get_studio, studioId=studio_id))["studio"]
    assert (found["studioName"], found["displayName"]) == ("oldstudio", "Old Studio")
    assert found["tags"] == {"team": "a", "fanlight:imported-from": OLD_STUDIO}
    (kept,) = (await ask(studio.api.list_launch_profiles, studioId=studio_id))["launchProfiles"]
    own = await ask(studio.api.list_streaming_images, studioId=studio_id, owner=studio_id)
    (image,) = own["streamingImages"]
    assert kept["streamConfiguration"]["streamingImageIds"] == [image["streamingImageId"]]
    assert (image["ec2ImageId"], kept["studioComponentIds"]) == (ami_id, [made["studioComponentId"]])

    again = await bring_back(nimble, {"oldLinux": ami_id, "oldWindows": ami_id})
    assert [line.split(" → ")[0] for line in again.made] == ["streaming image oldWindows", "launch profile windows"]
    assert len(again.found) == 4


async def test_what_is_left_to_people_is_said(studio: Studio) -> None:
    ami_id = (await add_image(studio)).ami_id
    told = "\n".join((await bring_back(studio.nimble, {"ami-1": ami_id}, studio.studio_id)).by_hand)
    for what in (
        "--image ami-2=ami-…",
        "oldFiles: say in the file systems file which directory",
        "oldFiles: its scripts for Windows",
        "oldFiles: nobody assumes its roles",
        "both: some of its streaming images",
        "windows: it has none of its streaming images",
        "both: These subnets are not offered here: subnet-old.",
        "both: These security groups are not offered here: sg-old.",
        "Members of studios",
    ):
        assert what in told, what
    assert "customer managed key" not in told  # the studio is another one


async def test_a_server_that_refuses_ends_the_import_in_words(studio: Studio) -> None:
    with pytest.raises(ImportFailed, match=r"streaming image .* is CREATE_FAILED .ACCESS_DENIED."):
        await bring_back(studio.nimble, {"ami-1": "ami-00000000000000000"}, studio.studio_id)


@pytest.mark.parametrize(
    "document", [{}, [], "text", {"studio": {"name": "no id"}}, {"members": [{"persona": "USER"}]}]
)
def test_files_without_anything_of_it_are_refused(document: Any) -> None:
    with pytest.raises(ImportFailed, match=r"some\.json has no studio"):
        read_output([("some.json", document)])


async def test_a_page_of_a_list_that_goes_on_is_said(studio: Studio) -> None:
    old = read_output([("page.json", {"studioComponents": COMPONENTS[1:], "nextToken": "more"})])
    report = await asyncio.to_thread(Importer(studio.api, {}, lambda: None).run, old, studio.studio_id)
    assert report.by_hand[0].startswith("page.json is one page of a longer list")


@pytest.mark.parametrize("value", [7, [7], {"a": 1}, [["oldLinux"]]])
async def test_what_no_cli_printed_is_refused_in_words(studio: Studio, value: Any) -> None:
    ami_id = (await add_image(studio)).ami_id
    thing = {**COMPONENTS[0], "scriptParameters": value, "initializationScripts": value}
    importer = Importer(studio.api, {"ami-1": ami_id}, lambda: None)
    with pytest.raises(ImportFailed, match="studio component oldFiles: "):
        await asyncio.to_thread(importer.run, read_output([("c", {"studioComponent": thing})]), studio.studio_id)
    wrong = profile("wrong", value)  # type: ignore[arg-type]
    report = await asyncio.to_thread(importer.run, read_output([("p", {"launchProfile": wrong})]), studio.studio_id)
    assert report.skipped == ["launch profile wrong (wrong)"]


async def test_what_was_made_before_a_refusal_is_reported(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from fanlight.cli import app

    monkeypatch.setattr("fanlight.nimble_client.nimble_client", lambda *_: studio.api)
    monkeypatch.setattr("fanlight.installation.read_credentials", lambda _: ("id", "secret"))
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(
        "fanlight.nimble_commands.time.sleep",
        lambda _: asyncio.run_coroutine_threadsafe(studio.nimble.settle(), loop).result(timeout=20),
    )
    plain = {"studioComponentId": "plain", "name": "plain", "type": "CUSTOM"}
    file = tmp_path / "components.json"
    found = {"studioComponents": [plain, {**plain, "studioComponentId": "bad", "type": "NONE"}]}
    file.write_text(json.dumps(found), encoding="utf-16")  # as PowerShell writes what a program prints
    asked = ["nimble", "import", str(file), "--studio", studio.studio_id, "--data-dir", str(tmp_path)]
    done = await asyncio.to_thread(CliRunner().invoke, app, asked)
    assert done.exit_code == 1
    assert "made\n  studio component plain → " in done.output
    assert "studio component bad: " in done.output


def test_the_command_says_what_is_wrong_with_its_arguments(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from fanlight.cli import app

    file = tmp_path / "studio.json"
    file.write_text("{")
    runner = CliRunner()
    assert "is not JSON" in runner.invoke(app, ["nimble", "import", str(file)]).output
    file.write_text("[" * 100_000)
    assert "is not JSON" in runner.invoke(app, ["nimble", "import", str(file)]).output
    file.write_bytes(b"\xff\xfe\x00")
    assert "is not JSON" in runner.invoke(app, ["nimble", "import", str(file)]).output
    assert "cannot be read" in runner.invoke(app, ["nimble", "import", str(tmp_path / "absent")]).output
    file.write_text(json.dumps({"studio": STUDIO}))
    assert runner.invoke(app, ["nimble", "import", str(file), "--image", "ami-1"]).exit_code == 2
    asked = ["nimble", "import", str(file), "--data-dir", str(tmp_path)]
    assert "cannot be read" in runner.invoke(app, asked).output
