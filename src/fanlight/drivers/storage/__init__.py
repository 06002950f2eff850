"""The storage process as the api process sees it: the port UserStorage, over RUN_DIR/storage/storage.sock."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp

from fanlight.domain.errors import StorageUnavailable, StorageUnusable
from fanlight.domain.user_storage import RPC_SOCKET_NAME, StorageDoor, StorageKind, StorageUsage

# The other side waits up to 10 s for a server to start, and asks the bucket with time-outs of its own.
_TIMEOUT_IN_SECONDS = 45.0
# A look at all users' files takes as long as there are files.
_USAGE_TIMEOUT_IN_SECONDS = 300.0


class StorageConnection:
    """UserStorage. `close_connections` when done."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "storage" / RPC_SOCKET_NAME
        self._session: aiohttp.ClientSession | None = None

    async def close_connections(self) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()

    async def open(self, door: StorageDoor) -> None:
        """Raises StorageUnusable, StorageUnavailable."""
        await self._ask("PUT", "doors", asdict(door))

    async def close(self, session_id: str, *, but: Collection[StorageKind] = ()) -> None:
        """Raises StorageUnavailable."""
        await self._ask("POST", "doors/close", {"session_id": session_id, "but": sorted(but)})

    async def doors(self) -> Collection[tuple[str, StorageKind]]:
        """Raises StorageUnavailable."""
        return {(session_id, StorageKind(kind)) for session_id, kind in await self._ask("GET", "doors")}

    async def ensure_bucket(self, bucket: str) -> None:
        """Raises StorageUnusable, StorageUnavailable."""
        await self._ask("PUT", "buckets", {"bucket": bucket})

    async def usage(self) -> Sequence[StorageUsage]:
        """Raises StorageUnusable, StorageUnavailable."""
        found = await self._ask("GET", "usage", timeout_in_seconds=_USAGE_TIMEOUT_IN_SECONDS)
        return [StorageUsage(**one) for one in found]

    async def _ask(
        self, method: str, path: str, body: Any = None, *, timeout_in_seconds: float = _TIMEOUT_IN_SECONDS
    ) -> Any:
        timeout = aiohttp.ClientTimeout(total=timeout_in_seconds, sock_connect=5)
        url = f"http://storage/v1/{path}"
        try:
            async with self._connections().request(method, url, json=body, timeout=timeout) as answer:
                reply = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise StorageUnavailable(
                f"The storage process does not answer on {self._path}; `fanlight serve` starts it."
            ) from error
        if answer.status == 200:  # noqa: PLR2004
            return reply
        if reply.get("error") == StorageUnusable.__name__:
            raise StorageUnusable(str(reply["text"]))
        raise StorageUnavailable(str(reply.get("text", "The storage process refuses.")))

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._path), limit=0))
        return self._session
