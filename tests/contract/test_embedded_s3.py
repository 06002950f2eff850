"""The S3 endpoint that comes with Fanlight, with the client that operators use."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fanlight.config import Settings
from fanlight.storage.embedded_s3 import KeyPair, server_of
from fanlight.storage.rclone import keep_serving
from free_ports import free_port

OPERATOR = KeyPair("AKIAOPERATOROPERATOR", 'a secret with a quote "')
OWN = KeyPair("FANLIGHTSTORAGE00001", "another-secret")
BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"
PART = 5 * 1024 * 1024


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[str]:
    settings = Settings(data_dir=tmp_path, s3_port=free_port())
    (tmp_path / "storage" / "buckets").mkdir(parents=True)
    arguments, environment = server_of(settings, [OWN, OPERATOR])
    serving = asyncio.create_task(keep_serving("s3", arguments, environment))
    try:
        yield settings.effective_s3_endpoint_url
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def answering(endpoint: str, key: KeyPair = OPERATOR) -> Any:
    """Return a client, once the endpoint answers."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        config=Config(retries={"total_max_attempts": 1}),
    )
    for _ in range(1200):
        try:
            await asyncio.to_thread(client.list_buckets)
        except BotoCoreError:  # it does not listen yet, or no more
            await asyncio.sleep(0.05)
        except ClientError:
            break
        else:
            break
    return client


async def test_keeps_what_s3_tools_put_there(endpoint: str, tmp_path: Path) -> None:
    client = await answering(endpoint)
    key = "user/custom/0123/a name, with ünicode & blanks.txt"

    def put_and_get() -> bytes:
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key=key, Body=b"good morning")
        return bytes(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    assert await asyncio.to_thread(put_and_get) == b"good morning"
    assert (tmp_path / "storage" / "buckets" / BUCKET / key).read_bytes() == b"good morning"


async def test_takes_a_file_in_parts(endpoint: str) -> None:
    client = await answering(endpoint)
    parts = [os.urandom(PART), os.urandom(PART), b"the rest"]

    def upload() -> bytes:
        client.create_bucket(Bucket=BUCKET)
        upload_id = client.create_multipart_upload(Bucket=BUCKET, Key="large")["UploadId"]
        done = [
            {
                "PartNumber": number,
                "ETag": client.upload_part(
                    Bucket=BUCKET, Key="large", UploadId=upload_id, PartNumber=number, Body=part
                )["ETag"],
            }
            for number, part in enumerate(parts, 1)
        ]
        client.complete_multipart_upload(
            Bucket=BUCKET, Key="large", UploadId=upload_id, MultipartUpload={"Parts": done}
        )
        return bytes(client.get_object(Bucket=BUCKET, Key="large", Range=f"bytes={PART - 3}-{PART + 2}")["Body"].read())

    assert await asyncio.to_thread(upload) == parts[0][-3:] + parts[1][:3]


async def test_lists_thousands_page_by_page(endpoint: str, tmp_path: Path) -> None:
    client = await answering(endpoint)
    many = tmp_path / "storage" / "buckets" / BUCKET / "many"
    await asyncio.to_thread(client.create_bucket, Bucket=BUCKET)
    many.mkdir()
    for number in range(1500):
        (many / str(number)).touch()

    def names() -> set[str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="many/")
        return {found["Key"] for page in pages for found in page["Contents"]}

    assert await asyncio.to_thread(names) == {f"many/{number}" for number in range(1500)}


@pytest.mark.parametrize("key", [KeyPair("AKIASOMEBODYSOMEBODY", "x" * 20), KeyPair(OPERATOR.access_key_id, "guessed")])
async def test_refuses_other_keys(endpoint: str, key: KeyPair) -> None:
    await answering(endpoint)
    client = await answering(endpoint, key)
    with pytest.raises(ClientError) as refused:
        await asyncio.to_thread(client.list_buckets)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


async def test_own_servers_have_a_key_of_their_own(endpoint: str) -> None:
    client = await answering(endpoint, OWN)
    assert (await asyncio.to_thread(client.list_buckets))["Buckets"] == []


async def test_comes_back_when_it_was_killed(endpoint: str) -> None:
    await answering(endpoint)
    os.kill(server_at(endpoint), signal.SIGKILL)
    client = await answering(endpoint)
    assert (await asyncio.to_thread(client.list_buckets))["Buckets"] == []


def test_shows_no_secret_on_its_command_line(tmp_path: Path) -> None:
    arguments, environment = server_of(Settings(data_dir=tmp_path), [OWN, OPERATOR])
    assert not any(pair.secret_access_key in word for pair in (OWN, OPERATOR) for word in arguments)
    assert OWN.secret_access_key in environment["RCLONE_AUTH_KEY"]
    assert OPERATOR.secret_access_key not in repr(OPERATOR)


def server_at(endpoint: str) -> int:
    """Return the process id of the rclone that serves there."""
    address = endpoint.removeprefix("http://").encode()
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    (pid,) = [pid for pid in children if address in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    return int(pid)
