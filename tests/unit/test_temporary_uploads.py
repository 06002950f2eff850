"""Uploads into a session's temporary files: gone on with, made in one step, and led astray by nothing that is planted."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from fanlight.agent import temporary_uploads
from fanlight.agent.temporary_folder import TemporaryFolder
from fanlight.agent.temporary_uploads import (
    ASK,
    KEEP_BOTH,
    REPLACE,
    IsFolder,
    OtherFile,
    TemporaryUploads,
    TooLong,
    Wish,
)

MARK = "0123456789abcdef" * 4
HIDDEN = ".fanlight-uploads"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "MyFiles"
    made.mkdir()
    return made


def send(
    folder: Path, path: str, size: int, *pieces: bytes, offset: int = 0, upload: str = "upload-1", **wish: str
) -> tuple[str, int]:
    """As a server of the session that has just been started: nothing is kept in memory."""
    steps = tuple(os.fsencode(step) for step in path.split("/"))
    wanted = Wish(steps, size, wish.get("conflict", ASK), wish.get("fingerprint", MARK))
    return TemporaryUploads(TemporaryFolder(str(folder))).receive(upload, wanted, offset, iter(pieces))


def begun(folder: Path) -> list[tuple[str, int, int]]:
    found = TemporaryUploads(TemporaryFolder(str(folder))).unfinished()
    return [(b"/".join(one.wish.steps).decode(), one.wish.size, one.received) for one in found]


def names(paths: Iterable[Path]) -> list[str]:
    return sorted(path.name for path in paths)


def test_a_file_comes_in_pieces_and_is_there_when_all_of_it_is(folder: Path) -> None:
    (folder / "Letters").mkdir()
    assert send(folder, "Letters/a b.txt", 9) == ("RECEIVING", 0)
    assert send(folder, "Letters/a b.txt", 9, b"ab", b"cd") == ("RECEIVING", 4)
    assert send(folder, "Letters/a b.txt", 9, b"xyz") == ("RECEIVING", 4), "not from there"
    assert begun(folder) == [("Letters/a b.txt", 9, 4)]
    assert list((folder / "Letters").iterdir()) == []
    assert TemporaryFolder(str(folder)).entries(())[0].name == b"Letters"
    assert len(TemporaryFolder(str(folder)).entries(())) == 1, "what waits is out of sight"
    assert send(folder, "Letters/a b.txt", 9, b"efghi", offset=4) == ("SAVED", 9)
    assert (folder / "Letters" / "a b.txt").read_bytes() == b"abcdefghi"
    assert (folder / "Letters" / "a b.txt").stat().st_mode & 0o777 == 0o660
    assert send(folder, "Letters/a b.txt", 9) == ("SAVED", 9), "said again, for an answer may be lost"
    assert begun(folder) == []


def test_an_empty_file_is_a_file(folder: Path) -> None:
    assert send(folder, "empty", 0) == ("SAVED", 0)
    assert (folder / "empty").read_bytes() == b""


def test_a_name_that_is_taken_is_asked_about(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"old")
    (folder / "Letters").mkdir()
    with pytest.raises(FileExistsError):
        send(folder, "a.txt", 3, b"new")
    assert begun(folder) == []
    assert send(folder, "a.txt", 3, b"two", conflict=KEEP_BOTH) == ("SAVED", 3)
    assert send(folder, "a.txt", 3, b"new", upload="upload-2", conflict=REPLACE) == ("SAVED", 3)
    for conflict in (ASK, REPLACE):
        with pytest.raises(IsFolder):
            send(folder, "Letters", 3, b"new", upload="upload-3", conflict=conflict)
    # Taken while the file came: nothing is sent twice.
    send(folder, "b.txt", 3, b"ne", upload="upload-4")
    (folder / "b.txt").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        send(folder, "b.txt", 3, b"w", upload="upload-4", offset=2)
    assert send(folder, "b.txt", 3, upload="upload-4", conflict=KEEP_BOTH) == ("SAVED", 3)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == {
        "a.txt": b"new", "a (2).txt": b"two", "b.txt": b"old", "b (2).txt": b"new",
    }  # fmt: skip


def test_another_file_under_the_same_id_is_refused(folder: Path) -> None:
    send(folder, "a.txt", 9, b"abc")
    for path, size, mark in (("b.txt", 9, MARK), ("a.txt", 8, MARK), ("a.txt", 9, MARK[::-1])):
        with pytest.raises(OtherFile):
            send(folder, path, size, b"d", offset=3, fingerprint=mark)
    with pytest.raises(TooLong):
        send(folder, "a.txt", 9, b"0123456", offset=3)
    assert begun(folder) == [("a.txt", 9, 3)]


def test_what_has_no_room_is_refused_before_it_comes(folder: Path) -> None:
    with pytest.raises(OSError, match="no room"):
        send(folder, "a.txt", 10**15 - 1)
    assert begun(folder) == []


def test_nothing_planted_leads_out_of_the_folder(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (folder / HIDDEN).symlink_to(outside)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        send(folder, "a.txt", 1, b"a")
    (folder / HIDDEN).unlink()

    (folder / "link").symlink_to(outside)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        send(folder, "link/a.txt", 1, b"a")
    # What stands in the way is replaced as what it is; where it leads nothing is written.
    (outside / "kept").write_bytes(b"kept")
    (folder / "a.txt").symlink_to(outside / "kept")
    assert send(folder, "a.txt", 3, b"new", upload="upload-2", conflict=REPLACE) == ("SAVED", 3)
    assert not (folder / "a.txt").is_symlink()
    send(folder, "b.txt", 3, upload="upload-3")
    (folder / HIDDEN / "upload-3.part").unlink()
    (folder / HIDDEN / "upload-3.part").symlink_to(outside / "kept")
    with pytest.raises(OSError, match="Too many levels"):
        send(folder, "b.txt", 3, b"new", upload="upload-3")
    assert (outside / "kept").read_bytes() == b"kept"
    assert names(outside.iterdir()) == ["kept"]


def test_what_nobody_goes_on_with_is_not_kept_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(temporary_uploads.KEPT_AT_MOST + 2):
        send(folder, f"{number}.txt", 9, b"a", upload=f"upload-{number}")
        os.utime(folder / HIDDEN / f"upload-{number}.part", (time.time() - 3600 + number,) * 2)
    assert len(begun(folder)) == temporary_uploads.KEPT_AT_MOST
    assert {"0.txt", "1.txt"}.isdisjoint(name for name, _, _ in begun(folder)), "the oldest go"
    (folder / HIDDEN / "upload-9.json").write_text("[")
    (folder / HIDDEN / "upload-8.part").unlink()
    assert {"8.txt", "9.txt"}.isdisjoint(name for name, _, _ in begun(folder))
    os.utime(folder / HIDDEN / "upload-6.part", (time.time() - 25 * 3600,) * 2)
    assert "6.txt" not in {name for name, _, _ in begun(folder)}
    TemporaryUploads(TemporaryFolder(str(folder))).drop("upload-7")
    send(folder, "saved.txt", 1, b"a", upload="upload-99")
    monkeypatch.setattr(temporary_uploads, "SAVED_KNOWN_IN_SECONDS", -1.0)
    begun(folder)
    left = names((folder / HIDDEN).iterdir())
    assert not [
        name for name in left if name.split(".")[0] in ("upload-6", "upload-7", "upload-8", "upload-9", "upload-99")
    ]


def test_nothing_is_made_to_look_what_was_begun(folder: Path) -> None:
    assert begun(folder) == []
    TemporaryUploads(TemporaryFolder(str(folder))).drop("upload-1")
    assert list(folder.iterdir()) == []
