"""What of a folder needs no root: how rclone is started, what its cache says, how it and the door are asked."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fanlight.agent import folder_mounts
from fanlight.agent.accounts import Seat
from fanlight.agent.folder_mounts import ROOM, make_placeholder, mounted_at, opened
from fanlight.agent.gate.ledger import Room
from fanlight.agent.rclone import DoorWord, FolderPlace, RcloneControl, ask_door, mount_program, unsent_in
from fanlight.agent.unix_http import ask
from fanlight.agentwire.messages import Opening, StorageMount

MOUNT = StorageMount(kind="HOMEFOLDERS", socket="d.sock", token="the secret", folder="HomeFolder")


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    made = FolderPlace(seat=Seat(3, is_shared=True), mount=MOUNT, root=tmp_path)
    made.cache.mkdir(parents=True)
    return made


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answer every request with these bytes; give the socket and what was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(65_536))
        writer.write(answer)
        writer.close()

    with tempfile.TemporaryDirectory(prefix="fl-") as directory:  # short: a socket's path has at most 107 bytes
        path = f"{directory}/a.sock"
        async with await asyncio.start_unix_server(serve, path):
            yield path, asked


def test_rclone_gets_its_secret_in_its_environment_alone_and_the_files_are_the_users(place: FolderPlace) -> None:
    program = mount_program(place, None, is_shown=True)
    assert program.account.uid == 0
    command = " ".join(program.arguments)
    assert "the secret" not in command
    assert place.authorization not in command
    assert [name for name, value in program.environment.items() if place.authorization in value] == [
        "RCLONE_CONFIG_FILES_HEADERS"
    ]
    assert "--uid 10006 --gid 10006 --umask 077" in command
    assert program.environment["FANLIGHT_FOLDER_PATH"].endswith("/home/user3/MyFiles/HomeFolder")
    assert program.environment["PATH"] == "/opt/fanlight/runtime/bin", "nothing of the image is run"


def test_small_files_are_sent_without_a_pause_between_two_requests(place: FolderPlace) -> None:
    command = " ".join(mount_program(place, None, is_shown=True).arguments)
    assert "--webdav-pacer-min-sleep 0s" in command, "rclone would send no more than fifty files a second"


def test_what_only_sends_has_no_place_in_the_users_sight(place: FolderPlace) -> None:
    assert "FANLIGHT_FOLDER_PATH" not in mount_program(place, None, is_shown=False).environment


def test_what_has_a_limit_and_is_shown_has_a_gate(place: FolderPlace) -> None:
    limited, unlimited = Room(limit=1000, used=30), Room(limit=None, used=0)
    assert mount_program(place, limited, is_shown=True).environment[ROOM] == "1000 30"
    assert ROOM not in mount_program(place, limited, is_shown=False).environment
    assert ROOM not in mount_program(place, unlimited, is_shown=True).environment


@pytest.mark.parametrize(
    ("said", "room"),
    [
        ("<D:quota-available-bytes>70</D:quota-available-bytes><D:quota-used-bytes>30</D:quota-used-bytes>", (100, 30)),
        ("<D:quota-available-bytes></D:quota-available-bytes><D:quota-used-bytes/>", (None, 0)),
        ("<D:quota-available-bytes>-3</D:quota-available-bytes><D:quota-used-bytes>x</D:quota-used-bytes>", (None, 0)),
    ],
)
async def test_door_tells_how_much_room_there_is(
    monkeypatch: pytest.MonkeyPatch, place: FolderPlace, said: str, room: tuple[int | None, int]
) -> None:
    async with serving(f"HTTP/1.0 207 x\r\n\r\n{said}".encode()) as (path, _):
        monkeypatch.setattr(FolderPlace, "door", path)
        assert await ask_door(place) == DoorWord(Room(limit=room[0], used=room[1]))


def test_cache_tells_what_has_not_arrived(place: FolderPlace) -> None:
    records = place.cache / "vfsMeta" / "files{x}" / "deep"
    assert unsent_in(place.cache) == (0, 0)
    records.mkdir(parents=True)
    (records / "sent").write_text(json.dumps({"Size": 7, "Dirty": False}))
    (records / "one").write_text(json.dumps({"Size": 5, "Dirty": True}))
    (records.parent / "two").write_text(json.dumps({"Size": 6, "Dirty": True}))
    (records / "torn").write_text('{"Size": 5, "Dir')
    (records / "strange").write_text("[]")
    assert unsent_in(place.cache) == (2, 11)


async def test_answer_is_read_to_its_end() -> None:
    async with serving(b'HTTP/1.1 200 OK\r\nX: y\r\n\r\n{"queue": []}') as (path, asked):
        answer = await ask(path, "POST", "/vfs/queue", body=b"{}", limit_in_seconds=5)
        assert (answer.status, answer.body) == (200, b'{"queue": []}')
        assert asked[0].startswith(b"POST /vfs/queue HTTP/1.0\r\n")
        assert asked[0].endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize("said", [b"", b"nonsense", b"HTTP/1.0 abc\r\n\r\n"])
async def test_what_is_no_answer_is_an_error(said: bytes) -> None:
    async with serving(said) as (path, _):
        with pytest.raises(OSError, match="no answer"):
            await ask(path, "GET", "/", limit_in_seconds=5)


async def test_rclones_queue_is_what_is_unsent() -> None:
    entry = {"name": "a", "id": 4, "size": 9, "expiry": -2.5, "tries": 1, "delay": 2, "uploading": True}
    text = json.dumps({"queue": [entry, {**entry, "id": 5, "expiry": 1.5, "uploading": False}]})
    async with serving(b"HTTP/1.0 200 OK\r\n\r\n" + text.encode()) as (path, _):
        first, second = await RcloneControl(Path(path)).unsent()
        assert (first.upload_id, first.size, first.is_uploading, first.is_due) == (4, 9, True, True)
        assert (second.upload_id, second.is_uploading, second.is_due) == (5, False, False)
    async with serving(b"HTTP/1.0 500 Oh\r\n\r\n{}") as (path, _):
        control = RcloneControl(Path(path))
        with pytest.raises(OSError, match="500"):
            await control.unsent()
        await control.send_now(4)  # has gone meanwhile


@pytest.mark.parametrize(("status", "is_open"), [(207, True), (502, False), (401, False)])
async def test_door_answers_when_it_lists_its_uppermost_directory(
    monkeypatch: pytest.MonkeyPatch, place: FolderPlace, status: int, is_open: object
) -> None:
    async with serving(f"HTTP/1.0 {status} x\r\n\r\n".encode()) as (path, _):
        monkeypatch.setattr(FolderPlace, "door", path)
        assert (await ask_door(place) is not None) is is_open
    assert await ask_door(place) is None, "nobody listens any more"


@pytest.mark.parametrize(
    ("said", "opening"),
    [
        ('{"name": "photos", "files": 43000, "of": -1}', Opening(name="photos", files=43_000)),
        ('{"name": "photos"', None),
        ('{"name": 1}', None),
        ('{"other": "photos"}', None),
        ("[]", None),
    ],
)
async def test_door_says_which_folder_takes_long_to_open(
    monkeypatch: pytest.MonkeyPatch, place: FolderPlace, said: str, opening: object
) -> None:
    head = f"HTTP/1.0 207 x\r\nx-fanlight-busy: 1\r\nX-Fanlight-Opening: {said}\r\n\r\n"
    async with serving(head.encode()) as (path, _):
        monkeypatch.setattr(FolderPlace, "door", path)
        assert await ask_door(place) == DoorWord(Room(limit=None, used=0), is_busy=True, opening=opening)  # type: ignore[arg-type]


def test_mounts_are_found_wherever_their_user_has_moved_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        r"36 35 0:52 / /home/user/My\040Files\134/x rw,nosuid - fuse.fanlight HOMEFOLDERS rw,user_id=0",
        "37 35 0:53 / /somewhere rw - fuse.fanlight GOOGLE_DRIVE rw",
        "38 35 0:54 / /home/user/other rw shared:1 - fuse.other HOMEFOLDERS rw",
    )
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(folder_mounts, "Path", lambda _: tmp_path / "mountinfo")
    assert mounted_at("HOMEFOLDERS") == ["/home/user/My Files\\/x"]
    assert mounted_at("ONE_DRIVE") == []


def test_no_link_is_followed_to_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with opened(str(tmp_path / "real")):
        pass
    with pytest.raises(OSError, match="Not a directory"), opened(str(tmp_path / "link")):
        pass
    make_placeholder(str(tmp_path / "real"), "HomeFolder")
    make_placeholder(str(tmp_path / "real"), "HomeFolder")
    assert [path.name for path in (tmp_path / "real" / "HomeFolder").iterdir()] == ["NOT CONNECTED.txt"]
    (tmp_path / "real" / "Trap").symlink_to(tmp_path)
    with pytest.raises(OSError, match="Not a directory"):
        make_placeholder(str(tmp_path / "real"), "Trap")
