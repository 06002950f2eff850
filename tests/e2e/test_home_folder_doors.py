"""The way from an instance to its user's files, as root of real instances sees it, and nobody else does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.installation import KEY_ID, SECRET, Installation, wait_for
from e2e.instances import Instances
from fanlight.domain.user_storage import StorageKind, socket_name
from fanlight.services.door_tokens import DoorTokens

pytestmark = [pytest.mark.incus, pytest.mark.browser]

BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"
# What an agent is told, and what a hostile root of an instance finds out and tries.
ASK = """
import base64, http.client, json, socket, sys
method, path, name, token = sys.argv[1:]
link = http.client.HTTPConnection("x")
link.sock = socket.socket(socket.AF_UNIX)
link.sock.settimeout(20)
try:
    link.sock.connect("/run/fanlight/host/storage/" + name)
except OSError as error:
    print(json.dumps([error.errno, ""]))
    raise SystemExit
leave = "Basic " + base64.b64encode(("session:" + token).encode()).decode()
body = sys.stdin.buffer.read() if method == "PUT" else None
link.request(method, path, body=body, headers={"Authorization": leave, "Depth": "1"})
answer = link.getresponse()
print(json.dumps([answer.status, answer.read().decode()]))
"""
PYTHON = "/opt/fanlight/runtime/bin/python3"


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
    client.close()


@pytest.fixture
def home_stack(fleet: str, administrator: Administrator) -> Iterator[str]:
    administrator.client.update_stack(Name=fleet, StorageConnectors=[{"ConnectorType": "HOMEFOLDERS"}])
    yield fleet
    administrator.client.update_stack(Name=fleet, DeleteStorageConnectors=True)


class Doors:
    """Asks from inside instances, as their root unless it says otherwise."""

    def __init__(self, installation: Installation, instances: Instances) -> None:
        self.installation, self._instances = installation, instances
        self._tokens = DoorTokens((installation.data_dir / "state" / "signing.key").read_bytes())

    def ask(
        self, session: Any, method: str, path: str, *, inside: Any = None, token: str | None = None, **how: Any
    ) -> tuple[int, str]:
        """Ask at a session's door, from its own instance or `inside` that of another session."""
        own = self._tokens.token_of(session["Id"], StorageKind.HOMEFOLDERS)
        name = socket_name(session["Id"], StorageKind.HOMEFOLDERS)
        command = (PYTHON, "-I", "-c", ASK, method, path, name, own if token is None else token)
        done = self._instances.run((inside or session)["InstanceId"], *command, **how)
        assert done.returncode == 0, done.stderr
        status, text = json.loads(done.stdout)
        return status, text


@pytest.fixture
def doors(installation: Installation, instances: Instances) -> Doors:
    return Doors(installation, instances)


def prefix_of(user: str) -> str:
    return f"user/custom/{sha256(user.encode()).hexdigest()}/"


def test_root_of_the_sessions_instance_reaches_its_users_files_and_nobody_else(
    home_stack: str, administrator: Administrator, new_visitor: Callable[..., Visitor], s3: Any, doors: Doors
) -> None:
    hers, his = (f"doors-{uuid4().hex[:12]}" for _ in range(2))  # who have no files of an earlier run
    for user in (hers, his):
        new_visitor().open(administrator.url(home_stack, user, "text-editor"))
    ada, bob = (administrator.session(home_stack, user) for user in (hers, his))
    wait_for(lambda: doors.ask(ada, "PROPFIND", "/")[0] == 207, timeout=20, what="Ada's door")
    wait_for(lambda: doors.ask(bob, "PROPFIND", "/")[0] == 207, timeout=20, what="Bob's door")

    assert doors.ask(ada, "PUT", "/letter.txt", given=b"Dear Bob")[0] == 201
    key = f"{prefix_of(hers)}letter.txt"
    stored = wait_for(
        lambda: [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()) if one["Key"] == key],
        timeout=20,
        what=f"{key} in {BUCKET}",
    )
    assert s3.get_object(Bucket=BUCKET, Key=stored[0])["Body"].read() == b"Dear Bob"

    assert doors.ask(bob, "GET", "/letter.txt")[0] == 404
    assert doors.ask(bob, "GET", f"/../../{sha256(hers.encode()).hexdigest()}/letter.txt")[0] == 400
    assert "letter" not in doors.ask(bob, "PROPFIND", "/")[1]
    assert doors.ask(ada, "GET", "/letter.txt", token="x" * 43)[0] == 401
    assert doors.ask(ada, "GET", "/letter.txt", inside=bob)[0] == 2, "her socket is in her instance alone"
    assert doors.ask(ada, "GET", "/letter.txt", as_user=True)[0] == 13, "users cannot reach the host's sockets"

    told = subprocess.run(
        [sys.executable, "-m", "fanlight", "storage", "usage", "--user", hers],
        env=doors.installation.environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    account, region, user, size, files, _ = told.stdout.splitlines()[1].split()
    assert (account, region, f"user/{user}/") == ("000000000000", "us-east-1", prefix_of(hers))
    assert (size, files) == ("0.0", "1")

    s3.put_object(Bucket=BUCKET, Key=f"{prefix_of(hers)}from outside.txt", Body=b"by an S3 tool")
    assert "from%20outside.txt" in doors.ask(ada, "PROPFIND", "/")[1], "whoever lists sees what an S3 tool put there"
    assert doors.ask(ada, "GET", "/from%20outside.txt") == (200, "by an S3 tool")


def test_the_door_is_there_after_the_storage_process_was_killed_and_closed_after_the_session(
    home_stack: str,
    administrator: Administrator,
    new_visitor: Callable[..., Visitor],
    doors: Doors,
    installation: Installation,
) -> None:
    new_visitor().open(administrator.url(home_stack, "doors-eve", "text-editor"))
    eve = administrator.session(home_stack, "doors-eve")
    wait_for(lambda: doors.ask(eve, "PROPFIND", "/")[0] == 207, timeout=20, what="Eve's door")
    installation.kill("storage")
    wait_for(lambda: doors.ask(eve, "PROPFIND", "/")[0] == 207, timeout=30, what="Eve's door again")
    sockets = _sockets_of(installation, eve)
    assert sockets.exists()
    administrator.expire(home_stack, "doors-eve")
    wait_for(lambda: not sockets.exists(), timeout=60, what="the end of Eve's door")


def _sockets_of(installation: Installation, session: Any) -> Path:
    run = installation.data_dir / "run" / "instances" / session["InstanceId"]
    return run / "host" / "storage" / socket_name(session["Id"], StorageKind.HOMEFOLDERS)


def test_a_bucket_that_cannot_be_used_shows_in_the_stack_until_it_can(
    home_stack: str, administrator: Administrator, installation: Installation, s3: Any
) -> None:
    def errors() -> list[str]:
        stack = administrator.client.describe_stacks(Names=[home_stack])["Stacks"][0]
        return [one["ErrorMessage"] for one in stack["StackErrors"] if one["ErrorCode"] == "STORAGE_CONNECTOR_ERROR"]

    bucket = installation.data_dir / "storage" / "buckets" / BUCKET
    wait_for(lambda: BUCKET in {one["Name"] for one in s3.list_buckets()["Buckets"]}, timeout=20, what=BUCKET)
    owner = bucket.stat().st_uid
    os.chown(bucket, 0, 0)
    try:
        administrator.client.update_stack(Name=home_stack)  # looks at it now, not at the next half minute
        told = wait_for(errors, timeout=20, what="the error of the stack")
        assert BUCKET in told[0]
        assert "Sessions start without home folders" in told[0]
    finally:
        os.chown(bucket, owner, -1)
    wait_for(lambda: not errors(), timeout=20, what="a stack without errors")
