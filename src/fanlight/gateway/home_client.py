"""Client of the storage process: the home folders of sessions, by the sessions' ids."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from fanlight.gateway.control_client import ControlAway, ControlClient, Refused

log = logging.getLogger(__name__)

FILES_SOCKET = Path("storage") / "files.sock"  # in RUN_DIR
# A tree of folders is moved or removed, or a large file is stored, before there is an answer.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=330)
_TELL_AFTER_IN_SECONDS = 0.5
_ANY_HOST = "http://storage"


class HomeFolders:
    """One per process. `control` hears of changes, so that the session's instance looks at the folder anew."""

    def __init__(self, run_dir: Path, control: ControlClient) -> None:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(run_dir / FILES_SOCKET), limit=0),
            timeout=_TIMEOUT,
            trust_env=False,
            auto_decompress=False,
        )
        self._control = control
        self._telling: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        for task in self._telling.values():
            task.cancel()
        await asyncio.gather(*self._telling.values(), return_exceptions=True)
        await self._http.close()

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        session_id: str,
        what: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for `what` of a session's home folder. Raises Refused; with the code AWAY it may be tried again."""
        path = f"sessions/{quote(session_id, safe='')}/{what}"
        async with self._ask(method, path, query, headers=headers, body=body) as answer:
            yield answer

    @asynccontextmanager
    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = f"{_ANY_HOST}/v1/{path}"
        try:
            async with self._http.request(method, url, params=query, headers=headers, data=body) as answer:
                if answer.status >= 400:  # noqa: PLR2004
                    raise await _refusal_of(answer)
                yield answer
        except (aiohttp.ClientConnectionError, TimeoutError, FileNotFoundError, PermissionError) as error:
            log.warning("the storage process cannot be reached", extra={"reason": type(error).__name__})
            raise Refused("AWAY", "Your storage does not answer at the moment.", 503) from error

    async def json(self, method: str, session_id: str, what: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the answer. Raises Refused."""
        async with self.ask(method, session_id, what, query) as answer:
            return dict(await answer.json(content_type=None))

    async def drive_connected(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Hand on what a provider's answer says, and return which drive of whom it connected. Raises Refused."""
        async with self._ask("POST", "drives/connected", query) as answer:
            return dict(await answer.json(content_type=None))

    def changed(self, session_id: str) -> None:
        """Have the instance look at the folder anew, soon: many changes that follow each other are told once."""
        if session_id not in self._telling:
            self._telling[session_id] = asyncio.create_task(self._tell(session_id))

    async def _tell(self, session_id: str) -> None:
        try:
            await asyncio.sleep(_TELL_AFTER_IN_SECONDS)
        finally:
            del self._telling[session_id]
        await self.tell(session_id)

    async def tell(self, session_id: str) -> None:
        """Have the instance look at the folder anew, at once."""
        with suppress(ControlAway, Refused):  # it looks by itself before long
            await self._control.refresh_storage(session_id)


async def _refusal_of(answer: aiohttp.ClientResponse) -> Refused:
    try:
        said = await answer.json(content_type=None)
        return Refused(str(said["code"]), str(said["message"]), answer.status)
    except (ValueError, KeyError, TypeError):
        return Refused("AWAY", "Your storage does not answer at the moment.", 503)
