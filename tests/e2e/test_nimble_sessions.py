"""Nimble Studio with the clients that people had, unmodified, real machines and a browser: a studio from its making to its end.

Two lives side by side, of boto3 and of the JavaScript client, in the order of their chapters: each test goes on where the
one before it stopped.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
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
from e2e.nimble_lives import Life, boto3_walk, javascript_walk
from e2e.test_clients import environment
from fanlight.api.spec.nimble_model import nimble_table
from fanlight.domain.access_keys import AccessKey
from fanlight.drivers.incus.file_systems import PLACE
from nimble_rig import nimble_client, write_model

pytestmark = [pytest.mark.incus, pytest.mark.browser, pytest.mark.timeout(600)]

KEPT = f"{USER_HOME}/kept"
LIVE = ("READY", "STOPPED", "CREATE_FAILED", "START_FAILED", "STOP_FAILED")
SYSTEM = '#!/bin/sh\necho "$SERVER $(id -u)" >/opt/licences\n'
# A terminal, so that the user has something to type into; it outlives its script.
USER = 'echo "$SERVER $(id -u)" >"$HOME/login"\nsetsid xfce4-terminal >/dev/null 2>&1 &\n'
PROTOCOL = "2021-03-31"
COMPONENTS = [
    {
        "name": "licences",
        "type": "CUSTOM",
        "initializationScripts": [
            {"platform": "LINUX", "runContext": context, "script": text, "launchProfileProtocolVersion": PROTOCOL}
            for context, text in (("SYSTEM_INITIALIZATION", SYSTEM), ("USER_INITIALIZATION", USER))
        ],
        "scriptParameters": [{"key": "SERVER", "value": "lic 1"}],
    },
    *(
        {
            "name": name,
            "type": "SHARED_FILE_SYSTEM",
            "configuration": {"sharedFileSystemConfiguration": {"shareName": name, "linuxMountPoint": f"/mnt/{name}"}},
        }
        for name in ("projects", "nowhere")
    ),
]
STREAM = {
    "clipboardMode": "ENABLED",
    "ec2InstanceTypes": ["g4dn.xlarge"],
    "sessionPersistenceMode": "ACTIVATED",
    "sessionBackup": {"mode": "AUTOMATIC", "maxBackupsToRetain": 2},
    "volumeConfiguration": {"size": 100},
}
SHOWN = ["sessionId", "statusCode", "statusMessage", "volumeRetentionMode", "startedFromBackupId"]
PAGES = {
    "EulaAcceptances": 1,
    "Eulas": 1,
    "LaunchProfileMembers": 1,
    "LaunchProfiles": 1,
    "StreamingImages": 1,
    "StreamingSessionBackups": 2,
    "StreamingSessions": 1,
    "StudioComponents": 3,
    "StudioMembers": 1,
}
ERRORS = {
    "CreateStudio": ["ConflictException", 409, True],
    "StartStudioSSOConfigurationRepair": ["ValidationException", 400, True],
    "GetStudio": ["ResourceNotFoundException", 404, True],
    "UpdateStudio": ["ValidationException", 400, True],
    "CreateStreamingSession": ["ValidationException", 400, True],
    "DeleteStudioComponent": ["ConflictException", 409, True],
}


@dataclass
class Artist:
    """One life, and the person at the browser who uses its session."""

    life: Life
    visitor: Visitor
    instances: Instances
    instance_id: str = ""

    @property
    def take(self) -> Path:
        """What this one writes to the shared file system."""
        return PROJECTS / self.life.wanted["name"]

    def open(self, url: str) -> None:
        """Open a new stream, and have a prompt in it."""
        self.visitor.open(url)
        self.visitor.wait_for_picture(timeout=60)
        wait_for(lambda: self.runs("xfce4-terminal"), timeout=60, what="the terminal of the user's script")
        self.visitor.wait_for_text("$")

    def runs(self, program: str) -> bool:
        return self.instances.run(self.instance_id, "pgrep", "-u", "1000", "-f", program).returncode == 0

    def type_into_file(self, text: str) -> None:
        self.type(f"echo {text} >kept\n", lambda: self.kept() == text)

    def type(self, line: str, is_done: Callable[[], bool]) -> None:
        """Type a line until it worked: keys that come before the terminal has the keyboard are lost."""
        for attempt in range(3):
            self.visitor.click_stream()
            self.visitor.type(line)
            with suppress(AssertionError) if attempt < 2 else nullcontext():
                wait_for(is_done, timeout=20, what=f"{line!r} typed")
                return

    def kept(self) -> str:
        return (self.instances.read(self.instance_id, KEPT) or b"").decode().strip()


@dataclass
class Story:
    installation: Installation
    artists: list[Artist]

    def reach(self, moment: str) -> list[tuple[Artist, dict[str, Any]]]:
        """Wait until both lives are there, and return what they tell."""
        return [(artist, artist.life.reaches(moment)) for artist in self.artists]

    def go_on(self) -> None:
        for artist in self.artists:
            artist.life.go_on()


@pytest.fixture(scope="module")
def story(
    real_installation: Installation, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    commands = {"boto": boto3_walk(), "script": javascript_walk(tmp_path_factory.mktemp("node"))}
    if real_installation.process is None:
        real_installation.start()
    ordered = {
        "ami": listed_ami(real_installation),
        "components": COMPONENTS,
        "stream": STREAM,
        "shown": SHOWN,
    }
    with ExitStack() as leaving:
        leaving.callback(_clean, real_installation, write_model(tmp_path_factory.mktemp("models")))
        artists = []
        for name, command in commands.items():
            life = Life(command, {**ordered, "name": f"e2e{name}"}, environment(real_installation))
            leaving.callback(life.end)
            artists.append(Artist(life, leaving.enter_context(visitor(browser)), Instances(real_installation)))
        yield Story(real_installation, artists)


def _clean(installation: Installation, models: Path) -> None:
    """Delete the sessions that a life left behind which did not come to its end."""
    if installation.process is None:
        installation.start()
    key = AccessKey(
        access_key_id=KEY_ID,
        secret_access_key=SECRET,
        account_id="000000000000",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    api = nimble_client(installation.api_url, key, models)
    for studio in api.list_studios()["studios"]:
        at = {"studioId": studio["studioId"]}
        for session in api.list_streaming_sessions(**at)["sessions"]:
            if session["state"] in LIVE:
                api.delete_streaming_session(**at, sessionId=session["sessionId"])


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


def test_both_clients_come_to_a_session_and_its_stream_is_the_session_page(story: Story) -> None:
    for artist, told in story.reach("ready"):
        session = told["session"]
        assert session["statusCode"] == "STREAMING_SESSION_READY"
        assert "Not mounted: nowhere: " in session["statusMessage"]
        artist.instance_id = artist.instances.labelled("studio_session", session["sessionId"])
        assert artist.instances.read(artist.instance_id, "/opt/licences") == b"lic 1 0\n"
        artist.open(told["url"])
        assert artist.instances.read(artist.instance_id, f"{USER_HOME}/login") == b"lic 1 1000\n"
        artist.type_into_file("first")


def test_what_their_users_write_to_the_shared_file_system_is_on_the_host(story: Story) -> None:
    for artist in story.artists:
        take = artist.take
        artist.type(
            f"echo shot >/mnt/projects/{take.name}\n", lambda take=take: take.exists() and take.read_text() == "shot\n"
        )
        assert take.stat().st_uid == 1000


def test_a_stop_ends_the_stream_makes_a_backup_and_keeps_the_disk_over_a_power_cut(story: Story) -> None:
    story.go_on()
    story.reach("stopping")
    story.installation.kill_everything()
    story.installation.start()
    story.go_on()
    for artist, told in story.reach("stopped"):
        assert (told["session"]["volumeRetentionMode"], told["backup"]) == ("RETAIN", "READY")
        assert artist.instance_id not in artist.instances.running()
    story.go_on()
    for artist, told in story.reach("started"):
        assert told["session"]["statusCode"] == "STREAMING_SESSION_STARTED"
        assert artist.kept() == "first"
        artist.open(told["url"])
        artist.type_into_file("second")


def test_a_start_from_a_backup_brings_back_what_was_then(story: Story) -> None:
    story.go_on()
    for artist in story.artists:
        artist.visitor.wait_for_state("ended", timeout=60)
        assert "keeps its disk" in artist.visitor.words()
    for artist, told in story.reach("restored"):
        assert told["is_restored"]
        assert artist.kept() == "first"
        artist.open(told["url"])


def test_a_deleted_studio_leaves_nothing_and_every_waiter_and_paginator_was_used(story: Story) -> None:
    story.go_on()
    for (artist, told), client in zip(story.reach("deleted"), ("boto3 1.35.47", "JavaScript 3.523.0"), strict=True):
        wait_for(lambda artist=artist: not left_of(artist), timeout=60, what="nothing left of the machine")
        assert told["client"] == client
        assert told["waited"] == told["waiters"]
        assert len(told["waiters"]) == len(nimble_table()["waiters"]) == 12
        assert len(told["paginators"]) == len(nimble_table()["paginators"]) == 10
        assert {in_words(name) for name in told["paginators"]} == {in_words(name) for name in told["pages"]}
        seen = {in_words(name): number for name, number in told["pages"].items()}
        assert seen.pop("studios") >= 1
        assert seen == {in_words(name): number for name, number in PAGES.items()}
        assert {in_words(name): said for name, said in told["errors"].items()} == {
            in_words(name): said for name, said in ERRORS.items()
        }
        assert (told["tags"], told["details"]) == ({"c": "d"}, [1, 3])
        assert told["is_same"]
        assert told["has_times"]


def in_words(name: str) -> str:
    """Return `list_launch_profiles` and `LaunchProfiles` alike."""
    return name.replace("_", "").lower().removeprefix("list")


def left_of(artist: Artist) -> list[str]:
    """Return what the host still has of the machine: itself, its disk and snapshots, directories."""
    instances, instance_id = artist.instances, artist.instance_id
    pool = instances.installation.settings["incus_pool"]
    listed = subprocess.run(
        ["incus", "storage", "volume", "list", pool, "--project", instances.project, "--format", "json"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    run_dir = instances.installation.data_dir / "run"
    places = (run_dir / "instances" / instance_id, PLACE / instances.project / instance_id)
    return [
        *(instances.names() & {instance_id}),
        *(each["name"] for each in json.loads(listed.stdout) if each["name"].startswith(instance_id)),
        *(str(place) for place in places if place.exists()),
    ]
