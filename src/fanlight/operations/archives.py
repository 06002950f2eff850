"""Backup files: a manifest, then the files it names, in a compressed tar that is written whole or not at all.

Reading treats the archive as an attacker's: only plain files of the layout below, of the size and checksum that the
manifest gives them, ever leave it. A name that does not match the layout cannot point anywhere, so paths need no cleaning.
"""

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fanlight.operations.errors import OperationFailed

FORMAT = 1
SQLITE_FILE = "state/fanlight.db"
POSTGRESQL_DUMP = "state/database.pgdump"
DatabaseKind = Literal["sqlite", "postgresql"]
MANIFEST_NAME = "manifest.json"
MANIFEST_MAX_BYTES = 4 * 2**20  # Some 20,000 files; more is not an installation of ours.
_BLOCK = 512
_CHUNK = 2**20
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
LAYOUT = re.compile(
    r"state/(fanlight\.db|database\.pgdump|signing\.key|installation\.id)|gateway/cookie\.key|credentials|metrics\.token|(config|networks)\.toml"
    rf"|tls/(cert|key)\.pem|(state/)?images/{_NAME}/icons/{_NAME}\.png|images/{_NAME}/catalogue\.json"
)


class Entry(BaseModel):
    """One file of the archive; `path` is where it stands under the data directory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(pattern=f"^({LAYOUT.pattern})$")
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What the archive holds and who made it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    fanlight_version: str = Field(pattern=r"^\d{1,6}(\.\d{1,6}){1,3}([a-z0-9.+-]{0,30})$")
    database: DatabaseKind
    schema_revision: str = Field(pattern=r"^[A-Za-z0-9_]{1,64}$")
    created_at: str = Field(max_length=40)
    files: tuple[Entry, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.files)


def compression_of(target: Path) -> Literal["gzip", "zstd"]:
    """Return what the file name asks for. Raises OperationFailed for another name, and when `zstd` is not installed."""
    if target.name.endswith((".tar.gz", ".tgz")):
        return "gzip"
    if target.name.endswith(".tar.zst"):
        _zstd()
        return "zstd"
    raise OperationFailed(f"{target} must end in .tar.zst or .tar.gz, which says how it is compressed.")


def entries_of(staged: Path) -> tuple[Entry, ...]:
    """Return size and checksum of every file under a directory that is laid out like the data directory."""
    return tuple(
        Entry(path=path.relative_to(staged).as_posix(), size=path.stat().st_size, sha256=_checksum(path))
        for path in sorted(staged.rglob("*"))
        if path.is_file()
    )


def write_archive(target: Path, staged: Path, manifest: Manifest, *, is_forced: bool) -> int:
    """Write the archive (mode 0600) and return its size in bytes. The target appears complete, or not at all.

    Raises OperationFailed when the target exists and `is_forced` is not, and OSError when the disk is full.
    """
    kind = compression_of(target)
    if target.exists() and not is_forced:
        raise OperationFailed(f"{target} exists already: choose another name, or --force to replace it.")
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with (
                _compressed(file, kind) as stream,
                tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
            ):
                _add(tar, MANIFEST_NAME, manifest.model_dump_json(indent=1).encode())
                for entry in manifest.files:
                    _add(tar, entry.path, staged / entry.path)
            file.flush()
            os.fsync(file.fileno())
        size = temporary.stat().st_size
        _publish(temporary, target, is_forced=is_forced)
    finally:
        temporary.unlink(missing_ok=True)
    return size


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[Manifest, Iterator[tuple[Entry, Iterator[bytes]]]]]:
    """Give the manifest and then every file of the archive, checked as it is read.

    Each file must be consumed before the next is asked for. Raises OperationFailed for anything that is not exactly an
    archive of ours, in the block's own code too.
    """
    try:
        with path.open("rb", buffering=0) as file, _decompressed(file, path) as stream:
            members = _members(stream, path)
            name, size, content = next(members, ("", 0, iter(())))
            if name != MANIFEST_NAME or size > MANIFEST_MAX_BYTES:
                raise OperationFailed(f"{path} is not a backup of Fanlight: it does not begin with a manifest.")
            manifest = _manifest(b"".join(content), path)
            yield manifest, _checked(manifest, members, path)
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise OperationFailed(f"{path} is damaged or cut off ({error}). Nothing was changed.") from error


def _manifest(content: bytes, path: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise OperationFailed(
            f"The manifest of {path} is refused: {where}: {first['msg']}. Nothing was changed."
        ) from error
    if len({entry.path for entry in manifest.files}) != len(manifest.files):
        raise OperationFailed(f"The manifest of {path} names a file twice. Nothing was changed.")
    return manifest


def _checked(
    manifest: Manifest, members: Iterator[tuple[str, int, Iterator[bytes]]], path: Path
) -> Iterator[tuple[Entry, Iterator[bytes]]]:
    missing = {entry.path: entry for entry in manifest.files}
    for name, size, content in members:
        entry = missing.pop(name, None)
        if entry is None or entry.size != size:
            raise OperationFailed(
                f"{path} holds {name!r}, which its manifest does not describe so. Nothing was changed."
            )
        digest = hashlib.sha256()
        yield entry, _hashed(content, digest)
        if digest.hexdigest() != entry.sha256:
            raise OperationFailed(f"{name} in {path} does not have the checksum of the manifest. Nothing was changed.")
    if missing:
        raise OperationFailed(f"{path} lacks {min(missing)}, which its manifest names. Nothing was changed.")


def _hashed(content: Iterator[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for chunk in content:
        digest.update(chunk)
        yield chunk


def _members(stream: IO[bytes], path: Path) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Walk the tar by its 512-byte headers.

    The library's own walk would follow extension headers, whose length the archive chooses and which it reads into memory
    whole; ours are never needed, so they are refused like links and devices.
    """
    while (header := _exactly(stream, _BLOCK)) != bytes(_BLOCK):
        member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.size < 0:
            raise OperationFailed(f"{path} holds {member.name!r}, which is not a plain file. Nothing was changed.")
        content = _content(stream, member.size)
        yield member.name, member.size, content
        for _ in content:  # what was not consumed
            pass
        _exactly(stream, -member.size % _BLOCK)


def _content(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        chunk = _exactly(stream, min(size, _CHUNK))
        size -= len(chunk)
        yield chunk


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = b""
    while len(content) < size:
        more = stream.read(size - len(content))
        if not more:
            raise EOFError("it ends too early")
        content += more
    return content


def _add(tar: tarfile.TarFile, name: str, source: bytes | Path) -> None:
    member = tarfile.TarInfo(name)
    member.mode = 0o600
    if isinstance(source, bytes):
        member.size = len(source)
        tar.addfile(member, io.BytesIO(source))
        return
    with source.open("rb") as file:
        member.size = os.fstat(file.fileno()).st_size
        member.mtime = int(os.fstat(file.fileno()).st_mtime)
        tar.addfile(member, file)


def _publish(temporary: Path, target: Path, *, is_forced: bool) -> None:
    if is_forced:
        temporary.replace(target)
    else:
        try:
            os.link(temporary, target)  # unlike a rename, it cannot replace what somebody put there meanwhile
        except FileExistsError:
            raise OperationFailed(f"{target} was made by somebody else meanwhile: choose another name.") from None
        except OSError:  # a file system without hard links, such as that of a memory stick
            temporary.rename(target)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _zstd() -> str:
    found = shutil.which("zstd")
    if not found:
        raise OperationFailed("The program zstd is not installed: apt-get install zstd, or use a .tar.gz file.")
    return found


@contextmanager
def _compressed(file: IO[bytes], kind: Literal["gzip", "zstd"]) -> Iterator[IO[bytes]]:
    if kind == "gzip":
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as stream:
            yield stream  # type: ignore[misc]  # a GzipFile is a binary stream, its stub does not say so
        return
    process = subprocess.Popen(  # noqa: S603 - our own fixed command
        [_zstd(), "-q", "-c"], stdin=subprocess.PIPE, stdout=file, stderr=subprocess.PIPE
    )
    assert process.stdin is not None  # noqa: S101 - PIPE was asked for
    assert process.stderr is not None  # noqa: S101
    is_broken = False
    try:
        try:
            yield process.stdin
            process.stdin.close()
        except BrokenPipeError:
            is_broken = True  # its own words say more
        words = process.stderr.read().decode(errors="replace").strip()
        if process.wait() != 0 or is_broken:
            raise OSError(f"zstd: {words}")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        with suppress(BrokenPipeError):
            process.stdin.close()


@contextmanager
def _decompressed(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=file, mode="rb") as stream:
            yield stream  # type: ignore[misc]
    elif magic == b"\x28\xb5\x2f\xfd":
        process = subprocess.Popen(  # noqa: S603
            [_zstd(), "-q", "-d", "-c"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None  # noqa: S101
        try:
            yield process.stdout
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    else:
        raise OperationFailed(f"{path} is neither gzip nor zstd, so it is not a backup of Fanlight.")


def ensure_room(directory: Path, needed: int) -> None:
    """Raise OperationFailed before anything is written, when the file system cannot hold it anyway."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OperationFailed(
            f"{directory} has {free / 2**20:,.0f} MiB free, {needed / 2**20:,.0f} MiB are needed. Nothing was changed."
        )
