"""Users' own drives: the whole way of a consent with a stand-in for the provider, and the door that it opens. Real rclone."""

import asyncio
import io
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import pytest

from drive_apis import ROOT
from drive_rig import SECRET, StandIn, a_drive, an_account, standing_in
from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.storage.drives.consents import LIFETIME_IN_SECONDS, ConsentRefused, Consents
from fanlight.storage.drives.doors import Drive, DriveDoors, DriveState
from fanlight.storage.drives.grants import Grants
from fanlight.storage.drives.providers import Grant, Provider
from fanlight.storage.front import CHECK, USER
from fanlight.storage.sessions import DIRECTORY

GOOGLE, ONE = StorageKind.GOOGLE_DRIVE, StorageKind.ONE_DRIVE
BACK = "https://portal.example/drives/connected"


@dataclass
class House:
    run: Path
    grants: Path
    stand_in: StandIn
    doors: DriveDoors = field(init=False)
    consents: Consents = field(init=False)

    async def connect(self, door: StorageDoor) -> tuple[StorageKind, str]:
        url = self.consents.begin(door.session_id, door.kind, redirect_uri=BACK, browser="b")
        return await self.consents.finish(**self.stand_in.consent(url), browser="b")

    async def reaches(self, door: StorageDoor, state: DriveState) -> None:
        await until(lambda: [one.state for one in self.doors.of(door.session_id)] == [state])

    def renew_doors(self, providers: Mapping[StorageKind, Provider]) -> None:
        """As another process would begin."""
        grants = Grants(self.grants, self.grants.with_suffix(".key"))
        self.doors = DriveDoors(self.run, grants, providers, self.run / "spool")
        self.doors.prepare()
        self.consents = Consents(self.doors)

    def drive(self, door: StorageDoor) -> Drive:
        (drive,) = self.doors.of(door.session_id)
        return drive

    def look(self, door: StorageDoor) -> None:
        """Now, rather than when it is time to."""
        self.drive(door).changed.set()

    def is_open(self, door: StorageDoor) -> bool:
        return self.socket(door).exists()

    async def is_shut(self, door: StorageDoor) -> None:
        await until(lambda: not self.is_open(door))

    def socket(self, door: StorageDoor) -> Path:
        return self.run / "instances" / door.instance_id / "host" / DIRECTORY / door.socket_name

    async def ask(
        self,
        door: StorageDoor,
        method: str,
        path: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        leave = {"Authorization": aiohttp.encode_basic_auth(USER, door.token), **(headers or {})}
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket(door)))) as http,
            http.request(method, f"http://x{path}", headers=leave, data=data and io.BytesIO(data)) as answer,
        ):
            return answer.status, await answer.read()

    @property
    def files(self) -> list[Path]:
        return [path for path in self.grants.rglob("*") if path.is_file()]


async def until(is_so: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while True:
            there = is_so()
            if there if isinstance(there, bool) else await there:
                return
            await asyncio.sleep(0.02)


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    run = Path(tempfile.mkdtemp(prefix="fl-"))  # short: a socket's path has at most 107 bytes
    (run / "storage" / "sessions").mkdir(parents=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "provider" / "authorities.pem"))
    async with standing_in(tmp_path / "provider") as stand_in:
        house = House(run, tmp_path / "grants", stand_in)
        house.renew_doors({GOOGLE: stand_in.provider, ONE: stand_in.microsoft})
        yield house
        await house.doors.close_all()
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
    assert house.stand_in.cloud.read("a.txt") == b"hers"
    assert (await house.ask(replace(door, token="another-token-of-theirs"), "GET", "/a.txt"))[0] == 401
    (kept,) = house.files
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    for word in (SECRET, "ada", "refresh"):
        assert word.encode() not in kept.read_bytes(), "it is sealed"

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
    ("kind", "account", "code"),
    [
        (GOOGLE, an_account("eve@example.com"), "OTHER_DOMAIN"),
        (GOOGLE, an_account("eve@sub.example.org"), "OTHER_DOMAIN"),
        (GOOGLE, an_account() | {"hd": "example.com"}, "OTHER_DOMAIN"),
        # An account of Google's own that somebody opened with an address there belongs to nobody's organisation.
        (GOOGLE, {"email": "ada@example.org", "email_verified": True}, "OTHER_DOMAIN"),
        (GOOGLE, an_account() | {"email_verified": False}, "OTHER_DOMAIN"),
        (GOOGLE, an_account() | {"aud": "of another client"}, "PROVIDER_AWAY"),
        (GOOGLE, {}, "OTHER_DOMAIN"),
        (ONE, an_account("eve@example.com"), "OTHER_DOMAIN"),
        # A guest in a directory has a name of that directory.
        (ONE, {"userPrincipalName": "ada_example.org#EXT#@evil.onmicrosoft.com"}, "OTHER_DOMAIN"),
        (ONE, {"mail": "ada@example.org"}, "OTHER_DOMAIN"),
    ],
)
async def test_accounts_of_other_domains_are_not_connected(
    house: House, kind: StorageKind, account: dict[str, object], code: str
) -> None:
    door = a_drive(house.run, kind=kind)
    await house.doors.open(door)
    house.stand_in.account = account
    with pytest.raises(ConsentRefused) as refusal:
        await house.connect(door)
    assert refusal.value.code == code
    assert house.files == []


async def test_a_personal_account_with_an_address_of_the_domain_is_not_of_the_organisation(house: House) -> None:
    door = a_drive(house.run, kind=ONE)
    await house.doors.open(door)
    house.stand_in.cloud.drive_type = "personal"
    with pytest.raises(ConsentRefused, match=r"accounts of example\.org\. OneDrive does not say that this one is"):
        await house.connect(door)
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

    assert await house.consents.disconnect("s2", GOOGLE), "the provider was told"
    assert len(house.stand_in.revoked) == 1
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
        house.renew_doors({GOOGLE: house.stand_in.provider})
        await house.doors.open(door)
        await house.reaches(door, DriveState.CONNECTED)

    house.stand_in.has_ended = True
    await house.doors.close_all()
    await house.doors.open(door)
    await house.reaches(door, DriveState.ENDED)
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
    house.renew_doors({})
    await house.doors.open(door)
    await house.reaches(door, DriveState.NO_CLIENT)
    with pytest.raises(ConsentRefused, match="administrator"):
        house.consents.begin("session-1", GOOGLE, redirect_uri=BACK, browser="b")


@pytest.fixture(params=[GOOGLE, ONE])
async def connected(house: House, request: pytest.FixtureRequest) -> StorageDoor:
    """A door to each provider's API, as rclone asks it."""
    door = a_drive(house.run, kind=request.param)
    await house.doors.open(door)
    await house.connect(door)
    await house.reaches(door, DriveState.CONNECTED)
    return door


async def test_files_and_folders_of_a_drive(house: House, connected: StorageDoor) -> None:
    door, cloud = connected, house.stand_in.cloud
    large = os.urandom(200_000) * 60  # 12 MB: more than one piece of an upload

    async def listed() -> bytes:
        return (await house.ask(door, "PROPFIND", "/", headers={"Depth": "1"}))[1]

    for name, content in {"small.txt": b"hers", "large.bin": large, "empty": b""}.items():
        assert (await house.ask(door, "PUT", f"/{name}", content))[0] == 201
        assert cloud.read(name) == content
        assert (await house.ask(door, "GET", f"/{name}"))[1] == content
    assert cloud.resumed
    assert (await house.ask(door, "GET", "/large.bin", headers={"Range": "bytes=11999990-"}))[1] == large[-10:]

    assert (await house.ask(door, "PUT", "/small.txt", b"hers, again"))[0] in (201, 204)
    assert [item.content for item in cloud.below(ROOT) if item.name == "small.txt"] == [b"hers, again"]

    assert (await house.ask(door, "MKCOL", "/Ordner"))[0] == 201
    to = {"Destination": "http://x/Ordner/gr%C3%BC%C3%9Fe%20'1'.txt"}
    assert (await house.ask(door, "MOVE", "/small.txt", headers=to))[0] in (201, 204)
    assert cloud.read("Ordner/grüße '1'.txt") == b"hers, again"
    assert cloud.at("small.txt") is None

    cloud.put("of another device.txt", b"new")  # more of them than a page of a listing has

    async def shows_it() -> bool:
        return b"of%20another%20device.txt" in await listed()

    await until(shows_it)
    shown = await listed()
    assert all(name in shown for name in (b"large.bin", b"empty", b"Ordner"))
    assert (await house.ask(door, "GET", "/of%20another%20device.txt"))[1] == b"new"

    for name in ("Ordner/gr%C3%BC%C3%9Fe%20'1'.txt", "Ordner", "empty"):
        assert (await house.ask(door, "DELETE", f"/{name}"))[0] == 204
    assert {item.name for item in cloud.items.values()} == {"large.bin", "of another device.txt"}
    assert list((house.run / "spool").iterdir()) == []


async def test_an_access_token_that_ran_out_is_renewed_and_the_grant_stays_good(house: House, tmp_path: Path) -> None:
    """The stand-in takes each refresh token once: whoever keeps an old one is out."""
    house.stand_in.lifetime_in_seconds = 11  # rclone takes the last ten seconds for gone
    door = a_drive(house.run)
    await house.doors.open(door)
    await house.connect(door)
    await house.reaches(door, DriveState.CONNECTED)
    first = len(house.stand_in.asked)

    async def was_renewed() -> bool:
        assert (await house.ask(door, "PUT", "/a.txt", b"hers"))[0] in (201, 204)
        return len(house.stand_in.asked) > first + 2

    await until(was_renewed)
    assert len({form.get("refresh_token") for form in house.stand_in.asked}) == len(house.stand_in.asked)
    await house.doors.close_all()
    house.renew_doors({GOOGLE: house.stand_in.provider})
    await house.doors.open(door)
    await house.reaches(door, DriveState.CONNECTED)


async def test_access_that_the_provider_takes_back_before_its_time_is_had_anew(
    house: House, connected: StorageDoor
) -> None:
    house.stand_in.end_access()
    house.look(connected)
    await house.reaches(connected, DriveState.AWAY)
    await house.reaches(connected, DriveState.CONNECTED)
    assert (await house.ask(connected, "PUT", "/a.txt", b"hers"))[0] == 201


async def test_a_leave_that_its_user_took_back_at_the_provider_ends_the_drive_until_it_is_given_again(
    house: House, connected: StorageDoor
) -> None:
    house.stand_in.has_ended = True
    house.look(connected)
    await house.reaches(connected, DriveState.ENDED)
    await house.is_shut(connected)
    assert house.drive(connected).account is None
    assert house.files == []

    house.stand_in.has_ended = False
    await house.connect(connected)
    await house.reaches(connected, DriveState.CONNECTED)
    assert (await house.ask(connected, "PUT", "/a.txt", b"hers"))[0] == 201


async def test_a_full_drive_refuses_what_does_not_fit_and_says_what_room_there_is(
    house: House, connected: StorageDoor
) -> None:
    cloud = house.stand_in.cloud
    cloud.put("theirs.bin", bytes(99_000_000))
    assert (await house.ask(connected, "PUT", "/a.bin", bytes(2_000_000)))[0] == 507
    assert cloud.at("a.bin") is None
    asked = b'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:quota-used-bytes/></D:prop></D:propfind>'
    assert (
        b"<D:quota-available-bytes>1000000<" in (await house.ask(connected, "PROPFIND", "/", asked, {"Depth": "0"}))[1]
    )
    assert (await house.ask(connected, "PUT", "/a.bin", bytes(500_000)))[0] == 201

    cloud.drop(cloud.at("theirs.bin").item_id)  # type: ignore[union-attr]  # it is there

    async def fits() -> bool:
        return (await house.ask(connected, "PUT", "/b.bin", bytes(2_000_000)))[0] == 201

    await until(fits)


async def test_a_provider_that_goes_away_is_offline_in_the_session_until_it_is_back(
    house: House, connected: StorageDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanlight.storage.bucket_checks.GOOD_FOR_SECONDS", 0.1)

    async def check() -> int:
        """What the instance asks to know whether the folder is offline."""
        return (await house.ask(connected, "PROPFIND", "/", headers={"Depth": "0", CHECK: "1"}))[0]

    async def is_good() -> bool:
        return await check() == 207

    async def is_bad() -> bool:
        return await check() == 502

    assert await is_good()
    house.stand_in.is_away = True
    house.look(connected)
    await house.reaches(connected, DriveState.AWAY)
    await until(is_bad)
    assert house.is_open(connected), "what is asked meanwhile is answered, with an error"
    house.stand_in.is_away = False
    await house.reaches(connected, DriveState.CONNECTED)
    await until(is_good)


async def test_what_rclone_holds_opens_nothing_elsewhere_and_nothing_later(
    house: House, connected: StorageDoor
) -> None:
    environments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/environ") if _is_rclone_of(path, house)]
    (told,) = environments
    known = {form[name] for form in house.stand_in.asked for name in ("refresh_token", "client_secret") if name in form}
    assert known
    assert not [secret for secret in known if secret.encode() in told]
    variables = dict(one.split(b"=", 1) for one in told.split(b"\0") if b"=" in one)
    token_url = variables[b"RCLONE_CONFIG_CLOUD_TOKEN_URL"].decode()
    word = json.loads(variables[b"RCLONE_CONFIG_CLOUD_TOKEN"])["refresh_token"]

    async def ask(word: str) -> int:
        form = {"grant_type": "refresh_token", "refresh_token": word}
        async with aiohttp.ClientSession() as http, http.post(token_url, data=form) as answer:
            return answer.status

    assert await ask(word) == 200
    assert await ask("guessed") == 400
    await house.doors.close(connected.session_id)
    assert await ask(word) == 400


def _is_rclone_of(environ: Path, house: House) -> bool:
    try:
        return str(house.run).encode() in environ.with_name("cmdline").read_bytes()
    except OSError:  # it ended
        return False


def test_a_grant_in_anothers_place_is_none(tmp_path: Path) -> None:
    grants = Grants(tmp_path / "grants", tmp_path / "drives.key")
    ada, bob = (a_drive(tmp_path, user=user) for user in ("ada", "bob"))
    grants.write(ada, Grant(grant_id="1", account="ada@example.org", domain="example.org", refresh_token="r"))
    path = next(path for path in (tmp_path / "grants").rglob("*") if path.is_file())
    stolen = tmp_path / "grants" / bob.bucket / bob.prefix / path.name
    stolen.parent.mkdir(parents=True)
    shutil.copy(path, stolen)
    assert grants.read(ada) is not None
    assert grants.read(bob) is None
    (tmp_path / "drives.key").unlink()
    assert grants.read(ada) is None
    assert stat.S_IMODE((tmp_path / "drives.key").stat().st_mode) == 0o600
