"""What a desktop offers to start: the catalogue for users, and for administrators all that is installed besides."""

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from fanlight.agent.accounts import TEMPLATE_USER
from fanlight.agent.assistant.catalogue import Catalogue, CatalogueEntry
from fanlight.agent.assistant.refusals import AssistantRefuses
from fanlight.agentwire import RUNTIME_DIRECTORY

ADWAITA = "/usr/share/icons/Adwaita"
WINDOW = ("sudo", "-n", f"{RUNTIME_DIRECTORY}/bin/fanlight-image-assistant-window")
SHOW_MENU = (f"{RUNTIME_DIRECTORY}/bin/fanlight-menu", "--show")
MENU = f"{RUNTIME_DIRECTORY}/bin/fanlight-menu"
TERMINALS = ("xfce4-terminal", "gnome-terminal", "konsole", "lxterminal", "xterm", "x-terminal-emulator")
FILE_MANAGERS = ("thunar", "pcmanfm", "nautilus", "dolphin", "nemo", "caja")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    name: str
    title: str
    command: tuple[str, ...]
    icon: str = ""


def administrators_launchers(directories: Iterable[Path] = (Path("/usr/bin"),)) -> list[Launcher]:
    """Return what stands in the panel of an image builder: what is not installed is left out."""

    def first(names: tuple[str, ...]) -> str:
        paths = (str(directory / name) for name in names for directory in directories)
        return next((path for path in paths if os.access(path, os.X_OK)), "")

    found = [
        Launcher(name="menu", title="Applications", command=SHOW_MENU, icon=_own("menu")),
        Launcher(name="assistant", title="Image Assistant", command=WINDOW, icon=_own("assistant")),
    ]
    if terminal := first(TERMINALS):
        found.append(Launcher(name="terminal", title="Terminal", command=(terminal,), icon=_own("terminal")))
    if manager := first(FILE_MANAGERS):
        found.append(Launcher(name="files", title="Files", command=(manager,), icon=_own("files")))
    return found


def catalogue_launchers(root: Path = Path("/")) -> list[Launcher] | None:
    """Return the image's applications, or None when it carries no catalogue."""
    catalogue = Catalogue(root)
    try:
        entries = catalogue.entries()
    except AssistantRefuses:
        return None
    return [_of_entry(number, entry, catalogue) for number, entry in enumerate(entries)] or None


def write(directory: Path, launchers: Iterable[Launcher]) -> None:
    """Write a desktop entry for each, in their order. Raises OSError."""
    directory.mkdir(mode=0o755, exist_ok=True)
    for number, launcher in enumerate(launchers):
        (directory / f"{number:02}-{launcher.name}.desktop").write_text(_entry(launcher), encoding="utf-8")


def menu(launchers: Iterable[Launcher]) -> str:
    """Return the menu of the desktop's background."""
    items = "\n".join(
        f"<item label={quoteattr(each.title)} icon={quoteattr(each.icon)}>"
        f'<action name="Execute"><command>{escape(shlex.join(each.command))}</command></action></item>'
        for each in launchers
    )
    return _menu(f'<menu id="root-menu" label="Applications">\n{items}\n</menu>')


def administrators_menu() -> str:
    """Return a menu that is made anew each time it is opened, of what is installed then."""
    return _menu(f'<menu id="root-menu" label="Applications" execute={quoteattr(MENU)} />')


def _menu(content: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<openbox_menu xmlns="http://openbox.org/3.4/menu">\n{content}\n</openbox_menu>\n'


def _of_entry(number: int, entry: CatalogueEntry, catalogue: Catalogue) -> Launcher:
    try:
        parameters = shlex.split(entry.launch_parameters)
    except ValueError:
        parameters = [entry.launch_parameters]
    return Launcher(
        name=f"application{number}",
        title=entry.display_name,
        command=_in_directory(entry.working_directory.rstrip("/"), (entry.launch_path, *parameters)),
        icon=str(catalogue.icon_path(entry) or ""),
    )


def _in_directory(directory: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """Menus know no directory; a path in the home of the first seat's user is one in each user's own."""
    home = TEMPLATE_USER.home
    if directory in ("", home):
        return command
    is_own = directory.startswith(f"{home}/")
    place = f'"$HOME"{shlex.quote(directory.removeprefix(home))}' if is_own else shlex.quote(directory)
    return ("/bin/sh", "-c", f'cd {place} && exec "$@"', "sh", *command)


def _own(name: str) -> str:
    return str(Path(__file__).parent / "pictures" / f"{name}.png")


def _entry(launcher: Launcher) -> str:
    lines: Mapping[str, str] = {
        "Type": "Application",
        "Name": launcher.title,
        "Exec": shlex.join(launcher.command).replace("%", "%%"),
        "Icon": launcher.icon,
    }
    return "[Desktop Entry]\n" + "".join(f"{k}={' '.join(v.split())}\n" for k, v in lines.items() if v)
