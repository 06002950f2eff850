"""Settings of applications: what a user sets in one session is there in the next, on another instance.

One story in the order of its chapters: each test goes on where the one before it stopped.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from playwright.sync_api import Browser

from e2e.administrators import Administrator
from e2e.browsers import visitor
from e2e.conftest import SETTINGS_LIMIT_IN_MIB
from e2e.installation import KEY_ID, SECRET, Installation, wait_for
from e2e.instances import USER_ID, Instances
from fanlight.agentwire import SETTINGS_TOO_LARGE

pytestmark = [pytest.mark.incus, pytest.mark.browser]

STACK, GROUP, USER = "e2e-settings", "drawing", "Ada.L@example"
PREFIX = f"Linux/v1/{GROUP}/custom/{sha256(USER.encode()).hexdigest()}/"
# A program's own way of keeping something, and what must not follow the user.
SETTING, SCHEME = "/home/user/.config/drawing/colours.ini", b"[scheme]\nname=dark\n"
OTHERS = ("/home/user/.cache/drawing/thumbnails", "/home/user/notes.txt", "/home/user/Desktop/link")
WRITE = 'mkdir -p "$(dirname "$1")" && cat >"$1"'


@dataclass
class Story:
    installation: Installation
    fleet: str
    browser: Browser

    @property
    def administrator(self) -> Administrator:
        return Administrator(self.installation.client())

    @property
    def instances(self) -> Instances:
        return Instances(self.installation)

    @property
    def bucket(self) -> str:
        stack = self.administrator.client.describe_stacks(Names=[STACK])["Stacks"][0]
        return str(stack["ApplicationSettings"]["S3BucketName"])

    @property
    def s3(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.installation.s3_port}",
            region_name="us-east-1",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
        )

    def versions(self) -> list[dict[str, Any]]:
        """Return what S3 has, the newest first, as any tool sees it."""
        with suppress(ClientError):
            found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=PREFIX)
            return sorted(found.get("Contents", ()), key=lambda each: str(each["Key"]), reverse=True)
        return []

    def session(self, do: Callable[[str], None], *, told: str | None = None) -> str:
        """Have the user come, something done in the instance, and the user leave; return the instance.

        `told` is what the page says at the end.
        """
        client = self.administrator.client
        self.administrator.wait_for_capacity(self.fleet)
        url = client.create_streaming_url(
            StackName=STACK, FleetName=self.fleet, UserId=USER, ApplicationId="text-editor", Validity=600
        )["StreamingURL"]
        with visitor(self.browser) as ada:
            ada.open(url)
            ada.wait_for_picture()
            wished = {"StackName": STACK, "FleetName": self.fleet, "UserId": USER, "AuthenticationType": "API"}
            (session,) = (each for each in client.describe_sessions(**wished)["Sessions"] if each["State"] == "ACTIVE")
            do(session["InstanceId"])
            client.expire_session(SessionId=session["Id"])
            if told is not None:
                ada.page.get_by_text(told).wait_for(timeout=60_000)
        wait_for(
            lambda: session["InstanceId"] not in self.instances.names(), timeout=60, what="the end of the instance"
        )
        return str(session["InstanceId"])

    def write(self, instance_id: str, path: str, content: bytes) -> None:
        done = self.instances.run(instance_id, "sh", "-c", WRITE, "sh", path, as_user=True, given=content)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def story(real_installation: Installation, shared_fleet: str, browser: Browser) -> Iterator[Story]:
    if real_installation.process is None:
        real_installation.start()
    client = real_installation.client()
    client.create_stack(Name=STACK, ApplicationSettings={"Enabled": True, "SettingsGroup": GROUP})
    client.associate_fleet(FleetName=shared_fleet, StackName=STACK)
    yield Story(real_installation, shared_fleet, browser)
    for session in client.describe_sessions(StackName=STACK, FleetName=shared_fleet)["Sessions"]:
        client.expire_session(SessionId=session["Id"])
    client.disassociate_fleet(FleetName=shared_fleet, StackName=STACK)
    client.delete_stack(Name=STACK)


def test_what_is_set_in_one_session_is_there_in_the_next_on_another_instance(story: Story) -> None:
    def first(instance_id: str) -> None:
        story.write(instance_id, SETTING, SCHEME)
        for path in OTHERS:
            story.write(instance_id, path, b"x")

    def second(instance_id: str) -> None:
        assert story.instances.read(instance_id, SETTING) == SCHEME
        owner = story.instances.run(instance_id, "stat", "-c", "%u:%g", SETTING)
        assert owner.stdout.decode().strip() == f"{USER_ID}:{USER_ID}"
        assert [path for path in OTHERS if story.instances.read(instance_id, path) is not None] == []
        story.write(instance_id, SETTING, b"[scheme]\nname=light\n")

    one = story.session(first)
    assert len(story.versions()) == 1
    assert story.session(second) != one
    assert len(story.versions()) == 2


def test_a_version_that_did_not_arrive_whole_gives_way_to_the_one_before(story: Story) -> None:
    newest = story.versions()[0]["Key"]
    s3 = story.s3
    whole = s3.get_object(Bucket=story.bucket, Key=newest)["Body"].read()
    s3.put_object(Bucket=story.bucket, Key=newest, Body=whole[: len(whole) // 2])

    def third(instance_id: str) -> None:
        assert story.instances.read(instance_id, SETTING) == SCHEME

    story.session(third)


def test_settings_that_are_too_large_are_not_kept_and_that_is_told(story: Story) -> None:
    before = [each["Key"] for each in story.versions()]

    def fourth(instance_id: str) -> None:
        size = SETTINGS_LIMIT_IN_MIB * 2**20 + 1
        done = story.instances.run(instance_id, "head", "-c", str(size), "/dev/zero", as_user=True)
        story.write(instance_id, "/home/user/.huge", done.stdout)

    story.session(fourth, told="Your settings were not saved: they are larger than your administrator allows.")
    assert [each["Key"] for each in story.versions()] == before
    assert SETTINGS_TOO_LARGE in story.installation.log()
    audit = (story.installation.data_dir / "audit" / "audit.jsonl").read_text()
    lost = [line for line in map(json.loads, audit.splitlines()) if line["kind"] == "settings-lost"]
    assert [(line["stack_name"], line["user_id"], line["why"]) for line in lost] == [(STACK, USER, "TOO_LARGE")]
