"""The port UserStorage over the socket of the storage process: real sockets, real rclone, and callers who may not ask."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import botocore.session
import pytest
import pytest_asyncio
from moto.server import ThreadedMotoServer

from fanlight.domain.errors import StorageUnavailable, StorageUnusable
from fanlight.domain.user_storage import RPC_SOCKET_NAME, StorageDoor, StorageKind, StorageUsage
from fanlight.drivers.storage import StorageConnection
from fanlight.storage.drives.doors import DriveDoors
from fanlight.storage.drives.grants import Grants
from fanlight.storage.embedded_s3 import KeyPair
from fanlight.storage.front import USER
from fanlight.storage.rpc import MalformedRequest, make_rpc, read_door, serve_rpc
from fanlight.storage.sessions import DIRECTORY, Remote, SessionDoors, on_s3, on_this_host
from free_ports import free_port

BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"
PREFIX = "user/custom/0123/"
THERE = "appstream2-36fb080bb8-eu-west-1-111111111111"
ADA = StorageDoor(
    session_id="11111111-aaaa",
    kind=StorageKind.HOMEFOLDERS,
    instance_id="i-one",
    first_uid=os.getuid(),
    token="ada-has-a-token-of-her-own",
    bucket=BUCKET,
    prefix=PREFIX,
)


@dataclass
class House:
    run: Path
    buckets: Path
    storage: StorageConnection

    async def status(self, door: StorageDoor) -> int:
        socket = self.run / "instances" / door.instance_id / "host" / DIRECTORY / door.socket_name
        leave = {"Authorization": aiohttp.encode_basic_auth(USER, door.token)}
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as http,
            http.request("PROPFIND", "http://x/", headers={**leave, "Depth": "1"}) as answer,
        ):
            return answer.status


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    run = Path(tempfile.mkdtemp(prefix="fl-"))  # short: a socket's path has at most 107 bytes
    (run / "storage").mkdir()
    (run / "instances" / "i-one" / "host" / DIRECTORY).mkdir(parents=True)
    (tmp_path / "buckets").mkdir()
    async for made in _serving(run, tmp_path / "buckets", on_this_host(tmp_path / "buckets"), {os.getuid()}):
        yield made
    shutil.rmtree(run)


async def _serving(run: Path, buckets: Path, remote: Remote, uids: set[int]) -> AsyncIterator[House]:
    doors = SessionDoors(run, remote)
    doors.prepare()
    drives = DriveDoors(run, Grants(run / "grants", run / "drives.key"), {}, run / "spool")
    runner = await serve_rpc(make_rpc(doors, drives, remote, uids), run)
    storage = StorageConnection(run)
    try:
        yield House(run, buckets, storage)
    finally:
        await storage.close_connections()
        await runner.cleanup()
        await doors.close_all()
        await drives.close_all()


async def test_the_door_of_a_drive_waits_for_its_user_beside_the_others(house: House) -> None:
    drive = replace(ADA, kind=StorageKind.GOOGLE_DRIVE, domains=("example.org",))
    await house.storage.open(drive)
    await house.storage.open(ADA)
    kinds = {(ADA.session_id, StorageKind.GOOGLE_DRIVE), (ADA.session_id, StorageKind.HOMEFOLDERS)}
    assert await house.storage.doors() == kinds
    await house.storage.close(ADA.session_id, but={StorageKind.HOMEFOLDERS})
    assert await house.storage.doors() == {(ADA.session_id, StorageKind.HOMEFOLDERS)}


async def test_a_door_is_opened_once_and_closed_for_good(house: House) -> None:
    await house.storage.open(ADA)
    await house.storage.open(ADA)
    assert await house.storage.doors() == {(ADA.session_id, StorageKind.HOMEFOLDERS)}
    assert await house.status(ADA) == 207
    await house.storage.close(ADA.session_id)
    await house.storage.close(ADA.session_id)
    assert await house.storage.doors() == set()
    with pytest.raises(aiohttp.ClientError):
        await house.status(ADA)


async def test_a_session_has_a_door_of_each_kind(house: House) -> None:
    other = replace(ADA, kind=StorageKind.APPLICATION_SETTINGS, token="another-token-for-settings", prefix="other/")
    await house.storage.open(ADA)
    await house.storage.open(other)
    assert (await house.status(ADA), await house.status(other)) == (207, 207)
    assert await house.status(replace(other, token=ADA.token)) == 401
    await house.storage.close(ADA.session_id, but=[StorageKind.APPLICATION_SETTINGS])
    assert await house.storage.doors() == {(ADA.session_id, StorageKind.APPLICATION_SETTINGS)}


async def test_a_bucket_is_made_once_and_opening_makes_it_too(house: House) -> None:
    await house.storage.ensure_bucket(BUCKET)
    (house.buckets / BUCKET / "kept").write_text("kept")
    await house.storage.ensure_bucket(BUCKET)
    assert (house.buckets / BUCKET / "kept").read_text() == "kept"
    await house.storage.open(replace(ADA, bucket="appstream2-other"))
    assert (house.buckets / "appstream2-other").is_dir()


STORED = {
    f"{PREFIX}file": 700, f"{PREFIX}deep/file": 50, "user/custom/9999/file": 8, "user/federated/1/a": 0, "stray": 9
}  # fmt: skip
USAGE = [
    StorageUsage(bucket=BUCKET, prefix=PREFIX, size_in_bytes=750, files=2),
    StorageUsage(bucket=BUCKET, prefix="user/custom/9999/", size_in_bytes=8, files=1),
    StorageUsage(bucket=BUCKET, prefix="user/federated/1/", size_in_bytes=0, files=1),
]


async def test_usage_is_told_by_user(house: House) -> None:
    assert await house.storage.usage() == []
    for key, size in STORED.items():
        for bucket in (BUCKET, "another-bucket"):
            (house.buckets / bucket / key).parent.mkdir(parents=True, exist_ok=True)
            (house.buckets / bucket / key).write_bytes(b"x" * size)
    assert await house.storage.usage() == USAGE


async def test_usage_at_any_other_endpoint_is_the_same(house: House, tmp_path: Path) -> None:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    key = KeyPair("key", "secret")
    try:
        remote = on_s3(f"http://{host}:{port}", "us-east-1", key)
        async for away in _serving(house.run, tmp_path, remote, {os.getuid()}):
            await away.storage.ensure_bucket(THERE)
            client = botocore.session.Session().create_client(
                "s3", "us-east-1", endpoint_url=f"http://{host}:{port}",
                aws_access_key_id=key.access_key_id, aws_secret_access_key=key.secret_access_key,
            )  # fmt: skip
            for name, size in (*STORED.items(), (f"{PREFIX}empty/", 0)):
                await asyncio.to_thread(client.put_object, Bucket=THERE, Key=name, Body=b"x" * size)
            found = [one for one in await away.storage.usage() if one.bucket == THERE]  # moto has what other tests left
            assert found == [replace(one, bucket=THERE) for one in USAGE]
            client.close()
    finally:
        await asyncio.to_thread(server.stop)


async def test_an_instance_that_is_gone_is_told(house: House) -> None:
    with pytest.raises(StorageUnavailable, match="no place"):
        await house.storage.open(replace(ADA, instance_id="i-none"))
    assert await house.storage.doors() == set()


async def test_a_directory_that_is_no_bucket_is_told(house: House) -> None:
    (house.buckets / BUCKET).write_text("a file")
    with pytest.raises(StorageUnusable, match=BUCKET):
        await house.storage.ensure_bucket(BUCKET)


async def test_a_door_to_an_endpoint_that_is_away_opens_and_is_told(house: House, tmp_path: Path) -> None:
    remote = on_s3(f"http://127.0.0.1:{free_port()}", "us-east-1", KeyPair("key", "secret"))
    async for away in _serving(house.run, tmp_path, remote, {os.getuid()}):
        with pytest.raises(StorageUnusable, match="does not answer"):
            await away.storage.open(ADA)
        assert await away.storage.doors() == {(ADA.session_id, StorageKind.HOMEFOLDERS)}
        with pytest.raises(StorageUnusable, match="does not answer"):
            await away.storage.ensure_bucket(BUCKET)
        with pytest.raises(StorageUnusable, match="does not answer"):
            await away.storage.usage()


async def test_nobody_else_may_ask(house: House) -> None:
    doors = on_this_host(house.buckets)
    async for closed in _serving(house.run, house.buckets, doors, {os.getuid() + 1}):
        with pytest.raises(StorageUnavailable, match="may not ask"):
            await closed.storage.open(ADA)
    assert (house.run / "storage" / RPC_SOCKET_NAME).stat().st_mode & 0o777 == 0o660


async def test_a_process_that_is_away_is_told(tmp_path: Path) -> None:
    storage = StorageConnection(tmp_path)
    for ask in (storage.doors(), storage.close("s"), storage.open(ADA), storage.ensure_bucket(BUCKET)):
        with pytest.raises(StorageUnavailable, match="does not answer"):
            await ask
    await storage.close_connections()


WRONG: list[dict[str, object]] = [
    {"session_id": "../x"}, {"session_id": ""}, {"session_id": 1}, {"kind": "FLOPPY"}, {"kind": []},
    {"instance_id": "i/../../etc"}, {"instance_id": ".."}, {"first_uid": -1}, {"first_uid": True}, {"first_uid": "0"},
    {"token": "short"}, {"token": "with space in the token"}, {"bucket": ".."}, {"bucket": "a/b"}, {"bucket": "A" * 10},
    {"bucket": "a..b"}, {"prefix": ""}, {"prefix": "/"}, {"prefix": "user"}, {"prefix": "user/../other/"},
    {"prefix": "/user/"}, {"prefix": "user//x/"}, {"prefix": "./"}, {"prefix": "a\\b/"}, {"prefix": "a\nb/"},
    {"prefix": "x" * 900 + "/"}, {"quota_in_bytes": -1}, {"quota_in_bytes": "1"}, {"more": 1},
    {"domains": None}, {"domains": [1]}, {"domains": ["a\nb"]}, {"domains": "example.org"},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_could_become_another_path_is_refused(wrong: dict[str, object]) -> None:
    good: dict[str, object] = {
        "session_id": "s-1", "kind": "HOMEFOLDERS", "instance_id": "i-1", "first_uid": 1000, "token": "t" * 32,
        "bucket": BUCKET, "prefix": PREFIX, "quota_in_bytes": None, "domains": [],
    }  # fmt: skip
    assert read_door(good).prefix == PREFIX
    with pytest.raises(MalformedRequest):
        read_door(good | wrong)
