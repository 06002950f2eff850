"""A keyboard as it lies on a desk: key positions, on an X server with a layout, into a Chromium in a window.

Nothing is told to the browser but which key goes down and up: layout, AltGr and dead keys are worked out by X and
Chromium as they are for a person, so that what a page sees is what it sees there.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

SCREEN = "1280x900x24"
BETWEEN_STROKES_IN_SECONDS = 0.04  # A fast typist; faster is a macro.

# Key positions by their XKB names → evdev key codes.
_ROWS = {"AE": (10, 12), "AD": (24, 12), "AC": (38, 11), "AB": (52, 10)}
KEY_CODES = {
    f"{row}{number + 1:02}": first + number for row, (first, count) in _ROWS.items() for number in range(count)
} | {"TLDE": 49, "BKSL": 51, "LSGT": 94, "SPCE": 65, "RTRN": 36, "LFSH": 50, "LCTL": 37, "RALT": 108}

_MODIFIERS = {"shift": "LFSH", "altgr": "RALT", "ctrl": "LCTL"}


@dataclass(frozen=True, slots=True)
class Stroke:
    """One key at one position, with the modifiers held meanwhile."""

    position: str
    held: tuple[str, ...] = ()


def strokes(text: str) -> list[Stroke]:
    """Return the strokes of a line like `TLDE AC01 altgr+AD01`."""
    found = []
    for word in text.split():
        *held, position = word.split("+")
        found.append(Stroke(position, tuple(_MODIFIERS[name] for name in held)))
    return found


GERMAN = {
    "ä": "AC11", "ö": "AC10", "ü": "AD11", "ß": "AE11", "Ä": "shift+AC11", "z": "AD06", "y": "AB01",
    "@": "altgr+AD01", "€": "altgr+AD03", "{": "altgr+AE07", "[": "altgr+AE08", "]": "altgr+AE09", "}": "altgr+AE10",
    "\\": "altgr+AE11", "|": "altgr+LSGT", "~": "altgr+AD12", "â": "TLDE AC01", "é": "AE12 AD03", "è": "shift+AE12 AD03",
}  # fmt: skip
FRENCH = {
    "é": "AE02", "è": "AE07", "ç": "AE09", "à": "AE10", "ù": "AC11", "a": "AD01", "q": "AC01", "1": "shift+AE01",
    "@": "altgr+AE10", "#": "altgr+AE03", "{": "altgr+AE04", "[": "altgr+AE05", "|": "altgr+AE06", "`": "altgr+AE07",
    "\\": "altgr+AE08", "^": "altgr+AE09", "]": "altgr+AE11", "}": "altgr+AE12", "€": "altgr+AD03",
    "ê": "AD11 AD03", "ï": "shift+AD11 AD08",
}  # fmt: skip


@dataclass(slots=True)
class Keyboard:
    """`display` is the X server that the browser must show its window on."""

    display: str
    log: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"DISPLAY": self.display, "LANG": "C.UTF-8"}

    def use(self, layout: str) -> None:
        """Change the layout, as a user does in the system's settings."""
        subprocess.run(["setxkbmap", "-layout", layout], env=self.environment, check=True)
        time.sleep(0.3)  # The browser reads the new key map when X tells it; there is nothing to wait for.

    def press(self, pressed: Sequence[Stroke]) -> None:
        for stroke in pressed:
            held = [str(KEY_CODES[name]) for name in stroke.held]
            words = [*(w for code in held for w in ("keydown", code)), "key", str(KEY_CODES[stroke.position])]
            words += [w for code in reversed(held) for w in ("keyup", code)]
            subprocess.run(["xdotool", *words], env=self.environment, check=True)
            time.sleep(BETWEEN_STROKES_IN_SECONDS)

    def type(self, characters: str, layout: dict[str, str]) -> None:
        for character in characters:
            self.press(strokes(layout[character]))


@contextmanager
def keyboard() -> Iterator[Keyboard]:
    """Start an X server with nothing on it; it ends with the block."""
    reader, writer = os.pipe()
    # Without -noreset X would forget the layout when its last client goes.
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", SCREEN, "-nolisten", "tcp", "-noreset"]
    server = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        with os.fdopen(reader) as lines:
            number = lines.readline().strip()
        assert number, "Xvfb did not start"
        yield Keyboard(f":{number}")
    finally:
        server.terminate()
        server.wait(10)
