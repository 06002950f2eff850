"""My Files in a real session: what the page sends is in the instance and in S3, and what others put there is on the page."""

import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
from playwright.sync_api import Page

from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.installation import KEY_ID, SECRET, Installation, wait_for
from e2e.instances import Instances

pytestmark = [pytest.mark.incus, pytest.mark.browser]

BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"
USER = "my-files"
PREFIX = f"user/custom/{sha256(USER.encode()).hexdigest()}/"
FILES = "/home/user/MyFiles"
HOME = f"{FILES}/HomeFolder"


@pytest.fixture
def home_stack(fleet: str, administrator: Administrator) -> Iterator[str]:
    administrator.client.update_stack(Name=fleet, StorageConnectors=[{"ConnectorType": "HOMEFOLDERS"}])
    yield fleet
    administrator.client.update_stack(Name=fleet, DeleteStorageConnectors=True)


@pytest.fixture
def s3(installation: Installation) -> Iterator[Any]:
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{installation.s3_port}",
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
    )
    yield client
    client.close()


def test_the_page_the_instance_and_s3_show_the_same_files(  # noqa: PLR0917 - fixtures
    home_stack: str,
    administrator: Administrator,
    new_visitor: Callable[..., Visitor],
    instances: Instances,
    s3: Any,
    tmp_path: Path,
) -> None:
    visitor = new_visitor()
    visitor.open(administrator.url(home_stack, USER, "text-editor"))
    visitor.wait_for_picture()
    page, instance_id = visitor.page, administrator.instance_of(home_stack, USER)
    wait_for(
        lambda: instances.run(instance_id, "mountpoint", "-q", HOME).returncode == 0, timeout=20, what="the home folder"
    )
    page.get_by_role("toolbar").get_by_role("button", name="My Files").click()
    panel = page.locator('[data-panel="files"]')
    panel.get_by_text("This folder is empty.").wait_for()

    # From the page: S3 has it when the page says so, and the session sees it at once.
    sent = tmp_path / "from the page.txt"
    sent.write_bytes(b"sent by a browser\n" * 100_000)
    instances.run(instance_id, "ls", HOME, as_user=True)  # from now on the instance believes that the folder is empty
    panel.get_by_label("Files to upload").set_input_files(sent)
    panel.locator(".upload .words", has_text="Saved").wait_for(timeout=60_000)
    stored = s3.get_object(Bucket=BUCKET, Key=f"{PREFIX}from the page.txt")["Body"].read()
    assert stored == sent.read_bytes()
    wait_for(
        lambda: instances.read(instance_id, f"{HOME}/from the page.txt") == stored,
        timeout=10,
        what="the file in the session",
    )

    # From S3: on the page, and in the session, once Refresh was chosen.
    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}by a tool.txt", Body=b"put by boto3")
    panel.get_by_role("button", name="Refresh").click()
    panel.get_by_role("row", name="File by a tool.txt, 12 bytes").wait_for()
    wait_for(
        lambda: instances.read(instance_id, f"{HOME}/by a tool.txt") == b"put by boto3",
        timeout=10,
        what="the file of the tool in the session",
    )

    # From the session: saved there, fetched on the page.
    instances.run(instance_id, "bash", "-c", f"printf 'saved in the session' >{HOME}/saved.txt", as_user=True)
    row = panel.get_by_role("row", name="File saved.txt, 20 bytes")

    def is_there() -> bool:
        panel.get_by_role("button", name="Refresh").click()
        return bool(row.count())

    wait_for(is_there, timeout=20, what="the saved file on the page", interval=0.5)
    with page.expect_download() as fetching:
        row.get_by_role("button", name="saved.txt", exact=True).click()
    assert Path(fetching.value.path()).read_bytes() == b"saved in the session"

    manage_temporary_files(page, instances, instance_id, tmp_path)
    administrator.expire(home_stack, USER)


def manage_temporary_files(page: Page, instances: Instances, instance_id: str, tmp_path: Path) -> None:
    """Do beside the home folder what can be done in it; what is there is the session user's, whoever put it there."""
    panel = page.locator('[data-panel="files"]')
    script = (
        f"umask 022; mkdir -p '{FILES}/made/deep'; echo deep >{FILES}/made/deep/a.txt; ln -s /etc {FILES}/made/link"
    )
    assert instances.run(instance_id, "bash", "-c", script, as_user=True).returncode == 0
    panel.get_by_role("tab", name="Temporary Files").click()
    panel.get_by_role("row", name="Folder made").wait_for()
    assert panel.get_by_role("row").count() == 1, "the home folder is not among the temporary files"

    sent = tmp_path / "sent.txt"
    sent.write_bytes(b"sent")
    panel.get_by_role("button", name="made", exact=True).click()
    panel.get_by_role("row", name="Folder deep").wait_for()
    panel.get_by_label("Files to upload").set_input_files(sent)
    panel.get_by_role("row", name="File sent.txt, 4 bytes").wait_for(timeout=60_000)
    assert instances.run(instance_id, "mv", f"{FILES}/made/sent.txt", FILES, as_user=True).returncode == 0
    panel.get_by_role("navigation").get_by_role("button", name="Temporary Files").click()
    panel.get_by_role("row", name="File sent.txt, 4 bytes").wait_for()
    panel.get_by_role("button", name="New folder").click()
    page.get_by_label("Name").fill("from the page")
    page.get_by_role("button", name="Make folder").click()
    panel.get_by_role("row", name="Folder from the page").wait_for()
    panel.get_by_role("button", name="More for sent.txt").click()
    page.get_by_role("menuitem", name="Rename").click()
    page.get_by_label("New name").fill("renamed.txt")
    page.get_by_role("dialog").last.get_by_role("button", name="Rename").click()
    panel.get_by_role("row", name="File renamed.txt, 4 bytes").wait_for()
    script = (
        f"cd {FILES} && echo more >>renamed.txt && mv renamed.txt 'from the page/' && cat 'from the page/renamed.txt'"
    )
    assert instances.run(instance_id, "bash", "-c", script, as_user=True).stdout.split() == [b"sentmore"]

    panel.get_by_role("button", name="More for made").click()
    with page.expect_download() as fetching:
        page.get_by_role("menuitem", name="Download as zip").click()
    with zipfile.ZipFile(fetching.value.path()) as archive:
        assert (archive.namelist(), archive.read("deep/a.txt")) == (["deep/", "deep/a.txt"], b"deep\n")
    panel.get_by_role("button", name="More for made").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("dialog").last.get_by_role("button", name="Delete").click()
    panel.get_by_role("row", name="Folder made").wait_for(state="detached")
    assert instances.run(instance_id, "ls", FILES, as_user=True).stdout.split(b"\n")[:2] == [
        b"HomeFolder",
        b"from the page",
    ]
