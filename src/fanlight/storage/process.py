"""The storage process: an unprivileged user that holds the keys to users' files, and serves them."""

import asyncio
import logging
import os
import signal
from contextlib import suppress

from fanlight.config import Settings
from fanlight.storage.embedded_s3 import KeyPair, read_own_key, server_of
from fanlight.storage.rclone import keep_serving

log = logging.getLogger(__name__)


async def run_storage(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when its key cannot be read."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    os.umask(0o077)
    serving: list[asyncio.Task[None]] = []
    if settings.s3_endpoint_url is None:
        arguments, environment = server_of(settings, _keys(settings))
        serving.append(asyncio.create_task(keep_serving("s3", arguments, environment)))
        log.info("S3 serves", extra={"endpoint": settings.effective_s3_endpoint_url})
    await stop.wait()
    for task in serving:
        task.cancel()
    for task in serving:
        with suppress(asyncio.CancelledError):
            await task


def _keys(settings: Settings) -> list[KeyPair]:
    own = read_own_key(settings.data_dir / "storage")
    if not (settings.bootstrap_access_key_id and settings.bootstrap_secret_access_key):
        return [own]
    first = KeyPair(settings.bootstrap_access_key_id, settings.bootstrap_secret_access_key)
    if not first.is_usable:
        log.warning("the first access key does not open S3: it has a comma in it")
        return [own]
    return [own, first]
