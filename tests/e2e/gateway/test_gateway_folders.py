"""What the session page says of the user's folders: while they work in them, and after the end until all is saved."""

from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Page, expect

from fanlight.controlwire.messages import FilesView, FolderView
from gateway_pages import LAPTOP, PHONE, link, state_becomes, streaming
from gateway_rig import Rig, a_catalog

pytestmark = pytest.mark.browser
LOOKS: dict[str, Any] = {
    "laptop-light": {**LAPTOP, "color_scheme": "light"},
    "phone-dark": {**PHONE, "color_scheme": "dark"},
}
LOOKS_OF_ALL = {
    **LOOKS,
    "laptop-dark": {**LAPTOP, "color_scheme": "dark"},
    "phone-light": {**PHONE, "color_scheme": "light"},
}
MEGABYTE = 1_000_000


def folder(state: str = "MOUNTED", files: int = 0, size: int = 0, kind: str = "HOMEFOLDERS") -> FolderView:
    return FolderView(kind=kind, state=state, unsent_files=files, unsent_bytes=size)


def left(count: int, size: int, **members: Any) -> FilesView:
    return FilesView(count=count, size_in_bytes=size, **members)


def quietly(rig: Rig, *folders: FolderView) -> None:
    """Change what is known of the folders, and tell nobody who waits for news."""
    rig.control.sessions["session-1"] = replace(rig.control.sessions["session-1"], folders=folders)


async def page_with_folders(rig: Rig, new_page: Any, look: str, *folders: FolderView) -> Page:
    page: Page = await new_page(**LOOKS_OF_ALL[look])
    await page.goto(link(rig, "app"))
    await streaming(page)
    await rig.control.change("session-1", has_folders=True, folders=folders)
    return page


@pytest.mark.parametrize("look", LOOKS)
async def test_the_toolbar_says_whether_what_was_saved_has_arrived(
    rig: Rig, new_page: Any, keep: Any, troubles: list[str], look: str
) -> None:
    page = await page_with_folders(rig, new_page, look, folder())
    chip = page.locator("#bar .folders")
    await expect(chip).to_have_attribute("aria-label", "Everything in your folders is saved.")
    await expect(chip).to_be_visible()
    await rig.control.change("session-1", folders=(folder(files=3, size=120 * MEGABYTE),))
    await expect(chip).to_have_attribute("aria-label", "3 files, 120\u00a0MB to be saved.")
    await keep(page, f"folders-{look}-saving")
    await rig.control.change("session-1", folders=(folder("OFFLINE", files=1, size=1_500),))
    words = "Your home folder cannot be reached. Your changes are kept and sent later."
    await expect(page.get_by_text(words)).to_be_visible()
    await expect(chip).to_have_attribute(
        "aria-label", "Your folders cannot be reached. 1 file, 1.5\u00a0kB to be saved."
    )
    await keep(page, f"folders-{look}-offline")
    full = FolderView(kind="HOMEFOLDERS", state="OFFLINE", unsent_files=1, unsent_bytes=1_500, is_full=True)
    await rig.control.change("session-1", folders=(full,))
    await expect(page.get_by_text("Your home folder is full. Remove something there")).to_be_visible()
    await expect(page.get_by_text(words)).to_be_hidden()
    await expect(chip).to_have_attribute("aria-label", "There is no room left. 1 file, 1.5\u00a0kB to be saved.")
    await rig.control.change("session-1", folders=(folder(),))
    await expect(page.get_by_text(words)).to_be_hidden()
    await expect(chip).to_have_attribute("data-level", "saved")
    assert await page.evaluate("document.documentElement.scrollWidth") <= LOOKS[look]["viewport"]["width"]
    assert troubles == []


@pytest.mark.parametrize("look", LOOKS_OF_ALL)
async def test_a_folder_that_takes_long_to_open_is_told_with_how_far_it_is(
    rig: Rig, new_page: Any, keep: Any, troubles: list[str], look: str
) -> None:
    page = await page_with_folders(rig, new_page, look, folder())
    note = page.locator(".toast.opening")
    photos = replace(folder(), opening="<b>photos", opening_files=43_000)
    await rig.control.change("session-1", folders=(photos,))
    await expect(note).to_have_text("Opening “<b>photos”: 43,000 files so far")
    await expect(note.locator(".what")).to_have_text("Opening “<b>photos”")  # all that is read aloud
    await keep(page, f"opening-{look}")
    # No news comes of the numbers: the page asks for them.
    quietly(rig, replace(photos, opening_of=100_000))
    await expect(note).to_have_text("Opening “<b>photos”: 43,000 of 100,000 files", timeout=30_000)
    drive = replace(folder(kind="ONE_DRIVE"), opening="")
    await rig.control.change("session-1", folders=(replace(photos, opening="", opening_files=1), drive))
    await expect(note.locator("div")).to_have_text(
        ["Opening your home folder: 1 file so far", "Opening OneDrive…"], timeout=30_000
    )
    quietly(rig, folder(), folder(kind="ONE_DRIVE"))
    await expect(note).to_have_count(0, timeout=30_000)
    assert await page.evaluate("document.documentElement.scrollWidth") <= LOOKS_OF_ALL[look]["viewport"]["width"]
    assert troubles == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (folder("OFFLINE", kind="APPLICATION_SETTINGS"), "what you change of them is not kept"),
        (replace(folder(kind="APPLICATION_SETTINGS"), has_trouble=True), "could not be used"),
    ],
)
async def test_settings_of_applications_that_are_missing_are_told_and_are_no_folder(
    rig: Rig, new_page: Any, troubles: list[str], settings: FolderView, words: str
) -> None:
    page = await page_with_folders(rig, new_page, "laptop-light", settings)
    await expect(page.get_by_text(words)).to_be_visible()
    await expect(page.locator("#bar .folders")).to_be_hidden()
    assert troubles == []


async def test_without_folders_nothing_is_said_of_files(rig: Rig, new_page: Any) -> None:
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await expect(page.locator("#bar .folders")).to_be_hidden()
    await rig.control.expire("session-1", "USER")
    await state_becomes(page, "ended")
    await expect(page.locator(".saving-files")).to_have_count(0)


@pytest.mark.parametrize("look", LOOKS)
async def test_after_the_end_the_page_counts_until_everything_is_saved(
    rig: Rig, new_page: Any, keep: Any, troubles: list[str], look: str
) -> None:
    rig.control.catalog = a_catalog(redirect_url="https://intranet.example.org/apps")
    page = await page_with_folders(rig, new_page, look, folder(files=3, size=120 * MEGABYTE))
    unsent = left(3, 120 * MEGABYTE, is_waited_for=True)
    await rig.control.change("session-1", state="EXPIRED", end_reason="USER", folders=(), unsent=unsent)
    await state_becomes(page, "ended")
    await expect(page.get_by_text("Saving your files: 3 files, 120\u00a0MB left")).to_be_visible()
    await expect(page.get_by_text("What you saved in your home folder is kept")).to_be_visible()
    await keep(page, f"folders-{look}-ending")
    await expect(page.get_by_text("You are taken to")).to_be_hidden()  # nobody is sent away before
    await rig.control.change("session-1", unsent=left(1, 40 * MEGABYTE, is_waited_for=True))
    await expect(page.get_by_text("Saving your files: 1 file, 40\u00a0MB left")).to_be_visible()
    await rig.control.change("session-1", unsent=None)
    await expect(page.get_by_text("All your files are saved.")).to_be_visible()
    await expect(page.get_by_text("You are taken to intranet.example.org")).to_be_visible()
    await keep(page, f"folders-{look}-saved")
    assert troubles == []


async def test_what_takes_long_goes_on_without_the_page(rig: Rig, new_page: Any, keep: Any) -> None:
    page = await page_with_folders(rig, new_page, "laptop-light", folder())
    await rig.control.change(
        "session-1", state="EXPIRED", end_reason="MAX_DURATION", unsent=left(2, 5_000_000_000, is_waited_for=True)
    )
    await expect(page.get_by_text("Saving your files: 2 files, 5.0\u00a0GB left")).to_be_visible()
    await rig.control.change("session-1", unsent=left(2, 4_900_000_000))
    await expect(page.get_by_text("They will be uploaded in the background; you can close this page.")).to_be_visible()
    await keep(page, "folders-background")
    await rig.control.change("session-1", unsent=left(2, 4_900_000_000, are_lost=True))
    await expect(page.get_by_text("2 files (4.9\u00a0GB) could not be saved.")).to_be_visible()


@pytest.mark.parametrize("look", LOOKS)
async def test_a_folder_that_was_switched_off_is_no_fault(
    rig: Rig, new_page: Any, keep: Any, troubles: list[str], look: str
) -> None:
    page = await page_with_folders(rig, new_page, look, folder())
    await rig.control.change("session-1", folders=(folder("DISABLED", files=1, size=1_500),))
    await expect(page.get_by_text("Your home folder was switched off by your administrator.")).to_be_visible()
    chip = page.locator("#bar .folders")
    words = "Switched off by your administrator. 1 file, 1.5\u00a0kB to be saved."
    await expect(chip).to_have_attribute("aria-label", words)
    if look == "phone-dark":
        await page.get_by_role("button", name="More").click()
    await page.get_by_role("button", name="My Files").click()
    panel = page.locator('[data-panel="files"]')
    await panel.get_by_role("tab", name="Home Folder").click()
    await expect(panel.get_by_text("Your administrator has switched the home folder off.")).to_be_visible()
    await keep(page, f"folders-{look}-disabled")
    assert troubles == []


async def test_what_the_last_session_is_still_saving_is_told_until_it_is_there(
    rig: Rig, new_page: Any, keep: Any
) -> None:
    page = await page_with_folders(rig, new_page, "laptop-light", folder())
    await rig.control.change("session-1", saving_before=left(2, 3_000))
    words = page.get_by_text("2 files (3.0\u00a0kB) of your last session are still being saved")
    await expect(words).to_be_visible(timeout=30_000)
    await keep(page, "folders-saving-before")
    await rig.control.change("session-1", saving_before=None)
    await expect(words).to_be_hidden(timeout=30_000)


@pytest.mark.parametrize(
    ("loss", "why"), [("TOO_LARGE", "larger than your administrator allows"), ("NOT_SAVED", "went wrong")]
)
async def test_settings_that_were_not_saved_are_told_at_the_end(
    rig: Rig, new_page: Any, keep: Any, loss: str, why: str
) -> None:
    rig.control.catalog = a_catalog(redirect_url="https://intranet.example.org/apps")
    page = await page_with_folders(rig, new_page, "phone-dark", folder(kind="APPLICATION_SETTINGS"))
    unsent = left(1, 1_000, is_waited_for=True)
    await rig.control.change("session-1", state="EXPIRED", end_reason="USER", folders=(), unsent=unsent)
    await expect(page.get_by_text("Saving your files: 1 file, 1.0\u00a0kB left")).to_be_visible(timeout=30_000)
    await rig.control.change("session-1", unsent=None, settings_loss=loss)
    await expect(page.get_by_text("Your settings were not saved: ")).to_contain_text(why, timeout=30_000)
    await expect(page.get_by_text("You are taken to")).to_be_hidden()  # who has something to read stays
    await keep(page, f"settings-{loss.lower()}")


async def test_what_an_earlier_session_lost_is_told_in_the_next(rig: Rig, new_page: Any, keep: Any) -> None:
    page = await page_with_folders(rig, new_page, "laptop-light")
    await rig.control.change("session-1", lost_before=left(2, 3_000, are_lost=True))
    await page.reload()
    await streaming(page)
    words = page.get_by_text("2 files (3.0\u00a0kB) of your last session could not be saved.")
    await expect(words).to_be_visible()
    await keep(page, "folders-lost")
    await page.get_by_role("button", name="Hide", exact=True).click()
    await expect(words).to_be_hidden()
