"""ObjectStore over a real S3 endpoint."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fanlight.config import Settings
from fanlight.domain.errors import DriverUnavailable
from fanlight.domain.objects import ObjectMissing, ObjectPlace, ObjectRefused
from fanlight.drivers.s3 import PART_IN_BYTES, S3Objects
from fanlight.storage.embedded_s3 import KeyPair, server_of
from fanlight.storage.rclone import keep_serving
from free_ports import free_port

KEY = KeyPair("AKIAOPERATOROPERATOR", "a-secret")
PLACE = ObjectPlace("archives", "000000000000/a name.tar")


def objects_at(endpoint: str, secret: str = KEY.secret_access_key) -> S3Objects:
    return S3Objects(
        endpoint_url=endpoint, region="us-east-1", access_key_id=KEY.access_key_id, secret_access_key=secret
    )


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[str]:
    settings = Settings(data_dir=tmp_path, s3_port=free_port())
    (tmp_path / "storage" / "buckets").mkdir(parents=True)
    serving = asyncio.create_task(keep_serving("s3", *server_of(settings, [KEY])))
    try:
        objects = objects_at(settings.effective_s3_endpoint_url)
        for _ in range(100):
            try:
                await objects.ensure_bucket(PLACE.bucket)
            except DriverUnavailable:
                await asyncio.sleep(0.05)
            else:
                break
        yield settings.effective_s3_endpoint_url
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def content(objects: S3Objects, place: ObjectPlace = PLACE) -> bytes:
    stored = await objects.find(place)
    assert stored is not None
    return b"".join([chunk async for chunk in objects.read(stored)])


async def test_keeps_what_is_written_in_parts_of_any_size(endpoint: str) -> None:
    objects = objects_at(endpoint)
    parts = [os.urandom(PART_IN_BYTES - 1), os.urandom(3), os.urandom(5_000_000)]
    written = await objects.write(PLACE, chunks(*parts))
    assert written.size == sum(map(len, parts))
    assert await content(objects) == b"".join(parts)
    assert [one.place for one in await objects.list(PLACE.bucket, "000000000000/")] == [PLACE]
    assert await objects.list(PLACE.bucket, "1") == ()


async def test_an_empty_object_is_an_object(endpoint: str) -> None:
    objects = objects_at(endpoint)
    await objects.write(PLACE, chunks())
    assert await content(objects) == b""


async def test_what_breaks_off_is_not_there(endpoint: str) -> None:
    objects = objects_at(endpoint)

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(PART_IN_BYTES)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await objects.write(PLACE, broken())
    assert await objects.find(PLACE) is None


async def test_another_version_is_not_read(endpoint: str) -> None:
    objects = objects_at(endpoint)
    first = await objects.write(PLACE, chunks(b"one"))
    await objects.write(PLACE, chunks(b"two"))
    with pytest.raises(ObjectMissing):
        _ = [chunk async for chunk in objects.read(first)]


async def test_what_is_not_there_is_told_and_deleting_it_is_success(endpoint: str) -> None:
    objects = objects_at(endpoint)
    assert await objects.find(PLACE) is None
    assert await objects.find(ObjectPlace("nowhere", "x")) is None
    assert await objects.list("nowhere", "") == ()
    await objects.write(PLACE, chunks(b"x"))
    await objects.delete(PLACE)
    await objects.delete(PLACE)
    assert await objects.find(PLACE) is None


async def test_a_wrong_key_is_refused_and_no_endpoint_is_an_outage(endpoint: str) -> None:
    with pytest.raises(ObjectRefused):
        await objects_at(endpoint, secret="wrong").find(PLACE)
    with pytest.raises(DriverUnavailable):
        await objects_at(f"http://127.0.0.1:{free_port()}").find(PLACE)
