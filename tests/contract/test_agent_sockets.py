"""The agent channel over real Unix sockets, and on uvloop too, which production runs."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from agent_channel import AgentChannelContract
from instance_driver import eventually

from fanlight.drivers.agents import AgentSockets


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class TestAgentSockets(AgentChannelContract):
    @pytest.fixture
    def run_dir(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="fl-") as path:
            yield Path(path)

    @pytest.fixture
    async def channel(self, run_dir: Path) -> AsyncIterator[AgentSockets]:
        made = AgentSockets(run_dir, WallClock())
        yield made
        await made.close_all()

    @pytest.fixture
    def socket_of(self, run_dir: Path) -> Callable[[str], Path]:
        def make(instance_id: str) -> Path:
            host = run_dir / "instances" / instance_id / "host"
            host.mkdir(parents=True)
            return host / "agent.sock"

        return make

    async def test_a_directory_replaced_by_a_link_is_not_followed(
        self, channel: AgentSockets, socket_of: Callable[[str], Path], tmp_path: Path
    ) -> None:
        from fanlight.domain.errors import AgentUnreachable

        host = socket_of("i-3").parent
        host.rmdir()
        host.symlink_to(tmp_path)
        with pytest.raises(AgentUnreachable):
            await channel.open("i-3", os.getuid())
        assert list(tmp_path.iterdir()) == []

    async def test_a_close_that_is_cancelled_leaves_no_socket_open(
        self, channel: AgentSockets, run_dir: Path, socket_of: Callable[[str], Path]
    ) -> None:
        path = socket_of("i-4")
        await channel.open("i-4", os.getuid())
        closing = asyncio.create_task(channel.close("i-4"))
        await asyncio.sleep(0)  # it has begun, and waits for the acceptor
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(path)

    @pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
    async def test_another_user_is_turned_away(
        self, channel: AgentSockets, run_dir: Path, socket_of: Callable[[str], Path]
    ) -> None:
        """The same bytes from two users: the one whose uid is the instance's root is heard."""
        run_dir.chmod(0o755)
        path = socket_of("i-4")
        await channel.open("i-4", 23_456)
        script = (
            "import socket,sys,os;os.setuid(int(sys.argv[2]));s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);"
            's.sendall(b\'{"type":"status","protocol":2,"runtime_version":"1","phase":"READY"}\\n\');s.recv(1)'
        )
        processes = []
        try:
            for uid in (23_457, 23_456):
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", script, str(path), str(uid)], stderr=subprocess.DEVNULL
                )
                processes.append(process)

                async def outcome(process: subprocess.Popen[bytes] = process) -> bool:
                    return process.poll() is not None or channel.status("i-4") is not None

                await eventually(outcome, within=10, what="the host reacts")
                assert (channel.status("i-4") is not None) == (uid == 23_456)
        finally:
            for process in processes:
                process.kill()
                process.wait()
