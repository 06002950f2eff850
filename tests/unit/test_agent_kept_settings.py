"""When settings are fetched and kept, and what is told of it: with a noted program in the place of the real one."""

import asyncio
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fanlight.agent import application_settings
from fanlight.agent.accounts import Seat
from fanlight.agent.application_settings import ApplicationSettings
from fanlight.agent.commands import Commands
from fanlight.agent.kept_settings.transfers import DONE, LOST, ORDER_VARIABLE, UNFIT, UNREACHABLE, Order
from fanlight.agent.processes import ExitHandler, Program
from fanlight.agentwire import SETTINGS_TOO_LARGE
from fanlight.agentwire.messages import StorageMount, StorageReport

SETTINGS = StorageMount(kind="APPLICATION_SETTINGS", socket="a.sock", token="the-token", max_bytes=7)
HOME_FOLDER = StorageMount(kind="HOMEFOLDERS", socket="b.sock", token="other", folder="HomeFolder")
FIFTH = Seat(5)


@dataclass
class NotedProgram:
    """Says what `outcomes` has for an action; `statuses` before that."""

    root: Path
    outcomes: dict[str, tuple[str, str]]
    statuses: list[dict[str, object]] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        order = Order(**json.loads(program.environment[ORDER_VARIABLE]))
        self.programs.append(program)
        self.orders.append(order)
        for status in self.statuses if order.action == "save" else ():
            os.write(program.hand_over[0], json.dumps(status).encode() + b"\n")
        for descriptor in program.hand_over:
            os.close(descriptor)
        if order.action in self.outcomes:
            outcome, detail = self.outcomes[order.action]
            log = self.root / FIFTH.log_directory.lstrip("/") / f"{program.name}.log"
            log.write_text(json.dumps({"outcome": outcome, "detail": detail}) + "\n")
            asyncio.get_running_loop().call_later(0.02, on_exit, 0)
        return len(self.orders)

    def signal_group(self, pid: int, number: int) -> None:
        self.killed.append(pid)


@dataclass
class Bench:
    program: NotedProgram
    settings: ApplicationSettings
    told: list[StorageReport | None]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / FIFTH.log_directory.lstrip("/")).mkdir(parents=True)
    program = NotedProgram(tmp_path, {"restore": (DONE, "3 entries"), "save": (DONE, "")})
    told: list[StorageReport | None] = []
    commands = Commands(program, seat=FIFTH, root=tmp_path)  # type: ignore[arg-type]
    settings = ApplicationSettings(commands, FIFTH, on_change=lambda: told.append(settings.report))
    return Bench(program, settings, told)


def nothing() -> None:
    pass


async def test_a_session_without_them_has_nothing_done_and_reports_nothing(bench: Bench) -> None:
    await bench.settings.restore([HOME_FOLDER])
    await bench.settings.save(nothing)
    assert (bench.program.orders, bench.settings.report, bench.told) == ([], None, [])


async def test_they_are_fetched_and_kept_for_the_seats_own_user(bench: Bench) -> None:
    bench.program.statuses = [{"size": 10, "sent": 0}, {"size": 10, "sent": 4}]
    flushing: list[StorageReport | None] = []
    await bench.settings.restore([HOME_FOLDER, SETTINGS])
    assert bench.settings.report == StorageReport(kind="APPLICATION_SETTINGS", state="MOUNTED")
    await bench.settings.save(lambda: flushing.append(bench.settings.report))
    restored, saved = bench.program.orders
    assert (restored.action, saved.action) == ("restore", "save")
    assert (restored.socket, restored.token, restored.max_bytes) == (
        "/run/fanlight/host/storage/a.sock",
        "the-token",
        7,
    )
    assert (restored.home, restored.uid, restored.directory) == ("/home/user5", FIFTH.user.uid, "/run/seats/5/settings")
    assert flushing == [StorageReport(kind="APPLICATION_SETTINGS", state="MOUNTED", unsent_files=1)]
    assert bench.settings.report == StorageReport(kind="APPLICATION_SETTINGS", state="MOUNTED")


async def test_the_token_is_on_no_command_line_and_root_alone_runs_it(bench: Bench) -> None:
    await bench.settings.restore([SETTINGS])
    (program,) = bench.program.programs
    assert program.account.uid == 0
    assert "the-token" not in " ".join(program.arguments)
    assert "the-token" not in repr(bench.program.orders[0])


async def test_settings_that_are_out_of_reach_are_not_replaced_at_the_end(bench: Bench) -> None:
    bench.program.outcomes["restore"] = (UNREACHABLE, "it does not answer")
    await bench.settings.restore([SETTINGS])
    assert bench.settings.report == StorageReport(
        kind="APPLICATION_SETTINGS",
        state="OFFLINE",
        detail="The settings of your applications are out of reach, and none will be kept: it does not answer.",
    )
    await bench.settings.save(nothing)
    assert [order.action for order in bench.program.orders] == ["restore"]


async def test_settings_that_were_broken_are_told_and_kept_anew(bench: Bench) -> None:
    bench.program.outcomes["restore"] = (LOST, "it is not what was sent")
    await bench.settings.restore([SETTINGS])
    assert bench.settings.report is not None
    assert (
        bench.settings.report.detail == "The settings of your applications could not be used: it is not what was sent."
    )
    await bench.settings.save(nothing)
    assert [order.action for order in bench.program.orders] == ["restore", "save"]


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        ("they are larger than 7 bytes", SETTINGS_TOO_LARGE),
        ("there is no room", "The settings of your applications were not kept: there is no room."),
    ],
)
async def test_settings_that_cannot_be_kept_are_told(bench: Bench, words: str, detail: str) -> None:
    bench.program.outcomes["save"] = (UNFIT, words)
    await bench.settings.restore([SETTINGS])
    await bench.settings.save(nothing)
    assert bench.settings.report == StorageReport(
        kind="APPLICATION_SETTINGS",
        state="MOUNTED",
        detail=detail,
    )


async def test_while_they_cannot_be_sent_that_is_told_with_how_much_is_left(bench: Bench) -> None:
    bench.program.statuses = [{"size": 10, "sent": 0}, {"size": 10, "sent": 0, "detail": "it does not answer"}]
    await bench.settings.restore([SETTINGS])
    await bench.settings.save(nothing)
    assert (
        StorageReport(
            kind="APPLICATION_SETTINGS", state="OFFLINE", unsent_files=1, unsent_bytes=10, detail="it does not answer"
        )
        in bench.told
    )


async def test_an_end_that_comes_while_they_are_fetched_waits_for_that(bench: Bench) -> None:
    restoring = asyncio.create_task(bench.settings.restore([SETTINGS]))
    await asyncio.sleep(0)
    await bench.settings.save(nothing)
    assert restoring.done()
    assert [order.action for order in bench.program.orders] == ["restore", "save"]


async def test_a_program_that_takes_too_long_is_killed_and_the_session_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application_settings, "RESTORE_LIMIT_IN_SECONDS", 0.01)
    del bench.program.outcomes["restore"]
    await bench.settings.restore([SETTINGS])
    assert bench.program.killed == [1]
    assert bench.settings.report is not None
    assert bench.settings.report.state == "OFFLINE"
