"""Connecting one's own drive from the session page: real servers of the storage process, a stand-in for the provider."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from playwright.async_api import expect

from drive_rig import StandIn, a_drive, standing_in
from fanlight.controlwire.messages import FolderView
from fanlight.domain.user_storage import StorageKind
from fanlight.storage.drives.app import add_drive_routes
from fanlight.storage.drives.consents import Consents
from fanlight.storage.drives.doors import DriveDoors
from fanlight.storage.drives.grants import Grants
from gateway_pages import LAPTOP, PHONE, link, streaming
from gateway_rig import PAGE, Rig, post, sign_in
from home_rig import serving_home


@dataclass
class Drives:
    doors: DriveDoors
    stand_in: StandIn
    rig: Rig

    async def begin(self, http: aiohttp.ClientSession, user: str = "ada") -> str:
        """Return the page of a session with a drive."""
        page = await sign_in(http, self.rig.url, user)
        assert (await post(http, f"{page}api/open", {"applicationId": "editor"}))[0] == 200
        session_id = next(one for one, owner in self.rig.control.owners.items() if owner[-1] == user)
        await self.doors.open(a_drive(self.rig.settings.effective_run_dir, session_id, user=user))
        return page


@pytest.fixture
async def drives(rig: Rig, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Drives]:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "provider" / "authorities.pem"))
    run_dir = rig.settings.effective_run_dir
    async with standing_in(tmp_path / "provider") as stand_in:
        grants = Grants(tmp_path / "grants", tmp_path / "drives.key")
        doors = DriveDoors(run_dir, grants, {StorageKind.GOOGLE_DRIVE: stand_in.provider}, tmp_path / "spool")
        doors.prepare()
        async with serving_home(
            run_dir, rig.settings.data_dir, routes=lambda app: add_drive_routes(app, doors, Consents(doors))
        ):
            yield Drives(doors, stand_in, rig)
            await doors.close_all()


async def state_of(http: aiohttp.ClientSession, page: str) -> list[dict[str, Any]]:
    async with http.get(f"{page}api/drives", headers=PAGE) as answer:
        assert answer.status == 200, await answer.text()
        return list((await answer.json())["drives"])


async def test_a_drive_is_connected_and_disconnected(drives: Drives, http: aiohttp.ClientSession) -> None:
    page = await drives.begin(http)
    assert [(one["kind"], one["account"]) for one in await state_of(http, page)] == [("GOOGLE_DRIVE", None)]

    status, answer = await post(http, f"{page}api/drives/GOOGLE_DRIVE/connect")
    assert status == 200
    async with http.get(answer["url"]) as there:  # the provider sends it straight back
        text = await there.text()
    assert there.status == 200
    assert there.url.path == "/drives/connected"
    assert "Google Drive is connected" in text
    assert "ada@Example.org" in text
    assert "state=" not in text
    assert [one["account"] for one in await state_of(http, page)] == ["ada@Example.org"]

    assert (await post(http, f"{page}api/drives/GOOGLE_DRIVE/disconnect"))[0] == 200
    assert [one["account"] for one in await state_of(http, page)] == [None]


async def test_nobody_connects_a_drive_to_anothers_session(drives: Drives, http: aiohttp.ClientSession) -> None:
    """Mallory sends Ada the link of a consent that was begun for Mallory's session."""
    page = await drives.begin(http)
    _, answer = await post(http, f"{page}api/drives/GOOGLE_DRIVE/connect")
    async with aiohttp.ClientSession() as other, other.get(answer["url"]) as there:
        assert there.status == 409
        assert "another browser" in await there.text()
    assert [one["account"] for one in await state_of(http, page)] == [None]


async def test_what_a_provider_or_a_stranger_sends_back_is_said_in_words(
    drives: Drives, http: aiohttp.ClientSession
) -> None:
    page = await drives.begin(http)
    _, answer = await post(http, f"{page}api/drives/GOOGLE_DRIVE/connect")
    state = parse_qs(urlsplit(answer["url"]).query)["state"][0]
    for query, words in (
        ({"state": state, "error": "access_denied"}, "did not give leave"),
        ({"state": state, "code": "x"}, "took too long"),
        ({"code": "x"}, "not whole"),
        ({"state": "<script>", "code": "y" * 5000}, "not whole"),
    ):
        async with http.get(f"{drives.rig.url}/drives/connected", params=query) as there:
            assert there.status == 409
            text = await there.text()
        assert "Your drive is not connected" in text
        assert words in text


@pytest.mark.parametrize("what", ["connect", "disconnect"])
async def test_other_sites_and_other_drives_are_refused(drives: Drives, http: aiohttp.ClientSession, what: str) -> None:
    page = await drives.begin(http)
    assert (await post(http, f"{page}api/drives/GOOGLE_DRIVE/{what}", Origin="https://evil.example"))[0] == 403
    async with http.post(f"{page}api/drives/GOOGLE_DRIVE/{what}", headers={"Origin": drives.rig.url}) as answer:
        assert answer.status == 403
    for kind in ("ONE_DRIVE", "HOMEFOLDERS", "..%2F..%2Fx"):
        assert (await post(http, f"{page}api/drives/{kind}/{what}"))[0] in (404, 409)


@pytest.mark.browser
async def test_a_user_connects_a_drive_in_the_page(
    drives: Drives, new_page: Any, keep: Any, troubles: list[str]
) -> None:
    rig = drives.rig
    rig.control.folders = (FolderView(kind="GOOGLE_DRIVE", state="OFFLINE", unsent_files=0, unsent_bytes=0),)
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await drives.doors.open(a_drive(rig.settings.effective_run_dir))
    await expect(page.get_by_text("connect it under My Files")).to_be_visible()
    await expect(page.locator("#bar .folders")).to_be_hidden()  # who has not connected it misses nothing

    await page.get_by_role("toolbar").get_by_role("button", name="My Files").click()
    panel = page.locator('[data-panel="files"]')
    await panel.get_by_role("tab", name="Drives").click()
    await expect(panel.get_by_text("Not connected.")).to_be_visible()
    await keep(page, "drives-not-connected")
    async with page.context.expect_page() as opening:
        await panel.get_by_role("button", name="Connect your Google Drive").click()
    popup = await opening.value
    await expect(popup.get_by_role("heading", name="Google Drive is connected")).to_be_visible()
    await popup.close()
    await expect(panel.get_by_text("Connected as ada@Example.org.")).to_be_visible()
    await keep(page, "drives-connected")

    drives.stand_in.has_ended = True
    for drive in drives.doors.of(a_drive(rig.settings.effective_run_dir).session_id):
        drive.changed.set()  # rather than when it is time to look
    await expect(panel.get_by_text("has ended the permission that you gave")).to_be_visible(timeout=60_000)
    for name, scheme, size in (("laptop", "light", LAPTOP), ("laptop-dark", "dark", LAPTOP), ("phone", "dark", PHONE)):
        await page.emulate_media(color_scheme=scheme)
        await page.set_viewport_size(size["viewport"])
        await keep(page, f"drives-ended-{name}")
    await page.set_viewport_size(LAPTOP["viewport"])

    drives.stand_in.has_ended = False
    async with page.context.expect_page() as opening:
        await panel.get_by_role("button", name="Connect your Google Drive").click()
    await expect((await opening.value).get_by_role("heading", name="Google Drive is connected")).to_be_visible()
    await panel.get_by_role("button", name="Disconnect Google Drive").click()
    await expect(panel.get_by_text("Not connected.")).to_be_visible()
    assert troubles == []
