"""Home folders for tests: the real servers of the storage process, on a directory or on any S3 endpoint."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.storage.files.app import make_files_app, serve_files
from fanlight.storage.files.folders import Way
from fanlight.storage.files.uploads import Uploads
from fanlight.storage.sessions import DIRECTORY, Remote, SessionDoors, on_this_host

BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"


@dataclass
class Home:
    """`stored` is where Ada's files are, when they are in a directory of this host."""

    doors: SessionDoors
    uploads: Uploads
    run_dir: Path
    stored: Path
    spool: Path

    def way_to(self, session_id: str) -> Way | None:
        return self.doors.way_to(session_id, StorageKind.HOMEFOLDERS)

    async def open(
        self, session_id: str = "session-1", *, user: str = "ada", quota_in_bytes: int | None = None
    ) -> None:
        (self.run_dir / "instances" / session_id / "host" / DIRECTORY).mkdir(parents=True, exist_ok=True)
        await self.doors.open(a_door(session_id, user=user, quota_in_bytes=quota_in_bytes))


def a_door(session_id: str, *, user: str = "ada", quota_in_bytes: int | None = None) -> StorageDoor:
    return StorageDoor(
        session_id=session_id,
        kind=StorageKind.HOMEFOLDERS,
        instance_id=session_id,
        first_uid=os.getuid(),
        token="a-token-of-some-length",
        bucket=BUCKET,
        prefix=f"user/custom/{user}/",
        quota_in_bytes=quota_in_bytes,
    )


@asynccontextmanager
async def serving_home(
    run_dir: Path,
    data_dir: Path,
    remote: Remote | None = None,
    *,
    allowed_uid: int | None = None,
    routes: Callable[[web.Application], None] = lambda _: None,
) -> AsyncIterator[Home]:
    """Serve as the storage process does, in this one. `run_dir` must have a short path. `routes` adds more of its."""
    buckets = data_dir / "storage" / "buckets"
    buckets.mkdir(parents=True, exist_ok=True)
    (run_dir / "storage").mkdir(parents=True, exist_ok=True)
    remote = remote or on_this_host(buckets)
    doors = SessionDoors(run_dir, remote)
    doors.prepare()
    spool = data_dir / "storage" / "uploads"
    uploads = Uploads(spool, lambda session_id: doors.way_to(session_id, StorageKind.HOMEFOLDERS))
    home = Home(doors, uploads, run_dir, buckets / BUCKET / "user/custom/ada", spool)
    uploads.prepare()
    await remote.ensure(BUCKET)
    app = make_files_app(home.way_to, uploads, {os.getuid() if allowed_uid is None else allowed_uid})
    routes(app)
    runner = await serve_files(app, run_dir)
    try:
        yield home
    finally:
        await runner.cleanup()
        await uploads.close()
        await doors.close_all()
