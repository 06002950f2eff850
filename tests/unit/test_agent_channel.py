"""The agent's side of its connection to the host, over a real socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fanlight.agent.channel import HostChannel
from fanlight.agentwire import MAX_MESSAGES_PER_SECOND, PROTOCOL
from fanlight.agentwire.messages import EndSession, Message, Status, decode, encode

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.phase = "BOOTING"
        self.handled: list[Message] = []
        self.heard: asyncio.Queue[Status] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []
        self.channel = HostChannel(status=self._status, handle=self.handled.append, path=str(path))

    async def _status(self) -> Status:
        return Status(protocol=PROTOCOL, runtime_version="test", phase=self.phase)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                message = decode(line)
                assert isinstance(message, Status)
                self.heard.put_nowait(message)
        writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self.serve, str(self.path))
        try:
            yield
        finally:
            server.close()
            for writer in self.writers:
                writer.close()
            self.writers.clear()
            self.path.unlink()

    async def next_status(self) -> Status:
        return await asyncio.wait_for(self.heard.get(), 60)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "agent.sock")
    running = asyncio.create_task(made.channel.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_agent_finds_a_host_that_listens_later_and_again(bench: Bench) -> None:
    await asyncio.sleep(0.1)
    for _ in range(2):
        async with bench.listening():
            assert (await bench.next_status()).phase == "BOOTING"


async def test_change_is_told_at_once(bench: Bench) -> None:
    async with bench.listening():
        await bench.next_status()
        bench.phase = "READY"
        bench.channel.status_changed()
        async with asyncio.timeout(0.5):
            assert (await bench.next_status()).phase == "READY"


async def test_many_changes_stay_below_what_the_host_takes(bench: Bench) -> None:
    async with bench.listening():
        await bench.next_status()
        for _ in range(150):
            bench.channel.status_changed()
            await asyncio.sleep(0.005)
        assert bench.heard.qsize() < MAX_MESSAGES_PER_SECOND


async def test_wish_is_handed_on(bench: Bench) -> None:
    async with bench.listening():
        await bench.next_status()
        bench.writers[0].write(encode(EndSession(session_id="s1")))
        async with asyncio.timeout(60):
            while not bench.handled:
                await asyncio.sleep(0.01)
        assert bench.handled == [EndSession(session_id="s1")]


@pytest.mark.parametrize(
    "junk", [b"\n", b"{}\n", b'{"type":"end_session"}\n', b"\xff" * 70_000 + b"\n", b"[" * 60_000 + b"\n"]
)
async def test_junk_ends_the_connection_and_the_agent_comes_back(bench: Bench, junk: bytes) -> None:
    async with bench.listening():
        await bench.next_status()
        bench.writers[0].write(junk)
        await bench.next_status()
        assert len(bench.writers) == 2
        assert bench.handled == []
