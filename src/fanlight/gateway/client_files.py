"""Files that come from below DATA_DIR: the stream client of the runtime.

Names are matched against what such names look like before they meet a path, and the last step follows no link. Client
files are addressed by version and content, so that browsers may keep them for ever; they are compressed once.
"""

import gzip
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

MAX_CLIENT_FILE_IN_BYTES = 8 * 1024 * 1024
_WORTH_COMPRESSING_IN_BYTES = 1024
_CACHED_FILES = 64
_CACHED_TAGS = 16
_STEP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}")
_CLIENT_KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".css": "text/css; charset=utf-8",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
ENTRY_POINT = "src/selkies-core.js"


@dataclass(frozen=True, slots=True)
class ClientFile:
    content_type: str
    body: bytes
    compressed: bytes | None


def is_step(name: str) -> bool:
    """Return whether this is one plain step of a path, safe to join."""
    return _STEP.fullmatch(name) is not None and ".." not in name


class ClientFiles:
    def __init__(self, data_dir: Path) -> None:
        self._runtimes = data_dir / "runtime"
        self._cache: dict[tuple[Path, int], ClientFile] = {}
        self._tags: dict[tuple[Path, int], str] = {}

    def base(self, version: str | None = None) -> str | None:
        """Return the path under which a runtime's client is served; the current one's when that is not there, or None."""
        own = self._base_of(version) if version and is_step(version) else None
        current = None if own else self._current_version()
        return self._base_of(current) if current else own

    def _base_of(self, version: str) -> str | None:
        entry = self._client(version) / ENTRY_POINT
        try:
            key = (entry, entry.stat().st_mtime_ns)
            if key not in self._tags:
                while len(self._tags) >= _CACHED_TAGS:
                    del self._tags[next(iter(self._tags))]
                self._tags[key] = hashlib.sha256(entry.read_bytes()).hexdigest()[:12]
        except OSError:
            return None
        return f"/client/{version}/{self._tags[key]}/"

    def client_file(self, version: str, steps: str) -> ClientFile | None:
        """Return a file of a runtime's client, or None when there is no such file or it must not be served."""
        path = steps.split("/")
        kind = _CLIENT_KINDS.get(os.path.splitext(path[-1])[1])  # noqa: PTH122 - a name, not a path
        if kind is None or not is_step(version) or not all(is_step(step) for step in path):
            return None
        return self._read_client(self._client(version).joinpath(*path), kind)

    def _current_version(self) -> str | None:
        try:
            version = (self._runtimes / "current").resolve(strict=True).name
        except (OSError, RuntimeError):
            return None
        return version if is_step(version) else None

    def _client(self, version: str) -> Path:
        return self._runtimes / version / "client"

    def _read_client(self, path: Path, kind: str) -> ClientFile | None:
        try:
            key = (path, path.stat(follow_symlinks=False).st_mtime_ns)
            if key in self._cache:
                return self._cache[key]
            body = _read(path, MAX_CLIENT_FILE_IN_BYTES)
        except OSError:
            return None
        compressed = gzip.compress(body, 9, mtime=0) if len(body) > _WORTH_COMPRESSING_IN_BYTES else None
        while len(self._cache) >= _CACHED_FILES:
            del self._cache[next(iter(self._cache))]
        self._cache[key] = ClientFile(kind, body, compressed)
        return self._cache[key]


def _read(path: Path, limit: int) -> bytes:
    """Raises OSError, also for what is no plain file or larger than `limit` bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        body = file.read(limit + 1)
    if len(body) > limit:
        raise OSError(f"{path.name} is too large")
    return body
