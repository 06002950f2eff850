"""The versions of a user's settings behind the session's door, and which of them is the one.

Each version is one file that never changes; its name says when it was made, how long it is and what its digest is. So
the newest that is whole is the one, and an upload that was cut off is nobody's: there is no second place that could
say something else. Whoever ends last has the newest.
"""

import hashlib
import http.client
import re
import socket
from base64 import b64encode
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import IO
from xml.etree import ElementTree as ET

from fanlight.agentwire import KEPT_SETTINGS_VERSIONS

USER = "session"
# A version that is not whole may be one that somebody is sending right now.
ABANDONED_AFTER = timedelta(days=1)
_NAME = re.compile(r"(\d{8}T\d{6}Z)-(\d{1,15})-([0-9a-f]{64})\.tar\.gz")
_TIME = "%Y%m%dT%H%M%SZ"
_MAX_LISTING = 4 << 20
_CHUNK_BYTES = 256 * 1024
_DAV = "{DAV:}"

OnSent = Callable[[int], None]


class Unreachable(Exception):
    """The door does not answer, or what is behind it. The text says how."""


class NotThere(Unreachable):
    """Nobody listens at the door: it has not been opened yet, or is being opened again."""


class Broken(Exception):
    """What came is not what its name says."""


class Full(Exception):
    """There is no room for another version."""


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """`made_at` orders them."""

    made_at: datetime
    size: int
    digest: str

    @property
    def name(self) -> str:
        return f"{self.made_at:{_TIME}}-{self.size}-{self.digest}.tar.gz"


@dataclass(frozen=True, slots=True)
class Listed:
    version: Version
    is_whole: bool


def newest_first(listed: Iterable[Listed]) -> list[Version]:
    """Return the versions that may be used."""
    return sorted((each.version for each in listed if each.is_whole), reverse=True)


def next_version(listed: Iterable[Listed], size: int, digest: str, now: datetime) -> Version:
    """Return the name of a version that will be the newest, whatever the clocks of the others said."""
    latest = max((each.version.made_at for each in listed), default=now - timedelta(seconds=1))
    made_at = max(now.replace(microsecond=0), latest + timedelta(seconds=1))
    return Version(made_at, size, digest)


def outdated(listed: Iterable[Listed], now: datetime) -> list[Version]:
    """Return what may go, once a version has arrived."""
    found = list(listed)
    abandoned = [each.version for each in found if not each.is_whole and each.version.made_at < now - ABANDONED_AFTER]
    return [*newest_first(found)[KEPT_SETTINGS_VERSIONS:], *abandoned]


class Door:
    """WebDAV at a unix socket. Every call raises Unreachable, and is over within `patience` seconds without a byte."""

    def __init__(self, path: str, token: str, *, patience: float) -> None:
        self._path, self._patience = path, patience
        self._leave = {"Authorization": f"Basic {b64encode(f'{USER}:{token}'.encode()).decode()}"}

    def versions(self) -> list[Listed]:
        """Return what is there, in no order; names that are not ours are left out."""
        connection, answer = self._ask("PROPFIND", "/", headers={"Depth": "1"})
        try:
            if answer.status == HTTPStatus.NOT_FOUND:
                return []
            text = answer.read(_MAX_LISTING)
            if answer.status != HTTPStatus.MULTI_STATUS:
                raise Unreachable(f"the list of versions was answered with {answer.status}")
            # A listing that broke off is no listing: words that follow the document make it malformed.
            return _listed(ET.fromstring(text))  # noqa: S314 - the host says it
        except (OSError, http.client.HTTPException, ET.ParseError) as error:
            raise Unreachable(f"the list of versions broke off: {_named(error)}") from error
        finally:
            connection.close()

    def fetch(self, version: Version, target: IO[bytes]) -> None:
        """Write a version to a file. Raises Broken."""
        connection, answer = self._ask("GET", f"/{version.name}")
        try:
            if answer.status != HTTPStatus.OK:
                raise Unreachable(f"a version was answered with {answer.status}")
            digest, size = hashlib.sha256(), 0
            while chunk := answer.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > version.size:
                    break
                digest.update(chunk)
                target.write(chunk)
            if (size, digest.hexdigest()) != (version.size, version.digest):
                raise Broken("it is not what was sent")
        except http.client.HTTPException as error:
            raise Broken("it broke off") from error
        except OSError as error:
            raise Unreachable(_named(error)) from error
        finally:
            connection.close()

    def send(self, version: Version, source: IO[bytes], on_sent: OnSent) -> None:
        """Raises Full."""

        def pieces() -> Iterable[bytes]:
            sent = 0
            while chunk := source.read(_CHUNK_BYTES):
                yield chunk
                sent += len(chunk)
                on_sent(sent)

        connection, answer = self._ask(
            "PUT", f"/{version.name}", headers={"Content-Length": str(version.size)}, body=pieces()
        )
        connection.close()
        if answer.status == HTTPStatus.INSUFFICIENT_STORAGE:
            raise Full
        if answer.status not in (HTTPStatus.CREATED, HTTPStatus.NO_CONTENT, HTTPStatus.OK):
            raise Unreachable(f"the upload was answered with {answer.status}")

    def remove(self, version: Version) -> None:
        connection, _ = self._ask("DELETE", f"/{version.name}")
        connection.close()

    def _ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: Iterable[bytes] | None = None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = _UnixConnection(self._path, self._patience)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # who refuses does not wait for the rest
                connection.request(method, path, body=body, headers={**self._leave, **(headers or {})})
            answer = connection.getresponse()
        except BaseException as error:
            connection.close()
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise NotThere(_named(error)) from error
            if isinstance(error, OSError | http.client.HTTPException):
                raise Unreachable(_named(error)) from error
            raise
        if answer.status == HTTPStatus.UNAUTHORIZED:
            connection.close()
            raise Unreachable("the door does not open")
        return connection, answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, patience: float) -> None:
        super().__init__("storage.invalid", timeout=patience)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _listed(document: ET.Element) -> list[Listed]:
    found: list[Listed] = []
    for response in document.iter(f"{_DAV}response"):
        name = (response.findtext(f"{_DAV}href") or "").rpartition("/")[2]
        length = next((each.text or "" for each in response.iter(f"{_DAV}getcontentlength")), "")
        if (version := _version_of(name)) is not None and length.isdecimal():
            found.append(Listed(version, int(length) == version.size))
    return found


def _version_of(name: str) -> Version | None:
    if (match := _NAME.fullmatch(name)) is None:
        return None
    try:
        made_at = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Version(made_at, int(match[2]), match[3])


def _named(error: Exception) -> str:
    return str(error) or type(error).__name__
