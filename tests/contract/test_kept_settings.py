"""Settings of applications through a real door: from one home to the next, and what happens when a way is cut off."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from fanlight.agent.kept_settings import transfers
from fanlight.agent.kept_settings.transfers import DONE, LOST, RESTORE, SAVE, UNFIT, UNREACHABLE, Order, carry_out
from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.storage.sessions import DIRECTORY, SessionDoors, on_this_host

MIB = 1 << 20
ADA = StorageDoor(
    kind=StorageKind.APPLICATION_SETTINGS,
    session_id="s-ada", instance_id="i-one", first_uid=os.getuid(), token="ada's", bucket="appstream-app-settings",
    prefix="Linux/v1/design/custom/0123/",
)  # fmt: skip

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Rig:
    doors: SessionDoors
    socket: Path
    stored: Path
    homes: Path

    def session(self, name: str, **changes: object) -> "Session":
        home, directory = self.homes / name / "home", self.homes / name / "root"
        for path in (home, directory):
            path.mkdir(parents=True)
        order = Order(
            action=RESTORE, socket=str(self.socket), token=ADA.token, directory=str(directory), home=str(home),
            uid=os.getuid(), group=os.getgid(), max_bytes=MIB,
        )  # fmt: skip
        return Session(replace(order, **changes), home)  # type: ignore[arg-type]

    async def open_anew(self) -> None:
        """As for the next session: a server that was there before remembers a listing for some seconds."""
        await self.doors.close(ADA.session_id)
        await self.doors.open(ADA)

    def versions(self) -> list[Path]:
        return sorted(self.stored.glob("*.tar.gz"))


@dataclass
class Session:
    order: Order
    home: Path

    async def restore(self) -> tuple[str, str]:
        return await asyncio.to_thread(carry_out, self.order, lambda **_: None)

    async def save(
        self, say: Callable[..., None] = lambda **_: None, sleep: Callable[[float], None] = lambda _: None
    ) -> tuple[str, str]:
        return await asyncio.to_thread(carry_out, replace(self.order, action=SAVE), say, sleep=sleep)

    def write(self, text: str, name: str = ".config/app.ini") -> None:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self, name: str = ".config/app.ini") -> str:
        return (self.home / name).read_text()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[SessionDoors, Path, Path]]:
    buckets = tmp_path_factory.mktemp("buckets")
    run = Path(tempfile.mkdtemp(prefix="fl-"))  # short: a socket's path has at most 107 bytes
    (run / "storage").mkdir()
    (run / "instances" / ADA.instance_id / "host" / DIRECTORY).mkdir(parents=True)
    (buckets / ADA.bucket).mkdir()
    doors = SessionDoors(run, on_this_host(buckets))
    doors.prepare()
    yield doors, run, buckets
    await doors.close_all()
    shutil.rmtree(run)


@pytest_asyncio.fixture(loop_scope="module")
async def rig(house: tuple[SessionDoors, Path, Path], tmp_path: Path) -> AsyncIterator[Rig]:
    doors, run, buckets = house
    await doors.open(ADA)
    yield Rig(
        doors,
        run / "instances" / ADA.instance_id / "host" / DIRECTORY / ADA.socket_name,
        buckets / ADA.bucket / ADA.prefix,
        tmp_path,
    )
    await doors.close_all()
    shutil.rmtree(buckets / ADA.bucket / "Linux", ignore_errors=True)


async def kept(rig: Rig, text: str, name: str) -> None:
    """Have a whole session in which the user sets something."""
    session = rig.session(name)
    assert (await session.restore())[0] == DONE
    session.write(text)
    assert (await session.save())[0] == DONE


async def test_a_setting_of_one_session_is_there_in_the_next(rig: Rig) -> None:
    first = rig.session("first")
    assert await first.restore() == (DONE, "there are none yet")
    first.write("zoom=2")
    first.write("a letter", "MyFiles/letter.txt")
    assert (await first.save())[0] == DONE
    second = rig.session("second")
    assert await second.restore() == (DONE, "2 entries")
    assert second.read() == "zoom=2"
    assert not (second.home / "MyFiles").exists()


async def test_what_did_not_change_is_not_sent_again(rig: Rig) -> None:
    await kept(rig, "zoom=2", "first")
    second = rig.session("second")
    await second.restore()
    assert await second.save() == (DONE, "nothing has changed")
    assert len(rig.versions()) == 1


async def test_the_last_end_wins_whole(rig: Rig) -> None:
    one, two = rig.session("one"), rig.session("two")
    await one.restore()
    await two.restore()
    for session, other in ((one, "only-one"), (two, "only-two")):
        session.write(other)
        session.write(other, f".{other}")
    await two.save()
    await one.save()
    third = rig.session("third")
    await third.restore()
    assert third.read() == "only-one"
    assert (third.home / ".only-one").exists()
    assert not (third.home / ".only-two").exists()


async def test_three_versions_are_kept(rig: Rig) -> None:
    for number in range(5):
        await kept(rig, str(number), f"session-{number}")
    assert len(rig.versions()) == 3
    last = rig.session("last")
    await last.restore()
    assert last.read() == "4"


@pytest.mark.parametrize("break_it", ["cut off", "altered", "grown"])
async def test_a_broken_version_gives_way_to_the_one_before(rig: Rig, break_it: str) -> None:
    await kept(rig, "good", "first")
    await kept(rig, "better", "second")
    newest = rig.versions()[-1]
    content = newest.read_bytes()
    newest.write_bytes(
        {"cut off": content[:50], "altered": content[:-1] + bytes([content[-1] ^ 1]), "grown": content + b"x"}[break_it]
    )
    await rig.open_anew()
    third = rig.session("third")
    assert (await third.restore())[0] == DONE
    assert third.read() == "good"


async def test_when_no_version_can_be_used_the_user_begins_anew(rig: Rig) -> None:
    await kept(rig, "good", "first")
    content = bytearray(rig.versions()[0].read_bytes())
    content[20] ^= 255
    rig.versions()[0].write_bytes(content)
    second = rig.session("second")
    assert await second.restore() == (LOST, "it is not what was sent")
    second.write("anew")
    assert (await second.save())[0] == DONE
    third = rig.session("third")
    assert (await third.restore())[0] == DONE
    assert third.read() == "anew"


async def test_an_archive_of_another_making_is_not_unpacked(rig: Rig) -> None:
    """Its name is right, as whoever is root in an instance can make it."""
    await kept(rig, "good", "first")

    hostile = b"\x1f\x8b no archive"
    name = f"29991231T235959Z-{len(hostile)}-{hashlib.sha256(hostile).hexdigest()}.tar.gz"
    (rig.stored / name).write_bytes(hostile)
    await rig.open_anew()
    second = rig.session("second")
    outcome, detail = await second.restore()
    assert (outcome, detail) == (
        DONE,
        "2 entries, an older version, for of the newest: the archive cannot be read: BadGzipFile",
    )
    assert second.read() == "good"


async def test_too_much_leaves_what_was_kept(rig: Rig) -> None:
    await kept(rig, "good", "first")
    second = rig.session("second")
    await second.restore()
    second.write("x" * (MIB + 1), ".huge")
    assert await second.save() == (UNFIT, f"they are larger than {MIB} bytes")
    assert len(rig.versions()) == 1


async def test_a_full_door_leaves_what_was_kept(rig: Rig) -> None:
    await kept(rig, "good", "first")
    await rig.doors.open(replace(ADA, quota_in_bytes=500))
    second = rig.session("second")
    await second.restore()
    second.write(os.urandom(4000).hex())
    assert await second.save() == (UNFIT, "there is no room for them")
    assert len(rig.versions()) == 1


async def test_a_door_that_is_not_there_is_out_of_reach(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "DOOR_LIMIT_IN_SECONDS", 0.0)
    session = rig.session("first", socket=str(rig.socket) + "x")
    assert (await session.restore())[0] == UNREACHABLE


async def test_a_door_that_opens_while_the_session_begins_is_waited_for(rig: Rig) -> None:
    await kept(rig, "zoom=2", "first")
    await rig.doors.close(ADA.session_id)
    second = rig.session("second")
    waiting = asyncio.create_task(second.restore())
    await rig.doors.open(ADA)
    assert await waiting == (DONE, "2 entries")


async def test_a_token_that_does_not_open_is_out_of_reach(rig: Rig) -> None:
    session = rig.session("first", token="bob's")
    assert await session.restore() == (UNREACHABLE, "the door does not open")


async def test_what_cannot_be_sent_now_is_sent_when_it_can(rig: Rig) -> None:
    session = rig.session("first")
    await session.restore()
    session.write("zoom=2")
    await rig.doors.close(ADA.session_id)
    said: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()

    def open_again(_: float) -> None:
        asyncio.run_coroutine_threadsafe(rig.doors.open(ADA), loop).result()

    assert (await session.save(lambda **words: said.append(words), open_again))[0] == DONE
    assert "detail" in said[1]
    assert said[-1]["sent"] == said[-1]["size"]
    assert len(rig.versions()) == 1


async def test_an_upload_that_is_killed_leaves_the_version_before(rig: Rig) -> None:
    await kept(rig, "good", "first")
    session = rig.session("second", max_bytes=64 * MIB)
    await session.restore()
    session.write(os.urandom(10 * MIB).hex(), ".much")
    halfway = Halfway()
    with contextlib.suppress(Killed):
        await session.save(halfway.say)
    assert halfway.was_reached
    third = rig.session("third")
    assert (await third.restore())[0] == DONE
    assert third.read() == "good"
    assert not (third.home / ".much").exists()


class Killed(Exception):
    """What a program that is killed does not catch."""


@dataclass
class Halfway:
    was_reached: bool = False

    def say(self, **words: int) -> None:
        if words["sent"] > words["size"] // 2:
            self.was_reached = True
            raise Killed
