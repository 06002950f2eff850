"""An image builder with boto3 and a browser: its desktop, what stays over stop and start, and its end.

One story in the order of its chapters: each test goes on where the one before it stopped.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from playwright.sync_api import Browser

from e2e.administrators import SAMPLE_IMAGE, Administrator
from e2e.browsers import Visitor, visitor
from e2e.installation import Installation, wait_for
from e2e.instances import Instances
from e2e.package_repositories import PACKAGE, Repository, package_repository

pytestmark = [pytest.mark.incus, pytest.mark.browser]

NAME = "e2e-workshop"
KEPT = "/opt/kept-by-the-builder"
IMAGE, USER = "e2e-made-by-hand", "grace"
PROGRAM = f"/usr/bin/{PACKAGE}"
# Where these are on the builder's desktop, at the size of a visitor's page: letters on a button are not read well.
ASSISTANT, NEXT, NAME_FIELD, CREATE = (59, 780), (1035, 697), (804, 220), (464, 408)
# Start a terminal as the administrator's own panel does: as a child of nobody, with the desktop's variables.
TERMINAL = """pid=$(pgrep -u 50110 -x openbox | head -1)
xargs -0 -a /proc/$pid/environ sh -c 'exec setsid env -i "$@" setpriv --reuid 50110 --regid 50110 --init-groups xfce4-terminal' sh >/dev/null 2>&1 &
"""
# Its window is bright: a black one that fills the screen is no picture to a test that looks for lit pixels.
NOTE = """#!/bin/sh
exec xfce4-terminal --hide-menubar --color-bg=white --color-text=black -x sh -c "echo QUICK NOTE; sleep 3600"
"""
# Of its own repositories alone: those of the image are out of reach here.
UPDATE = "apt-get update -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/tests.list -o Dir::Etc::sourceparts=-"


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

    def image(self) -> dict[str, Any] | None:
        found = [one for one in self.client.describe_images(Type="PRIVATE")["Images"] if one["Name"] == IMAGE]
        return dict(found[0]) if found else None

    def image_becomes(self, state: str, timeout: float = 180) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            found = self.image()
            assert found is None or found["State"] != "FAILED", found
            return found if found and found["State"] == state else None

        return dict(wait_for(probe, timeout=timeout, what=f"{IMAGE} {state}; it is {self.image()}"))

    def has_file(self, path: str) -> bool:
        return self.instances.run(self.instance_id, "test", "-e", path).returncode == 0

    def runs(self, program: str) -> bool:
        """Return whether the administrator runs it."""
        return self.instances.run(self.instance_id, "pgrep", "-u", "50110", "-x", program).returncode == 0

    def wait_for_prompt(self) -> None:
        """Wait until sudo is done: it hands what is typed meanwhile to the program that it runs."""
        wait_for(lambda: not self.is_sudo_at_work(), what="sudo done")

    def is_sudo_at_work(self) -> bool:
        return self.instances.run(self.instance_id, "pgrep", "-x", "sudo").returncode == 0

    def types(self, command: str, done: Callable[[], Any]) -> None:
        """Type a command of sudo's, again if the terminal missed some of it, and wait until it is done."""
        for _ in range(3):
            self.visitor.type(f"{command}\n")
            until = time.monotonic() + 20
            while time.monotonic() < until:
                if self.is_sudo_at_work() or done():
                    wait_for(done, timeout=180, what=f"what {command} does")
                    self.wait_for_prompt()
                    return
                time.sleep(0.1)
            self.visitor.page.keyboard.press("Control+C")
        raise AssertionError(f"the terminal did not take {command}; there is: {self.visitor.read()[:800]!r}")

    def catalogue(self) -> str:
        return (self.instances.read(self.instance_id, "/etc/fanlight/catalog.json") or b"").decode()

    def open(self) -> None:
        self.visitor.open(self.client.create_image_builder_streaming_url(Name=NAME)["StreamingURL"])
        self.visitor.wait_for_picture()


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with package_repository(tmp_path / "packages") as made:
        yield made


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


def test_it_has_temporary_files_and_no_home_folder(story: Story, tmp_path: Path) -> None:
    page = story.visitor.page
    page.get_by_role("toolbar").get_by_role("button", name="My Files").click()
    panel = page.locator('[data-panel="files"]')
    panel.get_by_role("navigation").get_by_role("button", name="Temporary Files").wait_for()
    assert panel.get_by_role("tab").count() == 0, "there is nothing else to choose"
    panel.get_by_role("button", name="New folder").click()
    page.get_by_label("Name").fill("packages")
    page.get_by_role("button", name="Make folder").click()
    panel.get_by_role("button", name="packages", exact=True).click()
    panel.get_by_text("This folder is empty.").wait_for()
    sent = tmp_path / "sent.deb"
    sent.write_bytes(b"a package")
    panel.get_by_label("Files to upload").set_input_files(sent)
    panel.get_by_role("row", name="File sent.deb, 9 bytes").wait_for(timeout=60_000)
    found = story.instances.run(story.instance_id, "find", "/home", "-name", "sent.deb", "-printf", "%h %U")
    assert found.stdout.decode().endswith("MyFiles/packages 50110")
    page.keyboard.press("Escape")


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


def test_a_package_is_fetched_installed_and_registered_by_typing(story: Story, repository: Repository) -> None:
    """The repository is on the network: EnableDefaultInternetAccess lets the builder reach it."""
    repository.publish("1.0", application=NOTE)
    source = f"echo '{repository.source}' >/etc/apt/sources.list.d/tests.list && {UPDATE}"
    offered = story.instances.run(story.instance_id, "sh", "-c", source)
    assert offered.returncode == 0, offered.stderr
    assert not story.has_file(PROGRAM)
    story.instances.run(story.instance_id, "sh", "-c", TERMINAL)
    wait_for(lambda: story.runs("bash"), timeout=20, what="a shell in a terminal")
    story.open()  # a page that is only about to notice the kill would lose what is typed
    story.visitor.click_stream()
    story.types(f"sudo apt-get install -y {PACKAGE}", lambda: story.has_file(PROGRAM))
    registered = f"add-application --name quick-note --absolute-app-path {PROGRAM}"
    story.types(f"sudo AppStreamImageAssistant {registered}", lambda: "quick-note" in story.catalogue())
    story.visitor.type("exit\n")  # a window that is alone stands in the middle
    wait_for(lambda: not story.runs("xfce4-terminal"), timeout=20, what="the terminal closed")


def test_the_assistant_s_window_makes_the_image_in_its_steps(story: Story) -> None:
    mouse, ada = story.visitor.page.mouse, story.visitor
    mouse.click(*ASSISTANT)
    ada.wait_for_text("Install software as on any Linux machine")
    ada.wait_for_text(PROGRAM)
    for words in (
        "Start each application as Test User",
        "as Template User",
        "starts quicker",
        "An image never changes",
    ):
        mouse.click(*NEXT)
        ada.wait_for_text(words)
    mouse.click(*NAME_FIELD)
    ada.page.keyboard.press("End")  # the first key after a click may come before the field has the focus
    ada.type(f"{IMAGE}\tNotes")
    mouse.click(*NEXT)
    ada.wait_for_text("Creating the image ends this session")
    mouse.click(*CREATE)
    story.visitor.wait_for_state("ended", timeout=30)
    assert "an image is being made of it" in story.visitor.words()
    image = story.image_becomes("AVAILABLE")
    assert (image["Visibility"], image["ImageBuilderName"], image["DisplayName"]) == ("PRIVATE", NAME, "Notes")
    assert "quick-note" in [application["Name"] for application in image["Applications"]]
    story.becomes("STOPPED")


def test_a_user_s_session_runs_the_application(story: Story, browser: Browser) -> None:
    administrator = Administrator(story.client)
    administrator.make("e2e-notes", image=IMAGE)
    try:
        with visitor(browser) as grace:
            grace.open(administrator.url("e2e-notes", USER, "quick-note"))
            grace.wait_for_picture()
            grace.wait_for_text("QUICK NOTE")
        instance = administrator.instance_of("e2e-notes", USER)
        found = story.instances.run(instance, "sh", "-c", "grep -c ImageBuilderAdmin /etc/passwd; ls -A /home")
        assert found.stdout.split() == [b"0", b"user"]
    finally:
        administrator.remove("e2e-notes")
    story.client.delete_image(Name=IMAGE)
    wait_for(lambda: story.image() is None, timeout=30, what="the image gone")


def test_a_deleted_builder_leaves_nothing(story: Story) -> None:
    story.client.delete_image_builder(Name=NAME)

    def gone() -> bool:
        try:
            return story.builder()["State"] != "DELETING"
        except ClientError as refused:
            return refused.response["Error"]["Code"] == "ResourceNotFoundException"

    wait_for(gone, timeout=30, what="the builder gone")
    assert story.instance_id not in story.instances.names()
