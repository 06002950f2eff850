"""The session page in a browser: what tests that look at it have in common."""

from playwright.async_api import Page

from gateway_rig import Rig

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP apps.test 127.0.0.1",  # a host that is not localhost, hence no secure context
]
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
LAPTOP = {"viewport": {"width": 1280, "height": 800}}


def link(rig: Rig, signature: str = "ada") -> str:
    return f"http://localhost:{rig.settings.portal_port}/authenticate?parameters=e30%3D&signature={signature}"


async def state_becomes(page: Page, state: str, *, stream: str | None = None) -> None:
    """Wait until the page is in a state. (A selector, not a script: the page's policy forbids to evaluate one.)"""
    suffix = f"[data-stream={stream}]" if stream else ""
    await page.wait_for_selector(f"body[data-state={state}]{suffix}")


async def streaming(page: Page) -> None:
    await state_becomes(page, "stream", stream="streaming")
