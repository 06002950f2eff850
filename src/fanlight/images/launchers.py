"""What the desktop inside an image shows of its catalogue: entries for the panel and a menu.

Only the DESKTOP view reads these; the page in the browser has its own launcher. Besides, the catalogue itself, as the
Image Assistant keeps it: an image builder begins with it.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape, quoteattr

from fanlight.images.recipes import Recipe, RecipeApplication

DIRECTORY = "/usr/share/fanlight"  # the agent looks here
HOME = "/home/user"  # of the first seat; panel and menu of each seat start programs in the home of their own user
CATALOGUE, CATALOGUE_FORMAT = "/etc/fanlight", 1  # as fanlight.agent.assistant.catalogue reads it
_MENU = """<?xml version="1.0" encoding="UTF-8"?>
<openbox_menu xmlns="http://openbox.org/3.4/menu">
<menu id="root-menu" label="Applications">
{items}
</menu>
</openbox_menu>
"""


def launcher_files(recipe: Recipe, icons: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file. A recipe without applications leaves what its base has."""
    if not recipe.applications:
        return
    items = []
    for number, application in enumerate(recipe.applications):
        icon = f"{DIRECTORY}/icons/{application.name}.png" if application.name in icons else ""
        if icon:
            yield icon, icons[application.name]
        yield f"{DIRECTORY}/launchers/{number:02}-{application.name}.desktop", _entry(application, icon).encode()
        shown = f" icon={quoteattr(icon)}" if icon else ""
        items.append(
            f"<item label={quoteattr(application.display_name)}{shown}>"
            f'<action name="Execute"><command>{escape(_command(application))}</command></action></item>'
        )
    yield from _catalogue_files(recipe, icons)
    yield f"{DIRECTORY}/menu.xml", _MENU.format(items="\n".join(items)).encode()


def _catalogue_files(recipe: Recipe, icons: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    entries = []
    for application in recipe.applications or ():
        picture = f"{application.name}.png" if application.name in icons else ""
        if picture:
            yield f"{CATALOGUE}/icons/{picture}", icons[application.name]
        entries.append(
            {
                "name": application.name,
                "display_name": application.display_name,
                "launch_path": application.launch_path,
                "launch_parameters": application.launch_parameters,
                "working_directory": application.working_directory,
                "description": application.description,
                "icon": picture,
            }
        )
    whole = {"format": CATALOGUE_FORMAT, "applications": entries}
    yield f"{CATALOGUE}/catalog.json", json.dumps(whole, indent=2).encode() + b"\n"


def _command(application: RecipeApplication) -> str:
    """Return the line that starts it, in its directory: a path in the first user's home is one in each user's own."""
    command = f"{shlex.quote(application.launch_path)} {application.launch_parameters}".strip()
    directory = application.working_directory.rstrip("/")
    if directory in ("", HOME):
        return command
    is_own = directory.startswith(f"{HOME}/")
    place = f'"$HOME"{shlex.quote(directory.removeprefix(HOME))}' if is_own else shlex.quote(directory)
    script = f'cd {place} && exec "$@"'
    return f"/bin/sh -c {shlex.quote(script)} sh {command}"


def _entry(application: RecipeApplication, icon: str) -> str:
    lines = {
        "Type": "Application",
        "Name": application.display_name,
        "Comment": application.description,
        "Exec": _command(application).replace("%", "%%"),
        "Icon": icon,
    }
    return "[Desktop Entry]\n" + "".join(f"{k}={' '.join(v.split())}\n" for k, v in lines.items() if v)
