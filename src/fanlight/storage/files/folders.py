"""One user's folder, through the WebDAV server of an open door."""

import asyncio
import json
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import unquote_to_bytes

import aiohttp
from yarl import URL

from fanlight.domain.errors import StorageUnusable
from fanlight.storage.files.paths import Steps, target_of
from fanlight.storage.files.readings import Readings
from fanlight.storage.links import LeadsAway, no_links
from fanlight.storage.usage import Usage

PIECE_IN_BYTES = 256 * 1024
_LISTING_PIECE_IN_BYTES = 32 * 1024  # its entries are read in one go, while all others wait
# A large folder is read before its first name is sent, a large tree is copied or removed before the answer.
_SILENCE_IN_SECONDS = 300.0
_LISTING_SILENCE_IN_SECONDS = 60.0
# What rclone says of one that does not exist, and of a file.
_NO_FOLDER = ("file does not exist", "directory not found", "invalid argument")
_HOST = "http://files.invalid"
_WRITING = frozenset({"PUT", "DELETE", "MKCOL", "MOVE"})
_WANTED = (
    b'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop>'
    b"<D:resourcetype/><D:getcontentlength/><D:lastmodified/></D:prop></D:propfind>"
)


class FolderAway(StorageUnusable):
    """The files cannot be reached at the moment."""


class NothingThere(Exception):
    """There is no such file or folder."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`modified_at` is in epoch seconds, 0 when unknown."""

    name: bytes
    is_folder: bool
    size: int
    modified_at: int


@dataclass(frozen=True, slots=True)
class Way:
    """How the storage process reaches one user's files: sockets of the session's own rclone, and what counts its bytes.

    `place` is where they are, the same in all sessions of the user.
    """

    place: str
    upstream: Path
    remote_control: Path
    usage: Usage
    leads_away: LeadsAway = no_links
    readings: Readings = field(default_factory=Readings)


class UserFolder:
    """Use as a context manager. Every method raises FolderAway."""

    def __init__(self, way: Way) -> None:
        self.usage = way.usage
        self._way = way
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self._way.upstream), limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_SILENCE_IN_SECONDS),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    @asynccontextmanager
    async def ask(
        self, method: str, steps: Steps, *, headers: Mapping[str, str] | None = None, data: Any = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._http is not None  # noqa: S101 - see the class
        if method in _WRITING and self._way.leads_away(steps):
            raise FolderAway(f"{method} would follow a link")
        try:
            async with self._http.request(
                method,
                URL(_HOST + target_of(steps), encoded=True),
                headers=headers,
                data=data,
                allow_redirects=False,
            ) as answer:
                if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise FolderAway(f"{method} is answered with {answer.status}")
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise FolderAway(f"{method} broke off: {type(error).__name__}") from error

    async def find(self, steps: Steps) -> Entry | None:
        """Return what is there, if anything; what other tools did some seconds ago counts."""
        if steps and not self._way.readings.is_fresh(steps[:-1]):
            with suppress(NothingThere):  # then neither is what should be in it
                await self.read(steps[:-1])
        async with self._listing(steps, depth="0") as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            reader = _Multistatus()
            found = [entry async for entries in reader.read(answer) for entry in entries]
        return found[0] if found else None

    async def entries(self, steps: Steps) -> AsyncIterator[Sequence[Entry]]:
        """Yield what is in a folder, as it comes. Raises NothingThere."""
        await self.read(steps)
        async with self._listing(steps, depth="1") as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                if steps:
                    raise NothingThere
                return  # nobody has put anything into it yet
            is_first = True
            async for entries in _Multistatus().read(answer):
                if is_first and entries:
                    is_first = False
                    if not entries[0].is_folder:
                        raise NothingThere
                    yield entries[1:]
                else:
                    yield entries

    @asynccontextmanager
    async def _listing(self, steps: Steps, *, depth: str) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self.ask("PROPFIND", steps, headers={"Depth": depth}, data=_WANTED) as answer:
            if answer.status not in (HTTPStatus.MULTI_STATUS, HTTPStatus.NOT_FOUND):
                raise FolderAway(f"a listing is answered with {answer.status}")
            yield answer

    async def make_folder(self, steps: Steps) -> None:
        """Raises NothingThere when there is nowhere to make it."""
        async with self.ask("MKCOL", steps) as answer:
            if answer.status == HTTPStatus.CONFLICT:
                raise NothingThere
            _expect(answer, HTTPStatus.CREATED)

    async def move(self, steps: Steps, to: Steps) -> None:
        """Raises NothingThere."""
        headers = {"Destination": _HOST + target_of(to), "Overwrite": "F"}
        async with self.ask("MOVE", steps, headers=headers) as answer:
            if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise NothingThere
            _expect(answer, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT)

    async def delete(self, steps: Steps) -> None:
        """Remove a file, or a folder with all that is in it; what is gone already is removed."""
        async with self.ask("DELETE", steps) as answer:
            _expect(answer, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND)

    async def put(self, steps: Steps, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Return once all of it is stored. Raises NothingThere when there is no such folder."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        async with self.ask("PUT", steps, headers=headers, data=pieces) as answer:
            if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise NothingThere
            _expect(answer, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT)
        stored = await self.find(steps)
        if stored is None or stored.size != size:
            raise FolderAway("what was stored is not what was sent")

    async def look_anew(self) -> None:
        """Forget what was in the folders: the next listing shows what other tools have put there."""
        await self._control("vfs/forget", {})

    async def read(self, steps: Steps) -> None:
        """Have a folder read anew: a listing alone would show one that cannot be read as if it were empty.

        Raises NothingThere.
        """
        try:
            names = [step.decode() for step in steps]
        except UnicodeDecodeError:  # the remote control knows texts only
            await self.look_anew()
            return
        with self._way.readings.reading(steps):
            arguments = {"dir": "/".join(names)} if names else {}
            said = await self._control("vfs/refresh", arguments, limit_in_seconds=_SILENCE_IN_SECONDS)
        results = said.get("result")
        outcome = next(iter(results.values()), "") if isinstance(results, dict) else ""
        if outcome in _NO_FOLDER and steps:
            raise NothingThere
        if outcome != "OK" and outcome not in _NO_FOLDER:
            raise FolderAway("a folder cannot be read")

    async def listed(self) -> int:
        """Return how many names the storage has told this rclone since it was started, page by page."""
        try:
            return int((await self._control("core/stats", {}))["listed"])
        except (KeyError, TypeError, ValueError) as error:
            raise FolderAway("its numbers are not understood") from error

    async def _control(
        self, command: str, arguments: Mapping[str, str], *, limit_in_seconds: float = _LISTING_SILENCE_IN_SECONDS
    ) -> Mapping[str, Any]:
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(str(self._way.remote_control)),
                    timeout=aiohttp.ClientTimeout(total=limit_in_seconds),
                ) as http,
                http.post(f"{_HOST}/{command}", json=arguments) as answer,
            ):
                _expect(answer, HTTPStatus.OK)
                return dict(await answer.json(content_type=None))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise FolderAway(f"{command} broke off") from error


def _expect(answer: aiohttp.ClientResponse, *statuses: HTTPStatus) -> None:
    if answer.status not in statuses:
        raise FolderAway(f"{answer.method} is answered with {answer.status}")


class _Multistatus:
    """Reads the answer of PROPFIND piece by piece: it may have a hundred thousand entries."""

    def __init__(self) -> None:
        self._parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("end",))

    async def read(self, answer: aiohttp.ClientResponse) -> AsyncIterator[list[Entry]]:
        """Raises FolderAway when it breaks off."""
        if answer.status != HTTPStatus.MULTI_STATUS:
            return
        try:
            async for piece in _within(answer.content.iter_chunked(_LISTING_PIECE_IN_BYTES)):
                self._parser.feed(piece)
                if entries := self._complete():
                    yield entries
            self._parser.close()
        except ET.ParseError as error:
            raise FolderAway("a listing is incomplete") from error

    def _complete(self) -> list[Entry]:
        found = []
        for _, element in cast("Iterator[tuple[str, ET.Element]]", self._parser.read_events()):
            if element.tag == "{DAV:}response":
                found.append(_entry_of(element))
                element.clear()  # so that a hundred thousand of them take no room
        return found


async def _within(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(_LISTING_SILENCE_IN_SECONDS):
            piece = await anext(pieces, b"")
        if not piece:
            return
        yield piece


def _entry_of(response: ET.Element) -> Entry:
    href = response.findtext("{DAV:}href", "")
    return Entry(
        name=unquote_to_bytes(href.rstrip("/").rpartition("/")[2]),
        is_folder=next(response.iter("{DAV:}collection"), None) is not None,
        size=_number(response, "getcontentlength"),
        modified_at=_number(response, "lastmodified"),
    )


def _number(response: ET.Element, name: str) -> int:
    element = next(response.iter(f"{{DAV:}}{name}"), None)
    text = element.text if element is not None else None
    return int(text) if text and text.isdigit() else 0


def to_line(entries: Sequence[Entry]) -> bytes:
    """Return entries as a line of JSON: [name, is folder, size, epoch seconds], and the name's bytes if it is no UTF-8."""
    return json.dumps({"entries": [_row(entry) for entry in entries]}, separators=(",", ":")).encode() + b"\n"


def _row(entry: Entry) -> list[object]:
    row: list[object] = [
        entry.name.decode("utf-8", "replace"),
        int(entry.is_folder),
        entry.size,
        entry.modified_at,
    ]
    try:
        entry.name.decode()
    except UnicodeDecodeError:
        row.append(target_of((entry.name,))[1:])
    return row
