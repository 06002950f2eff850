"""The printer's socket: one program serves it while somebody prints, and none otherwise."""

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fanlight.agent.accounts import STREAMS_GROUP, Account, Seat
from fanlight.agent.processes import ExitHandler, Program
from fanlight.agent.program_sockets import ProgramSocket
from fanlight.unix_sockets import uid_of_peer


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


OWNER = Account("user", os.getuid(), os.getgid(), "/", os.getgid(), runs_applications=True)


@dataclass
class NotedProcesses:
    """Programs that only take the descriptor they are handed."""

    started: list[tuple[Program, ExitHandler]] = field(default_factory=list)
    refuse: bool = False

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        self.started.append((program, on_exit))
        if self.refuse:
            raise FileNotFoundError(2, "No such file")
        return len(self.started)

    def signal(self, pid: int, number: int) -> None: ...
    def signal_group(self, pid: int, number: int) -> None: ...
    def signal_all_of(self, account: Account, number: int) -> bool:
        raise NotImplementedError


def program_for(listener: int) -> Program:
    return Program(
        name="printer", seat=Seat(0), arguments=["printer", str(listener)], account=OWNER, hand_over=(listener,)
    )


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="fl-") as directory:
        yield f"{directory}/printer.sock"


def connect(path: str) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)
    return link


async def test_the_printer_runs_from_the_first_connection_until_it_ends_and_again(path: str) -> None:
    processes = NotedProcesses()
    printer = ProgramSocket(processes, program_for, pause_in_seconds=0.01)
    printer.open(path, OWNER)
    printer.open(path, OWNER)
    assert Path(path).stat().st_mode & 0o777 == 0o600
    await asyncio.sleep(0.02)
    assert processes.started == []
    with connect(path), connect(path):
        await eventually(lambda: len(processes.started) == 1)
        program, ended = processes.started[0]
        served = socket.socket(fileno=program.hand_over[0])
        with served.accept()[0], served.accept()[0], served:
            await asyncio.sleep(0.05)
            assert len(processes.started) == 1, "the program has the socket to itself"
    ended(0)
    with connect(path):
        await eventually(lambda: len(processes.started) == 2)
        os.close(processes.started[1][0].hand_over[0])
    printer.close()
    assert not Path(path).exists()
    processes.started[1][1](0)


async def test_a_printer_that_cannot_be_started_is_not_started_without_end(path: str) -> None:
    processes = NotedProcesses(refuse=True)
    printer = ProgramSocket(processes, program_for, pause_in_seconds=0.05)
    printer.open(path, OWNER)
    with connect(path):
        await eventually(lambda: len(processes.started) == 2)
        await asyncio.sleep(0.02)
        assert len(processes.started) == 2
    printer.close()
    for program, _ in processes.started:
        os.close(program.hand_over[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives sockets away")
async def test_a_socket_for_the_gateway_is_the_display_accounts(path: str) -> None:
    display = Seat(3).display
    files = ProgramSocket(NotedProcesses(), program_for)
    files.open_to_gateway(path, display)
    there = Path(path).stat()
    assert (there.st_mode & 0o777, there.st_uid, there.st_gid) == (0o606, display.uid, STREAMS_GROUP)
    with connect(path) as link:
        assert uid_of_peer(link) == display.uid
    assert os.geteuid() == 0
    files.close()
    assert not Path(path).exists()
