"""The driver as the unprivileged api process sees it: the same port, served by the compute process over its socket."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from fanlight.domain.errors import DriverUnavailable
from fanlight.domain.ports import Capabilities, InstanceSpec, ObservedInstance
from fanlight.drivers.incus import wire
from fanlight.drivers.incus.process import HEARTBEAT_IN_SECONDS

# The compute process has its own time-outs towards Incus; these must exceed the longest of them.
_TIMEOUT_IN_SECONDS = 240.0
_OBSERVE_TIMEOUT_IN_SECONDS = 30.0


class ComputeConnection:
    """A pool of connections to `compute.sock`. `close` it."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / wire.SOCKET_NAME
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()

    async def ask(
        self, method: str, path: str, body: Any = None, *, timeout_in_seconds: float = _TIMEOUT_IN_SECONDS
    ) -> Any:
        """Return the answer. Raises the DriverError that was raised on the other side, or DriverUnavailable."""
        timeout = aiohttp.ClientTimeout(total=timeout_in_seconds, sock_connect=5)
        with self._unavailable_when_broken():
            async with self.open().request(method, f"http://compute/v1/{path}", json=body, timeout=timeout) as answer:
                reply = await answer.json(content_type=None)
                is_refusal = answer.status >= 400  # noqa: PLR2004
        if is_refusal:
            raise wire.read_error(reply)
        return reply

    async def lines(self, path: str) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the objects of an NDJSON stream until it ends. Raises as `ask` does."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=3 * HEARTBEAT_IN_SECONDS)
        with self._unavailable_when_broken():
            async with self.open().get(f"http://compute/v1/{path}", timeout=timeout) as answer:
                if answer.status >= 400:  # noqa: PLR2004
                    raise wire.read_error(await answer.json(content_type=None))
                async for line in answer.content:
                    yield json.loads(line)

    async def upload(self, path: str, content: AsyncIterator[bytes], *, timeout_in_seconds: float) -> Any:
        """Send a stream; return the answer. Raises as `ask` does."""
        timeout = aiohttp.ClientTimeout(total=timeout_in_seconds, sock_connect=5)
        with self._unavailable_when_broken():
            async with self.open().post(f"http://compute/v1/{path}", data=content, timeout=timeout) as answer:
                reply = await answer.json(content_type=None)
                is_refusal = answer.status >= 400  # noqa: PLR2004
        if is_refusal:
            raise wire.read_error(reply)
        return reply

    async def download(self, path: str, *, timeout_in_seconds: float) -> AsyncIterator[bytes]:
        """Yield what is answered. Raises as `ask` does."""
        timeout = aiohttp.ClientTimeout(total=timeout_in_seconds, sock_connect=5)
        with self._unavailable_when_broken():
            async with self.open().get(f"http://compute/v1/{path}", timeout=timeout) as answer:
                if answer.status >= 400:  # noqa: PLR2004
                    raise wire.read_error(await answer.json(content_type=None))
                async for chunk in answer.content.iter_chunked(1 << 20):
                    yield chunk

    def open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._path), limit=0))
        return self._session

    @contextmanager
    def _unavailable_when_broken(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise DriverUnavailable(
                f"The compute process does not answer on {self._path}; `fanlight serve` starts it."
            ) from error


class RemoteDriver:
    """InstanceDriver in the api process."""

    def __init__(self, connection: ComputeConnection) -> None:
        self._connection = connection
        self._capabilities: Capabilities | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Known once `prepare` has returned. Raises DriverUnavailable before."""
        if self._capabilities is None:
            raise DriverUnavailable("The engine is not prepared yet.")
        return self._capabilities

    async def prepare(self) -> None:
        """Make the engine ready; idempotent. Raises DriverUnavailable with what to do."""
        self._capabilities = wire.read_capabilities(await self._connection.ask("POST", "prepare"))

    async def launch(self, spec: InstanceSpec) -> None:
        """Raises CapacityExhausted, ImageMissing, LaunchRefused, DriverUnavailable."""
        await self._connection.ask("POST", "launch", wire.write_spec(spec))

    async def start(self, instance_id: str, runtime_version: str | None = None) -> None:
        """Raises InstanceMissing, CapacityExhausted, LaunchRefused, DriverUnavailable."""
        body = {"instance_id": instance_id, "runtime_version": runtime_version}
        await self._connection.ask("POST", "start", body)

    async def stop(self, instance_id: str) -> None:
        """Raises DriverUnavailable."""
        await self._connection.ask("POST", "stop", {"instance_id": instance_id})

    async def terminate(self, instance_id: str) -> None:
        """Raises DriverUnavailable."""
        await self._connection.ask("POST", "terminate", {"instance_id": instance_id})

    async def observe(self) -> Sequence[ObservedInstance]:
        """Raises DriverUnavailable.

        Who looks at instances may ask what the engine can, so that is known first: nothing else prepares it from here.
        """
        if self._capabilities is None:
            await self.prepare()
        found = await self._connection.ask("GET", "instances", timeout_in_seconds=_OBSERVE_TIMEOUT_IN_SECONDS)
        return [wire.read_observed(one) for one in found]

    async def changes(self) -> AsyncIterator[str]:
        """Yield instance ids to look at again, until the connection ends. Raises DriverUnavailable."""
        async for change in self._connection.lines("changes"):
            if "instance_id" in change:
                yield str(change["instance_id"])
