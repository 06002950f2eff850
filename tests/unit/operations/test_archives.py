"""An archive is an attacker's until proven ours: nothing but the described plain files ever comes out of it."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fanlight.operations.archives import (
    FORMAT,
    MANIFEST_NAME,
    Entry,
    Manifest,
    compression_of,
    entries_of,
    open_archive,
    write_archive,
)
from fanlight.operations.errors import OperationFailed

CONTENT = b"a key"


def entry(path: str = "state/signing.key", content: bytes = CONTENT) -> dict[str, object]:
    return {"path": path, "size": len(content), "sha256": sha256(content).hexdigest()}


def manifest_json(*entries: dict[str, object], **changed: object) -> bytes:
    body: dict[str, object] = {
        "format": FORMAT,
        "fanlight_version": "0.1.0",
        "database": "sqlite",
        "schema_revision": "0001",
        "created_at": "2026-01-02T03:04:05+00:00",
        "files": entries or (entry(),),
    }
    return json.dumps(body | changed).encode()


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes], format_: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=format_) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def read(path: Path) -> dict[str, bytes]:
    with open_archive(path) as (_, files):
        return {entry.path: b"".join(content) for entry, content in files}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup.tar.gz"


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """Files laid out like a data directory, one of them larger than any buffer."""
    for path, content in {
        "state/fanlight.db": os.urandom(3 * 2**20 + 17),
        "state/signing.key": CONTENT,
        "images/sample-1/icons/gimp.png": b"",
    }.items():
        file = tmp_path / "staged" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "staged"


def manifest_of(staged: Path) -> Manifest:
    return Manifest.model_validate_json(manifest_json()).model_copy(update={"files": entries_of(staged)})


@pytest.mark.parametrize("name", ["backup.tar.gz", "backup.tgz", "backup.tar.zst"])
def test_what_was_written_is_read_back(tmp_path: Path, staged: Path, name: str) -> None:
    write_archive(tmp_path / name, staged, manifest_of(staged), is_forced=False)
    assert read(tmp_path / name) == {e.path: (staged / e.path).read_bytes() for e in entries_of(staged)}
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_an_archive_that_is_there_is_not_replaced(target: Path, staged: Path) -> None:
    target.write_text("precious")
    with pytest.raises(OperationFailed, match="--force"):
        write_archive(target, staged, manifest_of(staged), is_forced=False)
    assert target.read_text() == "precious"


def test_force_replaces_an_archive(target: Path, staged: Path) -> None:
    target.write_text("precious")
    write_archive(target, staged, manifest_of(staged), is_forced=True)
    assert "state/signing.key" in read(target)


@pytest.mark.parametrize("name", ["backup.zip", "backup.tar", "backup"])
def test_the_name_must_say_how_to_compress(name: str) -> None:
    with pytest.raises(OperationFailed, match=r"\.tar\.zst or \.tar\.gz"):
        compression_of(Path(name))


HOSTILE_PATHS = [
    "../etc/passwd",
    "/etc/passwd",
    "state/../../etc/passwd",
    "images/../../x/catalogue.json",
    "images/..",
    "images/.hidden/catalogue.json",
    "images/a/icons/../../../x.png",
    "images/a/icons/x.svg",
    "state/other",
    "state/signing.key\n",
    "credentials/",
    ".lock",
    "",
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_manifest_cannot_name_a_path_outside_the_layout(target: Path, path: str) -> None:
    archive(target, member(MANIFEST_NAME, manifest_json(entry(path))), member("state/signing.key", CONTENT))
    with pytest.raises(OperationFailed, match="manifest"):
        read(target)


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_accepted_path_leaves_the_data_directory(path: str) -> None:
    try:
        accepted = Entry(path=path, size=0, sha256="0" * 64).path
    except ValidationError:
        return
    assert not Path(accepted).is_absolute()
    assert ".." not in Path(accepted).parts


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_member_that_the_manifest_does_not_name_is_refused(target: Path, path: str) -> None:
    archive(target, member(MANIFEST_NAME, manifest_json()), member(path, CONTENT))
    with pytest.raises(OperationFailed):
        read(target)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE],
)
def test_only_plain_files_are_taken(target: Path, kind: bytes) -> None:
    link = member("state/signing.key", b"", type=kind, linkname="/etc/shadow")
    archive(target, member(MANIFEST_NAME, manifest_json()), link)
    with pytest.raises(OperationFailed, match="not a plain file"):
        read(target)


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_headers_of_unbounded_length_are_refused(target: Path, format_: int) -> None:
    archive(target, member(MANIFEST_NAME, manifest_json()), member("a" * 5000, b"x"), format_=format_)
    with pytest.raises(OperationFailed, match="not a plain file"):
        read(target)


CHANGES: dict[str, Callable[[], list[tuple[tarfile.TarInfo, bytes]]]] = {
    "no manifest": lambda: [member("state/signing.key", CONTENT)],
    "manifest later": lambda: [member("state/signing.key", CONTENT), member(MANIFEST_NAME, manifest_json())],
    "other content": lambda: [member(MANIFEST_NAME, manifest_json()), member("state/signing.key", b"b key")],
    "other size": lambda: [member(MANIFEST_NAME, manifest_json()), member("state/signing.key", b"longer key")],
    "file missing": lambda: [member(MANIFEST_NAME, manifest_json())],
    "file twice": lambda: [member(MANIFEST_NAME, manifest_json()), *[member("state/signing.key", CONTENT)] * 2],
    "named twice": lambda: [
        member(MANIFEST_NAME, manifest_json(entry(), entry())),
        member("state/signing.key", CONTENT),
    ],
    "not JSON": lambda: [member(MANIFEST_NAME, b"\xff{")],
    "JSON list": lambda: [member(MANIFEST_NAME, b"[]")],
    "negative size": lambda: [member(MANIFEST_NAME, manifest_json(entry() | {"size": -1}))],
    "unknown field": lambda: [member(MANIFEST_NAME, manifest_json(owner="root"))],
    "revision with SQL": lambda: [member(MANIFEST_NAME, manifest_json(schema_revision="'; drop"))],
    "version with path": lambda: [member(MANIFEST_NAME, manifest_json(fanlight_version="../1"))],
    "empty": list,
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_archive_that_does_not_keep_its_manifest_is_refused(target: Path, change: str) -> None:
    archive(target, *CHANGES[change]())
    with pytest.raises(OperationFailed):
        read(target)


def test_a_manifest_of_any_length_is_not_read(target: Path) -> None:
    archive(target, member(MANIFEST_NAME, b" " * 5 * 2**20))
    with pytest.raises(OperationFailed, match="does not begin with a manifest"):
        read(target)


@pytest.mark.parametrize("name", ["backup.tar.gz", "backup.tar.zst"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_archive_is_refused(tmp_path: Path, staged: Path, name: str, kept: float) -> None:
    write_archive(tmp_path / name, staged, manifest_of(staged), is_forced=False)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(OperationFailed):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["backup.tar.gz", "backup.tar.zst"])
@pytest.mark.parametrize("position", [0.0, 0.001, 0.5])
def test_a_flipped_bit_is_refused(tmp_path: Path, staged: Path, name: str, position: float) -> None:
    write_archive(tmp_path / name, staged, manifest_of(staged), is_forced=False)
    content = bytearray((tmp_path / name).read_bytes())
    content[int(len(content) * position)] ^= 0x10
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OperationFailed):
        read(tmp_path / name)


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_junk_is_refused_in_words(content: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"fanlight-junk-{os.getpid()}.tar.gz"
    try:
        for junk in (content, gzip.compress(content, 1), b"\x28\xb5\x2f\xfd" + content[:50]):
            path.write_bytes(junk)
            with pytest.raises(OperationFailed):
                read(path)
    finally:
        path.unlink()
