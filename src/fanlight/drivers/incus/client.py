"""Talk REST with Incus over its Unix socket.

Only what Fanlight needs: one request, one operation waited for, one stream of events. Errors of the vendor leave this
module as `IncusRefused` (Incus answered no) or as the domain's `DriverUnavailable` (nothing is known); neighbours turn
the first kind into the domain's words. Whoever holds this client is root on the host: it lives in the compute process
and in commands that root runs, nowhere else.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from fanlight.domain.errors import DriverUnavailable

REQUEST_TIMEOUT_IN_SECONDS = 20.0  # No single request does work: that is what operations are for.
# However long it takes, as long as something passes.
_WHILE_BYTES_FLOW = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
_CHUNK_IN_BYTES = 1 << 20
_ALL_PROJECTS = "*"  # no project can have this name
OPERATION_TIMEOUT_IN_SECONDS = 120  # Must exceed the first unpacking of a large image on a slow disk.
# Whichever bridge Incus changes, it asks for every interface of the host, and gives up when one of them went meanwhile:
# that of an instance that ended. It undoes what it began, so the same may be asked again.
_INTERFACE_WENT = "Failed to delete bridge children interfaces"
_MOST_ATTEMPTS = 20  # instances end in swarms when a fleet stops
_SECONDS_BETWEEN_ATTEMPTS = 0.1


class IncusRefused(Exception):
    """Incus answered with an error. Its codes are coarse (most are 500), so `text` is often all there is to tell."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code, self.text = code, text

    @property
    def is_missing(self) -> bool:
        return self.code == 404  # noqa: PLR2004 - HTTP's own number

    def says(self, *fragments: str) -> bool:
        """Return whether the text holds one of the fragments, in any case."""
        return any(fragment.lower() in self.text.lower() for fragment in fragments)


class IncusClient:
    """All requests go to one project. Use as an async context manager, or `close` it."""

    def __init__(self, socket_path: Path, project: str) -> None:
        self.socket_path, self.project = socket_path, project
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the client may be used again afterwards."""
        session, self._session = self._session, None
        if session:
            await session.close()

    async def get(self, path: str, *, project: str | None = None, **parameters: str | int) -> Any:
        """Return the `metadata` of what is at `path`, such as `instances`. Raises IncusRefused, DriverUnavailable."""
        return (await self._request("GET", path, project=project, parameters=parameters))["metadata"]

    async def get_everywhere(self, path: str, **parameters: str | int) -> Any:
        """Return what `path` lists in all projects of this Incus. Raises IncusRefused, DriverUnavailable."""
        return await self.get(path, project=_ALL_PROJECTS, **parameters)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str | None:
        """Send a change; return the id of the operation it started, or None when it is done already.

        `body` is sent as JSON unless it is a multipart writer. Raises IncusRefused, DriverUnavailable.
        """
        for attempt in itertools.count(1):
            try:
                reply = await self._request(method, path, body=body, project=project, headers=headers)
                break
            except IncusRefused as refused:
                if attempt == _MOST_ATTEMPTS or not refused.says(_INTERFACE_WENT):
                    raise
            await asyncio.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        if reply["type"] != "async":
            return None
        # From metadata: the `operation` field may carry a query, and `/wait` after a query does not wait.
        return str(reply["metadata"]["id"])

    async def wait(self, operation_id: str, timeout_in_seconds: int = OPERATION_TIMEOUT_IN_SECONDS) -> dict[str, Any]:
        """Return the finished operation. Raises IncusRefused when it failed, DriverUnavailable when it takes too long.

        To be called at once: Incus forgets a finished operation after 5 s.
        """
        reply = await self._request(
            "GET",
            f"operations/{operation_id}/wait",
            parameters={"timeout": timeout_in_seconds},
            timeout_in_seconds=timeout_in_seconds + REQUEST_TIMEOUT_IN_SECONDS,
        )
        operation: dict[str, Any] = reply["metadata"]
        if operation["status_code"] < 200:  # noqa: PLR2004 - below 200 it is still running
            raise DriverUnavailable(f"Incus did not finish within {timeout_in_seconds} s: {operation['description']}.")
        if operation["status_code"] >= 400:  # noqa: PLR2004
            raise IncusRefused(operation["status_code"], operation["err"])
        return operation

    async def run(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a change and return its finished operation ({} when there was none to wait for)."""
        operation_id = await self.send(method, path, body)
        return await self.wait(operation_id) if operation_id else {}

    @asynccontextmanager
    async def download(self, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the answer whose content is not JSON. Raises IncusRefused, DriverUnavailable."""
        async with self._answer(
            "GET", self._url(path), params=_scope_of(self.project), timeout=_WHILE_BYTES_FLOW
        ) as answer:
            if answer.status >= 400:  # noqa: PLR2004
                reply = await answer.json(content_type=None)
                raise IncusRefused(int(reply["error_code"]), str(reply["error"]))
            yield answer

    async def upload(self, path: str, content: AsyncIterator[bytes], headers: Mapping[str, str]) -> str:
        """Send content that is not JSON; return the id of the operation. Raises IncusRefused, DriverUnavailable."""
        async with self._answer(
            "POST",
            self._url(path),
            params=_scope_of(self.project),
            headers=headers,
            data=content,
            timeout=_WHILE_BYTES_FLOW,
        ) as answer:
            reply: dict[str, Any] = await answer.json(content_type=None)
        if reply["type"] == "error":
            raise IncusRefused(int(reply["error_code"]), str(reply["error"]))
        return str(reply["metadata"]["id"])

    async def save(self, path: str, target: Path, *, part: str) -> str:
        """Write what is at `path` to a file; return its kind: `whole`, or `part` when it is that part of a form.

        Raises IncusRefused, DriverUnavailable.
        """
        async with self._answer(
            "GET",
            self._url(path),
            params=_scope_of(self.project),
            timeout=_WHILE_BYTES_FLOW,
        ) as answer:
            if answer.content_type == "application/json":
                reply = await answer.json(content_type=None)
                raise IncusRefused(int(reply["error_code"]), str(reply["error"]))
            if not answer.content_type.startswith("multipart/"):
                await _save(answer.content.iter_chunked(_CHUNK_IN_BYTES), target)
                return "whole"
            parts = aiohttp.MultipartReader.from_response(answer)
            while (found := await parts.next()) is not None:
                if isinstance(found, aiohttp.BodyPartReader) and found.name == part:
                    await _save(_chunks_of(found), target)
                    return part
        raise DriverUnavailable(f"Incus gave no {part} of {path}.")

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield life cycle events of the project until the connection ends. Raises DriverUnavailable at the start only."""
        with _unavailable_when_broken(self.socket_path):
            socket = await self._open_session().ws_connect(
                self._url("events"), params={"type": "lifecycle", "project": self.project}, heartbeat=30
            )
        async with socket:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    yield json.loads(message.data)["metadata"]

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: dict[str, str | int] | None = None,
        timeout_in_seconds: float = REQUEST_TIMEOUT_IN_SECONDS,
    ) -> dict[str, Any]:
        is_upload = isinstance(body, aiohttp.MultipartWriter)
        async with self._answer(
            method,
            self._url(path),
            params=_scope_of(project or self.project) | (parameters or {}),
            headers=headers,
            data=body if is_upload else None,
            json=None if is_upload else body,
            timeout=aiohttp.ClientTimeout(total=None if is_upload else timeout_in_seconds, sock_connect=5),
        ) as answer:
            reply: dict[str, Any] = await answer.json(content_type=None)
        # A failed operation's /wait answers HTTP 200, so the status line says nothing.
        if reply["type"] == "error":
            raise IncusRefused(int(reply["error_code"]), str(reply["error"]))
        return reply

    @asynccontextmanager
    async def _answer(self, method: str, url: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        with _unavailable_when_broken(self.socket_path):
            async with self._open_session().request(method, url, **options) as answer:
                yield answer

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # One connection per request in flight: a limit would make many launches wait for each other's operations.
            self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket_path), limit=0))
        return self._session

    @staticmethod
    def _url(path: str) -> str:
        return f"http://incus/1.0/{quote(path)}".rstrip("/")


def _scope_of(project: str) -> dict[str, str | int]:
    return {"all-projects": "true"} if project == _ALL_PROJECTS else {"project": project}


async def _chunks_of(part: aiohttp.BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(_CHUNK_IN_BYTES):
        yield chunk


async def _save(chunks: AsyncIterator[bytes], target: Path) -> None:
    with target.open("wb") as file:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)


@contextmanager
def _unavailable_when_broken(socket_path: Path) -> Iterator[None]:
    """Turn every failure of transport into DriverUnavailable, saying which socket and what to do."""
    try:
        yield
    except (aiohttp.ClientConnectorError, FileNotFoundError, PermissionError) as error:
        raise DriverUnavailable(
            f"Incus does not answer on {socket_path}: {error.strerror}. "
            "Start it with scripts/host-setup (or: systemctl start incus), and run this as root."
        ) from error
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise DriverUnavailable(f"Incus broke off its answer or took too long: {error!r}.") from error
