"""The doors of sessions: for each one an rclone that serves a user's prefix, and the front before it.

The api process says which there are; ending one takes the way to the files away, whatever the instance still holds.
"""

import asyncio
import logging
import shutil
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from aiohttp import web

from fanlight.background import end
from fanlight.domain.user_storage import StorageDoor, StorageKind, StorageUsage
from fanlight.storage.bucket_checks import BucketCheck, make_directory
from fanlight.storage.embedded_s3 import KeyPair
from fanlight.storage.files.folders import UserFolder, Way
from fanlight.storage.files.readings import Readings
from fanlight.storage.front import Front
from fanlight.storage.inventories import size_below, usage_on_this_host
from fanlight.storage.links import LeadsAway, links_below, no_links
from fanlight.storage.listings import Listings
from fanlight.storage.rclone import keep_serving
from fanlight.storage.usage import Usage
from fanlight.unix_sockets import listen_in

log = logging.getLogger(__name__)

# In an instance's `host/` directory; the storage process alone may listen there.
DIRECTORY = "storage"
_BACKLOG = 16
_READY_IN_SECONDS = 10.0
_POLL_IN_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Where the buckets are, as rclone is told: `root` stands before the name of the bucket.

    `size_of` returns the bytes stored under a prefix of a bucket, `ensure` makes a bucket that is not there, `usage`
    tells what each user has in the home folders; they raise StorageUnusable. `links_below` a prefix of a bucket.
    `is_whole`: there are no buckets, all of `root` is one user's. `keeps_times`: a file may have another time than that
    of its arrival. `late_flags` are those of rclone that are known only once the endpoint was reached.
    """

    root: str
    size_of: Callable[[str, str], Awaitable[int]]
    ensure: Callable[[str], Awaitable[None]]
    usage: Callable[[], Awaitable[Sequence[StorageUsage]]]
    links_below: Callable[[str, str], LeadsAway] = lambda _bucket, _prefix: no_links
    flags: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    is_whole: bool = False
    keeps_times: bool = True
    late_flags: Callable[[], Sequence[str]] = tuple

    def __repr__(self) -> str:
        return f"Remote({self.root!r})"


def on_this_host(buckets: Path) -> Remote:
    """The directory that our own S3 endpoint serves, without the way through that endpoint. Links in it are not followed."""

    async def size_of(bucket: str, prefix: str) -> int:
        return await asyncio.to_thread(size_below, buckets / bucket / prefix)

    async def ensure(bucket: str) -> None:
        await asyncio.to_thread(make_directory, buckets / bucket)

    async def usage() -> Sequence[StorageUsage]:
        return await asyncio.to_thread(usage_on_this_host, buckets)

    def links(bucket: str, prefix: str) -> LeadsAway:
        return links_below(buckets / bucket / prefix)

    return Remote(root=f"{buckets}/", size_of=size_of, ensure=ensure, usage=usage, links_below=links)


def on_s3(endpoint_url: str, region: str, key: KeyPair) -> Remote:
    from fanlight.storage.buckets import Buckets  # with botocore, which only this needs

    buckets = Buckets(endpoint_url, region, key)

    def late_flags() -> Sequence[str]:
        # So that empty folders exist. An endpoint that takes such a key for that of a file would have a file in the place
        # of each folder then: without this an empty folder is there as long as its session.
        return ("--s3-directory-markers",) if buckets.keeps_markers else ()

    return Remote(
        root="home:",
        size_of=buckets.size_of,
        ensure=buckets.ensure,
        usage=buckets.usage,
        keeps_times=False,
        late_flags=late_flags,
        flags=(
            "--use-server-modtime",  # else each file of a listing costs a request
            "--streaming-upload-cutoff",
            "1M",  # up to that a file is one request, else at least three
            # An endpoint that is away is told within seconds; whoever asked asks again.
            "--low-level-retries",
            "3",
            "--contimeout",
            "5s",
        ),
        environment={
            "RCLONE_CONFIG_HOME_TYPE": "s3",
            "RCLONE_CONFIG_HOME_PROVIDER": "Other",
            "RCLONE_CONFIG_HOME_ENDPOINT": endpoint_url,
            "RCLONE_CONFIG_HOME_REGION": region,
            "RCLONE_CONFIG_HOME_ACCESS_KEY_ID": key.access_key_id,
            "RCLONE_CONFIG_HOME_SECRET_ACCESS_KEY": key.secret_access_key,
            "RCLONE_CONFIG_HOME_FORCE_PATH_STYLE": "true",
        },
    )


@dataclass(frozen=True, slots=True)
class _Open:
    door: StorageDoor
    runner: web.AppRunner
    serving: asyncio.Task[None]
    late_flags: Sequence[str]


class SessionDoors:
    """`run_dir` is RUN_DIR. Opening what is open, and closing what is closed, changes nothing."""

    def __init__(self, run_dir: Path, remote: Remote) -> None:
        self._instances, self._own = run_dir / "instances", run_dir / "storage" / "sessions"
        self._remote = remote
        self._open: dict[str, _Open] = {}  # by door id
        self._usages: dict[tuple[str, str], Usage] = {}
        self._checks: dict[str, BucketCheck] = {}
        self._readings: dict[str, Readings] = {}  # by door id
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by session

    def prepare(self) -> None:
        """Clear away what an earlier process left. Raises OSError."""
        shutil.rmtree(self._own, ignore_errors=True)
        self._own.mkdir(mode=0o700)

    def doors(self) -> Sequence[StorageDoor]:
        """Return those that are open, and that no flag is missing of: those want to be opened anew."""
        return tuple(there.door for there in self._open.values() if there.late_flags == self._remote.late_flags())

    def way_to(self, session_id: str, kind: StorageKind) -> Way | None:
        """Return how this process itself reaches those files; None while their door is not open."""
        there = next(
            (one for one in self._open.values() if one.door.session_id == session_id and one.door.kind is kind), None
        )
        if there is None:
            return None
        return self._way_of(there.door)

    def _way_of(self, door: StorageDoor) -> Way:
        links = self._remote.links_below(door.bucket, door.prefix)
        return Way(
            f"{door.bucket}/{door.prefix}",
            self._upstream_of(door),
            self._remote_control_of(door),
            self._usage_of(door),
            links,
            self._readings_of(door),
        )

    async def open(self, door: StorageDoor) -> None:
        """Raises OSError when the instance has no place for it, TimeoutError when rclone does not come up."""
        async with self._turn_of(door.session_id):
            there = self._open.get(door.door_id)
            # An instance that was started again has fresh directories.
            is_as_asked = there is not None and there.door == door and there.late_flags == self._remote.late_flags()
            if is_as_asked and self._place_of(door).exists():
                return
            if there is not None:
                await self._close(there)
            await self._start(door)

    async def close(self, session_id: str, *, but: Collection[StorageKind] = ()) -> None:
        """Close all doors of a session but those of some kinds."""
        async with self._turn_of(session_id):
            theirs = [there for there in self._open.values() if there.door.session_id == session_id]
            for there in theirs:
                if there.door.kind not in but:
                    await self._close(there)

    async def close_all(self) -> None:
        for session_id in {there.door.session_id for there in self._open.values()}:
            await self.close(session_id)

    def _place_of(self, door: StorageDoor) -> Path:
        return self._instances / door.instance_id / "host" / DIRECTORY / door.socket_name

    def _turn_of(self, session_id: str) -> asyncio.Lock:
        return self._turns.setdefault(session_id, asyncio.Lock())

    async def _start(self, door: StorageDoor) -> None:
        upstream = self._upstream_of(door)
        late_flags = self._remote.late_flags()
        arguments, environment = self._server_of(door, upstream, late_flags)
        serving = asyncio.create_task(
            keep_serving(f"files of {door.door_id}", arguments, environment, self._sockets_of(door))
        )
        front = Front(
            upstream,
            token=door.token,
            first_uid=door.first_uid,
            usage=self._usage_of(door),
            listings=Listings(UserFolder(self._way_of(door)), self._readings_of(door)),
            check=self._check_of(door.bucket),
            leads_away=self._remote.links_below(door.bucket, door.prefix),
            keeps_times=self._remote.keeps_times,
        )
        runner = web.AppRunner(front.application, access_log=None, shutdown_timeout=1.0, auto_decompress=False)
        try:
            await _until(lambda: _accepts(upstream))
            await runner.setup()
            # Open to everybody in the instance by mode: its directory keeps users out, and the front asks who it is.
            place = self._place_of(door)
            listener = listen_in(place.parent, place.name, mode=0o666, backlog=_BACKLOG)
            await web.SockSite(runner, listener).start()
        except (OSError, TimeoutError, asyncio.CancelledError):
            try:
                await end(serving)
            finally:
                await runner.cleanup()
            raise
        self._open[door.door_id] = _Open(door, runner, serving, late_flags)
        log.info("files of a session are open", extra=_about(door))

    async def _close(self, there: _Open) -> None:
        del self._open[there.door.door_id]
        self._readings.pop(there.door.door_id, None)
        try:
            await end(there.serving)
        finally:  # also when the caller is cancelled: nobody knows of this door any more
            await there.runner.cleanup()
            for path in (self._place_of(there.door), *self._sockets_of(there.door)):
                with suppress(OSError):  # gone with its instance
                    path.unlink()
        live = {(one.door.bucket, one.door.prefix) for one in self._open.values()}
        self._usages = {place: usage for place, usage in self._usages.items() if place in live}
        log.info("files of a session are closed", extra=_about(there.door))

    def _upstream_of(self, door: StorageDoor) -> Path:
        return self._own / door.socket_name

    def _remote_control_of(self, door: StorageDoor) -> Path:
        return self._upstream_of(door).with_suffix(".rc")

    def _sockets_of(self, door: StorageDoor) -> Sequence[Path]:
        return self._upstream_of(door), self._remote_control_of(door)

    def _readings_of(self, door: StorageDoor) -> Readings:
        return self._readings.setdefault(door.door_id, Readings())

    def _check_of(self, bucket: str) -> Callable[[], Awaitable[None]]:
        return self._checks.setdefault(bucket, BucketCheck(partial(self._remote.ensure, bucket))).check

    def _usage_of(self, door: StorageDoor) -> Usage:
        place = (door.bucket, door.prefix)
        measure = partial(self._remote.size_of, door.bucket, door.prefix)
        usage = self._usages.setdefault(place, Usage(measure, door.quota_in_bytes))
        usage.quota_in_bytes = door.quota_in_bytes
        return usage

    def _server_of(
        self, door: StorageDoor, upstream: Path, late_flags: Sequence[str]
    ) -> tuple[Sequence[str], Mapping[str, str]]:
        arguments = [
            "serve", "webdav", self._remote.root + ("" if self._remote.is_whole else f"{door.bucket}/{door.prefix}"),
            "--addr", f"unix://{upstream}",
            # In a directory that is this process's alone; only to have it look at folders anew.
            "--rc", "--rc-no-auth", "--rc-addr", f"unix://{self._remote_control_of(door)}",
            "--vfs-cache-mode", "off",  # the cache is in the instance
            # Longer than the largest folder takes: rclone reads a folder again as soon as this is over, also for each
            # name that it is about to hand out. Who lists a folder has it read anew before: see `listings`.
            "--dir-cache-time", "1h",
            *self._remote.flags, *late_flags,
        ]  # fmt: skip
        return arguments, self._remote.environment


def _about(door: StorageDoor) -> dict[str, str]:
    return {"streaming_session_id": door.session_id, "kind": door.kind, "instance_id": door.instance_id}


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the standard library's signature
        return probe.connect_ex(str(path)) == 0


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(_READY_IN_SECONDS):
        while not is_so():  # noqa: ASYNC110 - a file that rclone makes wakes nobody
            await asyncio.sleep(_POLL_IN_SECONDS)
