"""A folder of the user's files as the agent mounts it: real rclone, real FUSE, a real door. Needs root and /dev/fuse."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from drive_rig import standing_in
from fanlight.agent import folders
from fanlight.agent.accounts import Account, Seat
from fanlight.agent.bookmarks import add_bookmark
from fanlight.agent.folder_mounts import NOTE, mounted_at
from fanlight.agent.folders import MOUNTED, OFFLINE, Folder
from fanlight.agent.processes import ExitHandler, Program
from fanlight.agent.rclone import FolderPlace, unsent_in
from fanlight.agentwire.messages import Opening, StorageMount
from fanlight.domain.errors import StorageUnusable
from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.storage.drives.consents import Consents
from fanlight.storage.drives.doors import DriveDoors
from fanlight.storage.drives.grants import Grants
from fanlight.storage.embedded_s3 import KeyPair
from fanlight.storage.rclone import PROGRAM
from fanlight.storage.sessions import DIRECTORY, SessionDoors, on_s3, on_this_host
from slow_s3 import SlowS3, serving

if TYPE_CHECKING:
    from fanlight.agent.views import View

pytestmark = [pytest.mark.incus, pytest.mark.asyncio(loop_scope="function")]
DOOR = StorageDoor(
    session_id="11111111-aaaa",
    kind=StorageKind.HOMEFOLDERS,
    instance_id="i-one",
    first_uid=0,
    token="ada's, to be sure",
    bucket="b",
    prefix="u/ada/",
)
BLOCK = 4096  # of a file system's room
HELPER = "import sys; sys.path[:0] = {path!r}; from fanlight.agent.folder_mounts import main; main()"


class HostProcesses:
    """What an agent has its kernel do, with the programs of this machine."""

    def __init__(self, bin_directory: Path) -> None:
        self.views: dict[int, View] = {}
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self._bin = bin_directory

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        assert program.account.uid == 0
        assert not any("to be sure" in argument for argument in program.arguments), "the token stands in no command"
        command, *arguments = program.arguments
        here = PROGRAM if command.endswith("/rclone") else self._bin / "fusermount3"
        process = subprocess.Popen([here, *arguments], env={**program.environment, "PATH": str(self._bin)})
        if here == PROGRAM:
            self.running[process.pid] = process
        loop = asyncio.get_running_loop()

        def wait() -> None:
            status = process.wait()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(on_exit, status)

        threading.Thread(target=wait, daemon=True).start()
        return process.pid

    def signal(self, pid: int, number: int) -> None:
        self.running[pid].send_signal(number)

    def signal_group(self, pid: int, number: int) -> None:
        raise AssertionError("not of folders")

    def signal_all_of(self, account: Account, number: int) -> bool:
        raise AssertionError("not of folders")

    def kill(self) -> None:
        for process in self.running.values():
            process.kill()


class Rig:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.stored = root / "buckets" / "b" / "u" / "ada"
        self.stored.mkdir(parents=True)
        (root / "storage").mkdir()
        host = root / "instances" / "i-one" / "host"
        (host / DIRECTORY).mkdir(parents=True)
        (root / "run" / "fanlight").mkdir(parents=True)
        (root / "run" / "fanlight" / "host").symlink_to(host)
        self.files = root / "home" / "user" / "MyFiles"
        self.files.mkdir(parents=True)
        os.chown(self.files, 1000, 1000)
        self.bucket_problem = ""
        self.doors = SessionDoors(root, replace(on_this_host(root / "buckets"), ensure=self.ensure))
        self.doors.prepare()
        (root / "bin").mkdir()
        helper = root / "bin" / "fusermount3"
        helper.write_text(f"#!{sys.executable}\n{HELPER.format(path=[p for p in sys.path if p])}\n")
        helper.chmod(0o755)
        self.processes = HostProcesses(root / "bin")
        mount = StorageMount(kind="HOMEFOLDERS", socket=DOOR.socket_name, token=DOOR.token, folder="HomeFolder")
        self.place = FolderPlace(seat=Seat(0), mount=mount, root=root)
        self.news = 0
        self.folder = self.new_folder()
        self.home = self.files / "HomeFolder"

    def new_folder(self) -> Folder:
        return Folder(self.place, self.processes, on_change=self._changed)

    async def ensure(self, bucket: str) -> None:
        assert bucket == DOOR.bucket
        if self.bucket_problem:
            raise StorageUnusable(self.bucket_problem)

    def _changed(self) -> None:
        self.news += 1

    async def until(self, is_so: Callable[[], Any], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            # In a thread: what looks into the folder waits for the door, which is served by this loop.
            while not await asyncio.to_thread(is_so):
                await asyncio.sleep(0.05)

    async def mounted(self) -> None:
        await self.doors.open(DOOR)
        self.folder.begin()
        await self.until(lambda: self.folder.report.state == MOUNTED)

    async def as_user(self, program: str, uid: int = 1000) -> str:
        """Run Python as somebody, in the folder."""
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", program],
            cwd=self.files,
            user=uid,
            group=uid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.stdout.strip() + ran.stderr.strip()

    async def end(self) -> list[int]:
        """Return how much was unsent while it ended."""
        told: list[int] = []
        async with asyncio.timeout(60):
            await self.folder.end(lambda: told.append(self.folder.report.unsent_files))
        return told


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    root = Path(tempfile.mkdtemp(prefix="fl-"))  # short: a socket's path has at most 107 bytes
    root.chmod(0o755)
    rig = Rig(root)
    try:
        yield rig
    finally:
        rig.processes.kill()
        for path in [path for path in mounted_at(rig.place.mount.kind) if path.startswith(str(root))]:
            subprocess.run(["umount", "--lazy", path], check=True)
        await rig.doors.close_all()
        shutil.rmtree(root)


async def test_what_is_saved_arrives_and_what_is_put_there_is_seen(rig: Rig) -> None:
    (rig.stored / "letter.txt").write_text("Dear Ada")
    await rig.mounted()
    assert await rig.as_user("print(open('HomeFolder/letter.txt').read())") == "Dear Ada"
    await rig.as_user("open('HomeFolder/answer.txt', 'w').write('Dear Bob'); import os; os.mkdir('HomeFolder/d')")
    await rig.until((rig.stored / "answer.txt").exists)
    await rig.until(lambda: rig.folder.report.unsent_files == 0)
    assert (rig.stored / "answer.txt").read_text() == "Dear Bob"
    (rig.stored / "from outside.txt").write_text("x")
    rig.folder.refresh()
    await rig.until((rig.home / "from outside.txt").exists)
    assert await rig.end() == []
    assert mounted_at("HOMEFOLDERS") == []


async def test_what_others_did_is_seen_at_once_when_somebody_asks_to_look_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "FORGET_IN_SECONDS", 3_600.0)  # by itself it would not look for as long
    (rig.stored / "letters").mkdir()
    (rig.stored / "letters" / "one.txt").write_text("first")
    await rig.mounted()
    listing = "import os; print(sorted(os.listdir('HomeFolder/letters')))"
    assert await rig.as_user(listing) == "['one.txt']"
    assert await rig.as_user("print(open('HomeFolder/letters/one.txt').read())") == "first"
    (rig.stored / "letters" / "one.txt").write_text("the second")
    (rig.stored / "letters" / "two.txt").write_text("x")
    assert await rig.as_user(listing) == "['one.txt']", "nobody has asked"
    rig.folder.refresh()
    await rig.until((rig.home / "letters" / "two.txt").exists, seconds=60)
    await rig.until(lambda: (rig.home / "letters" / "one.txt").read_text() == "the second", seconds=60)
    await rig.end()


async def test_while_a_folder_takes_long_to_open_that_is_told_and_all_others_can_be_used(rig: Rig) -> None:
    files = [*(f"photos/{number}.jpg" for number in range(2_500)), "letters/one.txt"]
    async with serving(SlowS3(DOOR.prefix, files, slow="photos")) as s3:
        remote = on_s3(s3.endpoint, "us-east-1", KeyPair("FANLIGHTSTORAGE00001", "secret"))
        rig.doors = SessionDoors(rig.root, replace(remote, ensure=rig.ensure))
        await rig.mounted()
        opening = asyncio.create_task(rig.as_user("import os; print(len(os.listdir('HomeFolder/photos')))"))
        await rig.until(lambda: rig.folder.report.opening == Opening(name="photos", files=1_000), seconds=60)
        assert rig.folder.report.state == MOUNTED
        rig.folder.refresh()  # which waits for the end: what is being read cannot be forgotten
        names = await asyncio.wait_for(rig.as_user("import os; print(os.listdir('HomeFolder/letters'))"), 60)
        assert names == "['one.txt']"
        assert not opening.done()
        s3.go_on.set()
        assert await opening == "2500"
        await rig.until(lambda: rig.folder.report.opening is None, seconds=60)
        await rig.end()
        await rig.doors.close_all()


async def test_file_choosers_offer_the_folder(rig: Rig) -> None:
    bookmarks = rig.root / "home" / "user" / ".config" / "gtk-3.0" / "bookmarks"
    rig.folder.begin()
    line = "file:///home/user/MyFiles/HomeFolder Home Folder\n"
    assert bookmarks.read_text() == line
    assert (bookmarks.stat().st_uid, bookmarks.parent.stat().st_uid) == (1000, 1000)
    await rig.end()
    add_bookmark(rig.root / "home" / "user", Seat(0).user, "/home/user/MyFiles/HomeFolder")
    assert bookmarks.read_text() == line, "once"
    bookmarks.unlink()
    (rig.root / "victim").write_text("")
    bookmarks.symlink_to(rig.root / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        add_bookmark(rig.root / "home" / "user", Seat(0).user, "/home/user/MyFiles/HomeFolder")
    assert (rig.root / "victim").read_text() == ""


async def test_nobody_else_reads_it_and_no_link_is_made_in_it(rig: Rig) -> None:
    (rig.stored / "letter.txt").write_text("Dear Ada")
    await rig.mounted()
    assert "PermissionError" in await rig.as_user("open('HomeFolder/letter.txt')", uid=10_002)
    assert "Error" in await rig.as_user("import os; os.symlink('/etc/passwd', 'HomeFolder/link')")
    assert "Error" in await rig.as_user("import os; os.rmdir('HomeFolder')")
    assert "Error" in await rig.as_user("import os; os.rename('HomeFolder', 'Other')")
    assert rig.place.directory.parent.stat().st_mode & 0o777 == 0o700
    assert rig.place.cache.parent.stat().st_mode & 0o777 == 0o700
    await rig.end()


async def test_end_waits_until_everything_has_arrived(rig: Rig) -> None:
    await rig.mounted()
    await rig.as_user("[open(f'HomeFolder/{n}', 'wb').write(b'x' * 100_000) for n in range(40)]")
    told = await rig.end()
    assert told, "there was something to wait for"
    assert sorted(int(path.name) for path in rig.stored.iterdir()) == list(range(40))
    assert {path.stat().st_size for path in rig.stored.iterdir()} == {100_000}


async def test_without_a_door_the_folder_says_so_and_takes_nothing(rig: Rig) -> None:
    rig.folder.begin()
    await rig.until(lambda: rig.folder.report.state == OFFLINE)
    assert await rig.as_user("import os; print(os.listdir('HomeFolder'))") == f"['{NOTE}']"
    assert "PermissionError" in await rig.as_user("open('HomeFolder/x', 'w')")
    await rig.doors.open(DOOR)
    await rig.until(lambda: rig.folder.report.state == MOUNTED)
    await rig.as_user("open('HomeFolder/x', 'w').write('x')")
    assert await rig.as_user("import os; print(os.listdir('HomeFolder'))") == "['x']"
    await rig.end()
    assert [path.name for path in rig.stored.iterdir()] == ["x"]


async def test_a_drive_that_was_disconnected_is_out_of_sight_until_it_is_connected_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanlight.agent.folders.GONE_AFTER_IN_SECONDS", 0.5)
    rig.place = replace(rig.place, mount=replace(rig.place.mount, kind="GOOGLE_DRIVE", folder="GoogleDrive"))
    rig.folder, drive = rig.new_folder(), rig.files / "GoogleDrive"
    (rig.stored / "old.txt").write_text("old")
    await rig.mounted()
    await rig.until((drive / "old.txt").exists)
    await rig.doors.close(DOOR.session_id)
    await rig.until(lambda: not mounted_at("GOOGLE_DRIVE"))
    assert await rig.as_user("import os; print(os.listdir('GoogleDrive'))") == f"['{NOTE}']"
    assert rig.folder.report.state == OFFLINE
    await rig.doors.open(DOOR)
    await rig.until((drive / "old.txt").exists)
    await rig.end()
    assert mounted_at("GOOGLE_DRIVE") == []


@pytest.mark.parametrize("kind", [StorageKind.GOOGLE_DRIVE, StorageKind.ONE_DRIVE])
async def test_a_users_drive_is_a_folder_from_consent_to_disconnection(
    rig: Rig, kind: StorageKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but instance and provider is real: rclone's mount, the door, rclone's own backend, its way by the proxy."""
    monkeypatch.setattr("fanlight.agent.folders.GONE_AFTER_IN_SECONDS", 0.5)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "provider" / "authorities.pem"))
    door = replace(DOOR, kind=kind, domains=("example.org",))
    mount = StorageMount(kind=kind, socket=door.socket_name, token=door.token, folder="Drive")
    rig.place = replace(rig.place, mount=mount)
    rig.folder, drive = rig.new_folder(), rig.files / "Drive"
    async with standing_in(tmp_path / "provider") as provider:
        clients = {StorageKind.GOOGLE_DRIVE: provider.provider, StorageKind.ONE_DRIVE: provider.microsoft}
        grants = Grants(tmp_path / "grants", tmp_path / "drives.key")
        doors = DriveDoors(rig.root, grants, clients, tmp_path / "spool")
        doors.prepare()
        consents = Consents(doors)

        async def connect() -> None:
            url = consents.begin(door.session_id, kind, redirect_uri="https://portal.example/back", browser="b")
            await consents.finish(**provider.consent(url), browser="b")

        provider.cloud.put("from elsewhere.txt", b"put there by another device")
        await doors.open(door)
        rig.folder.begin()
        await rig.until(lambda: rig.folder.report.state == OFFLINE)
        await connect()
        await rig.until(lambda: rig.folder.report.state == MOUNTED)
        assert await rig.as_user("print(open('Drive/from elsewhere.txt').read())") == "put there by another device"
        assert 0 <= provider.cloud.total - shutil.disk_usage(drive).total < BLOCK

        content = os.urandom(12_000_000)
        (rig.root / "source").write_bytes(content)
        script = "import shutil; shutil.copy('../../../source', 'Drive/g\u00fcnter.bin')"
        assert not await rig.as_user(script)
        await rig.until(lambda: provider.cloud.read("g\u00fcnter.bin") == content)
        provider.cloud.put("later.txt", b"later")
        rig.folder.refresh()
        await rig.until((drive / "later.txt").exists)

        await consents.disconnect(door.session_id, kind)
        await rig.until(lambda: not mounted_at(kind))
        assert await rig.as_user("import os; print(os.listdir('Drive'))") == f"['{NOTE}']"
        await connect()
        await rig.until((drive / "later.txt").exists)
        await rig.end()
        await doors.close_all()


async def test_what_is_saved_while_the_door_is_away_is_kept_and_sent(rig: Rig) -> None:
    (rig.stored / "old.txt").write_text("old")
    await rig.mounted()
    assert await rig.as_user("import os; print(os.listdir('HomeFolder'))") == "['old.txt']"
    await rig.doors.close(DOOR.session_id)
    await rig.as_user(
        "open('HomeFolder/new.txt', 'w').write('new'); import os; os.replace('HomeFolder/new.txt', 'HomeFolder/old.txt')"
    )
    await rig.until(lambda: rig.folder.report.state == OFFLINE)
    assert (rig.folder.report.unsent_files, rig.folder.report.unsent_bytes) == (1, 3)
    ending = asyncio.create_task(rig.end())
    await asyncio.sleep(1)
    assert not ending.done(), "nothing has arrived"
    await rig.doors.open(DOOR)
    assert (await ending)[0] == 1
    assert (rig.stored / "old.txt").read_text() == "new"


async def test_rclone_that_dies_is_started_again_and_sends_what_was_saved(rig: Rig) -> None:
    await rig.mounted()
    await rig.doors.close(DOOR.session_id)
    await rig.as_user("open('HomeFolder/x', 'w').write('saved')")
    await rig.until(lambda: rig.folder.report.unsent_files)
    (first,) = rig.processes.running
    rig.processes.running[first].kill()
    await rig.until(lambda: len(rig.processes.running) > 1)
    assert unsent_in(rig.place.cache) == (1, 5)
    await rig.doors.open(DOOR)
    await rig.until((rig.stored / "x").exists)
    await rig.until(lambda: rig.folder.report.state == MOUNTED)
    await rig.until(lambda: (rig.home / "x").read_bytes() == b"saved")
    await rig.end()


async def test_what_was_saved_is_sent_by_the_agent_of_an_instance_that_was_started_again(rig: Rig) -> None:
    await rig.mounted()
    await rig.doors.close(DOOR.session_id)
    await rig.as_user("open('HomeFolder/x', 'wb').write(b'saved' * 100_000)")
    await rig.until(lambda: rig.folder.report.unsent_files)
    rig.processes.kill()  # with all that ran
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__qualname__", "") == "Folder._live":
            task.cancel()
            await asyncio.wait([task])
    for path in mounted_at("HOMEFOLDERS"):
        subprocess.run(["umount", "--lazy", path], check=True)
    shutil.rmtree(rig.place.directory.parent)
    shutil.rmtree(rig.files)  # whatever its user had made of the home
    rig.folder = rig.new_folder()
    rig.folder.begin(has_user=False)
    await rig.doors.open(DOOR)
    assert (await rig.end())[0] == 1
    assert (rig.stored / "x").read_bytes() == b"saved" * 100_000


async def test_link_in_the_folders_place_is_not_followed_and_everything_is_sent_all_the_same(rig: Rig) -> None:
    await rig.mounted()
    await rig.doors.close(DOOR.session_id)
    await rig.as_user("open('HomeFolder/x', 'w').write('saved')")
    await rig.until(lambda: rig.folder.report.unsent_files)
    trap = rig.root / "trap"
    trap.mkdir()
    (trap / "HomeFolder").mkdir()
    rig.files.rename(rig.files.with_name("Mine"))
    rig.files.symlink_to(trap)
    (first,) = rig.processes.running
    rig.processes.running[first].kill()
    await rig.doors.open(DOOR)
    await rig.until((rig.stored / "x").exists)
    await rig.until(lambda: "place" in rig.folder.report.detail)
    assert mounted_at("HOMEFOLDERS") == [str(rig.place.hidden)]
    assert await rig.end() == []


async def test_room_that_is_left_shows_as_the_room_of_the_folder(rig: Rig) -> None:
    (rig.stored / "old").write_bytes(b"x" * 4096)
    await rig.doors.open(replace(DOOR, quota_in_bytes=1 << 20))
    rig.folder.begin()
    await rig.until(lambda: rig.folder.report.state == MOUNTED)
    room = "import os; s = os.statvfs('HomeFolder'); print(s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize)"
    assert await rig.as_user(room) == f"{1 << 20} {(1 << 20) - 4096}"
    assert await rig.as_user("import os; print(os.listdir('HomeFolder'))") == "['old']"
    await rig.end()


async def test_bucket_that_cannot_be_used_leaves_what_was_seen_in_sight(rig: Rig) -> None:
    (rig.stored / "old").write_text("old")
    await rig.mounted()
    rig.bucket_problem = "gone"
    await rig.until(lambda: rig.folder.report.state == OFFLINE, seconds=40)
    rig.folder.refresh()
    assert await rig.as_user("import os; print(os.listdir('HomeFolder'))") == "['old']"
    rig.bucket_problem = ""
    await rig.until(lambda: rig.folder.report.state == MOUNTED)
    await rig.end()


def _save(name: str, size: int, *, how: str = "wb", what: str = "x") -> str:
    return f"with open('HomeFolder/{name}', '{how}') as file: file.write(b'{what}' * {size})"


async def _fits(rig: Rig, name: str, size: int) -> None:
    """Return when it was saved. While somebody is asking for the room, what was just removed may still count."""
    async with asyncio.timeout(60):
        while said := await rig.as_user(_save(name, size)):
            assert "quota" in said
            await asyncio.sleep(0.1)


async def _with_quota(rig: Rig, size: int) -> None:
    await rig.doors.open(replace(DOOR, quota_in_bytes=size))
    rig.folder.begin()
    await rig.until(lambda: rig.folder.report.state == MOUNTED)


async def test_a_write_that_does_not_fit_is_refused_and_what_fits_is_sent(rig: Rig) -> None:
    (rig.stored / "old").write_bytes(b"x" * 400_000)
    await _with_quota(rig, 1_000_000)
    too_much = await rig.as_user(_save("x", 600_001))
    assert "[Errno 122] Disk quota exceeded" in too_much
    assert await rig.as_user("import os; print(os.stat('HomeFolder/x').st_size < 600_001)") == "True"
    await _fits(rig, "x", 600_000)
    assert "quota" in await rig.as_user(_save("y", 1))
    assert "quota" in await rig.as_user("import os; os.truncate('HomeFolder/y', 1)")
    assert "quota" in await rig.as_user(_save("old", 1, how="ab"))
    assert await rig.as_user(_save("old", 400_000, how="r+b", what="y")) == "", "in its own place"
    assert await rig.as_user(_save("old", 400_000, what="z")) == "", "and anew"
    await rig.until(lambda: (rig.stored / "old").read_bytes() == b"z" * 400_000, seconds=60)
    assert rig.folder.report.state == MOUNTED
    assert await rig.as_user("import os; os.remove('HomeFolder/old')") == ""
    await _fits(rig, "y", 400_000)
    gate = _gate_of(rig)
    await rig.end()
    await rig.until(lambda: not Path(f"/proc/{gate}/mem").exists() or not Path(f"/proc/{gate}/maps").read_text())
    assert sorted((path.name, path.stat().st_size) for path in rig.stored.iterdir()) == [("x", 600_000), ("y", 400_000)]


async def test_what_others_store_and_remove_counts(rig: Rig) -> None:
    await _with_quota(rig, 1_000_000)
    free = "import os; s = os.statvfs('HomeFolder'); print(s.f_bavail * s.f_frsize)"
    assert int(await rig.as_user(free)) > 900_000
    await rig.doors.close(DOOR.session_id)  # what is measured is good for a while
    (rig.stored / "theirs").write_bytes(b"x" * 900_000)
    await rig.doors.open(replace(DOOR, quota_in_bytes=1_000_000))
    async with asyncio.timeout(60):
        while int(await rig.as_user(free)) > 100_000:
            await asyncio.sleep(0.1)
    assert "quota" in await rig.as_user(_save("x", 200_000))
    await rig.doors.close(DOOR.session_id)
    (rig.stored / "theirs").unlink()
    assert "quota" in await rig.as_user(_save("x", 200_000)), "as it was known last"
    await rig.doors.open(replace(DOOR, quota_in_bytes=1_000_000))
    await _fits(rig, "x", 200_000)
    await rig.end()
    assert (rig.stored / "x").stat().st_size == 200_000


async def test_a_gate_that_dies_takes_nothing_with_it(rig: Rig) -> None:
    await _with_quota(rig, 1_000_000)
    await rig.as_user(_save("x", 1000))
    os.kill(_gate_of(rig), signal.SIGKILL)
    await rig.until(lambda: len(rig.processes.running) > 1)
    await rig.until((rig.stored / "x").exists)
    await rig.until(lambda: rig.folder.report.state == MOUNTED)
    assert "quota" in await rig.as_user(_save("y", 999_001))
    await rig.end()
    assert (rig.stored / "x").read_bytes() == b"x" * 1000


async def test_without_a_quota_there_is_no_gate(rig: Rig) -> None:
    await rig.mounted()
    assert not rig.place.gate.exists()
    await rig.end()


def _gate_of(rig: Rig) -> int:
    """Return the process that has the gate's socket."""
    [inode] = [
        line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines() if str(rig.place.gate) in line
    ]
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(link.readlink()) == f"socket:[{inode}]":
                return int(link.parts[2])
    raise AssertionError("there is no gate")


async def test_quota_that_another_used_up_is_told(rig: Rig) -> None:
    await _with_quota(rig, 1000)
    await rig.doors.close(DOOR.session_id)
    assert await rig.as_user(_save("x", 600)) == ""
    (rig.stored / "theirs").write_bytes(b"x" * 600)
    await rig.doors.open(replace(DOOR, quota_in_bytes=1000))
    await rig.until(lambda: "quota" in rig.folder.report.detail, seconds=60)
    assert (rig.folder.report.state, rig.folder.report.unsent_files) == (OFFLINE, 1)
    await rig.as_user("import os; os.remove('HomeFolder/x')")
    await rig.until(lambda: rig.folder.report.state == MOUNTED)
    await rig.end()
