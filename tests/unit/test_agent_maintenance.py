"""Work that the host asks of an instance: packages looked at and upgraded, applications checked. With a noted apt."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fanlight.agent.application_checks import ApplicationChecks
from fanlight.agent.commands import CommandFailed, Commands
from fanlight.agent.font_caches import keep_font_caches
from fanlight.agent.maintenance import Maintenance
from fanlight.agent.packages import Packages
from fanlight.agent.processes import ExitHandler, Program
from fanlight.agent.sessions import IN_SESSION, READY, Refused
from fanlight.agent.work import DONE, FAILED, RUNNING, HostedWork, Progress
from fanlight.agentwire.messages import ApplicationToLaunch, Maintain, WorkReport

UPDATES = "Inst firefox-esr [128.0] (140.0 local)\nInst libfoo (2 local)\nConf firefox-esr (140.0 local)\n"


@dataclass
class NotedApt:
    """Answers for apt and dpkg; after an upgrade there is nothing to do any more."""

    root: Path
    simulation: str = UPDATES
    repositories: str = "MetaKey: main/binary-amd64/Packages\n"
    failing: dict[str, str] = field(default_factory=dict)
    hanging: str = ""
    commands: dict[str, list[str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    killed: list[int] = field(default_factory=list)
    policy_seen: list[bool] = field(default_factory=list)

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        self.commands[program.name] = list(program.arguments)
        self.environment = dict(program.environment)
        answers = {"simulation": self.simulation, "verification": self.simulation, "repositories": self.repositories}
        said = self.failing.get(program.name, answers.get(program.name, ""))
        (self.root / "var/log/fanlight/0" / f"{program.name}.log").write_text(said)
        if program.name == "upgrade" and program.name not in self.failing:
            self.policy_seen.append((self.root / "usr/sbin/policy-rc.d").exists())
            os.write(program.hand_over[0], b"dlstatus:1:50.0:x\npmstatus:firefox-esr:100.0:x\n")
            self.simulation = ""
        for descriptor in program.hand_over:
            os.close(descriptor)
        if program.name != self.hanging:
            asyncio.get_running_loop().call_later(0.01, on_exit, 100 if program.name in self.failing else 0)
        return len(self.commands)

    def signal_group(self, pid: int, number: int) -> None:
        self.killed.append(pid)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("usr/bin", "usr/sbin", "var/log/fanlight/0", "var/lib/apt/lists", "var/cache/apt/archives", "etc"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "usr/bin/apt-get").touch()
    return tmp_path


@pytest.fixture
def apt(root: Path) -> NotedApt:
    return NotedApt(root)


@pytest.fixture
def packages(apt: NotedApt, root: Path) -> Packages:
    return Packages(Commands(apt, root=root), root=root)  # type: ignore[arg-type]


def ignore(_: str) -> None:
    pass


async def test_a_look_names_what_an_upgrade_would_install(packages: Packages, apt: NotedApt) -> None:
    assert await packages.look(ignore) == ("firefox-esr", "libfoo")
    assert "upgrade" not in apt.commands


async def test_a_look_finds_nothing_when_everything_is_new(packages: Packages, apt: NotedApt) -> None:
    apt.simulation = "Reading package lists...\n"
    assert await packages.look(ignore) == ()


async def test_a_repository_that_does_not_answer_is_an_error_and_no_answer(packages: Packages, apt: NotedApt) -> None:
    apt.failing["update"] = "E: Failed to fetch http://packages.invalid/Release  Connection refused\n"
    with pytest.raises(CommandFailed, match=r"update ended with 100: E: Failed to fetch .* Connection refused"):
        await packages.look(ignore)


async def test_an_image_without_repositories_or_without_apt_cannot_be_looked_at(
    packages: Packages, apt: NotedApt, root: Path
) -> None:
    apt.repositories = "\n"
    with pytest.raises(CommandFailed, match="names no package repository"):
        await packages.look(ignore)
    (root / "usr/bin/apt-get").unlink()
    with pytest.raises(CommandFailed, match="has no apt"):
        await packages.look(ignore)


async def test_an_upgrade_asks_nobody_keeps_the_administrators_files_and_tells_how_far_it_is(
    packages: Packages, apt: NotedApt, root: Path
) -> None:
    told: list[str] = []
    assert await packages.upgrade(told.append) == 2
    assert "--force-confold" in " ".join(apt.commands["upgrade"])
    assert apt.environment["DEBIAN_FRONTEND"] == "noninteractive"
    assert apt.policy_seen == [True]
    assert not (root / "usr/sbin/policy-rc.d").exists()
    assert told[-2:] == ["upgrading 2 packages: 20 %", "upgrading 2 packages: 100 %"]


async def test_an_upgrade_that_leaves_packages_behind_has_failed(packages: Packages, apt: NotedApt) -> None:
    apt.failing["upgrade"] = "E: Sub-process /usr/bin/dpkg returned an error code (1)\n"
    with pytest.raises(CommandFailed, match="returned an error code"):
        await packages.upgrade(ignore)


async def test_a_command_that_does_not_end_is_killed(apt: NotedApt, root: Path) -> None:
    apt.hanging = "update"
    commands = Commands(apt, root=root)  # type: ignore[arg-type]
    with pytest.raises(CommandFailed, match="update took longer than 0 s"):
        await commands.run("update", ["/usr/bin/apt-get", "update"], limit_in_seconds=0.01)
    assert apt.killed == [1]


async def test_nothing_of_the_maintenance_instance_stays_in_the_image(
    packages: Packages, apt: NotedApt, root: Path
) -> None:
    for path in ("var/lib/apt/lists/old", "var/cache/apt/archives/x.deb"):
        (root / path).touch()
    (root / "etc/machine-id").write_text("0123\n")
    (root / "etc/resolv.conf").write_text("nameserver 10.0.0.1\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 u-1234\n")
    tasks = Maintenance(Commands(apt, root=root), packages, root=root).tasks  # type: ignore[arg-type]
    report = await tasks["upgrade"](Maintain(work_id="w", task="upgrade"), ignore)
    assert report.updates == 2
    assert not (root / "var/log/fanlight").exists()
    assert not list((root / "var").rglob("*.deb"))
    assert not (root / "var/lib/apt/lists/old").exists()
    assert [(root / "etc" / name).read_text() for name in ("machine-id", "resolv.conf", "hosts")] == [
        "",
        "",
        "127.0.0.1 localhost\n",
    ]


async def test_font_caches_are_written_for_the_times_that_a_stored_image_has(apt: NotedApt, root: Path) -> None:
    """A store of images keeps whole seconds; a cache that knows of fractions would be invalid in every session."""
    fonts = root / "usr/share/fonts/truetype"
    fonts.mkdir(parents=True)
    os.utime(fonts, ns=(0, 1_700_000_000_610_007_177))
    commands = Commands(apt, root=root)  # type: ignore[arg-type]
    await keep_font_caches(commands, root=root)
    assert "font-caches" not in apt.commands, "an image without fonts has no caches"
    (root / "usr/bin/fc-cache").touch()
    await keep_font_caches(commands, root=root)
    assert fonts.stat().st_mtime_ns == 1_700_000_000_000_000_000
    assert apt.commands["font-caches"] == ["/usr/bin/fc-cache", "--system-only", "--force"]


# ── Work ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class WorkBench:
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = asyncio.Event()
        self.fault: Exception | None = None
        self.running: list[asyncio.Task[None]] = []
        self.work = HostedWork({"look": self._look}, on_change=lambda: None, in_background=self._in_background)

    async def _look(self, message: Maintain, progress: Progress) -> WorkReport:
        self.begun.append(message.work_id)
        progress("half way")
        await self.may_end.wait()
        if self.fault:
            raise self.fault
        return WorkReport(work_id=message.work_id, phase=DONE, updates=3)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        self.running.append(asyncio.create_task(work))

    def ask(self, work_id: str, task: str = "look") -> None:
        self.work.handle(Maintain(work_id=work_id, task=task))

    async def end(self) -> WorkReport | None:
        self.may_end.set()
        await asyncio.gather(*self.running)
        return self.work.report


async def test_work_asked_for_again_is_done_once() -> None:
    bench = WorkBench()
    bench.ask("w1")
    await asyncio.sleep(0)
    bench.ask("w1")
    assert bench.work.report == WorkReport(work_id="w1", phase=RUNNING, progress="half way")
    assert await bench.end() == WorkReport(work_id="w1", phase=DONE, updates=3)
    bench.ask("w1")
    assert bench.begun == ["w1"]


async def test_work_that_fails_says_why() -> None:
    bench = WorkBench()
    bench.fault = CommandFailed("update ended with 100")
    bench.ask("w1")
    assert await bench.end() == WorkReport(work_id="w1", phase=FAILED, progress="", detail="update ended with 100")


async def test_an_instance_does_only_what_it_was_launched_for() -> None:
    bench = WorkBench()
    bench.ask("w1", "upgrade")
    assert bench.work.report == WorkReport(
        work_id="w1", phase=FAILED, detail="this instance was not launched to upgrade"
    )


# ── Applications ──────────────────────────────────────────────────────────────────────────────────────────────────


class Seat:
    """Applications by name: when their window comes and goes, when and how they end, in polls of the check."""

    def __init__(self, script: dict[str, dict[str, int]]) -> None:
        self.script, self.phase, self.unmanaged = script, IN_SESSION, 3
        self.now = 0
        self.current: dict[str, int] = {}
        self.on_end: Callable[[int], None] = lambda _: None
        self.killed: list[int] = []

    def start_application(self, application: ApplicationToLaunch, on_end: ExitHandler) -> int:
        if application.name not in self.script:
            raise Refused(f"{application.name} cannot be started: No such file or directory")
        self.current, self.on_end, self.now = self.script[application.name], on_end, 0
        return 7

    async def windows(self) -> frozenset[int] | None:
        if self.unmanaged:
            self.unmanaged -= 1
            return None
        shown = self.current.get("window", 10**6) <= self.now < self.current.get("gone", 10**6)
        return frozenset({1, 2} if shown else {1})

    async def sleep(self, seconds: float) -> None:
        before, self.now = self.now, self.now + max(round(seconds * 10), 1)
        if before < self.current.get("ends", 10**6) <= self.now:
            self.on_end(self.current.get("status", 0))
        await asyncio.sleep(0)

    def signal_group(self, pid: int, number: int) -> None:
        self.killed.append(number)
        self.current = {}

    async def check(self, *names: str) -> tuple[str, ...]:
        applications = tuple(ApplicationToLaunch(name=name, launch_path=f"/usr/bin/{name}") for name in names)
        checks = ApplicationChecks(lambda: self, self, self.windows, sleep=self.sleep)  # type: ignore[arg-type, return-value]
        report = await checks.check(Maintain(work_id="w", task="check", applications=applications), ignore)
        return report.problems


async def test_applications_are_up_with_a_window_or_still_running_or_through_another_process() -> None:
    seat = Seat({"editor": {"window": 5}, "tray": {}, "handed-on": {"ends": 2, "window": 9}})
    assert await seat.check("editor", "tray", "handed-on") == ()
    assert seat.killed, "they are closed again"


async def test_each_application_that_does_not_come_up_is_named_with_the_reason() -> None:
    seat = Seat(
        {
            "broken": {"ends": 3, "status": 127},
            "editor": {"window": 5},
            "crasher": {"window": 2, "gone": 6, "ends": 6, "status": -11},
            "nothing": {"ends": 4, "status": 0},
        }
    )
    assert await seat.check("broken", "missing", "editor", "crasher", "nothing") == (
        "broken: it ended with 127 after 0.3 s",
        "missing: missing cannot be started: No such file or directory",
        "crasher: its window went again, and it ended with -11",
        "nothing: it ended, and no window came",
    )


async def test_without_a_session_nothing_is_checked() -> None:
    seat = Seat({})
    seat.phase = READY
    with pytest.raises(Refused):
        await seat.check("editor")
