"""Home folders: what they cost at the start of a session, and how fast they are against S3 without them."""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import boto3

from benchmarks.rows import Report, Row, milliseconds
from benchmarks.streams import installation
from e2e.administrators import Administrator
from e2e.installation import KEY_ID, SECRET, Installation, wait_for
from e2e.instances import USER_HOME, Instances
from e2e.portal_users import PortalUser

STARTS, QUICK_STARTS = 12, 3
START_BAR_IN_SECONDS = 0.3
LARGE_IN_MB, QUICK_LARGE_IN_MB = 200, 50
SMALL_FILES, SMALL_FILE_IN_BYTES = 1000, 4096
CONNECTIONS = 4  # of the direct way: as many as the mount sends at a time
FLEET, PLAIN, HOME = "bench-folders", "bench-folders", "bench-home"
BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"
FOLDER = f"{USER_HOME}/MyFiles/HomeFolder"
MB = 1_000_000


@dataclass
class Bench:
    made: Installation
    administrator: Administrator
    s3: Any

    def user(self, stack: str, name: str) -> PortalUser:
        client = self.administrator.client
        url = client.create_streaming_url(StackName=stack, FleetName=FLEET, UserId=name)["StreamingURL"]
        return PortalUser(url)

    @contextmanager
    def session(self, name: str) -> Iterator[Callable[..., float]]:
        """Give a function that runs a shell script as the user of a session and returns the seconds it took."""
        self.administrator.wait_for_capacity(FLEET)
        page = self.user(HOME, name)
        page.begin()
        page.folder_becomes("MOUNTED")
        listed = self.administrator.client.describe_sessions(
            StackName=HOME, FleetName=FLEET, UserId=name, AuthenticationType="API"
        )
        [session] = [one for one in listed["Sessions"] if one["State"] == "ACTIVE"]
        instances = Instances(self.made)

        def run(script: str) -> float:
            began = time.monotonic()
            done = instances.run(session["InstanceId"], "sh", "-euc", script, as_user=True, timeout=300)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.decode())
            return time.monotonic() - began

        yield run
        page.end()
        page.everything_is_saved(within=120)

    def arrived(self, name: str, count: int, size: int) -> bool:
        """Return whether so many bytes are in so many objects of a user."""
        prefix = f"user/custom/{sha256(name.encode()).hexdigest()}/"
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        sizes = [one["Size"] for page in pages for one in page.get("Contents", ()) if not one["Key"].endswith("/")]
        return len(sizes) >= count and sum(sizes) >= size


def measure(report: Report, *, is_quick: bool) -> list[Row]:
    with installation(report) as made:
        administrator = Administrator(made.client())
        administrator.make(FLEET, capacity=2)
        administrator.client.create_stack(Name=HOME, StorageConnectors=[{"ConnectorType": "HOMEFOLDERS"}])
        administrator.client.associate_fleet(FleetName=FLEET, StackName=HOME)
        s3 = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{made.s3_port}",
            region_name="us-east-1",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
        )
        bench = Bench(made, administrator, s3)
        rows = [
            _starts(bench, report, QUICK_STARTS if is_quick else STARTS),
            *_large(bench, report, QUICK_LARGE_IN_MB if is_quick else LARGE_IN_MB),
            _small(bench, report),
        ]
        administrator.client.disassociate_fleet(FleetName=FLEET, StackName=HOME)
        administrator.remove(FLEET)
    return rows


def _starts(bench: Bench, report: Report, count: int) -> Row:
    taken: dict[str, list[float]] = {PLAIN: [], HOME: []}
    for number in range(count):
        for stack, seconds in taken.items():
            report(f"session {number + 1} of {count}, {stack}")
            bench.administrator.wait_for_capacity(FLEET, 2)
            page = bench.user(stack, f"user-{number}")
            began = time.monotonic()
            page.begin()
            seconds.append(time.monotonic() - began)
            page.end()
    plain, home = (statistics.median(seconds) for seconds in taken.values())
    return Row(
        name=f"session start with home folder, asked → ACTIVE, {count} each in turn",
        figure=f"median {milliseconds(home)}, adds {milliseconds(max(home - plain, 0.0))}",
        bar=f"adds < {milliseconds(START_BAR_IN_SECONDS)}",
        alternative=f"without: {milliseconds(plain)}",
        is_met=home - plain < START_BAR_IN_SECONDS,
        details=taken,
    )


def _large(bench: Bench, report: Report, size: int) -> list[Row]:
    """Write a file in one session and read it in another one, on an instance that has not seen it."""
    content = b"\xa5" * (size * MB)
    report(f"{size} MB: writing")
    with bench.session("large") as run:
        run(f"head -c {size * MB} /dev/urandom >/tmp/source")
        began = time.monotonic()
        said = run(f"cat /tmp/source >{FOLDER}/large.bin")
        wait_for(lambda: bench.arrived("large", 1, size * MB), timeout=200, what="the large file")
        written = time.monotonic() - began
    report(f"{size} MB: reading")
    with bench.session("large") as run:
        read = run(f"cat {FOLDER}/large.bin >/dev/null")
    report(f"{size} MB: directly")
    began = time.monotonic()
    bench.s3.put_object(Bucket=BUCKET, Key="direct.bin", Body=content)
    direct_write = time.monotonic() - began
    began = time.monotonic()
    bench.s3.get_object(Bucket=BUCKET, Key="direct.bin")["Body"].read()
    direct_read = time.monotonic() - began
    bench.s3.delete_object(Bucket=BUCKET, Key="direct.bin")
    return [
        Row(
            name=f"home folder, {size} MB written, until it has arrived in S3",
            figure=f"{size / written:.0f} MB/s ({size / said:.0f} MB/s for the program)",
            alternative=f"put directly: {size / direct_write:.0f} MB/s",
            ratio=f"{direct_write / written:.2f}",
            details={"arrived": written, "program": said, "direct": direct_write},
        ),
        Row(
            name=f"home folder, {size} MB read, on an instance that has not seen it",
            figure=f"{size / read:.0f} MB/s",
            alternative=f"got directly: {size / direct_read:.0f} MB/s",
            ratio=f"{direct_read / read:.2f}",
            details={"mount": read, "direct": direct_read},
        ),
    ]


def _small(bench: Bench, report: Report) -> Row:
    report(f"{SMALL_FILES} small files")
    with bench.session("small") as run:
        began = time.monotonic()
        script = f"i=0; while [ $i -lt {SMALL_FILES} ]; do head -c {SMALL_FILE_IN_BYTES} /dev/zero >{FOLDER}/$i; i=$((i+1)); done"
        said = run(script)
        wanted = SMALL_FILES * SMALL_FILE_IN_BYTES
        wait_for(lambda: bench.arrived("small", SMALL_FILES, wanted), timeout=200, what="all small files")
        arrived = time.monotonic() - began
    report(f"{SMALL_FILES} small files directly")
    content = b"\0" * SMALL_FILE_IN_BYTES
    began = time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        keys = [f"direct/{number}" for number in range(SMALL_FILES)]
        list(pool.map(lambda key: bench.s3.put_object(Bucket=BUCKET, Key=key, Body=content), keys))
    direct = time.monotonic() - began
    return Row(
        name=f"home folder, {SMALL_FILES} files of {SMALL_FILE_IN_BYTES} bytes, until all have arrived",
        figure=f"{arrived:.1f} s ({said:.1f} s for the program)",
        alternative=f"put directly, {CONNECTIONS} at a time: {direct:.1f} s",
        ratio=f"{direct / arrived:.2f}",
        details={"arrived": arrived, "program": said, "direct": direct},
    )
