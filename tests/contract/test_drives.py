"""Users' own drives: the whole way of a consent with a stand-in for the provider, and the door that it opens. Real rclone."""

import asyncio
import os
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from drive_rig import CLIENT, SECRET, StandIn, a_drive, standing_in
from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.storage.drives.consents import LIFETIME_IN_SECONDS, ConsentRefused, Consents
from fanlight.storage.drives.doors import DriveDoors, DriveState
from fanlight.storage.drives.grants import Grants
from fanlight.storage.drives.providers import Grant, Provider, google, microsoft
from fanlight.storage.front import USER
from fanlight.storage.rclone import PROGRAM
from fanlight.storage.sessions import DIRECTORY

GOOGLE = StorageKind.GOOGLE_DRIVE
BACK = "https://portal.example/drives/connected"


@dataclass
class House:
    run: Path
    grants: Path
    doors: DriveDoors
    consents: Consents
    stand_in: StandIn

    async def connect(self, door: StorageDoor) -> tuple[StorageKind, str]:
        url = self.consents.begin(door.session_id, door.kind, redirect_uri=BACK, browser="b")
        return await self.consents.finish(**self.stand_in.consent(url), browser="b")

    async def reaches(self, door: StorageDoor, state: DriveState) -> None:
        await until(lambda: [one.state for one in self.doors.of(door.session_id)] == [state])

    def is_open(self, door: StorageDoor) -> bool:
        return self.socket(door).exists()

    async def is_shut(self, door: StorageDoor) -> None:
        await until(lambda: not self.is_open(door))

    def socket(self, door: StorageDoor) -> Path:
        return self.run / "instances" / door.instance_id / "host" / DIRECTORY / door.socket_name

    async def ask(self, door: StorageDoor, method: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        leave = {"Authorization": aiohttp.encode_basic_auth(USER, door.token)}
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket(door)))) as http,
            http.request(method, f"http://x{path}", headers=leave, data=data) as answer,
        ):
            return answer.status, await answer.read()

    @property
    def files(self) -> list[Path]:
        return [path for path in self.grants.rglob("*") if path.is_file()]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.02)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    run = Path(tempfile.mkdtemp(prefix="fl-"))  # short: a socket's path has at most 107 bytes
    (run / "storage" / "sessions").mkdir(parents=True)
    (tmp_path / "drive").mkdir()
    async with standing_in(tmp_path / "drive") as stand_in:
        doors = DriveDoors(run, Grants(tmp_path / "grants"), {GOOGLE: stand_in.provider})
        yield House(run, tmp_path / "grants", doors, Consents(doors), stand_in)
        await doors.close_all()
    shutil.rmtree(run)


async def test_a_drive_is_reached_once_its_user_has_connected_it(house: House) -> None:
    door = a_drive(house.run)
    await house.doors.open(door)
    await house.reaches(door, DriveState.NOT_CONNECTED)
    assert not house.is_open(door)
    assert house.doors.doors() == (door,)  # or it would be asked for again and again

    assert await house.connect(door) == (GOOGLE, "ada@Example.org")
    await house.reaches(door, DriveState.CONNECTED)

    assert (await house.ask(door, "PUT", "/a.txt", b"hers"))[0] == 201
    assert (house.stand_in.folder / "a.txt").read_bytes() == b"hers"
    assert (await house.ask(replace(door, token="another-token-of-theirs"), "GET", "/a.txt"))[0] == 401
    (kept,) = house.files
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert SECRET not in kept.read_text()

    await house.doors.close(door.session_id)
    assert not house.is_open(door)
    assert house.files == [kept]


async def test_an_answer_counts_once_and_only_in_the_browser_that_was_sent(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = a_drive(house.run)
    await house.doors.open(door)

    async def refused(answer: dict[str, str], browser: str) -> str:
        with pytest.raises(ConsentRefused) as refusal:
            await house.consents.finish(**answer, browser=browser)
        return refusal.value.code

    def begun() -> dict[str, str]:
        return house.stand_in.consent(house.consents.begin("session-1", GOOGLE, redirect_uri=BACK, browser="b"))

    answer = begun()
    assert await refused(answer, "of somebody else") == "STALE"
    assert await refused(answer, "b") == "STALE"  # used up by the first
    assert await refused({**begun(), "state": "guessed"}, "b") == "STALE"
    assert await refused({**begun(), "code": ""}, "b") == "DENIED"
    assert await refused({**begun(), "code": "stolen"}, "b") == "NOT_GRANTED"
    earlier = begun()
    begun()
    assert await refused(earlier, "b") == "STALE"
    answer = begun()
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + LIFETIME_IN_SECONDS + 1)
    assert await refused(answer, "b") == "STALE"
    monkeypatch.undo()
    answer = begun()
    await house.doors.close("session-1")
    assert await refused(answer, "b") == "NO_DRIVE"
    assert house.files == []


@pytest.mark.parametrize(
    ("account", "code"),
    [
        ({"email": "eve@example.com", "email_verified": True}, "OTHER_DOMAIN"),
        ({"email": "eve@sub.example.org", "email_verified": True}, "OTHER_DOMAIN"),
        ({"email": "ada@example.org", "email_verified": False}, "NOT_GRANTED"),
        ({"email": "example.org", "email_verified": True}, "NOT_GRANTED"),
        ({}, "NOT_GRANTED"),
    ],
)
async def test_accounts_of_other_domains_are_not_connected(house: House, account: dict[str, object], code: str) -> None:
    door = a_drive(house.run)
    await house.doors.open(door)
    house.stand_in.account = account
    with pytest.raises(ConsentRefused) as refusal:
        await house.connect(door)
    assert refusal.value.code == code
    assert house.files == []


async def test_what_one_user_connects_is_in_all_sessions_of_that_user_and_in_no_other(house: House) -> None:
    first, second, bobs = (
        a_drive(house.run, name, user=user) for name, user in (("s1", "ada"), ("s2", "ada"), ("s3", "bob"))
    )
    for door in (first, second, bobs):
        await house.doors.open(door)
    await house.connect(first)
    for door in (first, second):
        await house.reaches(door, DriveState.CONNECTED)
    await house.reaches(bobs, DriveState.NOT_CONNECTED)

    house.consents.disconnect("s2", GOOGLE)
    for door in (first, second):
        await house.reaches(door, DriveState.NOT_CONNECTED)
        await house.is_shut(door)
    assert house.files == []


async def test_another_process_goes_on_with_the_newest_token_until_the_provider_takes_it_no_more(house: House) -> None:
    door = a_drive(house.run)
    await house.doors.open(door)
    await house.connect(door)
    await house.reaches(door, DriveState.CONNECTED)
    for _ in range(2):
        await house.doors.close_all()
        house.doors = DriveDoors(house.run, Grants(house.grants), {GOOGLE: house.stand_in.provider})
        await house.doors.open(door)
        await house.reaches(door, DriveState.CONNECTED)

    house.stand_in.has_ended = True
    await house.doors.close_all()
    await house.doors.open(door)
    await house.reaches(door, DriveState.NOT_CONNECTED)
    assert house.files == []


async def test_a_provider_that_is_away_holds_nobody_up_and_is_asked_again(house: House) -> None:
    door = a_drive(house.run)
    await house.doors.open(door)
    await house.connect(door)
    await house.reaches(door, DriveState.CONNECTED)
    await house.doors.close_all()

    house.stand_in.is_away = True
    await house.doors.open(door)
    await house.reaches(door, DriveState.AWAY)
    assert len(house.files) == 1
    house.stand_in.is_away = False
    await house.doors.open(door)  # the pause need not be waited out
    await house.reaches(door, DriveState.CONNECTED)


async def test_a_domain_that_the_stack_lost_and_a_client_that_the_operator_took_away_close_the_drive(
    house: House,
) -> None:
    door = a_drive(house.run)
    await house.doors.open(door)
    await house.connect(door)
    await house.reaches(door, DriveState.CONNECTED)

    await house.doors.open(replace(door, domains=("example.net",)))
    await house.reaches(door, DriveState.NOT_CONNECTED)
    await house.is_shut(door)

    await house.doors.close_all()
    house.doors = DriveDoors(house.run, Grants(house.grants), {})
    await house.doors.open(door)
    await house.reaches(door, DriveState.NO_CLIENT)
    with pytest.raises(ConsentRefused, match="administrator"):
        Consents(house.doors).begin("session-1", GOOGLE, redirect_uri=BACK, browser="b")


@pytest.mark.parametrize("provider", [google(CLIENT, SECRET), microsoft(CLIENT, SECRET, "organizations")])
async def test_rclones_own_backends_ask_the_provider_with_what_they_are_told(house: House, provider: Provider) -> None:
    """As far as the first question: for the drives themselves there is no stand-in."""
    door = a_drive(house.run)
    await house.doors.open(door)
    await house.connect(door)
    await house.reaches(door, DriveState.CONNECTED)
    kept = Grants(house.grants).read(door)
    assert kept is not None
    grant = Grant(
        grant_id="1",
        account=kept.account,
        refresh_token=kept.refresh_token,
        drive={"id": "drive-1", "driveType": "business"},
    )
    house.stand_in.asked.clear()
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM),
        "lsf", "cloud:", "--retries", "1", "--low-level-retries", "1", "--contimeout", "1s", "--timeout", "1s",
        env={"PATH": os.environ["PATH"], "RCLONE_CONFIG": "/dev/null", **house.stand_in.as_endpoints_of(provider).environment(grant)},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await until(lambda: bool(house.stand_in.asked))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
    assert house.stand_in.asked[0]["refresh_token"] == kept.refresh_token
    assert (house.stand_in.asked[0]["client_id"], house.stand_in.asked[0]["client_secret"]) == (CLIENT, SECRET)
