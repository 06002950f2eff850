"""Sessions inside other sites' pages: for stacks that allow it, on the sites that they name, and nowhere else."""

import io
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image
from playwright.async_api import Browser, Frame, Page, async_playwright, expect

from fanlight.controlwire.messages import Refusal, StackRules
from fanlight.operations.certificates import make_self_signed
from gateway_guests import PictureGuest, serving_guest
from gateway_rig import (
    PAGE,
    Rig,
    RunningGateway,
    SteerableControl,
    a_catalog,
    a_grant,
    serving_control,
    settings_for,
    sign_in,
)

ALLOWED = StackRules(embed_host_domains=("portal.example.org", "intranet.example.com"))
ORIGINS = "https://portal.example.org https://intranet.example.com"
IN_A_FRAME = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}
IN_A_TAB = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}


def link(rig: Rig, signature: str = "ada") -> str:
    return f"{rig.url}/authenticate?parameters=e30%3D&signature={signature}"


def ancestors(headers: Any) -> str:
    return str(headers["Content-Security-Policy"]).rpartition("frame-ancestors ")[2]


async def test_the_pages_of_a_stack_name_who_may_frame_them(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await sign_in(http, rig.url, "ada")
    rig.control.rules = ALLOWED
    for url, framing in ((page, ORIGINS), (f"{page}stream/", f"'self' {ORIGINS}")):
        async with http.get(url, headers=IN_A_FRAME) as answer:
            assert answer.status == 200
            assert ancestors(answer.headers) == framing
            assert "X-Frame-Options" not in answer.headers
    # A page in a tab is framed by nobody, whatever its stack allows; other answers are no pages to frame.
    async with http.get(page, headers=IN_A_TAB) as answer:
        assert (ancestors(answer.headers), answer.headers["X-Frame-Options"]) == ("'none'", "DENY")
    for url in (f"{page}api/state", f"{rig.url}/", f"{rig.url}/s/aaaaaaaaaaaaaaaa/"):
        async with http.get(url, headers={**IN_A_FRAME, **PAGE}) as answer:
            assert (ancestors(answer.headers), answer.headers["X-Frame-Options"]) == ("'none'", "DENY")


async def test_a_domain_that_is_taken_away_is_gone_at_the_next_page(rig: Rig, http: aiohttp.ClientSession) -> None:
    rig.control.rules = ALLOWED
    page = await sign_in(http, rig.url, "ada")
    rig.control.rules = StackRules()
    async with http.get(page, headers=IN_A_FRAME) as answer:
        assert (ancestors(answer.headers), answer.headers["X-Frame-Options"]) == ("'none'", "DENY")
    async with http.get(f"{page}stream/", headers=IN_A_FRAME) as answer:
        assert (ancestors(answer.headers), answer.headers["X-Frame-Options"]) == ("'self'", "SAMEORIGIN")


async def test_a_frame_gets_a_cookie_for_its_site_alone_and_a_tab_does_not(
    rig: Rig, http: aiohttp.ClientSession
) -> None:
    rig.control.rules = ALLOWED
    async with http.get(link(rig), headers=IN_A_FRAME, allow_redirects=False) as answer:
        assert answer.status == 303
        framed = answer.headers.getall("Set-Cookie")
    async with http.get(link(rig), headers=IN_A_TAB, allow_redirects=False) as answer:
        own = answer.headers.getall("Set-Cookie")
    assert [re.sub("=[^;]+", "", line.partition(";")[2], count=2).strip() for line in framed] == [
        "Max-Age; Path; HttpOnly; Secure; SameSite=None; Partitioned"
    ]
    assert len(own) == 1
    assert "SameSite=Lax" in own[0]
    assert "Partitioned" not in own[0]


async def test_a_started_session_keeps_the_kind_of_its_cookie(rig: Rig, http: aiohttp.ClientSession) -> None:
    rig.control.rules = ALLOWED
    async with http.get(link(rig), headers=IN_A_FRAME, allow_redirects=False) as answer:
        page = rig.url + answer.headers["Location"]
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
    headers = {**PAGE, "Origin": rig.url, "Cookie": cookie}
    async with http.post(f"{page}api/open", json={"applicationId": "editor"}, headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Set-Cookie"].endswith("SameSite=None; Partitioned")


async def test_a_link_of_another_stack_starts_nothing_in_a_frame(rig: Rig, http: aiohttp.ClientSession) -> None:
    async with http.get(link(rig, "app"), headers=IN_A_FRAME, allow_redirects=False) as answer:
        assert answer.status == 403
        assert "Open this link in a tab of its own" in await answer.text()
        assert (ancestors(answer.headers), answer.headers["X-Frame-Options"]) == ("'none'", "DENY")
        assert "Set-Cookie" not in answer.headers
    assert rig.control.sessions == {}


@pytest.mark.parametrize("origin", ["https://portal.example.org", "null", None])
async def test_an_embedder_speaks_for_nobody(rig: Rig, http: aiohttp.ClientSession, origin: str | None) -> None:
    """The site around the frame may show it. Its own scripts have the frame's cookie sent, and get nothing by it."""
    rig.control.rules = ALLOWED
    page = await sign_in(http, rig.url, "ada")
    own = {"Origin": origin} if origin else {}
    async with http.post(f"{page}api/open", json={"applicationId": "editor"}, headers={**PAGE, **own}) as answer:
        assert answer.status == 403
    async with http.get(f"{page}api/state", headers=own) as answer:  # the page's header would need a preflight
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
    async with http.options(f"{page}api/state", headers={**own, "Access-Control-Request-Method": "GET"}) as answer:
        assert answer.status == 405
        assert "Access-Control-Allow-Origin" not in answer.headers
    socket = page.replace("http", "ws", 1) + "stream/api/websockets"
    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
        await http.ws_connect(socket, headers=own)
    assert raised.value.status == 403
    async with http.get(f"{page}stream/api/files/x", headers={"Sec-Fetch-Site": "cross-site"}) as answer:
        assert answer.status == 403
    assert rig.control.sessions == {}


async def test_a_refused_link_of_the_stack_is_readable_in_the_frame(rig: Rig, http: aiohttp.ClientSession) -> None:
    refused = Refusal(code="EXPIRED", message="Late.", embed_host_domains=("portal.example.org",))
    rig.control.refusals["/v1/redeem"] = refused
    async with http.get(link(rig), headers=IN_A_FRAME) as answer:
        assert "This link has expired" in await answer.text()
        assert ancestors(answer.headers) == "https://portal.example.org"
        assert "X-Frame-Options" not in answer.headers
    rig.control.refusals["/v1/redeem"] = Refusal(code="ALTERED", message="Whose?")
    async with http.get(link(rig), headers=IN_A_FRAME) as answer:
        assert (ancestors(answer.headers), answer.headers["X-Frame-Options"]) == ("'none'", "DENY")


async def test_of_two_cookies_the_newer_sign_in_counts(rig: Rig, http: aiohttp.ClientSession) -> None:
    """A frame on a page of our own site has both: its own and that of the tab."""
    rig.control.rules = ALLOWED
    rig.control.grants["late"] = a_grant("ada", expires_at=1.0)
    given = []
    for signature, headers in (("late", IN_A_TAB), ("ada", IN_A_FRAME)):
        async with http.get(link(rig, signature), headers=headers, allow_redirects=False) as answer:
            page = rig.url + answer.headers["Location"]
            given.append(answer.headers["Set-Cookie"].partition(";")[0])
    async with aiohttp.ClientSession() as bare:
        for cookies in (given, reversed(given)):
            async with bare.get(f"{page}api/state", headers={**PAGE, "Cookie": "; ".join(cookies)}) as answer:
                state = await answer.json()
            assert state["mayStart"] is True


# ── In a real browser ─────────────────────────────────────────────────────────────────────────────────────────────────

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP apps.test 127.0.0.1",
    "--test-third-party-cookie-phaseout",  # only cookies that are partitioned reach a frame of another site
)  # fmt: skip
# The portal of these tests is on this machine and its embedder, by its name, is not: browsers ask people about that.
EMBEDDER = """<!doctype html><title>{site}</title><h1>{site}</h1>
<iframe width=900 height=600 allow="fullscreen; clipboard-write; local-network-access" src="{link}"></iframe>"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        await started.close()


@asynccontextmanager
async def serving(directory: Path, *, has_tls: bool) -> AsyncIterator[tuple[str, SteerableControl]]:
    settings = settings_for(directory)
    if has_tls:
        made = make_self_signed(settings, ["apps.test"], is_forced=False, now=datetime.now(UTC))
        settings = settings_for(directory, tls_cert=made.cert, tls_key=made.key)
    control = SteerableControl(stream_socket=str(directory / "stream.sock"), rules=ALLOWED)
    control.grants = {"app": a_grant("app", application_id="editor")}
    guest = PictureGuest()
    async with (
        serving_control(control, settings.effective_run_dir),
        serving_guest(guest.app(), directory / "stream.sock"),
    ):
        with RunningGateway(settings):
            host = "https://apps.test" if has_tls else "http://localhost"
            yield f"{host}:{settings.portal_port}", control


@asynccontextmanager
async def embedded(browser: Browser, portal: str, site: str) -> AsyncIterator[Page]:
    """Open a page of another site that frames the streaming link."""
    context = await browser.new_context(ignore_https_errors=True, viewport={"width": 1000, "height": 760})
    await context.grant_permissions(["local-network-access"], origin=f"https://{site}")
    page = await context.new_page()
    body = EMBEDDER.format(site=site, link=f"{portal}/authenticate?parameters=e30%3D&amp;signature=app")
    await page.route(f"https://{site}/**", lambda route: route.fulfill(body=body, content_type="text/html"))
    await page.route("https://bye.example.net/**", lambda route: route.fulfill(body="Bye", content_type="text/html"))
    await page.goto(f"https://{site}/")
    yield page
    await context.close()  # before the gateway goes: its streams are its own


def session_frame(page: Page) -> Frame | None:
    return next((frame for frame in page.frames if re.search(r"/s/[a-z2-7]{16}/$", frame.url)), None)


@pytest.mark.browser
@pytest.mark.parametrize("has_tls", [True, False], ids=["https", "http-localhost"])
async def test_a_listed_page_shows_the_stream_and_its_end(
    browser: Browser,
    directory: Path,
    has_tls: bool,  # noqa: FBT001
) -> None:
    async with (
        serving(directory, has_tls=has_tls) as (portal, control),
        embedded(browser, portal, "portal.example.org") as page,
    ):
        control.catalog = a_catalog(redirect_url="https://bye.example.net/after")
        inside = page.frame_locator("iframe")
        await inside.locator("body[data-state=stream][data-stream=streaming]").wait_for(timeout=60_000)
        frame = session_frame(page)
        assert frame is not None
        assert "signature" not in frame.url
        picture = io.BytesIO(await page.locator("iframe").screenshot())
        colours = Image.open(picture).convert("RGB").resize((30, 20)).getcolors(600)
        assert colours is not None
        assert len(colours) > 5, "the drawn test picture is on the embedder's page"
        await control.expire("session-1", "USER")
        await expect(inside.get_by_text("You are taken to bye.example.net")).to_be_visible()
        await inside.get_by_role("link", name="Go to bye.example.net").click()
        await expect(inside.get_by_text("Bye")).to_be_visible()
        assert page.url == "https://portal.example.org/"


@pytest.mark.browser
async def test_a_page_that_is_not_listed_shows_nothing(browser: Browser, directory: Path) -> None:
    async with (
        serving(directory, has_tls=True) as (portal, control),
        embedded(browser, portal, "evil.example.org") as page,
    ):
        async with page.expect_console_message(lambda said: "frame-ancestors https://portal.example.org" in said.text):
            await page.reload()
        assert session_frame(page) is None
        assert control.connections == []
