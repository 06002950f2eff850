"""The session's temporary files, for the page: looked into, fetched, renamed, removed, as the stack allows.

Whether a stack allows it is the gateway's to say, which alone may come here; it believes nothing that it is told. This
runs as the session's user and has no right that the user's own programs lack. The gateway names paths in headers,
percent-encoded, each step for itself: names are bytes.

Started by the agent when the gateway first connects, with the listening socket as the descriptor given as the first
argument and the folder as the second; ends when nobody asked for IDLE_IN_SECONDS.
"""

import errno
import json
import logging
import os
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from fanlight.agent.temporary_folder import MAX_ENTRIES, PIECE_IN_BYTES, Entry, Steps, TemporaryFolder, TooMuch
from fanlight.agent.temporary_uploads import IsFolder, OtherFile, TemporaryUploads, TooLong, Wish, path_of

log = logging.getLogger(__name__)

IDLE_IN_SECONDS = 60.0
SILENCE_IN_SECONDS = 60.0
AT_ONCE = 16
PATH, TO = "X-Path", "X-To"
_ENTRIES_IN_A_LINE = 500
_STATUS_OF = {
    errno.ENOENT: 404,
    errno.ENOTDIR: 404,
    errno.ELOOP: 404,  # a link, which is not followed
    errno.ENXIO: 404,
    errno.EEXIST: 409,
    errno.ENOTEMPTY: 409,
    errno.EINVAL: 400,  # a folder into itself
    errno.ENAMETOOLONG: 400,
    errno.ENOSPC: 507,
    errno.EDQUOT: 507,
}
_NOT_ALLOWED, _TOO_MUCH, _BAD_PATH, _OTHER_FILE, _TOO_LONG, _IS_FOLDER = 403, 413, 400, 412, 416, 422
_UPLOAD_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_NUMBER = re.compile(r"[0-9]{1,15}")


class BadPath(Exception):
    """A step of it is no name."""


def steps_of(path: str) -> Steps:
    """Raises BadPath."""
    steps = tuple(unquote_to_bytes(step) for step in path.split("/") if step)
    if any(not step or b"/" in step or b"\0" in step or step in (b".", b"..") for step in steps):
        raise BadPath
    return steps


class FilesServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """One thread a request, AT_ONCE at most: files are read and written where they are."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, folder: TemporaryFolder, idle_in_seconds: float) -> None:
        super().__init__("", _Request, bind_and_activate=False)
        self.socket.close()
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self.socket, self.folder, self.timeout = listener, folder, idle_in_seconds
        self._lock, self._open, self._is_idle = threading.Lock(), 0, False

    def serve_until_idle(self) -> None:
        while not (self._is_idle and self._open == 0):
            self._is_idle = False
            self.handle_request()

    def handle_timeout(self) -> None:
        self._is_idle = True

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            is_crowded = self._open >= AT_ONCE
            self._open += not is_crowded
        if is_crowded:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the standard library's
        log.warning("a request failed: %r", sys.exception())


class _Request(BaseHTTPRequestHandler):
    """HTTP/1.0: one request a connection. Refusals are a status alone; the gateway has the words."""

    server: FilesServer
    timeout = SILENCE_IN_SECONDS

    def do_GET(self) -> None:
        self._serve(
            {"/folder": self._list, "/file": self._send_file, "/zip": self._send_zip, "/uploads": self._list_uploads}
        )

    def do_PUT(self) -> None:
        self._serve({"/uploads": self._receive})

    def do_POST(self) -> None:
        folder = self.server.folder
        self._serve(
            {
                "/folder": lambda: self._change(lambda: folder.make_folder(self._steps(PATH))),
                "/move": lambda: self._change(lambda: folder.move(self._steps(PATH), self._steps(TO))),
                "/delete": lambda: self._change(lambda: folder.delete(self._steps(PATH))),
                "/drop-upload": lambda: self._change(lambda: TemporaryUploads(folder).drop(self._upload_id())),
            }
        )

    def log_message(self, *_: Any) -> None:
        """Names of files are nobody's business but the user's."""

    def _serve(self, actions: Mapping[str, Callable[[], None]]) -> None:
        self._has_begun = False
        try:
            action = actions.get(self.path)
            if action is None:
                self._say(404)
            else:
                action()
        except (ConnectionError, TimeoutError):
            return
        except (BadPath, TooMuch, OtherFile, TooLong, IsFolder, OSError) as error:
            if not self._has_begun:  # or the answer ends here, too short for what it should be
                self._say(_status_of(error))

    def _list(self) -> None:
        entries = self.server.folder.entries(self._steps(PATH))
        body = b"".join(_lines(entries))
        self._say(200, len(body))
        self.wfile.write(body)

    def _send_file(self) -> None:
        with self.server.folder.file(self._steps(PATH)) as (file, size):
            self._say(200, size)
            left = size
            while left and (piece := file.read(min(PIECE_IN_BYTES, left))):
                self.wfile.write(piece)
                left -= len(piece)

    def _send_zip(self) -> None:
        def write(piece: bytes) -> None:
            if not self._has_begun:
                self._say(200, None)
            self.wfile.write(piece)

        self.server.folder.write_zip(self._steps(PATH), write)

    def _list_uploads(self) -> None:
        found = TemporaryUploads(self.server.folder).unfinished()
        body = json.dumps(
            [
                [one.upload_id, path_of(one.wish.steps), one.wish.size, one.received, one.wish.fingerprint]
                for one in found
            ]
        ).encode()
        self._say(200, len(body))
        self.wfile.write(body)

    def _receive(self) -> None:
        wish = Wish(
            self._steps(PATH),
            self._number("X-Size"),
            self.headers.get("X-Conflict", ""),
            self.headers.get("X-Fingerprint", ""),
        )
        state, received = TemporaryUploads(self.server.folder).receive(
            self._upload_id(), wish, self._number("X-Offset"), self._body()
        )
        body = json.dumps({"state": state, "received": received}).encode()
        self._say(200, len(body))
        self.wfile.write(body)

    def _body(self) -> Iterator[bytes]:
        """Yield what comes, also of a body that breaks off: it is gone on with."""
        left = self._number("Content-Length")
        while left and (piece := self.rfile.read1(min(PIECE_IN_BYTES, left))):
            left -= len(piece)
            yield piece

    def _number(self, header: str) -> int:
        text = self.headers.get(header, "")
        if not _NUMBER.fullmatch(text):
            raise BadPath
        return int(text)

    def _upload_id(self) -> str:
        upload_id = self.headers.get("X-Upload-Id", "")
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise BadPath
        return str(upload_id)

    def _change(self, change: Callable[[], None]) -> None:
        change()
        self._say(200)

    def _steps(self, header: str) -> Steps:
        return steps_of(self.headers.get(header, ""))

    def _say(self, status: int, length: int | None = 0) -> None:
        self._has_begun = True
        self.send_response_only(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()


def _status_of(error: Exception) -> int:
    if isinstance(error, OSError):
        return _NOT_ALLOWED if isinstance(error, PermissionError) else _STATUS_OF.get(error.errno or 0, 500)
    return {BadPath: _BAD_PATH, OtherFile: _OTHER_FILE, TooLong: _TOO_LONG, IsFolder: _IS_FOLDER}.get(
        type(error), _TOO_MUCH
    )


def _lines(entries: list[Entry]) -> Iterator[bytes]:
    """Yield what the gateway reads: entries as [name, is folder, size, modified at, key], the key where a name is no text."""
    shown = entries[:MAX_ENTRIES]
    for start in range(0, len(shown), _ENTRIES_IN_A_LINE):
        some = [_row(entry) for entry in shown[start : start + _ENTRIES_IN_A_LINE]]
        yield json.dumps({"entries": some}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    yield json.dumps({"isWhole": True, "isCut": len(entries) > MAX_ENTRIES}).encode() + b"\n"


def _row(entry: Entry) -> list[object]:
    name = entry.name.decode("utf-8", "replace")
    row: list[object] = [name, int(entry.is_folder), entry.size, entry.modified_at]
    return row if name.encode() == entry.name else [*row, quote_from_bytes(entry.name, safe="")]


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    os.umask(0)  # what is made here says itself who may
    listener = socket.socket(fileno=int(sys.argv[1]))
    FilesServer(listener, TemporaryFolder(sys.argv[2]), IDLE_IN_SECONDS).serve_until_idle()
