"""The API: rate and latency of DescribeFleets beside moto's WorkSpaces, and of a mix with 10,000 sessions and 500 fleets in the store.

Both servers run in processes of their own and answer the same load generator, one after the other, with requests
signed by botocore; both answers hold 100 records. (moto does not check the signature, Fanlight does.)
"""

import asyncio
import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.rows import Report, Row, milliseconds
from e2e.administrators import Administrator
from e2e.http_clients import ask
from e2e.installation import KEY_ID, SECRET, Installation, free_port, wait_for
from fanlight.config import Settings
from fanlight.domain.places import Scope
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingSession
from fanlight.store import open_store

RECORDS = 100  # on the page that both servers answer
FLEETS = 500
SESSIONS = 10_000
LIVE_SESSIONS = 200
SIGNATURES = 500
LOAD = Path(__file__).with_name("load.py")
P99_BAR_IN_SECONDS, RATE_BAR = 0.010, 3.0
# The latency bar is for a service in use, not for one that is drowned: a steady rate far above any administrator's.
STEADY_RATE_PER_SECOND = 50.0


@dataclass(frozen=True, slots=True)
class Target:
    """One operation of one server."""

    url: str
    service: str
    wanted: str
    body: bytes = b"{}"

    def request(self) -> bytes:
        """Return the signed request as it goes over the wire."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": self.wanted,
            "amz-sdk-invocation-id": str(uuid.uuid4()),
        }
        request = AWSRequest("POST", f"{self.url}/", headers, self.body)
        SigV4Auth(Credentials(KEY_ID, SECRET), self.service, "us-east-1").add_auth(request)
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        host = self.url.removeprefix("http://")
        head = "\r\n".join(["POST / HTTP/1.1", f"Host: {host}", f"Content-Length: {len(self.body)}", *lines])
        return head.encode() + b"\r\n\r\n" + self.body


def load(targets: Sequence[Target], *, connections: int, seconds: float, rate: float | None = None) -> dict[str, Any]:
    """Put load on a server; return requests, per_second, p50, p99 (seconds), statuses and answer_bytes."""
    host, port = targets[0].url.removeprefix("http://").split(":")
    job = {
        "host": host,
        "port": int(port),
        # Many different ones, as clients send them: no signature is the same.
        "requests": [base64.b64encode(t.request()).decode() for _ in range(SIGNATURES) for t in targets],
        "connections": connections,
        "seconds": seconds,
        "rate": rate,
    }
    done = subprocess.run(
        [sys.executable, LOAD], input=json.dumps(job), capture_output=True, text=True, check=True, timeout=seconds + 60
    )
    result = dict(json.loads(done.stdout))
    if set(result["statuses"]) != {"200"}:
        raise RuntimeError(f"{targets[0].wanted}: not every answer was a 200: {result}")
    return result


def appstream(installation: Installation, operation: str, **body: Any) -> Target:
    wanted = f"PhotonAdminProxyService.{operation}"
    return Target(installation.api_url, "appstream", wanted, json.dumps(body).encode())


@contextmanager
def fanlight_with_records(report: Report) -> Iterator[Installation]:
    """Fanlight on SQLite with 500 fleets, 10,000 sessions of the past and some of the present."""
    with tempfile.TemporaryDirectory(prefix="fl-bench-") as directory:
        made = Installation(
            Path(directory),
            {"compute": "simulated", "log_level": "warning", "expired_sessions_kept_in_seconds": "1000000000"},
        )
        made.start()
        try:
            report(f"{FLEETS} fleets")
            administrator = Administrator(made.client())
            for number in range(FLEETS):
                administrator.make(f"bench-{number:03}", capacity=2, start=False)
            report(f"{LIVE_SESSIONS} live sessions")
            _open_live_sessions(administrator, "bench-000")
            made.stop()
            report(f"{SESSIONS} sessions")
            asyncio.run(_store_sessions(made))
            made.start()
            wait_for(lambda: administrator.sessions("bench-000", "user-00042"), timeout=30, what="the live sessions")
            yield made
        finally:
            made.stop()


def _open_live_sessions(administrator: Administrator, fleet: str) -> None:
    administrator.client.update_fleet(Name=fleet, ComputeCapacity={"DesiredInstances": LIVE_SESSIONS})
    administrator.start(fleet)
    for number in range(LIVE_SESSIONS):
        ask("GET", administrator.url(fleet, f"user-{number:05}", "text-editor"))


async def _store_sessions(installation: Installation) -> None:
    """Write sessions that ended within the last day straight into the store: as rows they are like any other."""
    settings = Settings(data_dir=installation.data_dir)
    scope, now = Scope("000000000000", "us-east-1"), datetime.now(UTC)
    async with open_store(settings.effective_database_url) as store, store.transactions.begin(write=True) as work:
        fleets = list(await work.fleets.page(scope, limit=FLEETS))
        for number in range(SESSIONS - LIVE_SESSIONS):
            fleet = fleets[number % len(fleets)]
            began = now - timedelta(seconds=86_400 - number * 8)
            await work.sessions.add(
                StreamingSession(
                    session_id=f"00000000-0000-4000-8000-{number:012}",
                    scope=scope,
                    stack_name=fleet.name,
                    fleet_name=fleet.name,
                    fleet_id=fleet.fleet_id,
                    user_id=f"past-{number:05}",
                    state=SessionState.EXPIRED,
                    created_at=began,
                    started_at=began,
                    max_expires_at=began + timedelta(hours=16),
                    end_reason=EndReason.USER,
                    ended_at=began + timedelta(minutes=5),
                )
            )
        await work.commit()


@contextmanager
def moto_with_records(report: Report) -> Iterator[str]:
    """moto's own server with 100 WorkSpaces; return its URL."""
    port = free_port()
    program = Path(sys.executable).with_name("moto_server")
    server = subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _answers(f"{url}/moto-api/"), timeout=60, what="moto answers", interval=0.2)
        report("100 WorkSpaces in moto")
        _make_workspaces(url)
        yield url
    finally:
        server.terminate()
        server.wait(10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - loopback
            return True
    except OSError:
        return False


def _make_workspaces(url: str) -> None:
    given = {
        "endpoint_url": url, "region_name": "us-east-1", "aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET,
    }  # fmt: skip
    directories, network, workspaces = (boto3.client(name, **given) for name in ("ds", "ec2", "workspaces"))
    vpc = network.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        network.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"]
        for i, zone in enumerate("ab")
    ]
    directory = directories.create_directory(
        Name="bench.test",
        Password="Password-of-nobody-1",  # noqa: S106 - moto asks for one
        Size="Small",
        VpcSettings={"VpcId": vpc, "SubnetIds": [subnet["SubnetId"] for subnet in subnets]},
    )["DirectoryId"]
    workspaces.register_workspace_directory(DirectoryId=directory)
    wish = {"DirectoryId": directory, "UserName": "Administrator", "BundleId": "wsb-bh8rsxt14"}
    for _ in range(RECORDS // 25):
        workspaces.create_workspaces(Workspaces=[wish] * 25)
    found = len(workspaces.describe_workspaces()["Workspaces"])
    if found != RECORDS:
        raise RuntimeError(f"moto has {found} WorkSpaces instead of {RECORDS}")


def measure(report: Report, *, is_quick: bool) -> list[Row]:
    seconds = 3.0 if is_quick else 10.0
    with fanlight_with_records(report) as installation, moto_with_records(report) as moto:
        if len(installation.client().describe_fleets()["Fleets"]) != RECORDS:
            raise RuntimeError("DescribeFleets does not answer 100 fleets at once")
        fleets = [appstream(installation, "DescribeFleets")]
        workspaces = [Target(moto, "workspaces", "WorkspacesService.DescribeWorkspaces")]
        for warm_up in (fleets, workspaces):
            load(warm_up, connections=2, seconds=1.0)
        report("DescribeFleets")
        ours = load(fleets, connections=4, seconds=seconds)
        report("moto's DescribeWorkspaces")
        theirs = load(workspaces, connections=4, seconds=seconds)
        report("a mix at a steady rate")
        mixed = load(_mix(installation), connections=4, seconds=seconds, rate=STEADY_RATE_PER_SECOND)
        page = load(fleets, connections=1, seconds=seconds, rate=STEADY_RATE_PER_SECOND)
    return [_rate_row(ours, theirs), *_latency_rows(mixed, page)]


def _mix(installation: Installation) -> list[Target]:
    """What an administrator's tools ask most, some of it writing nothing, some signing URLs."""
    one = {"StackName": "bench-000", "FleetName": "bench-000"}
    return [
        appstream(installation, "DescribeFleets", Names=["bench-000"]),
        appstream(installation, "DescribeSessions", **one, Limit=20),
        appstream(installation, "DescribeSessions", **one, UserId="user-00042", AuthenticationType="API"),
        appstream(installation, "CreateStreamingURL", **one, UserId="user-00042"),
        appstream(installation, "DescribeStacks", Names=["bench-001"]),
        appstream(installation, "ListAssociatedFleets", StackName="bench-001"),
        appstream(installation, "UpdateStack", Name="bench-002", Description=f"seen at {time.time():.0f}"),
    ]


def _rate_row(ours: dict[str, Any], theirs: dict[str, Any]) -> Row:
    ratio = ours["per_second"] / theirs["per_second"]
    return Row(
        name="API: DescribeFleets, a page of 100, signed, SQLite",
        figure=f"{ours['per_second']:.0f} requests/s (p99 {milliseconds(ours['p99'])}, 4 connections)",
        bar=f"{RATE_BAR:.0f} times moto",
        alternative=f"moto WorkSpaces DescribeWorkspaces, 100 records: {theirs['per_second']:.0f} requests/s",
        ratio=f"{ratio:.1f}",
        is_met=ratio >= RATE_BAR,
        details={"fanlight": ours, "moto": theirs},
    )


def _latency_rows(mixed: dict[str, Any], page: dict[str, Any]) -> list[Row]:
    bar = f"p99 < {P99_BAR_IN_SECONDS * 1000:.0f} ms"
    store = f"SQLite with {SESSIONS:,} sessions, {FLEETS} fleets"
    return [
        Row(
            name=f"API: mix of 7 operations at {STEADY_RATE_PER_SECOND:.0f}/s, {store}",
            figure=f"p99 {milliseconds(mixed['p99'])}, median {milliseconds(mixed['p50'])}",
            bar=bar,
            is_met=mixed["p99"] < P99_BAR_IN_SECONDS,
            details=mixed,
        ),
        Row(
            name=f"API: DescribeFleets, a page of 100, at {STEADY_RATE_PER_SECOND:.0f}/s, {store}",
            figure=f"p99 {milliseconds(page['p99'])}, median {milliseconds(page['p50'])}",
            bar=bar,
            is_met=page["p99"] < P99_BAR_IN_SECONDS,
            details=page,
        ),
    ]
