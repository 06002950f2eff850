"""Home folders in real sessions: what programs save is in S3, and what S3 tools put there is seen."""

import secrets
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import boto3
import pytest

from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.installation import KEY_ID, SECRET, Installation, wait_for
from e2e.instances import Instances

pytestmark = [pytest.mark.incus, pytest.mark.browser]

BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"
USER = f"home-{secrets.token_hex(4)}"  # objects outlive installations
PREFIX = f"user/custom/{sha256(USER.encode()).hexdigest()}/"
HOME = "/home/user/MyFiles/HomeFolder"


@pytest.fixture
def s3(installation: Installation) -> Iterator[Any]:
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{installation.s3_port}",
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
    )
    yield client
    for key in keys(client):
        client.delete_object(Bucket=BUCKET, Key=PREFIX + key)
    client.close()


@pytest.fixture
def home_stack(fleet: str, administrator: Administrator) -> Iterator[str]:
    administrator.client.update_stack(Name=fleet, StorageConnectors=[{"ConnectorType": "HOMEFOLDERS"}])
    yield fleet
    administrator.client.update_stack(Name=fleet, DeleteStorageConnectors=True)


def keys(s3: Any) -> set[str]:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX).get("Contents", ())
    return {one["Key"].removeprefix(PREFIX) for one in found}


def test_what_a_program_saves_is_in_s3_and_in_the_next_session(
    home_stack: str, administrator: Administrator, new_visitor: Callable[..., Visitor], instances: Instances, s3: Any
) -> None:
    def does(instance_id: str, script: str) -> str:
        done = instances.run(instance_id, "bash", "-c", script, as_user=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def is_mounted(instance_id: str) -> bool:
        return instances.run(instance_id, "mountpoint", "-q", HOME).returncode == 0

    new_visitor().open(administrator.url(home_stack, USER, "text-editor"))
    first = administrator.instance_of(home_stack, USER)
    wait_for(lambda: is_mounted(first), timeout=20, what="the home folder")
    does(first, f"head -c 3000000 /dev/urandom >{HOME}/picture.raw; mkdir -p {HOME}/a/b; echo deep >{HOME}/a/b/c")
    wait_for(lambda: {"picture.raw", "a/b/c"} <= keys(s3), timeout=20, what="the files in S3")
    written = instances.read(first, f"{HOME}/picture.raw")
    assert s3.get_object(Bucket=BUCKET, Key=f"{PREFIX}picture.raw")["Body"].read() == written

    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}from outside.txt", Body=b"by an S3 tool")
    wait_for(
        lambda: instances.read(first, f"{HOME}/from outside.txt") == b"by an S3 tool",
        timeout=60,
        what="what an S3 tool put there",
        interval=1,
    )
    # Saved at the last moment: it has arrived when the session has ended.
    does(first, f"head -c 20000000 /dev/zero >{HOME}/last.raw")
    administrator.expire(home_stack, USER)
    wait_for(lambda: "last.raw" in keys(s3), timeout=30, what="what was saved last")
    wait_for(lambda: first not in instances.names(), timeout=60, what="the end of the instance")
    assert s3.head_object(Bucket=BUCKET, Key=f"{PREFIX}last.raw")["ContentLength"] == 20_000_000

    administrator.wait_for_capacity(home_stack)
    new_visitor().open(administrator.url(home_stack, USER, "text-editor"))
    second = administrator.instance_of(home_stack, USER)
    assert second != first
    wait_for(lambda: is_mounted(second), timeout=20, what="the home folder in the next session")
    assert instances.read(second, f"{HOME}/picture.raw") == written
    assert does(second, f"cat {HOME}/a/b/c") == "deep\n"
    administrator.expire(home_stack, USER)
