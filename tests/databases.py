"""Migrated databases to copy: migrating takes longer than most tests."""

import asyncio
import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fanlight.store import open_store
from fanlight.store.engine import make_private


def lay_database(path: Path) -> str:
    """Put an empty, migrated SQLite database there, unless there is one; return its URL."""
    if not path.exists():
        make_private(path)
        path.write_bytes(_migrated())
    return f"sqlite:///{path}"


async def migrate(database_url: str) -> None:
    async with open_store(database_url) as store:
        await store.upgrade()


@functools.cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory(prefix="fl-") as directory, ThreadPoolExecutor(1) as thread:
        path = Path(directory) / "fanlight.db"
        # In a thread: a loop may be running in this one.
        thread.submit(asyncio.run, migrate(f"sqlite:///{path}")).result()
        return path.read_bytes()
