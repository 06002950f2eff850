"""The menu of a builder's desktop: what is installed, by category, as a pipe menu of the window manager.

With --show it makes the menu appear, by the key that the window manager has for it: panels have no other way.
"""

import importlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from fanlight.agent.assistant.installed import InstalledApplication, installed_applications

# The main categories of the desktop menu specification, in words, in the order shown.
CATEGORIES = {
    "Development": "Development", "Education": "Education", "Science": "Science", "Game": "Games",
    "Graphics": "Graphics", "Network": "Internet", "AudioVideo": "Sound & Video", "Office": "Office",
    "Settings": "Settings", "System": "System", "Utility": "Accessories",
}  # fmt: skip
OTHER = "Other"
TERMINAL = "x-terminal-emulator"
MENU_KEYS = ("Alt_L", "F1")  # as in fanlight.agent.wm


def pipe_menu(applications: Sequence[InstalledApplication]) -> str:
    """Return what the window manager expects on standard output."""
    sections: dict[str, list[InstalledApplication]] = {title: [] for title in (*CATEGORIES.values(), OTHER)}
    for application in applications:
        if application.is_shown:
            title = next((CATEGORIES[each] for each in application.categories if each in CATEGORIES), OTHER)
            sections[title].append(application)
    menus = [
        f"<menu id={quoteattr('fanlight-' + title)} label={quoteattr(title)}>\n{_items(listed)}\n</menu>"
        for title, listed in sections.items()
        if listed
    ]
    content = "\n".join(menus) or '<item label="Nothing is installed yet" />'
    return f"<openbox_pipe_menu>\n{content}\n</openbox_pipe_menu>\n"


def _items(applications: Sequence[InstalledApplication]) -> str:
    return "\n".join(
        f"<item label={quoteattr(each.display_name)}{_icon(each)}>"
        f'<action name="Execute"><command>{escape(_command(each))}</command></action></item>'
        for each in applications
    )


def _icon(application: InstalledApplication) -> str:
    return f" icon={quoteattr(str(application.icon))}" if application.icon else ""


def _command(application: InstalledApplication) -> str:
    command = f"{shlex.quote(application.launch_path)} {application.launch_parameters}".strip()
    return f"{TERMINAL} -e {shlex.quote(command)}" if application.needs_terminal else command


def show() -> None:
    """Press the keys that open the menu."""
    library = importlib.import_module("selkies.Xlib.display")
    x, keys = importlib.import_module("selkies.Xlib.X"), importlib.import_module("selkies.Xlib.XK")
    xtest = importlib.import_module("selkies.Xlib.ext.xtest")
    display = library.Display()
    codes = [display.keysym_to_keycode(keys.string_to_keysym(name)) for name in MENU_KEYS]
    for code in codes:
        xtest.fake_input(display, x.KeyPress, code)
    for code in reversed(codes):
        xtest.fake_input(display, x.KeyRelease, code)
    display.sync()


def main() -> None:
    if "--show" in sys.argv[1:]:
        show()
    else:
        sys.stdout.write(pipe_menu(installed_applications(Path("/"))))
