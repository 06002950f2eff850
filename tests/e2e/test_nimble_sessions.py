"""A streaming session of a studio with its old client and a browser: a machine of one's own, from its making to its end.

One story in the order of its chapters: each test goes on where the one before it stopped.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from e2e.administrators import SAMPLE_IMAGE
from e2e.browsers import Visitor, visitor
from e2e.conftest import PROJECTS
from e2e.installation import KEY_ID, SECRET, Installation, wait_for
from e2e.instances import USER_HOME, Instances
from fanlight.domain.access_keys import AccessKey
from nimble_rig import NEW_STUDIO, nimble_client, write_model

pytestmark = [pytest.mark.incus, pytest.mark.browser]

KEPT = f"{USER_HOME}/kept"
PATIENCE = {"Delay": 1, "MaxAttempts": 60}
SYSTEM = '#!/bin/sh\necho "$SERVER $(id -u)" >/opt/licences\n'
# A terminal, so that the user has something to type into; it outlives its script.
USER = 'echo "$SERVER $(id -u)" >"$HOME/login"\nsetsid xfce4-terminal >/dev/null 2>&1 &\n'
PROTOCOL = "2021-03-31"


class Story:
    def __init__(self, installation: Installation, artist: Visitor, models: Path) -> None:
        self.installation, self.visitor = installation, artist
        key = AccessKey(
            access_key_id=KEY_ID,
            secret_access_key=SECRET,
            account_id="000000000000",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        self.api = nimble_client(installation.api_url, key, models)
        self.studio_id = self.session_id = self.instance_id = ""

    @property
    def instances(self) -> Instances:
        return Instances(self.installation)

    def ask(self, operation: str, **arguments: Any) -> Any:
        return getattr(self.api, operation)(studioId=self.studio_id, **arguments)

    def wait(self, waiter: str, **arguments: str) -> None:
        self.api.get_waiter(waiter).wait(studioId=self.studio_id, **arguments, WaiterConfig=PATIENCE)

    def becomes(self, state: str) -> dict[str, Any]:
        self.wait(f"streaming_session_{state}", sessionId=self.session_id)
        return dict(self.ask("get_streaming_session", sessionId=self.session_id)["session"])

    def open(self) -> None:
        """Open a new stream, and have a prompt in it."""
        made = self.ask("create_streaming_session_stream", sessionId=self.session_id)["stream"]
        named = {"sessionId": self.session_id, "streamId": made["streamId"]}
        self.wait("streaming_session_stream_ready", **named)
        self.visitor.open(self.ask("get_streaming_session_stream", **named)["stream"]["url"])
        self.visitor.wait_for_picture()
        wait_for(lambda: self.runs("xfce4-terminal"), timeout=20, what="the terminal of the user's script")
        self.visitor.wait_for_text("$")

    def runs(self, program: str) -> bool:
        return self.instances.run(self.instance_id, "pgrep", "-u", "1000", "-f", program).returncode == 0

    def type_into_file(self, text: str) -> None:
        self.visitor.click_stream()
        self.visitor.type(f"echo {text} >kept\n")
        wait_for(lambda: self.kept() == text, timeout=20, what=f"{text} in the file")

    def kept(self) -> str:
        return (self.instances.read(self.instance_id, KEPT) or b"").decode().strip()

    def backups(self) -> list[dict[str, Any]]:
        """Return those of the session, the oldest first."""
        found = self.ask("list_streaming_session_backups")["streamingSessionBackups"]
        return sorted((one for one in found if one["sessionId"] == self.session_id), key=lambda one: one["createdAt"])


@pytest.fixture(scope="module")
def story(
    real_installation: Installation, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    if real_installation.process is None:
        real_installation.start()
    with visitor(browser) as artist:
        told = Story(real_installation, artist, write_model(tmp_path_factory.mktemp("models")))
        yield told
        if real_installation.process is None:
            real_installation.start()
        if told.session_id and told.ask("get_streaming_session", sessionId=told.session_id)["session"]["state"] in (
            "READY", "STOPPED", "CREATE_FAILED", "START_FAILED", "STOP_FAILED",
        ):  # fmt: skip
            told.ask("delete_streaming_session", sessionId=told.session_id)
            told.becomes("deleted")


def listed_ami(installation: Installation) -> str:
    """Return the identifier that the command line shows for the sample image."""
    done = subprocess.run(
        [sys.executable, "-m", "fanlight", "images", "list"],
        env=installation.environment() | {"COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = re.search(rf"^{SAMPLE_IMAGE}\s+(ami-\w+)", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return found[1]


def test_a_studio_is_made_of_an_image_a_component_and_a_launch_profile(story: Story) -> None:
    story.studio_id = story.api.create_studio(**{**NEW_STUDIO, "studioName": "e2elumen"})["studio"]["studioId"]
    story.wait("studio_ready")
    ami = listed_ami(story.installation)
    image = story.ask("create_streaming_image", ec2ImageId=ami, name="Artists")["streamingImage"]
    story.wait("streaming_image_ready", streamingImageId=image["streamingImageId"])
    scripts = [
        {"platform": "LINUX", "runContext": context, "script": text, "launchProfileProtocolVersion": PROTOCOL}
        for context, text in (("SYSTEM_INITIALIZATION", SYSTEM), ("USER_INITIALIZATION", USER))
    ]
    component = story.ask(
        "create_studio_component",
        name="licences",
        type="CUSTOM",
        initializationScripts=scripts,
        scriptParameters=[{"key": "SERVER", "value": "lic 1"}],
    )["studioComponent"]
    story.wait("studio_component_ready", studioComponentId=component["studioComponentId"])
    files = story.ask(
        "create_studio_component",
        name="projects",
        type="SHARED_FILE_SYSTEM",
        configuration={"sharedFileSystemConfiguration": {"shareName": "projects", "linuxMountPoint": "/mnt/projects"}},
    )["studioComponent"]
    story.wait("studio_component_ready", studioComponentId=files["studioComponentId"])
    profile = story.ask(
        "create_launch_profile",
        name="artists",
        ec2SubnetIds=[],
        launchProfileProtocolVersions=[PROTOCOL],
        studioComponentIds=[component["studioComponentId"], files["studioComponentId"]],
        streamConfiguration={
            "clipboardMode": "ENABLED",
            "ec2InstanceTypes": ["g4dn.xlarge"],
            "streamingImageIds": [image["streamingImageId"]],
            "sessionPersistenceMode": "ACTIVATED",
            "sessionBackup": {"mode": "AUTOMATIC", "maxBackupsToRetain": 2},
            "volumeConfiguration": {"size": 100},
        },
    )["launchProfile"]
    story.wait("launch_profile_ready", launchProfileId=profile["launchProfileId"])
    before = story.instances.names()
    made = story.ask("create_streaming_session", launchProfileId=profile["launchProfileId"], ownedBy="artist")[
        "session"
    ]
    story.session_id = made["sessionId"]
    ready = story.becomes("ready")
    assert ready["statusCode"] == "STREAMING_SESSION_READY"
    (story.instance_id,) = story.instances.names() - before
    assert story.instances.read(story.instance_id, "/opt/licences") == b"lic 1 0\n"


def test_its_stream_is_the_session_page_and_the_user_s_script_ran(story: Story) -> None:
    story.open()
    assert story.instances.read(story.instance_id, f"{USER_HOME}/login") == b"lic 1 1000\n"
    story.type_into_file("first")


def test_what_the_user_writes_to_the_shared_file_system_is_on_the_host(story: Story) -> None:
    story.visitor.type("echo shot >/mnt/projects/take\n")
    take = PROJECTS / "take"
    wait_for(lambda: take.exists() and take.read_text() == "shot\n", timeout=20, what="the user's file on the host")
    assert take.stat().st_uid == 1000


def test_a_stop_ends_the_stream_makes_a_backup_and_keeps_the_disk_over_a_power_cut(story: Story) -> None:
    story.ask("stop_streaming_session", sessionId=story.session_id)
    story.installation.kill_everything()
    story.installation.start()
    stopped = story.becomes("stopped")
    assert stopped["volumeRetentionMode"] == "RETAIN"
    assert story.instance_id not in story.instances.running()
    (backup,) = story.backups()
    assert backup["state"] == "READY"
    story.ask("start_streaming_session", sessionId=story.session_id)
    assert story.becomes("ready")["statusCode"] == "STREAMING_SESSION_STARTED"
    assert story.kept() == "first"
    story.open()
    story.type_into_file("second")


def test_a_start_from_a_backup_brings_back_what_was_then(story: Story) -> None:
    (first,) = story.backups()
    story.ask("stop_streaming_session", sessionId=story.session_id)
    story.becomes("stopped")
    story.visitor.wait_for_state("ended", timeout=10)
    assert "keeps its disk" in story.visitor.words()
    assert story.backups()[0]["backupId"] == first["backupId"]
    story.ask("start_streaming_session", sessionId=story.session_id, backupId=first["backupId"])
    restored = story.becomes("ready")
    assert restored["startedFromBackupId"] == first["backupId"]
    assert story.kept() == "first"
    story.open()
    assert len(story.backups()) == 2  # the second was not thrown away: a start makes none and takes none


def test_a_deleted_session_leaves_no_machine(story: Story) -> None:
    story.ask("delete_streaming_session", sessionId=story.session_id)
    story.becomes("deleted")
    assert story.instance_id not in story.instances.names()
    assert story.backups() == []
