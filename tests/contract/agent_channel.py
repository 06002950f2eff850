"""What every AgentChannel promises, hostile peers included.

Fixtures of the subclass: `channel`, and `socket_of(instance_id) -> Path`, which makes the socket directory of a new
instance and returns where its agent connects.
"""

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from instance_driver import eventually

from fanlight.agentwire import MAX_LINE_BYTES, MAX_MESSAGES_PER_SECOND, MAX_SEATS, PROTOCOL, QUOTA_USED_UP
from fanlight.agentwire import messages as wire
from fanlight.agentwire.image_requests import ImageRequest, RequestedApplication
from fanlight.agentwire.messages import (
    EndSession,
    MalformedMessage,
    SessionReport,
    Status,
    StorageReport,
    WorkReport,
    decode,
    encode,
)
from fanlight.domain.errors import AgentUnreachable
from fanlight.domain.image_requests import ImageAnswer
from fanlight.domain.ports import AgentChannel, AgentPhase, AgentStatus, Opening, SessionPhase, StorageState, WorkPhase
from fanlight.domain.user_storage import StorageKind

SocketOf = Callable[[str], Path]
END = {"type": EndSession.TYPE, "session_id": "s-1"}


def status(**members: Any) -> bytes:
    return encode(Status(**{"protocol": PROTOCOL, "runtime_version": "1", "phase": "READY"} | members))


def report(**members: Any) -> SessionReport:
    return SessionReport(**{"session_id": "s-1", "seat": 0, "phase": "IN_SESSION"} | members)


def stored(**members: Any) -> StorageReport:
    return StorageReport(**{"kind": "HOMEFOLDERS", "state": "MOUNTED"} | members)


def asking(request_id: str) -> bytes:
    application = RequestedApplication(name="ed", display_name="Ed", launch_path="/usr/bin/ed", icon="cGljdHVyZQ==")
    request = ImageRequest(request_id=request_id, name="drawing", applications=(application,))
    return b"".join(encode(part) for part in request.parts())


class Peer:
    """A process in the guest that has found the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> "Peer":
        return cls(*await asyncio.open_unix_connection(str(path)))

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def is_dropped(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(), 60) == b""
        except ConnectionError:
            return True

    def leave(self) -> None:
        self.writer.transport.abort()


class AgentChannelContract:
    async def heard(self, channel: AgentChannel, instance_id: str, probe: Callable[[AgentStatus], bool]) -> AgentStatus:
        async def look() -> AgentStatus | None:
            said = channel.status(instance_id)
            return said if said is not None and probe(said) else None

        answer = await eventually(look, within=5, what=f"the status of {instance_id}")
        assert isinstance(answer, AgentStatus)
        return answer

    @pytest.fixture
    async def path(self, channel: AgentChannel, socket_of: SocketOf) -> Path:
        path = socket_of("i-1")
        await channel.open("i-1", os.getuid())
        return path

    @pytest.fixture
    async def connect(self) -> Any:
        peers: list[Peer] = []

        async def make(path: Path) -> Peer:
            peers.append(await Peer.connect(path))
            return peers[-1]

        yield make
        for peer in peers:
            peer.leave()

    async def test_the_socket_is_open_to_whoever_gets_into_the_directory(self, path: Path) -> None:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    async def test_a_report_of_work_is_kept_within_its_limits(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        """What a guest says of its work is shown to administrators: so much of it, and no line of a log broken by it."""
        peer = await connect(path)
        problems = tuple(f"app{number}: \x1b[31m\n" for number in range(60))
        claimed = WorkReport(
            work_id="w", phase="DONE", progress="p" * 600, detail="a\nb", updates=-3, problems=problems
        )
        await peer.say(status(work=claimed))
        work = (await self.heard(channel, "i-1", lambda s: True)).work
        assert work is not None
        assert (work.work_id, work.phase, work.progress, work.detail) == ("w", WorkPhase.DONE, "p" * 500, "a b")
        assert (work.updates, len(work.problems), work.problems[0]) == (0, 50, "app0:  [31m ")

    @pytest.mark.parametrize("member", [{"phase": "PAUSED"}, {"work_id": "w" * 129}])
    async def test_work_that_cannot_be_ends_the_connection(
        self, path: Path, connect: Callable[[Path], Awaitable[Peer]], member: dict[str, str]
    ) -> None:
        peer = await connect(path)
        await peer.say(status(work=WorkReport(**{"work_id": "w", "phase": "DONE"} | member)))
        assert await peer.is_dropped()

    async def test_a_report_is_kept_whole_and_told(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        assert channel.status("i-1") is None
        hints = channel.changes()
        hint = asyncio.create_task(anext(hints))
        await asyncio.sleep(0)
        peer = await connect(path)
        opening = wire.Opening(name="pho\ntos", files=43_000)
        home = stored(state="OFFLINE", unsent_files=2, unsent_bytes=5_000, opening=opening)
        full = stored(kind="ONE_DRIVE", state="OFFLINE", detail=QUOTA_USED_UP)
        reports = (
            report(idle_seconds=7.0, detail="e" * 600, storage=(home, full)),
            report(session_id="s-2", seat=3, phase="ENDED"),
        )
        await peer.say(status(sessions=reports, detail="d" * 600))
        said = await self.heard(channel, "i-1", lambda s: True)
        assert (said.phase, said.runtime_version) == (AgentPhase.READY, "1")
        assert [(s.session_id, s.seat, s.phase) for s in said.sessions] == [
            ("s-1", 0, SessionPhase.IN_SESSION),
            ("s-2", 3, SessionPhase.ENDED),
        ]
        first, second = said.sessions
        assert said.session("s-2") is second
        assert said.session("s-3") is None
        assert said.is_connected
        assert len(said.detail) == 500
        assert len(first.detail) == 500
        assert [(one.kind, one.state, one.unsent_files, one.unsent_bytes, one.is_full) for one in first.storage] == [
            (StorageKind.HOMEFOLDERS, StorageState.OFFLINE, 2, 5_000, False),
            (StorageKind.ONE_DRIVE, StorageState.OFFLINE, 0, 0, True),
        ]
        assert [one.opening for one in first.storage] == [Opening(name="pho tos", files=43_000, of=None), None]
        assert first.idle_since is not None
        assert round((said.reported_at - first.idle_since).total_seconds()) == 7
        assert second.idle_since is None
        assert await asyncio.wait_for(hint, 60) == "i-1"
        await hints.aclose()  # type: ignore[attr-defined]

    async def test_messages_reach_the_agent(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        with pytest.raises(AgentUnreachable):
            await channel.send("i-1", END)
        peer = await connect(path)
        await peer.say(status())
        await self.heard(channel, "i-1", lambda s: s.is_connected)
        await channel.send("i-1", END)
        assert json.loads(await peer.reader.readline()) == END

    async def test_a_message_that_no_agent_would_accept_is_not_sent(self, channel: AgentChannel, path: Path) -> None:
        for message in ({"type": "no_such"}, {"type": EndSession.TYPE}, END | {"session_id": "x" * MAX_LINE_BYTES}):
            with pytest.raises(MalformedMessage):
                await channel.send("i-1", message)

    async def test_an_agent_that_leaves_is_remembered_as_gone_and_may_come_back(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        peer = await connect(path)
        await peer.say(status())
        await self.heard(channel, "i-1", lambda s: s.is_connected)
        peer.leave()
        said = await self.heard(channel, "i-1", lambda s: not s.is_connected)
        assert said.phase is AgentPhase.READY
        with pytest.raises(AgentUnreachable):
            await channel.send("i-1", END)
        await (await connect(path)).say(status())
        await self.heard(channel, "i-1", lambda s: s.is_connected)

    async def test_a_newer_connection_replaces_the_older(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        older = await connect(path)
        await older.say(status())
        await self.heard(channel, "i-1", lambda s: s.is_connected)
        newer = await connect(path)
        assert await older.is_dropped()
        await newer.say(status(phase="FAILED"))
        await self.heard(channel, "i-1", lambda s: s.is_connected and s.phase is AgentPhase.FAILED)

    async def test_opening_again_changes_nothing(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        peer = await connect(path)
        await peer.say(status())
        await self.heard(channel, "i-1", lambda s: s.is_connected)
        await channel.open("i-1", os.getuid())
        await channel.send("i-1", END)
        assert json.loads(await peer.reader.readline()) == END

    async def test_a_stale_socket_of_a_dead_process_is_replaced(
        self, channel: AgentChannel, socket_of: SocketOf, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        path = socket_of("i-2")
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        await channel.open("i-2", os.getuid())
        await (await connect(path)).say(status())
        await self.heard(channel, "i-2", lambda s: s.is_connected)

    async def test_a_closed_channel_forgets(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        peer = await connect(path)
        await peer.say(status())
        await self.heard(channel, "i-1", lambda s: s.is_connected)
        await channel.close("i-1")
        await channel.close("i-1")
        assert await peer.is_dropped()
        assert channel.status("i-1") is None
        with pytest.raises(OSError):  # noqa: PT011 - refused or gone, by what the kernel finds first
            await connect(path)

    async def test_without_a_socket_directory_the_agent_is_unreachable(self, channel: AgentChannel) -> None:
        with pytest.raises(AgentUnreachable):
            await channel.open("i-none", os.getuid())

    # Image builders

    async def test_a_builder_asks_for_an_image_and_is_answered(
        self, channel: AgentChannel, socket_of: SocketOf, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        """It loses its connection before the answer and asks again: that is still one request."""
        path = socket_of("i-b")
        await channel.open("i-b", os.getuid(), is_builder=True)
        requests = channel.image_requests()
        lost = await connect(path)
        await lost.say(status() + asking("r-1"))
        heard = await asyncio.wait_for(anext(requests), 60)
        assert (heard.instance_id, heard.request_id, heard.applications[0].icon) == ("i-b", "r-1", b"picture")
        peer = await connect(path)
        await peer.say(status(detail="again") + asking("r-1"))
        await self.heard(channel, "i-b", lambda s: s.detail == "again")
        await channel.answer(heard, ImageAnswer(status=1, message="An image with the given name already exists"))
        assert decode(await peer.reader.readline()) == wire.ImageAnswer(
            request_id="r-1", status=1, message="An image with the given name already exists"
        )
        await peer.say(asking("r-2"))
        assert (await asyncio.wait_for(anext(requests), 60)).request_id == "r-2"

    async def test_a_builder_that_asks_before_it_was_answered_is_dropped(
        self, channel: AgentChannel, socket_of: SocketOf, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        path = socket_of("i-b")
        await channel.open("i-b", os.getuid(), is_builder=True)
        peer = await connect(path)
        await peer.say(asking("r-1") + asking("r-2"))
        assert await peer.is_dropped()

    async def test_a_builder_that_asks_all_the_time_is_dropped(
        self, channel: AgentChannel, socket_of: SocketOf, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        path = socket_of("i-b")
        await channel.open("i-b", os.getuid(), is_builder=True)
        requests = channel.image_requests()
        peer = await connect(path)
        answered = 0
        with contextlib.suppress(AgentUnreachable, TimeoutError, ConnectionError, RuntimeError):
            for number in range(30):
                await peer.say(asking(f"r-{number}"))
                await channel.answer(await asyncio.wait_for(anext(requests), 5), ImageAnswer())
                answered += 1
        assert 8 <= answered < 30

    async def test_an_instance_of_a_fleet_cannot_ask_for_an_image(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        peer = await connect(path)
        await peer.say(asking("r-1"))
        assert await peer.is_dropped()

    async def test_an_agent_of_the_runtime_before_is_heard(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        await (await connect(path)).say(status(protocol=2))
        heard = await self.heard(channel, "i-1", lambda s: s.is_connected)
        assert heard.protocol == 2

    # Hostile peers

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x00\xff\xfe\n",
            b"[1]\n",
            b'{"type": "status"}\n',
            b'{"type": ["status"]}\n',
            b'{"type": "end_session", "session_id": "s-1"}\n',
            b"[" * 50_000 + b"\n",
            status(protocol=PROTOCOL + 1),
            status(protocol=1),
            encode(wire.ImageRequestPart(request_id="r-1", number=1, total=2, text="x")),
            status(phase="HACKED"),
            status(sessions=(report(phase="READY"),)),
            status(sessions=(report(session_id="s" * 129),)),
            status(sessions=(report(seat=-1),)),
            status(sessions=(report(storage=(stored(kind="FLOPPY"),)),)),
            status(sessions=(report(storage=(stored(state="LOST"),)),)),
            status(sessions=(report(storage=(stored(unsent_files=-1),)),)),
            status(sessions=(report(storage=(stored(opening=wire.Opening(name="n" * 256)),)),)),
            status(sessions=(report(storage=(stored(opening=wire.Opening(name="n", of=2**60)),)),)),
            status(sessions=(report(storage=(stored(), stored())),)),
            status(sessions=(report(seat=MAX_SEATS),)),
            status(sessions=(report(),)).replace(b"-1.0", b"1e999"),
            status(sessions=(report(),)).replace(b"-1.0", b"NaN"),
            status().replace(b"[]", b"{}"),
            status().replace(b"[]", b"[7]"),
            status().replace(b"[]", b'[{"session_id": "s-1"}]'),
            status().replace(b'"READY"', b"7"),
            status()[:-2] + b', "more": 1}\n',
            b"x" * (MAX_LINE_BYTES + 1),
            b"x" * (4 * MAX_LINE_BYTES) + b"\n",
        ],
        ids=lambda garbage: repr(garbage[:24]),
    )
    async def test_garbage_ends_the_connection_and_leaves_no_trace(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]], garbage: bytes
    ) -> None:
        peer = await connect(path)
        await peer.say(garbage)
        assert await peer.is_dropped()
        assert channel.status("i-1") is None
        await (await connect(path)).say(status())
        await self.heard(channel, "i-1", lambda s: s.is_connected)

    async def test_a_line_may_come_in_pieces(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        peer = await connect(path)
        for byte in status():
            await peer.say(bytes([byte]))
            await asyncio.sleep(0)
        await self.heard(channel, "i-1", lambda s: s.is_connected)

    async def test_half_a_line_is_no_report(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        peer = await connect(path)
        await peer.say(status()[:-1])
        peer.leave()
        await asyncio.sleep(0.05)
        assert channel.status("i-1") is None

    async def test_a_flood_is_cut_off_and_slows_nobody_else(
        self, channel: AgentChannel, path: Path, socket_of: SocketOf, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        flooder = await connect(path)
        await flooder.say(status() * (MAX_MESSAGES_PER_SECOND * 3))
        assert await flooder.is_dropped()
        dropped_at = asyncio.get_running_loop().time()
        again = await connect(path)  # The kernel takes it; the host lets it wait.
        await again.say(status(phase="FAILED"))
        other = socket_of("i-2")
        await channel.open("i-2", os.getuid())
        await (await connect(other)).say(status())
        await self.heard(channel, "i-2", lambda s: s.is_connected)
        said = channel.status("i-1")
        if asyncio.get_running_loop().time() < dropped_at + 0.5:  # else it may have waited long enough
            assert said is None or said.phase is AgentPhase.READY

    async def test_an_agent_that_changes_its_mind_all_the_time_wakes_nobody_for_long(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        hints = []

        async def listen() -> None:
            async for hint in channel.changes():
                hints.append(hint)  # noqa: PERF401 - what came until the end counts

        listening = asyncio.create_task(listen())
        peer = await connect(path)
        for number in range(MAX_MESSAGES_PER_SECOND - 5):
            with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop says the latter
                await peer.say(status(sessions=(report(phase=("IN_SESSION", "STARTING_SESSION")[number % 2]),)))
            await asyncio.sleep(0.002)
        assert await peer.is_dropped()
        assert 5 <= len(hints) <= 25
        listening.cancel()

    async def test_an_agent_that_reads_nothing_is_dropped_in_the_end(
        self, channel: AgentChannel, path: Path, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        peer = await connect(path)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.say(status())
        await self.heard(channel, "i-1", lambda s: s.is_connected)
        large = END | {"session_id": "x" * 60_000}

        async def send_for_ever() -> None:
            while True:
                await channel.send("i-1", large)
                await asyncio.sleep(0)

        with pytest.raises(AgentUnreachable):
            await asyncio.wait_for(send_for_ever(), 60)

    async def test_only_the_root_of_the_instance_may_speak(
        self, channel: AgentChannel, socket_of: SocketOf, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        path = socket_of("i-2")
        await channel.open("i-2", os.getuid() + 100_000)
        intruder = await connect(path)
        assert await intruder.is_dropped()
        assert channel.status("i-2") is None

    async def test_hundreds_of_instances_are_heard_and_nothing_is_left_open(
        self, channel: AgentChannel, socket_of: SocketOf, connect: Callable[[Path], Awaitable[Peer]]
    ) -> None:
        async def descriptors_after(names: Sequence[str]) -> int:
            peers = []
            for name in names:
                path = socket_of(name)
                await channel.open(name, os.getuid())
                peers.append(await connect(path))
            await asyncio.gather(*(peer.say(status(detail=name)) for peer, name in zip(peers, names, strict=True)))
            for name in names:
                assert (await self.heard(channel, name, lambda s: s.is_connected)).detail == name
            for peer in peers:
                peer.leave()
            await asyncio.gather(*(channel.close(name) for name in names))
            await asyncio.sleep(0.1)  # The transports close in the next rounds of the loop.
            return len(list(Path("/proc/self/fd").iterdir()))

        few = await descriptors_after(["i-98", "i-99"])  # Loops open some of their own at first use.
        assert await descriptors_after([f"i-{n}" for n in range(100, 300)]) <= few
