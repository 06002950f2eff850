"""From boto3 to pixels: an application in the browser, and what does not take it away.

One story in the order of its chapters: each test goes on where the one before it stopped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import pytest
from playwright.sync_api import Browser

from e2e.administrators import OFTEN, SAMPLE_IMAGE, Administrator
from e2e.browsers import Visitor, visitor
from e2e.conftest import SUBNET
from e2e.installation import Installation, wait_for
from e2e.instances import Instances

pytestmark = [pytest.mark.incus, pytest.mark.browser]

NAME, USER = "first-light", "ada"
TYPED = "Good morning 2468 from the keyboard"


@dataclass
class Story:
    installation: Installation
    visitor: Visitor
    url: str = ""
    session: dict[str, Any] | None = None

    @property
    def administrator(self) -> Administrator:
        return Administrator(self.installation.client())


@pytest.fixture(scope="module")
def story(real_installation: Installation, browser: Browser) -> Iterator[Story]:
    if real_installation.process is None:
        real_installation.start()
    with visitor(browser) as ada:
        told = Story(real_installation, ada)
        yield told
        if real_installation.process is None:
            real_installation.start()
        told.administrator.remove(NAME)


def test_boto3_makes_stack_and_fleet_and_the_waiter_sees_it_run(story: Story) -> None:
    appstream = story.installation.client()
    appstream.create_stack(Name=NAME, DisplayName="First light")
    appstream.create_fleet(
        Name=NAME,
        ImageName=SAMPLE_IMAGE,
        InstanceType="stream.standard.medium",
        FleetType="ALWAYS_ON",
        ComputeCapacity={"DesiredInstances": 1},
        VpcConfig={"SubnetIds": ["subnet-e2e"]},
    )
    appstream.associate_fleet(FleetName=NAME, StackName=NAME)
    appstream.start_fleet(Name=NAME)
    appstream.get_waiter("fleet_started").wait(Names=[NAME], WaiterConfig=OFTEN)

    fleet = appstream.describe_fleets(Names=[NAME])["Fleets"][0]
    assert fleet["State"] == "RUNNING"
    assert fleet["ComputeCapacityStatus"] == {"Desired": 1, "Running": 1, "InUse": 0, "Available": 1}


def test_a_streaming_url_opens_the_editor_and_what_is_typed_is_read_from_the_pixels(story: Story) -> None:
    story.url = story.administrator.url(NAME, USER, "text-editor")
    story.visitor.open(story.url)
    story.visitor.wait_for_state("stream")
    story.visitor.wait_for_picture()
    story.visitor.wait_for_text("File")  # the editor's menu
    story.visitor.click_stream()
    story.visitor.type(TYPED)
    story.visitor.wait_for_text(TYPED)

    story.session = dict(story.administrator.session(NAME, USER))
    assert story.session["UserId"] == USER
    wait_for(
        lambda: story.administrator.session(NAME, USER)["ConnectionState"] == "CONNECTED",
        timeout=5,
        what="CONNECTED",
    )


def test_the_session_tells_the_network_interface_that_its_instance_has(story: Story) -> None:
    assert story.session is not None
    told = story.session["NetworkAccessConfiguration"]
    instances, instance_id = Instances(story.installation), story.session["InstanceId"]
    mac = instances.read(instance_id, "/sys/class/net/eth0/address")
    assert mac is not None
    assert told["EniId"] == "eni-00000" + mac.decode().strip().replace(":", "")
    assert ip_address(told["EniPrivateIpAddress"]) in SUBNET
    assert f"|-- {told['EniPrivateIpAddress']}\n".encode() in (instances.read(instance_id, "/proc/net/fib_trie") or b"")


def test_the_text_survives_a_reload_of_the_page(story: Story) -> None:
    story.visitor.page.reload(wait_until="commit")
    story.visitor.wait_for_picture()
    story.visitor.wait_for_text(TYPED)
    assert_same_session(story)


def test_the_text_survives_the_death_of_the_gateway_and_the_page_comes_back_by_itself(story: Story) -> None:
    before = story.installation.pids()["gateway"]
    story.installation.kill("gateway")
    wait_for(
        lambda: story.installation.pids().get("gateway", before) != before, timeout=10, what="a new gateway process"
    )
    story.installation.wait_until_it_answers()
    assert_stream_lives(story, " one")


def test_the_text_survives_the_death_of_the_control_plane_while_the_stream_goes_on(story: Story) -> None:
    story.installation.kill("api")
    story.visitor.click_stream()
    story.visitor.type(" two")
    story.visitor.wait_for_text(" two")  # nobody waits for the control plane to type
    story.installation.wait_until_it_answers()
    assert_same_session(story)


def test_the_text_survives_kill_9_of_everything(story: Story) -> None:
    story.installation.kill_everything()
    story.installation.start()
    fleet = story.administrator.fleet(NAME)
    assert fleet["State"] == "RUNNING"
    assert_stream_lives(story, " three")


def test_the_text_survives_a_clean_stop_and_start(story: Story) -> None:
    assert story.installation.stop() == 0
    story.installation.start()
    assert_stream_lives(story, " four")


def test_the_link_opened_again_on_another_device_rejoins_the_same_session(story: Story, browser: Browser) -> None:
    with visitor(browser) as other:
        other.open(story.url)
        other.wait_for_picture()
        other.wait_for_text(TYPED)
        story.visitor.wait_for_state("superseded")
    assert_same_session(story)
    story.visitor.page.get_by_role("button", name="Use it here").click()
    story.visitor.wait_for_state("stream")
    story.visitor.wait_for_text(TYPED)


def test_expire_session_ends_the_stream_at_once_and_says_so(story: Story) -> None:
    assert story.session is not None
    story.installation.client().expire_session(SessionId=story.session["Id"])
    story.visitor.wait_for_state("ended")
    assert "Your administrator ended it." in story.visitor.words()
    assert story.visitor.stream is None
    assert story.administrator.sessions(NAME, USER) == []


def test_the_used_instance_is_destroyed_and_a_fresh_one_takes_its_place(story: Story) -> None:
    assert story.session is not None
    instances = Instances(story.installation)
    used = story.session["InstanceId"]
    wait_for(lambda: used not in instances.names(), timeout=30, what=f"{used} is gone")
    story.administrator.wait_for_capacity(NAME)
    story.visitor.open(story.administrator.url(NAME, USER, "text-editor"))
    story.visitor.wait_for_picture()
    story.visitor.wait_for_text("File")
    assert story.administrator.instance_of(NAME, USER) != used
    assert TYPED.replace(" ", "") not in story.visitor.read().replace(" ", "")


def test_stop_fleet_ends_its_sessions_and_leaves_no_instance(story: Story) -> None:
    mine = story.administrator.instance_of(NAME, USER)
    story.administrator.stop(NAME)
    story.visitor.wait_for_state("ended", timeout=10)
    assert "The fleet was stopped" in story.visitor.words()
    assert mine not in Instances(story.installation).names()
    status = story.administrator.fleet(NAME)["ComputeCapacityStatus"]
    assert (status.get("Running"), status.get("InUse"), status.get("Available")) == (0, 0, 0)


def assert_same_session(story: Story) -> None:
    assert story.session is not None
    now = story.administrator.session(NAME, USER)
    assert (now["Id"], now["InstanceId"]) == (story.session["Id"], story.session["InstanceId"])


def assert_stream_lives(story: Story, more: str) -> None:
    """Nobody touches the page: the picture is there again, and keys arrive."""
    story.visitor.wait_for_text(TYPED)
    wait_for(
        lambda: story.visitor.page.evaluate("document.body.dataset.stream") == "streaming",
        timeout=20,
        what="the stream is back",
    )
    story.visitor.click_stream()
    story.visitor.type(more)
    story.visitor.wait_for_text(more)
    assert_same_session(story)
