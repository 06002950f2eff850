"""The session page in odd places: two tabs, a phone, a link that is altered, expired or of a stopped fleet."""

import html
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.installation import wait_for

pytestmark = [pytest.mark.incus, pytest.mark.browser]

PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
SMALLEST_TOUCH_TARGET_IN_PIXELS = 36


def test_a_second_tab_takes_over_and_the_first_one_says_so(
    fleet: str, administrator: Administrator, new_visitor: Callable[..., Visitor]
) -> None:
    ada = new_visitor()
    ada.open(administrator.url(fleet, "tabs-ada", "text-editor"))
    ada.wait_for_text("File")
    second = Visitor(ada.context, ada.context.new_page())
    second.open(ada.page.url)
    second.wait_for_text("File")
    ada.wait_for_state("superseded", timeout=10)
    assert "shown in another tab or on another device" in ada.words()
    # The one that was left must not fight for the display.
    second.click_stream()
    second.type("second tab types")
    second.wait_for_text("second tab types")
    assert ada.state == "superseded"
    assert len(administrator.sessions(fleet, "tabs-ada")) == 1


def test_a_phone_shows_the_stream_and_every_tool_is_in_reach(
    fleet: str, administrator: Administrator, new_visitor: Callable[..., Visitor], tmp_path: Path
) -> None:
    ada = new_visitor(**PHONE)
    ada.open(administrator.url(fleet, "phone-ada", "text-editor"))
    ada.wait_for_picture()
    wait_for(lambda: ada.page.locator("#bar").is_visible(), timeout=5, what="the toolbar")
    width, height = PHONE["viewport"]["width"], PHONE["viewport"]["height"]
    shown = [b for b in ada.page.locator("#bar button").all() if b.is_visible()]
    assert len(shown) >= 4
    for button in shown:
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
        assert min(box["width"], box["height"]) >= SMALLEST_TOUCH_TARGET_IN_PIXELS, button.get_attribute("aria-label")
    assert ada.page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out sideways"

    ada.page.locator("#bar [data-action=more]").tap()
    ended = ada.page.locator("#panels").get_by_role("button", name="End session")
    ended.wait_for()
    ada.screenshot(Path(os.environ.get("FANLIGHT_TEST_PICTURES", tmp_path)) / "phone.png")
    ended.tap()
    ada.page.locator("dialog[open], [role=dialog], [role=alertdialog]").get_by_role("button", name="End").last.tap()
    ada.wait_for_state("ended")
    wait_for(lambda: not administrator.sessions(fleet, "phone-ada"), timeout=5, what="the session is over")


def test_an_altered_link_is_refused_in_words_and_starts_nothing(
    fleet: str, administrator: Administrator, new_visitor: Callable[..., Visitor]
) -> None:
    ada = new_visitor()
    url = administrator.url(fleet, "altered-ada", "text-editor")
    middle = url.index("parameters=") + 40
    altered = url[:middle] + ("A" if url[middle] != "A" else "B") + url[middle + 1 :]
    ada.open(altered)
    ada.page.wait_for_load_state()
    assert "This link is not complete" in ada.words()
    assert administrator.sessions(fleet, "altered-ada") == []


def test_an_expired_link_is_refused_in_words_and_starts_nothing(
    fleet: str, administrator: Administrator, new_visitor: Callable[..., Visitor]
) -> None:
    ada = new_visitor()
    url = administrator.url(fleet, "late-ada", "text-editor", validity_in_seconds=1)
    ada.page.wait_for_timeout(1500)
    ada.open(url)
    ada.page.wait_for_load_state()
    assert "This link has expired" in ada.words()
    assert administrator.sessions(fleet, "late-ada") == []


def test_a_session_streams_inside_the_page_of_a_listed_site_and_of_no_other(
    fleet: str, administrator: Administrator, new_visitor: Callable[..., Visitor]
) -> None:
    administrator.client.update_stack(Name=fleet, EmbedHostDomains=["portal.example.org"])
    try:
        evil = new_visitor()
        embed(evil, "https://evil.example.org", administrator.url(fleet, "framed-eve"))
        evil.page.wait_for_timeout(1500)
        assert not any("/s/" in frame.url for frame in evil.page.frames)

        ada = new_visitor()
        embed(ada, "https://portal.example.org", administrator.url(fleet, "framed-ada", "text-editor"))
        session = wait_for(
            lambda: next((f for f in ada.page.frames if re.search("/s/[a-z2-7]+/$", f.url)), None),
            timeout=10,
            what="the session page in the frame",
        )
        session.wait_for_selector("body[data-stream=streaming]", timeout=60_000)
        ada.wait_for_text("File")
        ada.click_stream()
        ada.type("typed into a frame")
        ada.wait_for_text("typed into a frame")
    finally:
        administrator.client.update_stack(Name=fleet, AttributesToDelete=["EMBED_HOST_DOMAINS"])


def embed(visitor: Visitor, site: str, link: str) -> None:
    """Open a page of another site that frames the link. Chromium asks whether it may: this portal is on this machine."""
    frame = (
        f'<iframe width=1200 height=760 allow="local-network-access; fullscreen" src="{html.escape(link)}"></iframe>'
    )
    visitor.context.grant_permissions(["local-network-access"], origin=site)
    visitor.page.route(f"{site}/**", lambda route: route.fulfill(body=frame, content_type="text/html"))
    visitor.open(f"{site}/")
    visitor.page.wait_for_load_state()
