"""A real Chromium that opens a streaming URL, and the session page as a person sees it: its words and its pixels."""

import io
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from playwright.sync_api import Browser, BrowserContext, Frame, Page, Playwright, sync_playwright

from e2e.installation import wait_for
from e2e.sounds import EAR_SCRIPT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# As root there is no sandbox; the rest keeps Chromium from calling its maker, and the machine's clock from its GPU.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--password-store=basic",
)  # fmt: skip
WINDOW = {"width": 1280, "height": 800}
STREAM_TIMEOUT_IN_SECONDS = 30.0

# Notes when the first picture of the stream is on the screen, in epoch milliseconds: looks at the pixels themselves,
# once for each frame that the browser paints, whoever draws them and however.
FIRST_PICTURE_SCRIPT = """
(() => {
  const probe = new OffscreenCanvas(32, 20).getContext("2d", { willReadFrequently: true });
  function isPainted(surface) {
    const width = surface.videoWidth ?? surface.width, height = surface.videoHeight ?? surface.height;
    if (!width || !height || surface.getBoundingClientRect().width === 0) return false;
    probe.clearRect(0, 0, 32, 20);
    try { probe.drawImage(surface, 0, 0, 32, 20); } catch { return false; }
    const pixels = probe.getImageData(0, 0, 32, 20).data;
    let lit = 0;
    for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] === 255 && pixels[i] + pixels[i + 1] + pixels[i + 2] > 24) lit += 1;
    return lit > 64;
  }
  function look() {
    // The page prepares the stream out of sight; what counts is what a person sees.
    const isInSight = document.body?.dataset.state === "stream";
    const inside = isInSight && document.querySelector("#stage iframe")?.contentDocument;
    if (inside && [...inside.querySelectorAll("canvas, video")].some(isPainted)) {
      window.__firstPicture = performance.timeOrigin + performance.now();
      return;
    }
    requestAnimationFrame(look);
  }
  // From the page, not from the frame that holds the stream: its first, empty document would take the loop with it.
  if (window === top) requestAnimationFrame(look);
})();
"""


@contextmanager
def chromium(*, environment: Mapping[str, str] | None = None, flags: tuple[str, ...] = ()) -> Iterator[Browser]:
    """Start Chromium without a window, or in one on the X server of `environment`."""
    with sync_playwright() as playwright:
        browser = launch(playwright, environment=environment, flags=flags)
        try:
            yield browser
        finally:
            browser.close()


def launch(
    playwright: Playwright, *, environment: Mapping[str, str] | None = None, flags: tuple[str, ...] = ()
) -> Browser:
    return playwright.chromium.launch(
        executable_path=CHROMIUM,
        headless=environment is None,
        env=dict(environment) if environment else None,
        args=[*FLAGS, *flags],
    )


@dataclass(slots=True)
class Visitor:
    """One person at one browser page. Nothing is shared with other visitors: no cookie, no cache."""

    context: BrowserContext
    page: Page
    opened_at: float = 0.0

    def open(self, url: str) -> None:
        self.opened_at = time.time()
        self.page.goto(url, wait_until="commit")

    @property
    def state(self) -> str:
        return str(self.page.evaluate("document.body?.dataset.state ?? ''"))

    def wait_for_state(self, *states: str, timeout: float = STREAM_TIMEOUT_IN_SECONDS) -> str:
        """Wait until the page is in one of its states: catalogue, waiting, stream, ended, refused, superseded."""

        def current() -> str | None:
            state = self.state
            return state if state in states else None

        return str(wait_for(current, timeout=timeout, what=f"page in {states}; it says: {self.words()[:300]!r}"))

    def words(self) -> str:
        """Return what the page itself says (not the stream)."""
        return str(self.page.evaluate("document.body?.innerText ?? ''"))

    @property
    def stream(self) -> Frame | None:
        return next((f for f in self.page.frames if f.url.endswith("/stream/")), None)

    def wait_for_picture(self, timeout: float = STREAM_TIMEOUT_IN_SECONDS) -> float:
        """Wait until the stream's first picture is on the screen; return the seconds since the URL was opened."""

        def painted_at() -> float | None:
            value = self.page.evaluate("window.__firstPicture ?? null")
            return float(value) if value else None

        try:
            at = wait_for(painted_at, timeout=timeout, what="a picture of the stream", interval=0.02)
        except AssertionError as error:
            raise AssertionError(f"{error}; state {self.state!r}, words {self.words()[:400]!r}") from None
        return float(at) / 1000 - self.opened_at

    def click_stream(self, x: int = 640, y: int = 400) -> None:
        """Click into the picture, as one does before typing: nobody's first key follows within a few milliseconds."""
        wait_for(lambda: self.state in ("stream", ""), what="the stream in sight")  # "": in a frame of another page
        self.page.mouse.click(x, y)
        self.page.wait_for_timeout(500)

    def type(self, text: str, *, delay_in_ms: int = 30) -> None:
        self.page.keyboard.type(text, delay=delay_in_ms)

    def screenshot(self, path: Path | None = None) -> Image.Image:
        taken = Image.open(io.BytesIO(self.page.screenshot(path=path)))
        taken.load()
        return taken

    def read(self) -> str:
        """Return the text that is readable in the pixels of the page."""
        return read_pixels(self.screenshot())

    def wait_for_text(self, text: str) -> str:
        """Wait until `text` can be read on the screen, in pixels alone."""
        seen = ""

        def is_there() -> bool:
            nonlocal seen
            seen = self.read()
            return _plain(text) in _plain(seen)

        try:
            wait_for(is_there, what=f"{text!r} on the screen", interval=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is: {seen[:800]!r}") from None
        return seen

    def press_tool(self, action: str) -> None:
        """Press a button of the toolbar."""
        self.page.click(f"#bar [data-action={action}]")


@contextmanager
def visitor(browser: Browser, **options: Any) -> Iterator[Visitor]:
    """A fresh visitor; `options` are those of a Playwright context, e.g. a phone's."""
    context = browser.new_context(**({"viewport": WINDOW} | options))
    context.add_init_script(FIRST_PICTURE_SCRIPT)
    context.add_init_script(EAR_SCRIPT)
    try:
        yield Visitor(context, context.new_page())
    finally:
        context.close()


def read_pixels(picture: Image.Image) -> str:
    """Return the text in a picture, by optical character recognition."""
    grey = ImageOps.grayscale(picture)
    enlarged = grey.resize((grey.width * 2, grey.height * 2), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    enlarged.save(file, "PNG")
    command = ["tesseract", "stdin", "stdout", "--psm", "11", "-l", "eng"]
    done = subprocess.run(
        command,
        input=file.getvalue(),
        capture_output=True,
        check=True,
        env={"OMP_THREAD_LIMIT": "1", "PATH": "/usr/bin"},
    )
    return done.stdout.decode(errors="replace")


def _plain(text: str) -> str:
    """Compare as a reader does: blanks and capitals do not matter."""
    return "".join(text.split()).lower()
