"""An S3 endpoint of somebody else, with what may become of one: it dies, its disk is full, its clock is another."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_connection
from typing import Self

from e2e.installation import KEY_ID, SECRET, wait_for
from fanlight.storage.rclone import PROGRAM
from free_ports import free_port

SKEWED = (
    b'<?xml version="1.0"?><Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time '
    b"and the current time is too large.</Message></Error>"
)


@dataclass
class ForeignS3:
    """rclone on a small disk of its own, behind a port that stays. Use it as a context manager."""

    directory: Path
    size_in_mib: int = 600
    port: int = field(default_factory=free_port)
    received: int = 0  # bytes that came from clients
    is_skewed: bool = False  # refuse every request for the time it was signed at
    process: subprocess.Popen[bytes] | None = None
    _own_port: int = field(default_factory=free_port)
    _leaving: ExitStack = field(default_factory=ExitStack)

    @property
    def settings(self) -> dict[str, str]:
        return {
            "s3_endpoint_url": f"http://127.0.0.1:{self.port}",
            "s3_access_key_id": KEY_ID,
            "s3_secret_access_key": SECRET,
        }

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory.mkdir(parents=True)
            stack.callback(shutil.rmtree, self.directory)
            size = f"size={self.size_in_mib}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.directory)], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", str(self.directory)], check=True)
            stack.callback(self.kill)
            self.start()
            server = ThreadingHTTPServer(("127.0.0.1", self.port), self._make_handler())
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self._leaving = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.close()

    def start(self) -> None:
        for unfinished in self.directory.rglob(".rclone_temp_*"):
            unfinished.unlink()  # as endpoints do with uploads that nobody ends
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "s3", self.directory, "--addr", f"127.0.0.1:{self._own_port}", "--dir-cache-time", "1s"],
            env={**os.environ, "RCLONE_CONFIG": "/dev/null", "RCLONE_AUTH_KEY": f'"{KEY_ID},{SECRET}"'},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._answers, timeout=20, what="the S3 endpoint")

    def _answers(self) -> bool:
        try:
            create_connection(("127.0.0.1", self._own_port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """kill -9: what was under way is cut off."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stored(self, key: str) -> Path:
        """Return where an object of the account's home folders is."""
        return self.directory / "appstream2-36fb080bb8-us-east-1-000000000000" / key

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(OSError):  # either side is gone
                    super().handle_one_request()

            def pass_on(self) -> None:
                owner.answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - names of the base class

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base class
                pass

        return Handler

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        asked.close_connection = True  # what is under way is all that a change of ours has to break
        body = self._body(asked)
        if self.is_skewed:
            for _ in body:
                pass
            _say(asked, 403, {"Content-Type": "application/xml"}, SKEWED)
        else:
            upstream = HTTPConnection("127.0.0.1", self._own_port, timeout=30)
            try:
                length = int(asked.headers.get("Content-Length", "0"))
                upstream.request(asked.command, asked.path, body if length else None, dict(asked.headers))
                answer = upstream.getresponse()
                _say(asked, answer.status, dict(answer.getheaders()), answer.read())
            finally:
                upstream.close()

    def _body(self, asked: BaseHTTPRequestHandler) -> Iterator[bytes]:
        left = int(asked.headers.get("Content-Length", "0"))
        while left > 0 and (piece := asked.rfile.read(min(left, 262_144))):
            left -= len(piece)
            self.received += len(piece)
            yield piece


def _say(asked: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes) -> None:
    asked.send_response_only(status)
    for name, value in headers.items():
        if name.lower() not in ("connection", "transfer-encoding", "content-length"):
            asked.send_header(name, value)
    length = headers.get("Content-Length") if asked.command == "HEAD" else None
    asked.send_header("Content-Length", length or str(len(content)))
    asked.send_header("Connection", "close")
    asked.end_headers()
    asked.wfile.write(content)
