"""A running gateway, a control plane and an instance that tests steer; short paths, for Unix sockets."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from gateway_guests import PictureGuest, serving_guest
from gateway_pages import FLAGS, LAPTOP
from gateway_rig import Rig, RunningGateway, SteerableControl, a_grant, serving_control, settings_for

expect.set_options(timeout=30_000)  # in milliseconds: none is impatient with a busy machine


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="fl-gw-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def rig(directory: Path) -> AsyncIterator[Rig]:
    settings = settings_for(directory)
    guest, socket = PictureGuest(), directory / "stream.sock"
    control = SteerableControl(stream_socket=str(socket))
    control.grants = {"ada": a_grant("ada"), "bob": a_grant("bob"), "app": a_grant("app", application_id="editor")}
    async with serving_control(control, settings.effective_run_dir), serving_guest(guest.app(), socket):
        with RunningGateway(settings) as gateway:
            yield Rig(settings, control, guest, gateway, socket)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)  # 127.0.0.1 is an address, and jars refuse those by default
    async with aiohttp.ClientSession(cookie_jar=jar) as client:
        yield client


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        await started.close()


@pytest.fixture
async def troubles(browser: Browser) -> list[str]:
    """What pages complain about: broken scripts, and whatever the content policy had to stop."""
    return []


@pytest.fixture
def new_page(browser: Browser, troubles: list[str]) -> Callable[..., Awaitable[Page]]:
    async def make(context: BrowserContext | None = None, **options: Any) -> Page:
        context = context or await browser.new_context(**({**LAPTOP, "color_scheme": "light"} | options))
        page = await context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda m: troubles.append(m.text) if "Content Security Policy" in m.text else None)
        page.on("request", lambda r: troubles.append(r.url) if not _is_own(r.url) else None)
        return page

    return make


def _is_own(url: str) -> bool:
    return url.startswith(("http://localhost:", "blob:http://localhost:", "data:", "https://intranet.example.org"))


@pytest.fixture
def keep(tmp_path: Path) -> Callable[[Page, str], Awaitable[Path]]:
    folder = Path(os.environ.get("FANLIGHT_TEST_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)

    async def take(page: Page, name: str) -> Path:
        path = folder / f"gateway-{name}.png"
        await page.screenshot(path=path)
        return path

    return take
