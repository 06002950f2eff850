"""A session's door to its user's files: real rclone, real S3, real sockets, and visitors who should not come in."""

import asyncio
import contextlib
import io
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from moto.server import ThreadedMotoServer
from yarl import URL

from fanlight.config import Settings
from fanlight.domain.errors import StorageUnusable
from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.storage.buckets import Buckets
from fanlight.storage.embedded_s3 import KeyPair, buckets_directory, server_of
from fanlight.storage.front import USER
from fanlight.storage.rclone import keep_serving
from fanlight.storage.sessions import DIRECTORY, Remote, SessionDoors, on_s3, on_this_host
from free_ports import free_port

KEY = KeyPair("FANLIGHTSTORAGE00001", "the-secret-of-storage")
BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"
PREFIX = "user/custom/0123/"
ADA = StorageDoor(
    session_id="11111111-aaaa",
    kind=StorageKind.HOMEFOLDERS,
    instance_id="i-one",
    first_uid=os.getuid(),
    token="ada's",
    bucket=BUCKET,
    prefix=PREFIX,
)


TIME_OF_A_FILE = (
    b'<?xml version="1.0"?><D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>'
    b'<lastmodified xmlns="DAV:">1000000000</lastmodified></D:prop></D:set></D:propertyupdate>'
)

# One loop for all, for the servers outlive a test.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Rig:
    doors: SessionDoors
    buckets: Buckets
    directory: Path
    stored: Path
    endpoint: str = ""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        door: StorageDoor = ADA,
        token: str | None = None,
        data: bytes | io.BytesIO | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        socket = self.directory / "instances" / door.instance_id / "host" / DIRECTORY / door.socket_name
        leave = aiohttp.encode_basic_auth(USER, door.token if token is None else token)
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as http,
            http.request(
                method,
                URL("http://x" + path, encoded=True),
                data=data,
                headers={**(headers or {}), "Authorization": leave},
            ) as answer,
        ):
            return answer.status, await answer.read()


@pytest_asyncio.fixture(loop_scope="module")
async def rig(house: Rig) -> AsyncIterator[Rig]:
    """The same servers for all tests, and nothing left of the test before."""
    yield house
    await house.doors.close_all()
    for left in house.stored.parent.iterdir() if house.stored.parent.exists() else ():
        shutil.rmtree(left)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    tmp_path = tmp_path_factory.mktemp("house")
    settings = Settings(data_dir=tmp_path, s3_port=free_port())
    (tmp_path / "storage" / "buckets").mkdir(parents=True)
    run = Path(tempfile.mkdtemp(prefix="fl-"))  # short: a socket's path has at most 107 bytes
    (run / "storage").mkdir()
    for instance in ("i-one", "i-two"):
        (run / "instances" / instance / "host" / DIRECTORY).mkdir(parents=True)
    serving = asyncio.create_task(keep_serving("s3", *server_of(settings, [KEY])))
    buckets = Buckets(settings.effective_s3_endpoint_url, "us-east-1", KEY)
    doors = SessionDoors(run, on_this_host(buckets_directory(settings)))
    doors.prepare()
    try:
        for _ in range(100):
            try:
                await buckets.ensure(BUCKET)
            except StorageUnusable:
                await asyncio.sleep(0.05)
            else:
                break
        yield Rig(
            doors,
            buckets,
            run,
            tmp_path / "storage" / "buckets" / BUCKET / PREFIX,
            endpoint=settings.effective_s3_endpoint_url,
        )
    finally:
        await doors.close_all()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        shutil.rmtree(run)


async def test_what_is_written_stands_under_the_users_prefix(rig: Rig) -> None:
    await rig.doors.open(ADA)
    assert (await rig.ask("PUT", "/letter%20%C3%BC.txt", data=b"Dear Bob"))[0] == 201
    assert (rig.stored / "letter ü.txt").read_bytes() == b"Dear Bob"
    assert await rig.ask("GET", "/letter%20%C3%BC.txt") == (200, b"Dear Bob")
    assert (await rig.ask("MKCOL", "/letters"))[0] == 201
    moved = await rig.ask("MOVE", "/letter%20%C3%BC.txt", headers={"Destination": "http://anywhere/letters/one.txt"})
    assert moved[0] == 201
    assert (rig.stored / "letters" / "one.txt").read_bytes() == b"Dear Bob"
    assert (await rig.ask("DELETE", "/letters/one.txt"))[0] == 204
    assert not (rig.stored / "letters" / "one.txt").exists()


async def test_an_empty_folder_is_kept(rig: Rig) -> None:
    await rig.doors.open(ADA)
    await rig.ask("MKCOL", "/empty")
    await rig.doors.close(ADA.session_id)
    await rig.doors.open(ADA)
    assert (await rig.ask("PROPFIND", "/empty", headers={"Depth": "0"}))[0] == 207


@pytest.mark.parametrize("token", ["", "bob's", "ada's ", "ADA'S"])
async def test_a_wrong_token_is_refused(rig: Rig, token: str) -> None:
    await rig.doors.open(ADA)
    assert (await rig.ask("PROPFIND", "/", token=token))[0] == 401


async def test_another_uid_is_refused_whatever_it_knows(rig: Rig) -> None:
    await rig.doors.open(replace(ADA, first_uid=ADA.first_uid + 1))
    assert (await rig.ask("PROPFIND", "/"))[0] == 401


UPWARDS = [
    "/..", "/../", "/../../", "/../other/secret.txt", "/a/../../other/secret.txt", "/%2e%2e/other/secret.txt",
    "/%2E%2e%2Fother%2Fsecret.txt", "/..%2fother%2fsecret.txt", "/./../other/secret.txt", "//../other/secret.txt", "/a/%2e%2e/%2e%2e/other", "/%00/../other",
]  # fmt: skip


@pytest.mark.parametrize("path", UPWARDS)
async def test_no_spelling_climbs_out_of_the_prefix(rig: Rig, path: str) -> None:
    other = rig.stored.parent / "other"
    other.mkdir(parents=True)
    (other / "secret.txt").write_bytes(b"not for ada")
    await rig.doors.open(ADA)
    status, body = await rig.ask("GET", path)
    assert status in (400, 404)
    assert b"not for ada" not in body
    assert (await rig.ask("PUT", path, data=b"hers now"))[0] in (400, 404)
    assert (other / "secret.txt").read_bytes() == b"not for ada"
    assert (await rig.ask("PUT", "/mine.txt", data=b"mine"))[0] == 201
    assert (await rig.ask("MOVE", "/mine.txt", headers={"Destination": "http://x" + path}))[0] in (400, 404, 502)
    assert sorted(found.name for found in rig.stored.parent.iterdir()) == ["0123", "other"]
    assert sorted(found.name for found in other.iterdir()) == ["secret.txt"]


@pytest.mark.parametrize("path", ["/%252e%252e", "/..%5cother%5csecret.txt", "/..%252fother%252fsecret.txt"])
async def test_what_only_looks_like_a_step_upwards_is_a_name_in_the_prefix(rig: Rig, path: str) -> None:
    other = rig.stored.parent / "other"
    other.mkdir(parents=True)
    (other / "secret.txt").write_bytes(b"not for ada")
    await rig.doors.open(ADA)
    assert (await rig.ask("GET", path))[0] == 404
    assert (await rig.ask("PUT", path, data=b"hers"))[0] == 201
    assert await rig.ask("GET", path) == (200, b"hers")
    assert (other / "secret.txt").read_bytes() == b"not for ada"
    assert sorted(found.name for found in rig.stored.parent.iterdir()) == ["0123", "other"]


async def test_name_with_a_line_break_is_a_name(rig: Rig) -> None:
    await rig.doors.open(ADA)
    assert (await rig.ask("PUT", "/a%0Ab", data=b"hers"))[0] == 201
    assert (rig.stored / "a\nb").read_bytes() == b"hers"


async def test_a_door_shows_its_own_users_files_only(rig: Rig) -> None:
    bob = replace(ADA, session_id="22222222-bbbb", instance_id="i-two", token="bob's", prefix="user/custom/4567/")
    await rig.doors.open(ADA)
    await rig.doors.open(bob)
    await rig.ask("PUT", "/diary.txt", data=b"Ada's")
    assert (await rig.ask("GET", "/diary.txt", door=bob))[0] == 404
    assert b"diary" not in (await rig.ask("PROPFIND", "/", door=bob, headers={"Depth": "1"}))[1]
    assert (await rig.ask("GET", "/diary.txt", door=bob, token=ADA.token))[0] == 401


async def test_after_the_end_nothing_answers(rig: Rig) -> None:
    await rig.doors.open(ADA)
    socket = rig.directory / "instances" / ADA.instance_id / "host" / DIRECTORY / ADA.socket_name
    leave = {"Authorization": aiohttp.encode_basic_auth(USER, ADA.token)}
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), headers=leave) as http:
        async with http.request("PROPFIND", "http://x/") as answer:  # keeps its connection
            assert answer.status == 207
        await rig.doors.close(ADA.session_id)
        with pytest.raises(aiohttp.ClientError):
            await http.request("PROPFIND", "http://x/")
    assert not socket.exists()
    assert rig.doors.doors() == ()


async def test_an_instance_that_was_started_again_finds_its_door(rig: Rig) -> None:
    """What is left of its session is sent then; its directories are made anew with every start."""
    await rig.doors.open(ADA)
    (rig.directory / "instances" / ADA.instance_id / "host" / DIRECTORY / ADA.socket_name).unlink()
    await rig.doors.open(ADA)
    assert (await rig.ask("PUT", "/late", data=b"saved before"))[0] == 201
    await rig.doors.close(ADA.session_id)
    assert rig.doors.doors() == ()


async def test_the_quota_counts_what_all_tools_stored(rig: Rig) -> None:
    await rig.doors.open(replace(ADA, quota_in_bytes=1000))
    assert (await rig.ask("PUT", "/a", data=b"x" * 600))[0] == 201
    status, text = await rig.ask("PUT", "/b", data=b"x" * 600)
    assert (status, text) == (507, b"The storage quota is used up.\n")
    assert not (rig.stored / "b").exists()
    assert (await rig.ask("PUT", "/a", data=b"x" * 900))[0] in (201, 204), "a replaced file makes its room again"
    assert (await rig.ask("PUT", "/a", data=b"x" * 10))[0] in (201, 204)
    assert (await rig.ask("PUT", "/b", data=b"x" * 600))[0] == 201


async def test_what_is_removed_or_replaced_through_the_door_makes_room_at_once(rig: Rig) -> None:
    async def used() -> bytes:
        answer = (await rig.ask("PROPFIND", "/", headers={"Depth": "0"}, data=b"<?xml version='1.0'?>"))[1]
        return answer.partition(b"quota-used-bytes>")[2].partition(b"<")[0]

    await rig.doors.open(replace(ADA, quota_in_bytes=1000))
    for name in ("/a", "/b"):
        assert (await rig.ask("PUT", name, data=b"x" * 300))[0] == 201
    assert await used() == b"600"
    assert (await rig.ask("MOVE", "/a", headers={"Destination": "http://x/b", "Overwrite": "T"}))[0] in (201, 204)
    assert await used() == b"300"
    assert (await rig.ask("PUT", "/none/such", data=b"x" * 300))[0] >= 400
    assert await used() == b"300", "what did not arrive is not counted"
    assert (await rig.ask("DELETE", "/none"))[0] == 404
    assert (await rig.ask("DELETE", "/b"))[0] == 204
    assert await used() == b"0"


async def test_a_lowered_quota_still_lets_files_shrink(rig: Rig) -> None:
    await rig.doors.open(ADA)
    assert (await rig.ask("PUT", "/a", data=b"x" * 600))[0] == 201
    await rig.doors.open(replace(ADA, quota_in_bytes=100))
    assert (await rig.ask("PUT", "/a", data=b"x" * 599))[0] in (201, 204)
    assert (await rig.ask("PUT", "/b", data=b"x"))[0] == 507


async def test_an_upload_without_a_length_is_refused(rig: Rig) -> None:
    await rig.doors.open(ADA)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"some"

    assert (await rig.ask("PUT", "/a", data=pieces()))[0] == 411  # type: ignore[arg-type]


async def test_other_methods_are_refused(rig: Rig) -> None:
    await rig.doors.open(ADA)
    for method in ("POST", "PATCH", "LOCK", "TRACE", "COPY"):
        assert (await rig.ask(method, "/"))[0] == 405


async def test_a_large_file_passes_whole(rig: Rig) -> None:
    content = os.urandom(30_000_000)
    await rig.doors.open(ADA)
    assert (await rig.ask("PUT", "/large", data=io.BytesIO(content)))[0] == 201
    assert (await rig.ask("GET", "/large"))[1] == content
    assert await rig.buckets.size_of(BUCKET, PREFIX) == len(content)


async def test_an_instance_without_a_place_for_it_is_an_error(rig: Rig) -> None:
    with pytest.raises(OSError, match="No such file"):
        await rig.doors.open(replace(ADA, instance_id="i-none"))
    assert rig.doors.doors() == ()


async def test_a_key_that_does_not_fit_is_told_with_what_to_do(rig: Rig) -> None:
    wrong = KeyPair(KEY.access_key_id, "another secret")
    with pytest.raises(StorageUnusable, match=r"refuses the bucket .*403.* Look at the access key"):
        await Buckets(rig.endpoint, "us-east-1", wrong).ensure(BUCKET)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
async def test_a_bucket_is_made_in_the_region_of_the_endpoint(region: str) -> None:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    buckets = Buckets(f"http://{host}:{port}", region, KEY)
    try:
        for _ in range(2):
            await buckets.ensure(f"appstream2-made-in-{region}")
    finally:
        await asyncio.to_thread(server.stop)


@dataclass
class Foreign:
    """An endpoint of somebody else. `keeps_markers`: a key with a slash at its end is another than the one without."""

    endpoint: str
    stop: Callable[[], Awaitable[None]]
    keeps_markers: bool


@pytest_asyncio.fixture(loop_scope="module", params=["moto", "rclone"])
async def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Foreign]:
    if request.param == "moto":
        server = ThreadedMotoServer(port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        made = Foreign(f"http://{host}:{port}", partial(asyncio.to_thread, server.stop), keeps_markers=True)
    else:
        settings = Settings(data_dir=tmp_path, s3_port=free_port())
        (tmp_path / "storage" / "buckets").mkdir(parents=True)
        serving = asyncio.create_task(keep_serving("s3", *server_of(settings, [KEY])))

        async def stop() -> None:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

        made = Foreign(settings.effective_s3_endpoint_url, stop, keeps_markers=False)
    yield made
    await made.stop()


async def becomes_usable(remote: Remote) -> None:
    for _ in range(600):
        try:
            await remote.ensure(BUCKET)
        except StorageUnusable:
            await asyncio.sleep(0.05)
        else:
            return
    pytest.fail("the endpoint cannot be used")


async def test_behind_any_other_s3_endpoint_it_is_the_same(foreign: Foreign, tmp_path: Path) -> None:
    run = Path(tempfile.mkdtemp(prefix="fl-"))
    (run / "storage").mkdir()
    (run / "instances" / ADA.instance_id / "host" / DIRECTORY).mkdir(parents=True)
    buckets = Buckets(foreign.endpoint, "us-east-1", KEY)
    remote = on_s3(foreign.endpoint, "us-east-1", KEY)
    doors = SessionDoors(run, remote)
    rig = Rig(doors, buckets, run, tmp_path)
    try:
        doors.prepare()
        await becomes_usable(remote)
        await remote.ensure(BUCKET)
        await doors.open(replace(ADA, quota_in_bytes=1000))
        assert (await rig.ask("PUT", "/a.txt", data=b"x" * 600, headers={"X-OC-Mtime": "1000000000"}))[0] == 201
        assert (await rig.ask("PUT", "/b.txt", data=b"x" * 600))[0] == 507
        assert (await rig.ask("PROPPATCH", "/a.txt", data=TIME_OF_A_FILE))[0] == 207
        assert (await rig.ask("MKCOL", "/folder"))[0] == 201
        assert (await rig.ask("MKCOL", "/empty"))[0] == 201
        assert (await rig.ask("PUT", "/folder/c.txt", data=b"x" * 200))[0] == 201
        moved = await rig.ask("MOVE", "/folder/c.txt", headers={"Destination": "http://x/folder/d.txt"})
        assert moved[0] == 201
        assert await buckets.size_of(BUCKET, PREFIX) == 800
        await doors.open(replace(ADA, token="another"))  # as after a restart: nothing is remembered
        assert (await rig.ask("GET", "/a.txt", token="another"))[1] == b"x" * 600
        assert (await rig.ask("GET", "/folder/d.txt", token="another"))[1] == b"x" * 200
        empty = await rig.ask("PROPFIND", "/empty", token="another", headers={"Depth": "0"})
        assert empty[0] == (207 if foreign.keeps_markers else 404)
        assert (await rig.ask("DELETE", "/folder", token="another"))[0] == 204
        assert await buckets.size_of(BUCKET, PREFIX) == 600
        await foreign.stop()
        status = (await rig.ask("PROPFIND", "/", token="another", headers={"Depth": "1"}))[0]
        assert status == 502, "what cannot be read is not shown as if it were empty"
    finally:
        await doors.close_all()
        shutil.rmtree(run)


async def test_a_door_that_was_opened_while_the_endpoint_was_away_wants_to_be_opened_anew(tmp_path: Path) -> None:
    """Nobody knew then whether empty folders can be kept; the api process opens anew what is not among the open doors."""
    run = Path(tempfile.mkdtemp(prefix="fl-"))
    (run / "storage").mkdir()
    (run / "instances" / ADA.instance_id / "host" / DIRECTORY).mkdir(parents=True)
    port = free_port()
    remote = on_s3(f"http://127.0.0.1:{port}", "us-east-1", KEY)
    doors = SessionDoors(run, remote)
    server = ThreadedMotoServer(port=port, verbose=False)
    rig = Rig(doors, Buckets(f"http://127.0.0.1:{port}", "us-east-1", KEY), run, tmp_path)
    try:
        doors.prepare()
        await doors.open(ADA)
        assert doors.doors() == (ADA,)
        server.start()
        await becomes_usable(remote)
        assert doors.doors() == ()
        await doors.open(ADA)
        assert doors.doors() == (ADA,)
        assert (await rig.ask("MKCOL", "/empty"))[0] == 201
        assert [one["Key"] for one in rig.buckets._objects(BUCKET, PREFIX)][-1] == f"{PREFIX}empty/"
    finally:
        await doors.close_all()
        await asyncio.to_thread(server.stop)
        shutil.rmtree(run)


class _Refusing(BaseHTTPRequestHandler):
    """A bucket that is there, for a key that may look at it and write nothing."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_PUT(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base class
        pass


async def test_a_key_that_may_not_write_is_told_before_anybody_saves_a_file() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        buckets = Buckets(f"http://127.0.0.1:{server.server_address[1]}", "us-east-1", KEY)
        for _ in range(2):
            with pytest.raises(
                StorageUnusable, match=r"refuses the bucket .*: AccessDenied to PutObject\. Look at the"
            ):
                await buckets.ensure(BUCKET)
    finally:
        server.shutdown()
        server.server_close()


async def test_links_planted_in_the_folder_lead_nowhere(rig: Rig) -> None:
    """Nobody can plant one through a door or through S3; whoever else did gains nothing by it."""
    other = rig.stored.parent / "other"
    other.mkdir(parents=True)
    (other / "secret.txt").write_bytes(b"not for ada")
    rig.stored.mkdir()
    (rig.stored / "file").symlink_to(other / "secret.txt")
    (rig.stored / "folder").symlink_to(other)
    await rig.doors.open(replace(ADA, quota_in_bytes=1000))
    for path in ("/file", "/folder/secret.txt"):
        assert (await rig.ask("GET", path))[0] == 404
        await rig.ask("PUT", path, data=b"hers now")
        await rig.ask("DELETE", path)
        await rig.ask("MOVE", path, headers={"Destination": "http://x/mine"})
    await rig.ask("PUT", "/letter", data=b"hers")
    await rig.ask("MOVE", "/letter", headers={"Destination": "http://x/file"})
    assert b"secret" not in (await rig.ask("PROPFIND", "/", headers={"Depth": "1"}))[1]
    assert {found.name: found.read_bytes() for found in other.iterdir()} == {"secret.txt": b"not for ada"}
