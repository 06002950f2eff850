"""The storage process: an unprivileged user that holds the keys to users' files, and serves them."""

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack

from fanlight.background import end
from fanlight.config import Settings
from fanlight.domain.user_storage import StorageKind
from fanlight.installation import identity_of
from fanlight.storage.drives.app import add_drive_routes
from fanlight.storage.drives.consents import Consents
from fanlight.storage.drives.doors import DriveDoors
from fanlight.storage.drives.grants import Grants
from fanlight.storage.drives.providers import providers_of
from fanlight.storage.embedded_s3 import KeyPair, buckets_directory, read_own_key, server_of
from fanlight.storage.files.app import make_files_app, serve_files
from fanlight.storage.files.folders import Way
from fanlight.storage.files.uploads import Uploads
from fanlight.storage.rclone import keep_serving
from fanlight.storage.rpc import make_rpc, serve_rpc
from fanlight.storage.sessions import Remote, SessionDoors, on_s3, on_this_host

log = logging.getLogger(__name__)


async def run_storage(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when its key cannot be read."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    os.umask(0o077)
    async with AsyncExitStack() as stack:
        if settings.s3_endpoint_url is None:
            arguments, environment = server_of(settings, _keys(settings))
            serving = asyncio.create_task(keep_serving("s3", arguments, environment))
            stack.push_async_callback(end, serving)
            log.info("S3 serves", extra={"endpoint": settings.effective_s3_endpoint_url})
        await _serve_sessions(settings, stack)
        await stop.wait()


async def _serve_sessions(settings: Settings, stack: AsyncExitStack) -> None:
    remote = remote_of(settings)
    doors = SessionDoors(settings.effective_run_dir, remote)
    doors.prepare()
    stack.push_async_callback(doors.close_all)
    grants = Grants(settings.data_dir / "storage" / "drives", settings.data_dir / "storage" / "drives.key")
    spool = settings.data_dir / "storage" / "spool"
    drives = DriveDoors(settings.effective_run_dir, grants, providers_of(settings), spool)
    drives.prepare()
    stack.push_async_callback(drives.close_all)
    allowed = {0, os.geteuid(), identity_of(settings, "api").uid}
    runner = await serve_rpc(make_rpc(doors, drives, remote, allowed), settings.effective_run_dir)
    stack.push_async_callback(runner.cleanup)
    await _serve_files(settings, doors, drives, stack)


async def _serve_files(settings: Settings, doors: SessionDoors, drives: DriveDoors, stack: AsyncExitStack) -> None:
    """For the pages of sessions, through the gateway."""

    def way_home(session_id: str) -> Way | None:
        return doors.way_to(session_id, StorageKind.HOMEFOLDERS)

    uploads = Uploads(settings.data_dir / "storage" / "uploads", way_home)
    uploads.prepare()
    stack.push_async_callback(uploads.close)
    stack.push_async_callback(end, asyncio.create_task(uploads.keep_swept()))
    allowed = {os.geteuid(), identity_of(settings, "gateway").uid}
    app = make_files_app(way_home, uploads, allowed)
    add_drive_routes(app, drives, Consents(drives))
    runner = await serve_files(app, settings.effective_run_dir)
    stack.push_async_callback(runner.cleanup)


def remote_of(settings: Settings) -> Remote:
    """Return where users' files are: at the configured endpoint, or in the directory of our own."""
    key_id, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    if settings.s3_endpoint_url and key_id and secret:
        return on_s3(settings.s3_endpoint_url, settings.s3_region, KeyPair(key_id, secret))
    return on_this_host(buckets_directory(settings))


def _keys(settings: Settings) -> list[KeyPair]:
    own = read_own_key(settings.data_dir / "storage")
    if not (settings.bootstrap_access_key_id and settings.bootstrap_secret_access_key):
        return [own]
    first = KeyPair(settings.bootstrap_access_key_id, settings.bootstrap_secret_access_key)
    if not first.is_usable:
        log.warning("the first access key does not open S3: it has a comma in it")
        return [own]
    return [own, first]
