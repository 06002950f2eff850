"""Turn a stream server's HTML index of a folder into names that can be shown safely. Never into HTML.

The guest may send anything, and this runs on the event loop. So it is no HTML parser: the page is cut at its rows, and
each short enough row must look exactly as the stream server writes them. Every step's time grows with the page's length.
"""

import html
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

MAX_LISTING_IN_BYTES = 1024 * 1024  # The stream server's own head and 5,000 rows with names of 20 characters.
MAX_ENTRIES = 5_000
# Three bytes for each of a name's 255 in the link, six at most in the text, and what stands around them.
_MAX_ROW = 4 * 1024
_MAX_TEXT = 255
# No part can match where the next one begins, so that there is one way to try and no way back.
_ROW = re.compile(
    r'\s*+<td>\s*+<a href="(?P<href>[^"<>]{1,1024}+)">[^<]*+</a>\s*+</td>'
    r"\s*+<td>(?P<modified>[^<]{0,64}+)</td>\s*+<td>(?P<size>[^<]{0,64}+)</td>\s*+</tr>"
)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """`size` and `modified` are the guest's words, for reading only."""

    name: str
    is_folder: bool
    modified: str
    size: str


def entries_of(page: bytes) -> list[FileEntry]:
    """Return the folder's entries. Whatever is no plain name inside the folder is left out."""
    rows = page.decode("utf-8", "replace").split("<tr>", MAX_ENTRIES + 1)[1:]
    found = (_ROW.match(row, 0, _MAX_ROW) for row in rows[:MAX_ENTRIES])
    return [entry for match in found if match and (entry := _entry(match))]


def _entry(row: re.Match[str]) -> FileEntry | None:
    name = unquote(row["href"])
    is_folder = name.endswith("/")
    name = name.removesuffix("/")
    if not is_plain_name(name):
        return None
    return FileEntry(name, is_folder, html.unescape(row["modified"]).strip(), html.unescape(row["size"]).strip())


def is_plain_name(name: str) -> bool:
    """Return whether this is one step of a path: no way up, no separator, no control character."""
    return (
        0 < len(name) <= _MAX_TEXT
        and name not in (".", "..")
        and "/" not in name
        and "\\" not in name
        and name.isprintable()
    )


def to_json(entry: FileEntry) -> dict[str, Any]:
    return {"name": entry.name, "isFolder": entry.is_folder, "modified": entry.modified, "size": entry.size}
