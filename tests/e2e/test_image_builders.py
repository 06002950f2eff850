"""An image builder with boto3 and a browser: its desktop, what stays over stop and start, and its end.

One story in the order of its chapters: each test goes on where the one before it stopped.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from playwright.sync_api import Browser

from e2e.administrators import SAMPLE_IMAGE
from e2e.browsers import Visitor, visitor
from e2e.installation import Installation, wait_for
from e2e.instances import Instances

pytestmark = [pytest.mark.incus, pytest.mark.browser]

NAME = "e2e-workshop"
KEPT = "/opt/kept-by-the-builder"


class Story:
    def __init__(self, installation: Installation, ada: Visitor) -> None:
        self.installation, self.visitor = installation, ada
        self.instance_id = ""

    @property
    def client(self) -> Any:
        return self.installation.client()

    @property
    def instances(self) -> Instances:
        return Instances(self.installation)

    def builder(self) -> dict[str, Any]:
        return dict(self.client.describe_image_builders(Names=[NAME])["ImageBuilders"][0])

    def becomes(self, state: str, timeout: float = 60) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            found = self.builder()
            return found if found["State"] == state else None

        return dict(wait_for(probe, timeout=timeout, what=f"{NAME} {state}; it is {self.builder()}"))

    def open(self) -> None:
        self.visitor.open(self.client.create_image_builder_streaming_url(Name=NAME)["StreamingURL"])
        self.visitor.wait_for_picture()


@pytest.fixture(scope="module")
def story(real_installation: Installation, browser: Browser) -> Iterator[Story]:
    if real_installation.process is None:
        real_installation.start()
    with visitor(browser) as ada:
        told = Story(real_installation, ada)
        yield told
        if real_installation.process is None:
            real_installation.start()
        for found in told.client.describe_image_builders()["ImageBuilders"]:
            if found["State"] in ("RUNNING", "STOPPED", "FAILED"):
                told.client.delete_image_builder(Name=found["Name"])


def test_a_builder_starts_by_itself(story: Story) -> None:
    before = story.instances.names()
    created = story.client.create_image_builder(
        Name=NAME, ImageName=SAMPLE_IMAGE, InstanceType="stream.standard.medium", EnableDefaultInternetAccess=True
    )["ImageBuilder"]
    assert created["State"] == "PENDING"
    assert created["LatestAppstreamAgentVersion"] == "TRUE"
    running = story.becomes("RUNNING")
    assert running["NetworkAccessConfiguration"]["EniPrivateIpAddress"]
    assert running["AppstreamAgentVersion"] == created["AppstreamAgentVersion"]
    (story.instance_id,) = story.instances.names() - before


def test_its_desktop_opens_in_the_browser(story: Story) -> None:
    story.open()
    assert NAME in story.visitor.page.title()
    assert story.visitor.state == "stream"


def test_closing_the_page_takes_nothing_away(story: Story) -> None:
    story.visitor.page.goto("about:blank")
    story.open()
    assert story.builder()["State"] == "RUNNING"


def test_ending_the_session_leaves_the_instance_for_the_next(story: Story) -> None:
    story.visitor.press_tool("end")
    story.visitor.page.locator("#panels, dialog").get_by_role("button", name="End session").last.click()
    story.visitor.wait_for_state("ended")
    assert "goes on as it is" in story.visitor.words()
    story.open()
    assert story.instance_id in story.instances.running()


def test_stopping_ends_the_stream_at_once_and_says_why(story: Story) -> None:
    assert story.instances.run(story.instance_id, "sh", "-c", f"echo here >{KEPT} && sync").returncode == 0
    assert story.client.stop_image_builder(Name=NAME)["ImageBuilder"]["State"] == "STOPPING"
    story.visitor.wait_for_state("ended", timeout=10)
    assert "not running any more" in story.visitor.words()
    story.becomes("STOPPED")
    assert story.instance_id not in story.instances.running()
    with pytest.raises(ClientError) as refused:
        story.client.create_image_builder_streaming_url(Name=NAME)
    assert refused.value.response["Error"]["Code"] == "OperationNotPermittedException"


def test_a_start_brings_the_same_disk_back(story: Story) -> None:
    story.client.start_image_builder(Name=NAME)
    story.becomes("RUNNING")
    assert story.instances.read(story.instance_id, KEPT) == b"here\n"
    story.open()


def test_a_shutdown_from_within_leaves_a_builder_that_starts_again(story: Story) -> None:
    story.instances.run(story.instance_id, "kill", "-PWR", "1")
    stopped = story.becomes("STOPPED")
    assert "start the image builder again" in stopped["StateChangeReason"]["Message"]
    story.visitor.wait_for_state("ended", timeout=10)
    story.client.start_image_builder(Name=NAME)
    assert "StateChangeReason" not in story.becomes("RUNNING")
    assert story.instances.read(story.instance_id, KEPT) == b"here\n"


def test_a_killed_fanlight_finds_builder_and_session_again(story: Story) -> None:
    story.open()
    story.installation.kill_everything()
    story.installation.start()
    story.visitor.wait_for_state("stream")
    story.becomes("RUNNING")


def test_a_deleted_builder_leaves_nothing(story: Story) -> None:
    story.client.delete_image_builder(Name=NAME)

    def gone() -> bool:
        try:
            return story.builder()["State"] != "DELETING"
        except ClientError as refused:
            return refused.response["Error"]["Code"] == "ResourceNotFoundException"

    wait_for(gone, timeout=30, what="the builder gone")
    assert story.instance_id not in story.instances.names()
