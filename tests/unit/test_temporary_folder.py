"""A session's temporary files: what can be done with them, and what hostile names, links and mounts cannot do."""

import http.client
import io
import json
import os
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fanlight.agent import temporary_folder
from fanlight.agent.files_server import FilesServer
from fanlight.agent.temporary_folder import TemporaryFolder, mounted_in

Ask = Callable[..., tuple[int, bytes]]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "MyFiles"
    made.mkdir()
    return made


@pytest.fixture
def ask(tmp_path: Path, folder: Path) -> Iterator[Ask]:
    path = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    server = FilesServer(listener, TemporaryFolder(str(folder)), 0.2)
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():  # as the agent does: it starts it anew when somebody comes
            server.serve_until_idle()
            server._is_idle = False

    def ask(method: str, what: str, path_: str = "", to: str | None = None) -> tuple[int, bytes]:
        connection = UnixConnection(path)
        connection.request(method, what, headers={"X-Path": path_} | ({"X-To": to} if to is not None else {}))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    thread = threading.Thread(target=serve)
    thread.start()
    yield ask
    is_over.set()
    thread.join(10)
    server.server_close()


def listed(said: tuple[int, bytes]) -> dict[str, int]:
    status, body = said
    assert status == 200
    *some, last = [json.loads(line) for line in body.splitlines()]
    assert last["isWhole"] is True
    return {row[0]: row[2] for line in some for row in line["entries"]}


def test_folders_and_files_are_made_renamed_listed_and_removed(ask: Ask, folder: Path) -> None:
    assert ask("POST", "/folder", "a%20b") == (200, b"")
    assert ask("POST", "/folder", "a%20b")[0] == 409
    assert ask("POST", "/folder", "nowhere/c")[0] == 404
    (folder / "a b" / "x.txt").write_bytes(b"four")
    assert listed(ask("GET", "/folder", "a%20b")) == {"x.txt": 4}
    assert ask("GET", "/file", "a%20b/x.txt") == (200, b"four")
    (folder / "taken.txt").write_bytes(b"stays")
    assert ask("POST", "/move", "a%20b/x.txt", "taken.txt")[0] == 409
    assert ask("POST", "/move", "a%20b/x.txt", "%C3%BC.txt")[0] == 200
    assert ask("POST", "/move", "a%20b", "a%20b/inner")[0] == 400
    assert listed(ask("GET", "/folder")) == {"a b": 0, "taken.txt": 5, "ü.txt": 4}
    assert ask("POST", "/delete", "taken.txt")[0] == 200
    (folder / "a b" / "deep").mkdir()
    (folder / "a b" / "deep" / "y").touch()
    assert ask("POST", "/delete", "a%20b")[0] == 200
    assert ask("POST", "/delete", "a%20b")[0] == 200
    assert [path.name for path in folder.iterdir()] == ["ü.txt"]


@pytest.mark.parametrize(
    "path", ["..", "../secret", "a/../../secret", "%2e%2e/secret", "..%2Fsecret", "a/%2E", "%2Fetc", "x%00"]
)
def test_no_path_leaves_the_folder(ask: Ask, folder: Path, path: str) -> None:
    secret = folder.parent / "secret"
    secret.mkdir()
    (folder / "a").mkdir()
    for method, what in (("GET", "/folder"), ("GET", "/file"), ("GET", "/zip"), ("POST", "/delete")):
        assert ask(method, what, path)[0] == 400, what
    assert ask("POST", "/move", "a", path)[0] == 400
    assert secret.exists()


def test_the_folder_itself_stays(ask: Ask, folder: Path) -> None:
    for what in ("/delete", "/folder", "/move"):
        assert ask("POST", what, "", "b")[0] == 403
    assert folder.exists()


def test_links_and_pipes_are_not_followed(ask: Ask, folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_bytes(b"secret")
    (folder / "link").symlink_to(outside)
    (folder / "file-link").symlink_to(outside / "secret.txt")
    os.mkfifo(folder / "pipe")
    (folder / "inner").mkdir()
    (folder / "inner" / "link").symlink_to(outside)
    assert listed(ask("GET", "/folder")) == {"inner": 0}
    for what, path in (
        ("/folder", "link"),
        ("/file", "link/secret.txt"),
        ("/file", "file-link"),
        ("/file", "pipe"),
        ("/zip", "link"),
    ):
        assert ask("GET", what, path)[0] == 404, path
    assert ask("POST", "/folder", "link/made")[0] == 404
    assert ask("POST", "/move", "inner", "link/inner")[0] == 404
    assert ask("POST", "/delete", "link/secret.txt")[0] == 404
    assert ask("POST", "/delete", "inner") == (200, b"")
    assert ask("POST", "/delete", "link") == (200, b"")
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    assert not (folder / "link").is_symlink()


def test_a_folder_that_becomes_a_link_meanwhile_is_not_emptied_through_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    victim = folder / "victim"
    victim.mkdir()
    (victim / "gone").touch()
    real = temporary_folder._names_in

    def swapped(directory: int) -> list[bytes]:
        names = real(directory)
        victim.rename(folder / "moved")
        victim.symlink_to(outside)
        return [*names, b"kept"]

    monkeypatch.setattr(temporary_folder, "_names_in", swapped)
    with pytest.raises(NotADirectoryError):
        TemporaryFolder(str(folder)).delete((b"victim",))
    assert (outside / "kept").exists()
    assert not (folder / "moved" / "gone").exists()


def test_a_root_that_became_a_link_is_no_folder(ask: Ask, folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    folder.rmdir()
    folder.symlink_to(outside)
    assert ask("GET", "/folder")[0] == 404
    assert ask("POST", "/folder", "made")[0] == 404
    assert list(outside.iterdir()) == []


def test_what_is_mounted_in_the_folder_is_not_reached(
    ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder / "HomeFolder").mkdir()
    (folder / "HomeFolder" / "letter.txt").touch()
    (folder / "own.txt").touch()
    mounts = tmp_path / "mountinfo"
    place = str(folder).replace(" ", "\\040")
    mounts.write_text(
        f"36 35 0:50 / {place}/HomeFolder rw - fuse.fanlight HOMEFOLDERS rw\n1 2 0:3 / / rw - ext4 x rw\n"
    )
    monkeypatch.setattr(temporary_folder, "mounted_in", lambda root: mounted_in(root, mounts))
    assert listed(ask("GET", "/folder")) == {"own.txt": 0}
    assert ask("GET", "/folder", "HomeFolder")[0] == 404
    assert ask("GET", "/file", "HomeFolder/letter.txt")[0] == 404
    assert ask("GET", "/zip", "HomeFolder")[0] == 404
    for what in ("/delete", "/move"):
        assert ask("POST", what, "HomeFolder", "Mine")[0] == 403
        assert ask("POST", what, "HomeFolder/letter.txt", "Mine")[0] == 404
    assert ask("POST", "/move", "own.txt", "HomeFolder/own.txt")[0] == 404
    assert zipfile.ZipFile(io.BytesIO(ask("GET", "/zip")[1])).namelist() == ["own.txt"]


def test_mounts_are_known_by_their_names() -> None:
    # What stands in this file system of the kernel's is mounted by whoever runs tests: the root of it all at least.
    assert mounted_in(b"") >= {b""}


def test_a_zip_has_all_with_harmless_names(ask: Ask, folder: Path) -> None:
    (folder / "top").mkdir()
    (folder / "top" / "empty").mkdir()
    (folder / "top" / "a.txt").write_bytes(b"a" * 700_000)
    for name in (b"a:b", b"a?b", b"\xff.txt", "\u202egnp.exe".encode()):
        (folder / "top" / os.fsdecode(name)).write_bytes(name)
    (folder / "top" / "link").symlink_to("/etc/passwd")
    (folder / "top" / ".selkies-upload-1").touch()
    status, body = ask("GET", "/zip", "top")
    archive = zipfile.ZipFile(io.BytesIO(body))
    assert status == 200
    assert archive.testzip() is None
    assert sorted(archive.namelist()) == ["_.txt", "_gnp.exe", "a.txt", "a_b", "a_b (2)", "empty/"]
    assert archive.read("a.txt") == b"a" * 700_000


def test_a_zip_that_cannot_be_whole_has_no_end(ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary_folder, "MAX_ZIP_MEMBERS", 2)
    for number in range(4):
        (folder / str(number)).write_bytes(b"x")
    status, body = ask("GET", "/zip")
    assert status == 200
    assert b"PK\x05\x06" not in body


def test_names_that_are_no_text_have_a_key(ask: Ask, folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_bytes(b"odd")
    _, body = ask("GET", "/folder")
    row = json.loads(body.splitlines()[0])["entries"][0]
    assert row[0] == "\ufffd"
    assert ask("GET", "/file", row[4]) == (200, b"odd")


def test_of_too_many_the_first_are_listed(ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary_folder, "MAX_ENTRIES", 3)
    monkeypatch.setattr("fanlight.agent.files_server.MAX_ENTRIES", 3)
    for number in range(6):
        (folder / str(number)).touch()
    _, body = ask("GET", "/folder")
    assert len(listed((200, body))) == 3
    assert json.loads(body.splitlines()[-1])["isCut"] is True


def test_what_else_is_asked_is_not_found(ask: Ask) -> None:
    assert ask("GET", "/")[0] == 404
    assert ask("POST", "/zip")[0] == 404
    assert ask("DELETE", "/file")[0] == 501
