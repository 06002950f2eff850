"""My Files in a real browser: real storage servers behind the gateway, files with hostile names, cuts in the middle.

Set FANLIGHT_TEST_PICTURES to a folder to keep the screenshots.
"""

import asyncio
import io
import os
import re
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from fanlight.controlwire.messages import FolderView
from gateway_pages import PHONE, link, streaming
from gateway_rig import Rig
from home_rig import Home, serving_home

pytestmark = pytest.mark.browser

# Drops files on an element as a person does: an event with a DataTransfer, made by the browser itself.
DROP = """([element, files]) => {
  const transfer = new DataTransfer();
  for (const [name, text, repeat] of files) transfer.items.add(new File([text.repeat(repeat)], name, { lastModified: 1700000000000 }));
  for (const type of ["dragenter", "dragover", "drop"]) {
    element.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  }
}"""
HOSTILE = [
    "<img src=x onerror=document.title='owned'>.txt", "\u202egnp.exe", "tab\tand\nnewline.txt", " blank ", "ü" * 127,
    "a & b % 100%25 + ? # ; = ' \".txt", "back\\slash.txt", "日本語 🎉.txt", "a\u200bb.txt", "..hidden",
]  # fmt: skip


@pytest.fixture
async def home(rig: Rig) -> AsyncIterator[Home]:
    rig.control.folders = (FolderView(kind="HOMEFOLDERS", state="MOUNTED", unsent_files=0, unsent_bytes=0),)
    async with serving_home(rig.settings.effective_run_dir, rig.settings.data_dir) as home:
        home.stored.mkdir(parents=True)
        yield home


async def panel_of(page: Page, rig: Rig, home: Home, **options: Any) -> Locator:
    """Open My Files in a session, and return its panel."""
    await page.goto(link(rig, "app"))
    await streaming(page)
    await home.open(**options)
    button = page.get_by_role("toolbar").get_by_role("button", name="My Files")
    if not await button.is_visible():  # on a phone
        await page.get_by_role("button", name="More").click()
        button = page.locator("#panels").get_by_role("button", name="My Files")
    await button.click()
    panel = page.locator('[data-panel="files"]')
    await expect(panel.get_by_role("tab", name="Home Folder")).to_have_attribute("aria-selected", "true")
    return panel


async def drop(page: Page, panel: Locator, *files: tuple[str, str, int]) -> None:
    # In a world of its own: the page's policy forbids to evaluate anything in its own.
    element = await panel.locator(".home").element_handle()
    await page.evaluate(DROP, [element, [list(file) for file in files]])


def row(panel: Locator, name: str) -> Locator:
    return panel.get_by_role("row", name=re.compile(f"^(File|Folder) {re.escape(name)}(,|$)"))


async def choose(panel: Locator, name: str, action: str) -> None:
    await row(panel, name).get_by_role("button", name="More for").click()
    await panel.get_by_role("menuitem", name=action, exact=True).click()


async def saved(panel: Locator, name: str) -> None:
    await expect(panel.locator(".upload", has_text=name).locator(".words")).to_contain_text("Saved", timeout=60_000)


async def test_a_folder_is_made_filled_fetched_renamed_and_removed(
    rig: Rig, home: Home, new_page: Any, keep: Any, troubles: list[str]
) -> None:
    page = await new_page()
    panel = await panel_of(page, rig, home)
    await expect(panel.get_by_text("This folder is empty.")).to_be_visible()
    await keep(page, "home-empty")

    await panel.get_by_role("button", name="New folder").click()
    await page.get_by_label("Name", exact=True).fill("Letters")
    await page.get_by_role("button", name="Make folder").click()
    await row(panel, "Letters").get_by_role("button", name="Letters", exact=True).click()
    await expect(panel.locator(".crumb[aria-current]")).to_have_text("Letters")
    await drop(page, panel, ("to Bob.txt", "Dear Bob. ", 100), ("empty.txt", "", 0))
    await saved(panel, "to Bob.txt")
    await saved(panel, "empty.txt")
    assert (home.stored / "Letters" / "to Bob.txt").read_text() == "Dear Bob. " * 100
    await expect(row(panel, "to Bob.txt")).to_be_visible()
    await keep(page, "home-uploaded")

    async with page.expect_download() as fetching:
        await row(panel, "to Bob.txt").get_by_role("button", name="to Bob.txt", exact=True).click()
    fetched = await fetching.value
    assert fetched.suggested_filename == "to Bob.txt"
    assert Path(await fetched.path()).read_text() == "Dear Bob. " * 100

    await choose(panel, "to Bob.txt", "Rename")
    await page.get_by_label("New name").fill("Bob.txt")
    await page.get_by_role("button", name="Rename", exact=True).click()
    await expect(row(panel, "Bob.txt")).to_be_focused()
    await panel.locator(".crumb", has_text="Home Folder").click()
    async with page.expect_download() as fetching:
        await choose(panel, "Letters", "Download as zip")
    with zipfile.ZipFile(io.BytesIO(Path(await (await fetching.value).path()).read_bytes())) as archive:
        assert sorted(archive.namelist()) == ["Bob.txt", "empty.txt"]

    await choose(panel, "Letters", "Delete")
    await keep(page, "home-delete")
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(panel.get_by_text("This folder is empty.")).to_be_visible()
    assert list(home.stored.iterdir()) == []
    assert troubles == []


async def test_an_upload_goes_on_where_the_network_cut_it(
    rig: Rig, home: Home, new_page: Any, keep: Any, troubles: list[str]
) -> None:
    page = await new_page()
    panel = await panel_of(page, rig, home)
    offsets: list[int] = []
    is_cut = False

    async def on_the_way(route: Any) -> None:
        if is_cut:
            await route.abort("connectionreset")
            return
        offsets.append(int(re.search(r"offset=(\d+)", route.request.url)[1]))  # type: ignore[index]
        await route.continue_()

    await page.route("**/api/home/uploads/**", on_the_way)

    async def cut(route: Any) -> None:
        nonlocal is_cut
        is_cut = True
        await route.abort("connectionreset")

    await page.route("**/api/home/uploads/**offset=16777216**", cut)
    await drop(page, panel, ("large.bin", "0123456789abcdef", 1024 * 1024 + 1))  # two pieces, and a rest
    words = panel.locator(".upload .words")
    await expect(words).to_have_text("No connection. It goes on by itself.", timeout=60_000)
    await keep(page, "home-upload-cut")
    await page.unroute("**/api/home/uploads/**offset=16777216**")
    is_cut = False
    await saved(panel, "large.bin")
    assert [offset for offset in offsets if offset] == [8 * 2**20, 16 * 2**20], "nothing is sent twice"
    assert (home.stored / "large.bin").read_bytes() == b"0123456789abcdef" * (1024 * 1024 + 1)
    assert troubles == []


async def test_an_upload_goes_on_after_the_page_was_loaded_anew(
    rig: Rig, home: Home, new_page: Any, keep: Any, troubles: list[str]
) -> None:
    large = ("large <b>.bin", "0123456789abcdef", 1024 * 1024 + 1)  # two pieces, and a rest
    other = ("other.bin", "fedcba9876543210", 1024 * 1024)
    page = await new_page()
    panel = await panel_of(page, rig, home)

    async def cut(route: Any) -> None:
        await route.abort("connectionreset")

    await page.route("**/api/home/uploads/**offset=8388608**", cut)
    await drop(page, panel, large, other)
    await expect(panel.get_by_text("No connection. It goes on by itself.")).to_have_count(2, timeout=30_000)
    await page.close()

    page = await new_page(page.context)
    offsets: list[int] = []
    page.on("request", lambda request: offsets.extend(map(int, re.findall(r"/uploads/.*offset=(\d+)", request.url))))
    panel = await panel_of(page, rig, home)
    begun = panel.get_by_role("list", name="Unfinished uploads").get_by_role("listitem")
    await expect(begun).to_have_count(2)
    await expect(begun.filter(has_text="large <b>.bin")).to_contain_text("8.4\u00a0MB of 17\u00a0MB received")
    await keep(page, "home-unfinished")
    await drop(page, panel, large)
    await saved(panel, "large <b>.bin")
    assert sorted(offsets) == [0, 8 * 2**20, 16 * 2**20], "asked once, and nothing is sent twice"
    assert (home.stored / "large <b>.bin").read_bytes() == b"0123456789abcdef" * (1024 * 1024 + 1)

    # Another file of that name is another file.
    await expect(begun).to_have_count(1)
    await drop(page, panel, ("other.bin", "f", 10))
    await expect(page.get_by_text("other.bin is not the file that was being uploaded under this name")).to_be_visible()
    await saved(panel, "other.bin")
    await expect(begun).to_have_count(0)
    assert (home.stored / "other.bin").read_bytes() == b"f" * 10
    assert list(home.spool.iterdir()) == []
    assert troubles == []


async def test_what_was_left_can_be_discarded(rig: Rig, home: Home, new_page: Any, keep: Any) -> None:
    page = await new_page(**PHONE, color_scheme="dark")
    panel = await panel_of(page, rig, home)

    async def cut(route: Any) -> None:
        await route.abort("connectionreset")

    await page.route("**/api/home/uploads/**offset=8388608**", cut)
    await drop(page, panel, ("a rather long name of a film that somebody made.bin", "0123456789abcdef", 1024 * 1024))
    await expect(panel.get_by_text("No connection. It goes on by itself.")).to_be_visible(timeout=30_000)
    page.on("dialog", lambda dialog: dialog.accept())
    await page.reload()
    await streaming(page)
    await page.get_by_role("button", name="More").click()
    await page.locator("#panels").get_by_role("button", name="My Files").click()
    begun = panel.get_by_role("list", name="Unfinished uploads").get_by_role("listitem")
    await expect(begun).to_have_count(1)
    await keep(page, "home-unfinished-phone")
    await begun.get_by_role("button", name="Discard").click()
    await expect(begun).to_have_count(0)
    await expect(panel.get_by_text("This folder is empty.")).to_be_visible()
    async with asyncio.timeout(30):
        while list(home.spool.iterdir()):
            await asyncio.sleep(0.05)


async def test_a_name_that_is_taken_is_the_users_decision(rig: Rig, home: Home, new_page: Any, keep: Any) -> None:
    page = await new_page()
    for name in ("a.txt", "b.txt", "c.txt"):
        (home.stored / name).write_text("old")
    panel = await panel_of(page, rig, home)
    await drop(page, panel, *((name, "new", 1) for name in ("a.txt", "b.txt", "c.txt")))
    await expect(panel.get_by_text("There is a file with this name already.")).to_have_count(3)
    await keep(page, "home-conflict")
    await panel.get_by_role("button", name="Replace a.txt").click()
    await panel.get_by_role("button", name="Keep both b.txt").click()
    await panel.get_by_role("button", name="Cancel c.txt").click()
    await saved(panel, "a.txt")
    await saved(panel, "b.txt")
    await expect(row(panel, "b (2).txt")).to_be_visible()
    stored = {path.name: path.read_text() for path in home.stored.iterdir()}
    assert stored == {"a.txt": "new", "b.txt": "old", "b (2).txt": "new", "c.txt": "old"}


async def test_no_name_hides_pretends_or_runs(
    rig: Rig, home: Home, new_page: Any, keep: Any, troubles: list[str]
) -> None:
    for name in HOSTILE:
        (home.stored / name).write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(home.stored) + b"/bad\xff.txt")).write_bytes(b"x")
    page = await new_page()
    panel = await panel_of(page, rig, home)
    for shown in (
        "<img src=x onerror=document.title='owned'>.txt", "‹202E›gnp.exe", "␣blank␣", "a‹200B›b.txt", "bad\ufffd.txt",
        "back\\slash.txt", "日本語 🎉.txt", "..hidden",
    ):  # fmt: skip
        await expect(row(panel, shown)).to_have_count(1)
    assert await panel.locator("img").count() == 0
    await keep(page, "home-hostile")
    while await panel.get_by_role("row").count():
        before = await panel.get_by_role("row").count()
        await panel.get_by_role("row").first.focus()
        await page.keyboard.press("Delete")
        await page.get_by_role("button", name="Delete", exact=True).click()
        await expect(panel.get_by_role("row")).to_have_count(before - 1)
    assert list(home.stored.iterdir()) == []
    assert await page.title() != "owned"
    assert troubles == []


async def test_ten_thousand_files_are_walked_with_the_keyboard(rig: Rig, home: Home, new_page: Any) -> None:
    for number in range(10_000):
        (home.stored / f"file {number}.txt").touch()
    page = await new_page()
    panel = await panel_of(page, rig, home)
    await expect(panel.get_by_role("grid")).to_have_attribute("aria-rowcount", "10000")
    assert await panel.get_by_role("row").count() < 60
    await panel.get_by_role("row").first.focus()
    for key, name in (
        ("ArrowDown", "file 1.txt"),
        ("End", "file 9999.txt"),
        ("ArrowUp", "file 9998.txt"),
        ("Home", "file 0.txt"),
    ):
        await page.keyboard.press(key)
        await expect(row(panel, name)).to_be_focused()
    await page.keyboard.press("F2")
    await page.get_by_label("New name").fill("the first")
    await page.keyboard.press("Enter")
    await expect(row(panel, "the first")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(panel).to_have_count(0)


async def test_what_is_full_or_away_is_said_and_comes_back(rig: Rig, home: Home, new_page: Any, keep: Any) -> None:
    (home.stored / "old.txt").write_text("o" * 600)
    page = await new_page()
    panel = await panel_of(page, rig, home, quota_in_bytes=1000)
    await expect(panel.get_by_text("600 bytes of 1.0\u00a0kB used")).to_be_visible()
    await drop(page, panel, ("new.txt", "n", 500))
    await expect(panel.get_by_text("Your storage is full. Delete something to make room.")).to_be_visible()
    await keep(page, "home-full")
    await home.doors.close_all()
    await panel.get_by_role("button", name="Refresh").click()
    await expect(panel.get_by_text("Your home folder cannot be reached.")).to_be_visible()
    await keep(page, "home-away")
    await home.open(quota_in_bytes=1000)
    await panel.get_by_role("button", name="Try again", exact=True).click()
    await expect(row(panel, "old.txt")).to_be_visible()
    (home.stored / "from elsewhere.txt").write_text("x")
    await panel.get_by_role("button", name="Refresh").click()
    await expect(row(panel, "from elsewhere.txt")).to_be_visible()


async def test_who_may_only_look_and_fetch_is_offered_nothing_else(rig: Rig, home: Home, new_page: Any) -> None:
    rig.control.features = ("FILE_DOWNLOAD",)
    (home.stored / "a.txt").write_text("x")
    page = await new_page()
    panel = await panel_of(page, rig, home)
    await row(panel, "a.txt").get_by_role("button", name="More for").click()
    assert await panel.get_by_role("menuitem").all_inner_texts() == ["Download"]
    for name in ("Upload", "New folder"):
        await expect(panel.get_by_role("button", name=name)).to_have_count(0)


async def test_uploads_go_on_while_the_panel_is_closed(rig: Rig, home: Home, new_page: Any) -> None:
    page = await new_page()
    panel = await panel_of(page, rig, home)
    may_go = asyncio.Event()

    async def hold(route: Any) -> None:
        await may_go.wait()
        await route.continue_()

    await page.route("**/api/home/uploads/**", hold)
    await drop(page, panel, ("slow.txt", "s", 100))
    await page.keyboard.press("Escape")
    await expect(panel).to_have_count(0)
    await expect(page.get_by_text("Uploading 1 file: 0 %")).to_be_visible()
    may_go.set()
    await expect(page.get_by_text("All files are saved.")).to_be_visible()
    assert (home.stored / "slow.txt").read_text() == "s" * 100


@pytest.mark.parametrize(("name", "options"), [("phone", PHONE), ("night", {"color_scheme": "dark"})])
async def test_it_fits_a_phone_and_the_night(  # noqa: PLR0917 - fixtures
    rig: Rig, home: Home, new_page: Callable[..., Awaitable[Page]], keep: Any, name: str, options: dict[str, Any]
) -> None:
    for number in range(12):
        (home.stored / f"A rather long name of a report, number {number}, final version.pdf").write_bytes(
            b"x" * 123_456
        )
    (home.stored / "Letters").mkdir()
    page = await new_page(**options)
    panel = await panel_of(page, rig, home, quota_in_bytes=5_000_000)
    await expect(row(panel, "Letters")).to_be_visible()
    await drop(page, panel, ("photo.jpg", "p", 2_000_000))
    await saved(panel, "photo.jpg")
    await row(panel, "Letters").get_by_role("button", name="More for").click()
    await keep(page, f"home-{name}")
    width = page.viewport_size["width"] if page.viewport_size else 0
    for part in (panel, panel.locator(".list"), panel.get_by_role("menu")):
        box = await part.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width, "nothing sticks out"
