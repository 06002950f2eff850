"""Turn a stream server's HTML index of a folder into names that can be shown safely. Never into HTML."""

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

MAX_LISTING_IN_BYTES = 2 * 1024 * 1024
MAX_ENTRIES = 5_000
_MAX_TEXT = 255


@dataclass(frozen=True, slots=True)
class FileEntry:
    """`size` and `modified` are the guest's words, for reading only."""

    name: str
    is_folder: bool
    modified: str
    size: str


class _Rows(HTMLParser):
    """Collects (href, texts of the cells) of each table row that holds a link."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[tuple[str, list[str]]] = []
        self._href: str | None = None
        self._cells: list[str] = []
        self._is_in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self._href, self._cells = None, []
        elif tag == "td":
            self._cells.append("")
            self._is_in_cell = True
        elif tag == "a" and self._is_in_cell and self._href is None:
            self._href = dict(attrs).get("href")

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._is_in_cell = False
        elif tag == "tr" and self._href and len(self.rows) < MAX_ENTRIES:
            self.rows.append((self._href, self._cells))
            self._href = None

    def handle_data(self, data: str) -> None:
        if self._is_in_cell and self._cells:
            self._cells[-1] = (self._cells[-1] + data)[:_MAX_TEXT]


def entries_of(html: bytes) -> list[FileEntry]:
    """Return the folder's entries. Whatever is no plain name inside the folder is left out."""
    parser = _Rows()
    parser.feed(html.decode("utf-8", "replace"))
    parser.close()
    entries = []
    for href, cells in parser.rows:
        name = unquote(href)
        is_folder = name.endswith("/")
        name = name.removesuffix("/")
        if is_plain_name(name):
            modified, size = ([*cells[1:], "", ""])[:2]
            entries.append(FileEntry(name, is_folder, modified.strip(), size.strip()))
    return entries


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
