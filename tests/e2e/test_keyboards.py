"""German and French keyboards: every key that makes AltGr and dead keys worth a test arrives as the right character."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser

from e2e.administrators import Administrator
from e2e.browsers import Visitor, chromium, visitor
from e2e.installation import wait_for
from e2e.instances import USER_HOME, Instances
from e2e.keyboards import FRENCH, GERMAN, Keyboard, keyboard, strokes

pytestmark = [pytest.mark.incus, pytest.mark.browser]

LAYOUTS = {"de": GERMAN, "fr": FRENCH}
# `cat>t` and Enter, by the positions of the letters of each layout.
CAT = {
    "de": "AB03 AC01 AD05 shift+LSGT AD05 RTRN",
    "fr": "AB03 AD01 AD05 shift+LSGT AD05 RTRN",
}
END_OF_FILE = "RTRN ctrl+AC03"
SAVE = "ctrl+AC02"
FILE_NAME = "AD05"  # t


@pytest.fixture(scope="module")
def desk() -> Iterator[Keyboard]:
    with keyboard() as made:
        yield made


@pytest.fixture(scope="module")
def browser(desk: Keyboard) -> Iterator[Browser]:
    """Chromium in a window, because only there keys come from a keyboard."""
    with chromium(environment=desk.environment) as started:
        yield started


@dataclass(frozen=True, slots=True)
class Typist:
    """Somebody at a keyboard, and where what they type arrives."""

    desk: Keyboard
    page: Visitor
    administrator: Administrator
    fleet: str

    def open(self, layout: str, application: str, expected: str) -> None:
        self.desk.use(layout)
        self.page.open(self.administrator.url(self.fleet, "typist", application))
        self.page.wait_for_picture()
        self.page.wait_for_text(expected)
        self.page.click_stream(500, 400)

    def read_file(self, instances: Instances) -> str:
        """Wait for the file that was written, and return its one line."""
        instance_id = self.administrator.instance_of(self.fleet, "typist")
        content = wait_for(
            lambda: instances.read(instance_id, f"{USER_HOME}/t"), timeout=10, what="a file with what was typed"
        )
        return bytes(content).decode().rstrip("\n")


@pytest.fixture
def typist(fleet: str, desk: Keyboard, browser: Browser, administrator: Administrator) -> Iterator[Typist]:
    with visitor(browser, viewport={"width": 1100, "height": 700}) as page:
        page.page.bring_to_front()
        yield Typist(desk, page, administrator, fleet)


@pytest.mark.parametrize("layout", ["de", "fr"])
def test_a_terminal_receives_exactly_the_characters_of_the_layout(
    layout: str, typist: Typist, instances: Instances
) -> None:
    typist.open(layout, "terminal", "user@")
    characters = "".join(LAYOUTS[layout])
    typist.desk.press(strokes(CAT[layout]))
    typist.desk.type(characters, LAYOUTS[layout])
    typist.desk.press(strokes(END_OF_FILE))
    assert typist.read_file(instances) == characters


@pytest.mark.parametrize("layout", ["de", "fr"])
def test_a_graphical_editor_receives_exactly_the_characters_of_the_layout(
    layout: str, typist: Typist, instances: Instances
) -> None:
    """Such programs work dead keys out by themselves when they see one, so that an accent could come twice."""
    typist.open(layout, "text-editor", "File")
    characters = "".join(LAYOUTS[layout])
    typist.desk.type(characters, LAYOUTS[layout])
    typist.desk.press(strokes(SAVE))
    typist.page.wait_for_text("Cancel")
    typist.desk.press(strokes(FILE_NAME))
    typist.page.page.wait_for_timeout(500)  # The dialog looks at the name before it lets Enter save.
    typist.desk.press(strokes("RTRN"))
    assert typist.read_file(instances) == characters
