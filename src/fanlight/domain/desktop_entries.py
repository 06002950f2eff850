"""Applications that an image says it has: its desktop entries, as the freedesktop.org specification defines them.

Whoever made the image wrote them, so they are claims: what is not usable is left out, and nothing here ever fails.
"""

import configparser
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fanlight.domain.images import Application

DIRECTORY = "usr/share/applications"
MOST_APPLICATIONS = 50
LONGEST_TEXT = 256
SEARCH_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/games", "/usr/local/games", "/usr/sbin", "/sbin")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}")
_NO_NAME = re.compile(r"[^a-zA-Z0-9_.-]+")
_FIELD_CODE = re.compile(r"%[a-zA-Z]")


@dataclass(frozen=True, slots=True)
class FoundApplication:
    """`icon` is what the entry's Icon says: a name of the icon theme, or an absolute path; empty for none."""

    application: Application
    icon: str


def find_applications(entries: Mapping[str, str], is_program: Callable[[str], bool]) -> tuple[FoundApplication, ...]:
    """Return what users can start, by entry name, at most MOST_APPLICATIONS.

    `entries` are file name → text of DIRECTORY; `is_program` says whether the image has an executable at an absolute path.
    Left out: what menus do not show, what needs a terminal, what one desktop alone shows, what is not installed.
    """
    found: dict[str, FoundApplication] = {}
    for file_name in sorted(entries):
        if file_name.endswith(".desktop") and len(found) < MOST_APPLICATIONS:
            one = _read(file_name, entries[file_name], is_program)
            if one is not None and one.application.name not in found:
                found[one.application.name] = one
    return tuple(found.values())


def _read(file_name: str, text: str, is_program: Callable[[str], bool]) -> FoundApplication | None:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    try:
        parser.read_string(text)
        entry = parser["Desktop Entry"]
        words = shlex.split(entry.get("Exec", "").replace("%%", "\0"))
    except (configparser.Error, KeyError, ValueError):
        return None
    name = _NO_NAME.sub("-", file_name.removesuffix(".desktop")).lstrip("_.-")[:100]
    program = _program(words, is_program)
    if program is None or not _is_shown(entry) or not _NAME.fullmatch(name):
        return None
    parameters = [_FIELD_CODE.sub("", word).replace("\0", "%") for word in words[1:] if not _FIELD_CODE.fullmatch(word)]
    return FoundApplication(
        Application(
            name=name,
            display_name=_line(entry.get("Name", "")) or name,
            description=_line(entry.get("Comment", "")),
            launch_path=program,
            launch_parameters=shlex.join(parameters),
            working_directory=path if (path := _line(entry.get("Path", ""))).startswith("/") else "",
        ),
        icon=_line(entry.get("Icon", "")),
    )


def _is_shown(entry: configparser.SectionProxy) -> bool:
    def is_true(key: str) -> bool:
        return entry.get(key, "false").strip().lower() == "true"

    return entry.get("Type", "").strip() == "Application" and not (
        is_true("NoDisplay") or is_true("Hidden") or is_true("Terminal") or entry.get("OnlyShowIn", "").strip()
    )


def _program(words: list[str], is_program: Callable[[str], bool]) -> str | None:
    if not words:
        return None
    tried = [words[0]] if words[0].startswith("/") else [f"{where}/{words[0]}" for where in SEARCH_PATH]
    return next((path for path in tried if ".." not in path.split("/") and is_program(path)), None)


def _line(text: str) -> str:
    """Return it without control characters, as one line of bounded length."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:LONGEST_TEXT]
