"""The applications that are installed in the builder, as their desktop entries describe them."""

import configparser
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DIRECTORIES = ("usr/local/share/applications", "usr/share/applications")
THEMES = ("usr/share/icons/hicolor", "usr/share/icons/Adwaita")
SIZES = ("128x128", "256x256", "96x96", "64x64", "48x48", "32x32")
PIXMAPS = "usr/share/pixmaps"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games:/usr/local/sbin:/usr/sbin:/sbin"
MAX_ENTRY_BYTES = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledApplication:
    """`launch_path` is absolute; `icon` is a picture that can be read, or None; `is_shown` unless it hides from menus."""

    entry_id: str
    display_name: str
    launch_path: str
    launch_parameters: str
    working_directory: str
    description: str
    icon: Path | None
    categories: tuple[str, ...]
    needs_terminal: bool
    is_shown: bool


def installed_applications(root: Path = Path("/")) -> Sequence[InstalledApplication]:
    """Return them by name. An entry that nobody can start is left out."""
    found: dict[str, InstalledApplication] = {}
    for directory in DIRECTORIES:
        for path in sorted((root / directory).glob("*.desktop")):
            if path.name not in found and (application := _read(path, root)) is not None:
                found[path.name] = application
    return sorted(found.values(), key=lambda each: each.display_name.casefold())


def icon_for(launch_path: str, root: Path = Path("/")) -> Path | None:
    """Return the picture of whatever entry starts this program."""
    entries = installed_applications(root)
    return next((each.icon for each in entries if each.launch_path == launch_path and each.icon), None)


def _read(path: Path, root: Path) -> InstalledApplication | None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keeps capitals
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            parser.read_string(file.read(MAX_ENTRY_BYTES))
        entry = parser["Desktop Entry"]
        words = [word for word in shlex.split(entry.get("Exec", "")) if not _is_field(word)]
    except (OSError, configparser.Error, KeyError, ValueError):
        return None
    if entry.get("Type") != "Application" or not words:
        return None
    program = shutil.which(words[0], path=":".join(str(root / each.lstrip("/")) for each in PATH.split(":")))
    if words[0].startswith("/"):
        program = str(root / words[0].lstrip("/"))
    if program is None or not Path(program).is_file():
        return None
    return InstalledApplication(
        entry_id=path.stem,
        display_name=entry.get("Name", path.stem),
        launch_path="/" + str(Path(program).relative_to(root)).lstrip("/"),
        launch_parameters=shlex.join(word.replace("%%", "%") for word in words[1:]),
        working_directory=entry.get("Path", ""),
        description=entry.get("Comment", ""),
        icon=_icon(entry.get("Icon", ""), root),
        categories=tuple(each for each in entry.get("Categories", "").split(";") if each),
        needs_terminal=entry.get("Terminal", "false").lower() == "true",
        is_shown=entry.get("NoDisplay", "false").lower() != "true" and entry.get("Hidden", "false").lower() != "true",
    )


def _is_field(word: str) -> bool:
    """Return whether it stands for the files that a file manager would put there."""
    return len(word) == 2 and word[0] == "%" and word[1] != "%"  # noqa: PLR2004 - a letter after the sign


def _icon(name: str, root: Path) -> Path | None:
    candidates: Iterator[Path]
    if name.startswith("/"):
        candidates = iter([root / name.lstrip("/")])
    elif not name or "/" in name:
        return None
    else:
        stem = name.removesuffix(".png").removesuffix(".xpm").removesuffix(".svg")
        candidates = (
            path
            for path in (
                *(root / theme / size / "apps" / f"{stem}.png" for theme in THEMES for size in SIZES),
                *(root / theme / "scalable" / "apps" / f"{stem}.svg" for theme in THEMES),
                *(root / PIXMAPS / f"{stem}{suffix}" for suffix in (".png", ".xpm", ".svg")),
            )
        )
    return next(
        (path for path in candidates if path.suffix in (".png", ".svg", ".xpm", ".jpg") and path.is_file()), None
    )
