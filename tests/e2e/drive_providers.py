"""The stand-ins of the providers of drives beside a test that runs without an event loop."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drive_rig import StandIn, standing_in


@contextmanager
def providers(directory: Path, proxy_port: int) -> Iterator[StandIn]:
    loop = asyncio.new_event_loop()
    serving = threading.Thread(target=loop.run_forever, daemon=True)
    serving.start()
    standing = standing_in(directory, proxy_port)
    try:
        yield asyncio.run_coroutine_threadsafe(standing.__aenter__(), loop).result(30)
        asyncio.run_coroutine_threadsafe(standing.__aexit__(None, None, None), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        serving.join(30)
        loop.close()
