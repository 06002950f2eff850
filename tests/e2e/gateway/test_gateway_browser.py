"""The session page in a real browser: every state that it can be in, on a laptop and a phone, by day and by night.

The stream here is drawn by a small guest (JPEG, as the simulated engine's), so these tests need neither Incus nor a
runtime. Set FANLIGHT_TEST_PICTURES to a folder to keep the screenshots.
"""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import expect

from fanlight.controlwire.messages import Refusal
from gateway_guests import PictureGuest, serving_guest
from gateway_pages import PHONE, link, state_becomes, streaming
from gateway_rig import Rig, RunningGateway, SteerableControl, a_catalog, a_grant, serving_control, settings_for, until

pytestmark = pytest.mark.browser


async def test_from_the_catalogue_to_the_stream_to_the_end(
    rig: Rig, new_page: Any, keep: Any, troubles: list[str]
) -> None:
    rig.control.is_start_held = True
    page = await new_page()
    await page.goto(link(rig))
    await state_becomes(page, "catalogue")
    assert await page.locator("#view .tile-name").all_inner_texts() == [
        "Editor",
        "Calculator",
        "Terminal",
        "Firefox",
        "Drawing",
    ]
    assert rig.control.sessions == {}
    await keep(page, "catalogue")

    await page.get_by_role("button", name="Editor").click()
    await expect(page.get_by_role("heading")).to_have_text("Starting Editor")
    await expect(page.get_by_role("status").first).to_have_text("Claiming an instance…")
    await keep(page, "waiting")
    await rig.control.activate("session-1")
    await streaming(page)
    picture = Image.open(await keep(page, "stream")).convert("RGB")
    assert picture.getpixel((400, 500))[2] > 200, "the drawn sheet of paper is on the screen"

    await page.get_by_role("button", name="Applications").click()
    await page.locator("#panels").get_by_role("button", name="Calculator").click()
    await expect(page.get_by_text("Starting Calculator…")).to_be_visible()
    await until(lambda: rig.control.launches == [("session-1", "calculator")])

    await page.get_by_role("button", name="End session").click()
    await expect(page.get_by_role("heading", name="End this session?")).to_be_visible()
    await page.get_by_role("button", name="Go on working").click()
    await state_becomes(page, "stream", stream="streaming")
    await page.get_by_role("button", name="End session").click()
    await page.get_by_role("dialog").get_by_role("button", name="End session").click()
    await state_becomes(page, "ended")
    await expect(page.get_by_role("heading")).to_have_text("Your session has ended")
    await expect(page.get_by_role("button", name="Start again")).to_be_visible()
    await keep(page, "ended")
    assert rig.control.sessions["session-1"].end_reason == "USER"
    assert troubles == []


async def test_what_is_typed_arrives_and_the_toolbar_is_reached_by_keyboard(rig: Rig, new_page: Any) -> None:
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await page.mouse.click(600, 400)
    await page.keyboard.type("aB")
    async with asyncio.timeout(60):
        while [m for m in rig.guest.messages if m.startswith("kd")] != ["kd,97", "kd,66"]:
            await asyncio.sleep(0.02)

    await page.keyboard.press("Control+Alt+Home")
    await expect(page.get_by_role("button", name="Applications")).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("button", name="Clipboard")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name="Clipboard")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Clipboard")).to_be_focused()


async def test_special_keys_are_sent_as_combinations(rig: Rig, new_page: Any, keep: Any) -> None:
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await page.get_by_role("button", name="Keyboard").click()
    await keep(page, "keyboard")
    await page.get_by_role("button", name="Ctrl+Alt+Del").click()
    expected = ["kd,65507", "kd,65513", "kd,65535", "ku,65535", "ku,65513", "ku,65507"]
    async with asyncio.timeout(60):
        while [m for m in rig.guest.messages if m[0] == "k"] != expected:
            await asyncio.sleep(0.02)


async def test_a_reload_comes_back_to_the_same_session(rig: Rig, new_page: Any) -> None:
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await page.reload()
    await streaming(page)
    assert list(rig.control.sessions) == ["session-1"]


async def test_the_newer_tab_wins_and_the_older_can_take_it_back(
    rig: Rig, new_page: Any, keep: Any, troubles: list[str]
) -> None:
    first = await new_page()
    await first.goto(link(rig, "app"))
    await streaming(first)
    second = await new_page(first.context)
    await second.goto(link(rig, "app"))
    await streaming(second)
    await state_becomes(first, "superseded")
    await expect(first.get_by_role("heading")).to_have_text("Opened elsewhere")
    await keep(first, "superseded")
    await asyncio.sleep(1.5)  # long enough for a page that fights back to have fought back
    await state_becomes(second, "stream", stream="streaming")

    await first.get_by_role("button", name="Use it here").click()
    await streaming(first)
    await state_becomes(second, "superseded")
    assert troubles == []


async def test_the_page_comes_back_by_itself_after_a_restart_of_the_gateway(
    directory: Path, new_page: Any, keep: Any
) -> None:
    settings, guest, path = settings_for(directory), PictureGuest(), directory / "stream.sock"
    control = SteerableControl(stream_socket=str(path), grants={"app": a_grant("app", application_id="editor")})
    async with serving_guest(guest.app(), path), serving_control(control, settings.effective_run_dir):
        page = await new_page()
        with RunningGateway(settings) as gateway:
            await page.goto(link(Rig(settings, control, guest, gateway, path), "app"))
            await streaming(page)
            await asyncio.to_thread(gateway.__exit__)
        await expect(page.get_by_role("heading", name="Reconnecting…")).to_be_visible()
        await keep(page, "reconnecting")
        # The worst moment: the frame loads itself anew while nobody answers, and shows the browser's own error page.
        await page.frames[1].evaluate("location.reload()")
        with RunningGateway(settings):
            await streaming(page)
            await expect(page.get_by_role("heading", name="Reconnecting…")).to_be_hidden()
    assert list(control.sessions) == ["session-1"]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("EXPIRED_BY_ADMINISTRATOR", "Your administrator ended it."),
        ("FLEET_STOPPED", "The fleet was stopped"),
        ("INSTANCE_LOST", "The instance that ran it failed."),
        ("MAX_DURATION", "the longest time"),
        ("DISCONNECT_TIMEOUT", "disconnected for longer"),
    ],
)
async def test_an_end_is_said_at_once_and_in_words(rig: Rig, new_page: Any, reason: str, words: str) -> None:
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await rig.control.expire("session-1", reason)
    await state_becomes(page, "ended")
    await expect(page.get_by_text(words)).to_be_visible()
    assert await page.locator("iframe").count() == 0


@pytest.mark.parametrize("reason", ["USER", "FLEET_STOPPED"])
async def test_after_the_end_the_user_is_taken_to_the_stacks_address(
    rig: Rig, new_page: Any, keep: Any, reason: str
) -> None:
    rig.control.catalog = a_catalog(
        redirect_url="https://intranet.example.org/apps", feedback_url="https://example.org/feedback"
    )
    page = await new_page()
    await page.route("https://intranet.example.org/**", lambda route: route.fulfill(body="Intranet"))
    await page.context.route(
        "https://example.org/**", lambda route: route.fulfill(body="Say it", content_type="text/html")
    )
    await page.goto(link(rig, "app"))
    await streaming(page)
    async with page.context.expect_page() as opened:
        await page.get_by_role("button", name="Send feedback").click()
    said = await opened.value
    await expect(said.get_by_text("Say it")).to_be_visible()
    assert await said.evaluate("[window.opener, document.referrer]") == [None, ""]
    await said.close()
    assert rig.control.sessions["session-1"].state == "ACTIVE"

    await rig.control.expire("session-1", reason)
    await state_becomes(page, "ended")
    await expect(page.get_by_text("You are taken to intranet.example.org")).to_be_visible()
    feedback = page.get_by_role("link", name="Give feedback")
    assert await feedback.get_attribute("href") == "https://example.org/feedback"
    assert await feedback.get_attribute("rel") == "noopener noreferrer"
    await keep(page, "redirect")
    await page.get_by_role("link", name="Go to intranet.example.org").click()
    await expect(page.get_by_text("Intranet")).to_be_visible()


@pytest.mark.parametrize(
    ("code", "words"), [("NO_CAPACITY", "Everything is in use"), ("FLEET_NOT_RUNNING", "switched off")]
)
async def test_a_refused_start_is_said_in_words(rig: Rig, new_page: Any, code: str, words: str) -> None:
    rig.control.refusals["/v1/sessions"] = Refusal(code=code, message="Try again in a few minutes.")
    page = await new_page()
    await page.goto(link(rig, "app"))
    await state_becomes(page, "refused")
    await expect(page.get_by_role("heading")).to_contain_text(words)
    rig.control.refusals.clear()
    await page.get_by_role("button", name="Try again").click()
    await streaming(page)


async def test_a_wait_can_be_cancelled(rig: Rig, new_page: Any) -> None:
    rig.control.is_start_held = True
    page = await new_page()
    await page.goto(link(rig))
    await page.get_by_role("button", name="Editor").click()
    await page.get_by_role("button", name="Cancel").click()
    await state_becomes(page, "catalogue")
    assert rig.control.sessions["session-1"].state == "EXPIRED"


async def test_the_stream_is_prepared_out_of_sight_while_the_session_starts(rig: Rig, new_page: Any) -> None:
    rig.control.is_start_held = True
    page = await new_page()
    await page.goto(link(rig, "app"))
    await state_becomes(page, "waiting")
    frame = page.locator("#stage[inert] iframe")
    await expect(frame).to_have_count(1)
    box = await frame.bounding_box()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    assert rig.guest.heads == []

    await rig.control.activate("session-1")
    await streaming(page)
    await expect(page.locator("#stage[inert]")).to_have_count(0)
    assert await page.locator("#stage iframe").bounding_box() == box, "the picture keeps its size"


async def test_only_what_the_stack_allows_is_on_the_toolbar(rig: Rig, new_page: Any) -> None:
    rig.control.features = ()
    rig.control.catalog = a_catalog(stream_view="DESKTOP", entries=())
    page = await new_page()
    await page.goto(link(rig))
    await streaming(page)
    shown = [
        await b.get_attribute("data-action") for b in await page.locator("#bar button").all() if await b.is_visible()
    ]
    assert shown == ["keyboard", "fullscreen", None, "end", "hide"]


async def test_time_that_runs_out_is_said(rig: Rig, new_page: Any, keep: Any) -> None:
    rig.control.lifetime_in_seconds = 290
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    warning = page.get_by_text("This session ends in 4 min. Save your work.")
    await expect(warning).to_be_visible()
    await expect(page.locator(".clock")).to_have_text("4 min left")
    await keep(page, "time")
    await page.get_by_role("button", name="Hide", exact=True).click()
    await expect(warning).to_have_count(0)
    # Once more before the end: the time is moved, nobody waits for it.
    await rig.control.change(
        "session-1", state="ACTIVE", max_expires_at=time.time() + 49, idle_disconnect_at=time.time() + 30
    )
    await expect(page.get_by_text(re.compile("This session ends in [1-5]0\u00a0s."))).to_be_visible()
    await expect(page.get_by_text("because of inactivity")).to_be_visible()


async def test_who_does_nothing_is_warned_disconnected_and_let_back_in(
    rig: Rig, new_page: Any, keep: Any, troubles: list[str]
) -> None:
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    idle = {"idle_disconnect_in_seconds": 900.0, "idle_disconnect_at": time.time() + 600}
    await rig.control.change("session-1", **idle)
    warning = page.get_by_text("because of inactivity. Press a key or move the pointer to stay.")
    await asyncio.sleep(1.5)
    await expect(warning).to_have_count(0)
    await rig.control.change("session-1", idle_disconnect_at=time.time() + 49)
    await expect(warning).to_contain_text(re.compile("in [1-5]0\u00a0s"))
    await keep(page, "idle-warning")
    await rig.control.change("session-1", idle_disconnect_at=None)
    await expect(warning).to_have_count(0)
    await rig.control.change("session-1", idle_disconnect_at=time.time() + 2)
    await expect(warning).to_be_visible()

    await rig.control.disconnect("session-1")
    await state_becomes(page, "idle")
    await expect(page.get_by_role("heading")).to_have_text("You were disconnected because of inactivity")
    await expect(page.get_by_text("Your session is kept for 15 min")).to_be_visible()
    await expect(warning).to_have_count(0)
    await keep(page, "idle")
    opened = len(rig.guest.heads)
    await asyncio.sleep(6)  # longer than any pause after which a page comes back by itself
    await state_becomes(page, "idle")
    assert len(rig.guest.heads) == opened
    assert rig.guest.sockets == set()
    assert rig.control.sessions["session-1"].state == "ACTIVE"

    await rig.control.change("session-1", idle_disconnect_at=None)
    await page.get_by_role("button", name="Reconnect").click()
    await streaming(page)
    assert list(rig.control.sessions) == ["session-1"]
    assert troubles == []


async def test_a_reload_comes_back_after_a_disconnection_and_an_end_in_it_is_said(rig: Rig, new_page: Any) -> None:
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await rig.control.disconnect("session-1")
    await state_becomes(page, "idle")
    await page.reload()
    await streaming(page)

    await rig.control.disconnect("session-1")
    await state_becomes(page, "idle")
    await rig.control.expire("session-1", "DISCONNECT_TIMEOUT")
    await state_becomes(page, "ended")
    await expect(page.get_by_text("disconnected for longer")).to_be_visible()


async def test_who_was_disconnected_for_inactivity_is_told_so_at_the_end(rig: Rig, new_page: Any) -> None:
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await rig.control.change("session-1", is_idle_disconnected=True)
    await rig.control.disconnect("session-1")
    await state_becomes(page, "idle")
    await rig.control.expire("session-1", "DISCONNECT_TIMEOUT")
    await state_becomes(page, "ended")
    await expect(page.get_by_text("because of inactivity, and did not come back in time")).to_be_visible()


async def test_files_are_listed_and_fetched(rig: Rig, new_page: Any, keep: Any) -> None:
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await page.get_by_role("button", name="Files").click()
    await expect(page.locator(".files li")).to_have_text(["reports", "a & b.txt1.5 KiB"])
    await keep(page, "files")
    await page.get_by_role("button", name="reports").click()
    await expect(page.get_by_role("button", name="Back")).to_be_visible()


async def test_an_unsafe_connection_is_explained(rig: Rig, new_page: Any, keep: Any) -> None:
    """Away from localhost, plain http is no secure context: nothing is started, and the page says what to do."""
    page = await new_page()
    await page.goto(link(rig, "app").replace("localhost", "apps.test"))
    await state_becomes(page, "insecure")
    await expect(page.get_by_role("heading")).to_have_text("A secure connection is needed")
    await keep(page, "insecure")
    assert rig.control.sessions == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_has_everything_in_reach(
    rig: Rig, new_page: Any, keep: Any, scheme: str, troubles: list[str]
) -> None:
    page = await new_page(color_scheme=scheme, **PHONE)
    await page.goto(link(rig))
    await state_becomes(page, "catalogue")
    await keep(page, f"phone-{scheme}-catalogue")
    await page.get_by_role("button", name="Editor").tap()
    await streaming(page)
    await keep(page, f"phone-{scheme}-stream")
    for button in await page.locator("#bar button").all():
        if await button.is_visible():
            box = await button.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 36
            assert 0 <= box["x"] <= 390 - box["width"]
    await page.get_by_role("button", name="Keyboard").tap()
    await expect(page.get_by_role("button", name="Show the keyboard")).to_be_visible()
    await keep(page, f"phone-{scheme}-keyboard")
    await page.get_by_role("button", name="More").tap()
    await expect(page.locator("#panels").get_by_role("button", name="End session")).to_be_visible()
    await keep(page, f"phone-{scheme}-more")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    assert troubles == []


async def test_the_toolbar_can_be_put_away_and_brought_back(rig: Rig, new_page: Any) -> None:
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await page.get_by_role("button", name="Hide the toolbar").click()
    await expect(page.locator("#bar")).to_be_hidden()
    box = await page.locator("iframe").bounding_box()
    assert box is not None
    assert (box["y"], box["height"]) == (0, 800)
    await page.get_by_role("button", name="Show the toolbar").click()
    await expect(page.locator("#bar")).to_be_visible()
