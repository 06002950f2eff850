"""The life of a seat, with a desktop and processes that only note what is asked of them."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fanlight.agent.accounts import Account, Seat
from fanlight.agent.desktop import NotReady
from fanlight.agent.processes import ExitHandler, Program
from fanlight.agent.script_configs import CONFIG_PATH
from fanlight.agent.session_scripts import SessionScripts
from fanlight.agent.sessions import GRACE_IN_SECONDS, SeatLife
from fanlight.agentwire.messages import (
    ApplicationToLaunch,
    BeginSession,
    EndSession,
    LaunchApplication,
    RefreshStorage,
    StorageMount,
    StorageReport,
)

EDITOR = ApplicationToLaunch(name="editor", launch_path="/usr/bin/editor", launch_parameters="--new 'a b'")


@dataclass
class NotedProcesses:
    started: list[Program] = field(default_factory=list)
    exits: list[ExitHandler] = field(default_factory=list)
    killed_groups: list[int] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)
    stubborn: bool = False
    refuse: bool = False

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        if self.refuse:
            raise FileNotFoundError(2, "No such file", program.arguments[0])
        self.started.append(program)
        self.exits.append(on_exit)
        return len(self.started)

    def signal(self, pid: int, number: int) -> None:
        raise AssertionError("nothing here signals single processes")

    def signal_group(self, pid: int, number: int) -> None:
        assert number == signal.SIGKILL
        self.killed_groups.append(pid)

    def signal_all_of(self, account: Account, number: int) -> bool:
        assert account == Seat(0).user
        self.signals.append(number)
        return self.stubborn and signal.SIGKILL not in self.signals


@dataclass
class NotedDesktop:
    booted: asyncio.Event = field(default_factory=asyncio.Event)
    streaming: asyncio.Event = field(default_factory=asyncio.Event)
    managed: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Exception | None = None
    begun: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    async def boot(self) -> None:
        await self.booted.wait()
        if self.fault:
            raise self.fault

    def begin(
        self, stream_view: str, stream_settings: Mapping[str, str], environment: Mapping[str, str]
    ) -> Awaitable[None]:
        self.begun.append((stream_view, stream_settings))
        return self._wait()

    async def _wait(self) -> None:
        await self.streaming.wait()
        if self.fault:
            raise self.fault

    async def until_managed(self) -> None:
        await self.managed.wait()

    async def idle_seconds(self) -> float:
        return 7.0

    def release(self) -> None:
        self.calls.append("release")

    def end(self) -> None:
        self.calls.append("end")


@dataclass
class NotedStorage:
    """Files that are sent when `sent` is set, if there are any."""

    begun: list[StorageMount] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    has_unsent: bool = False
    sent: asyncio.Event = field(default_factory=asyncio.Event)
    reports: tuple[StorageReport, ...] = ()
    restored: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, session_id: str, mounts: Sequence[StorageMount]) -> None:
        assert session_id == "s1"
        self.begun += mounts

    async def restore(self, mounts: Sequence[StorageMount]) -> None:
        await self.restored.wait()

    def refresh(self) -> None:
        self.calls.append("refresh")

    async def end(self, on_unsent: Callable[[], None]) -> None:
        self.calls.append("end")
        if self.has_unsent:
            on_unsent()
            await self.sent.wait()


class Bench:
    """A seat's life with everything around it noted; `slept` is the fake clock."""

    def __init__(self, root: Path, seat: Seat = Seat(0)) -> None:  # noqa: B008 - it cannot change
        for directory in ("etc/profile.d", seat.user.home.lstrip("/"), "work"):
            (root / directory).mkdir(parents=True)
        self.root = root
        self.desktop = NotedDesktop()
        self.storage = NotedStorage()
        self.storage.restored.set()
        self.desktop.managed.set()
        self.processes = NotedProcesses()
        self.slept = 0.0
        self.patience_ends = asyncio.Event()
        self.phases: list[str] = []
        self.life = SeatLife(
            self.desktop,
            self.processes,
            seat,
            on_change=lambda: self.phases.append(self.life.phase),
            scripts=SessionScripts(
                self.processes, seat=seat, sleep=self._wait_for_scripts, root=root, owner=os.getuid()
            ),
            storage=self.storage,
            sleep=self._sleep,
            root=root,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        await asyncio.sleep(0)

    async def _wait_for_scripts(self, seconds: float) -> None:
        self.slept += seconds
        await self.patience_ends.wait()

    def give_scripts(self, **events: object) -> None:
        path = self.root / CONFIG_PATH.lstrip("/")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(events))

    async def ready(self) -> None:
        self.desktop.booted.set()
        await self.life.boot()

    async def settle(self) -> None:
        for _ in range(200):
            await asyncio.sleep(0)

    async def in_session(self, message: BeginSession) -> None:
        await self.ready()
        self.desktop.streaming.set()
        self.life.handle(message)
        await self.settle()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def begin(session_id: str = "s1", **changes: object) -> BeginSession:
    values: dict[str, object] = {"session_id": session_id, "user_id": "ada", "stream_view": "APP", **changes}
    return BeginSession(**values)  # type: ignore[arg-type]


async def test_phases_of_a_session_in_order(bench: Bench) -> None:
    await bench.in_session(begin(application=EDITOR))
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    assert bench.phases == ["READY", "STARTING_SESSION", "IN_SESSION", "ENDED"]
    assert bench.life.session_id == "s1"


async def test_application_starts_before_the_stream_accepts(bench: Bench) -> None:
    await bench.ready()
    bench.life.handle(begin(application=EDITOR))
    await bench.settle()
    assert bench.life.phase == "STARTING_SESSION"
    assert bench.processes.started[0].arguments == ["/usr/bin/editor", "--new", "a b"]
    assert bench.processes.started[0].account == Seat(0).user


async def test_repeated_wish_changes_nothing(bench: Bench) -> None:
    await bench.in_session(begin(application=EDITOR))
    for _ in range(3):
        bench.life.handle(begin(application=EDITOR))
    await bench.settle()
    assert len(bench.desktop.begun) == len(bench.processes.started) == 1


async def test_wish_during_boot_is_kept(bench: Bench) -> None:
    booting = asyncio.create_task(bench.life.boot())
    bench.life.handle(begin())
    assert bench.life.phase == "BOOTING"
    bench.desktop.booted.set()
    bench.desktop.streaming.set()
    await booting
    await bench.settle()
    assert bench.phases == ["READY", "STARTING_SESSION", "IN_SESSION"]


@pytest.mark.parametrize("while_booting", [True, False])
async def test_seat_never_takes_a_second_user(bench: Bench, *, while_booting: bool) -> None:
    if while_booting:
        bench.life.handle(begin("s1"))
    else:
        await bench.in_session(begin("s1"))
    before = bench.life.phase
    bench.life.handle(begin("s2"))
    await bench.settle()
    assert (bench.life.phase, bench.life.detail) == (before, "this seat belongs to session s1")
    assert len(bench.desktop.begun) == (0 if while_booting else 1)


async def test_ended_seat_begins_nothing(bench: Bench) -> None:
    await bench.in_session(begin())
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    bench.life.handle(begin("s1"))
    await bench.settle()
    assert bench.life.phase == "ENDED"
    assert len(bench.desktop.begun) == 1


async def test_end_of_another_session_is_refused(bench: Bench) -> None:
    await bench.in_session(begin("s1"))
    bench.life.handle(EndSession(session_id="s2"))
    await bench.settle()
    assert bench.life.phase == "IN_SESSION"
    assert bench.processes.signals == []


async def test_the_first_application_waits_for_the_window_manager(bench: Bench) -> None:
    bench.desktop.managed.clear()
    await bench.in_session(begin(application=EDITOR))
    assert not bench.processes.started
    bench.desktop.managed.set()
    await bench.settle()
    assert bench.processes.started


async def test_nothing_of_the_user_starts_before_the_settings_are_there(bench: Bench) -> None:
    bench.storage.restored.clear()
    bench.give_scripts(SessionStart={"executables": [{"context": "user", "filename": "/usr/bin/true"}]})
    await bench.in_session(begin(application=EDITOR))
    assert (bench.processes.started, bench.desktop.begun, bench.life.phase) == ([], [], "STARTING_SESSION")
    bench.storage.restored.set()
    bench.patience_ends.set()
    await bench.settle()
    assert bench.life.phase == "IN_SESSION"
    assert bench.processes.started


async def test_a_session_that_ends_while_its_settings_are_fetched_starts_nothing(bench: Bench) -> None:
    bench.storage.restored.clear()
    await bench.in_session(begin(application=EDITOR))
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    bench.storage.restored.set()
    await bench.settle()
    assert (bench.processes.started, bench.desktop.begun, bench.life.phase) == ([], [], "ENDED")


async def test_what_became_of_a_users_files_is_said_at_the_end(bench: Bench) -> None:
    await bench.in_session(begin())
    bench.storage.reports = (StorageReport(kind="APPLICATION_SETTINGS", state="MOUNTED", detail="too large"),)
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    assert (bench.life.phase, bench.life.detail) == ("ENDED", "too large")


async def test_a_session_that_ends_meanwhile_launches_nothing(bench: Bench) -> None:
    bench.desktop.managed.clear()
    await bench.in_session(begin(application=EDITOR))
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    bench.desktop.managed.set()
    await bench.settle()
    assert not bench.processes.started


async def test_launch_id_starts_once(bench: Bench) -> None:
    await bench.in_session(begin())
    for launch_id in ("1", "1", "2"):
        bench.life.handle(LaunchApplication(session_id="s1", launch_id=launch_id, application=EDITOR))
    assert len(bench.processes.started) == 2


@pytest.mark.parametrize(
    ("application", "says"),
    [
        (ApplicationToLaunch(name="a", launch_path="/x", launch_parameters="'open"), "launch parameters of a"),
        (ApplicationToLaunch(name="a", launch_path="/x", working_directory="/nowhere"), "/nowhere of a does not exist"),
    ],
)
async def test_application_that_cannot_start_is_told_and_the_session_goes_on(
    bench: Bench, application: ApplicationToLaunch, says: str
) -> None:
    await bench.in_session(begin(application=application))
    assert bench.life.phase == "IN_SESSION"
    assert says in bench.life.detail
    bench.processes.refuse = True
    bench.life.handle(LaunchApplication(session_id="s1", launch_id="1", application=EDITOR))
    assert "editor cannot be started" in bench.life.detail


@pytest.mark.parametrize(
    ("named", "seen"),
    [
        ("/home/user", "/home/user3"),
        ("/home/user/work", "/home/user3/work"),
        ("/home/users", "/home/users"),
        ("/home/user3", "/home/user3"),
        ("/work", "/work"),
    ],
)
def test_the_home_that_an_image_names_is_the_seats_own(named: str, seen: str) -> None:
    assert (Seat(0).own(named), Seat(3).own(named)) == (named, seen)


async def test_an_application_starts_in_the_home_of_its_own_seat(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Seat(3))
    application = ApplicationToLaunch(name="a", launch_path="/x", working_directory="/home/user")
    await bench.in_session(begin(application=application))
    assert [program.working_directory for program in bench.processes.started] == ["/home/user3"]


async def test_launch_outside_a_session_is_refused(bench: Bench) -> None:
    await bench.ready()
    bench.life.handle(LaunchApplication(session_id="s1", launch_id="1", application=EDITOR))
    assert bench.processes.started == []
    assert "no session s1" in bench.life.detail


NASTY = 'it\'s $(touch /tmp/x) `id` "q"\n\\ end'


async def test_variables_reach_programs_and_any_shell_unchanged(bench: Bench) -> None:
    message = begin(
        application=EDITOR,
        environment={"AppStream_UserName": NASTY},
        machine_environment={"AppStream_Resource_Name": "fleet"},
        session_context="c",
    )
    await bench.in_session(message)
    environment = bench.processes.started[0].environment
    assert environment["AppStream_UserName"] == NASTY
    assert environment["APPSTREAM_SESSION_CONTEXT"] == "c"
    script = f'. {bench.root}/etc/profile.d/appstream_user_vars.sh; printf %s "$AppStream_UserName"'
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout == NASTY


async def test_session_context_exists_from_the_first_launch_on(bench: Bench) -> None:
    machine = bench.root / "etc/profile.d/appstream_system_vars.sh"
    await bench.in_session(begin(session_context="c", machine_environment={"AppStream_Resource_Type": "fleet"}))
    assert machine.read_text() == "export AppStream_Resource_Type=fleet\n"
    bench.life.handle(LaunchApplication(session_id="s1", launch_id="1", application=EDITOR))
    assert "export APPSTREAM_SESSION_CONTEXT=c\n" in machine.read_text()


async def test_name_that_no_shell_accepts_fails_the_session(bench: Bench) -> None:
    await bench.in_session(begin(environment={"a b": "x"}))
    assert bench.life.phase == "FAILED"
    assert "'a b' cannot be an environment variable" in bench.life.detail


async def test_failed_boot_and_failed_start_are_told(tmp_path: Path) -> None:
    for number, phase_before in enumerate(("BOOTING", "STARTING_SESSION")):
        bench = Bench(tmp_path / str(number))
        if phase_before == "BOOTING":
            bench.desktop.fault = NotReady("the X server was not ready")
            await bench.ready()
        else:
            await bench.ready()
            bench.desktop.fault = NotReady("the stream was not ready")
            bench.desktop.streaming.set()
            bench.life.handle(begin())
            await bench.settle()
        assert bench.life.phase == "FAILED"
        assert "was not ready" in bench.life.detail


async def test_end_waits_for_programs_that_save_and_kills_those_that_never_end(bench: Bench) -> None:
    await bench.in_session(begin())
    bench.processes.stubborn = True
    bench.life.handle(EndSession(session_id="s1"))
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    assert bench.processes.signals[0] == signal.SIGTERM
    assert bench.processes.signals[-1] == signal.SIGKILL
    assert bench.processes.signals.count(signal.SIGTERM) == 1
    assert GRACE_IN_SECONDS <= bench.slept < GRACE_IN_SECONDS + 0.2
    assert bench.desktop.calls == ["release", "end"]
    assert bench.life.phase == "ENDED"


async def test_end_does_not_wait_when_nothing_runs(bench: Bench) -> None:
    await bench.in_session(begin())
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    assert bench.slept == 0
    assert bench.life.phase == "ENDED"


async def test_detail_is_short_enough_for_the_wire(bench: Bench) -> None:
    bench.life.fail("x" * 2000)
    assert len(bench.life.detail) == 500


# ── Session scripts ───────────────────────────────────────────────────────────────────────────────────────────────────

ON_BOTH = {
    "SessionStart": {"Executables": [{"Context": "user", "Filename": "/opt/start.sh"}]},
    "SessionTermination": {"Executables": [{"Context": "user", "Filename": "/opt/end.sh"}], "WaitingTime": 20},
}


async def test_the_session_is_shown_after_its_start_script(bench: Bench) -> None:
    bench.give_scripts(**ON_BOTH)
    await bench.ready()
    bench.desktop.streaming.set()
    bench.life.handle(begin(application=EDITOR, session_context="c", environment={"AppStream_UserName": "ada"}))
    await bench.settle()
    (script,) = bench.processes.started
    assert (script.arguments, script.account, script.working_directory) == (
        ["/opt/start.sh"],
        Seat(0).user,
        Seat(0).user.home,
    )
    assert script.environment["AppStream_UserName"] == "ada"
    assert script.environment["APPSTREAM_SESSION_CONTEXT"] == "c"
    assert "AppStream_UserName=ada" in (bench.root / "etc/profile.d/appstream_user_vars.sh").read_text()
    assert (bench.life.phase, bench.desktop.begun) == ("STARTING_SESSION", [])

    bench.processes.exits[0](0)
    await bench.settle()
    assert [program.arguments[0] for program in bench.processes.started] == ["/opt/start.sh", "/usr/bin/editor"]
    assert (bench.life.phase, bench.life.has_script_failed) == ("IN_SESSION", False)
    assert bench.life.detail.startswith("SessionStart: user ended with 0 after 0.0 s")


async def test_a_failed_start_script_is_told_and_the_session_goes_on(bench: Bench) -> None:
    bench.give_scripts(**ON_BOTH)
    await bench.ready()
    bench.desktop.streaming.set()
    bench.life.handle(begin())
    await bench.settle()
    bench.processes.exits[0](3)
    await bench.settle()
    assert (bench.life.phase, bench.life.has_script_failed) == ("IN_SESSION", True)


async def test_a_hanging_start_script_is_killed_and_the_session_goes_on(bench: Bench) -> None:
    bench.give_scripts(**ON_BOTH)
    await bench.ready()
    bench.desktop.streaming.set()
    bench.life.handle(begin())
    await bench.settle()
    bench.patience_ends.set()
    await bench.settle()
    assert (bench.processes.killed_groups, bench.slept) == ([1], 30)
    assert (bench.life.phase, bench.life.has_script_failed) == ("IN_SESSION", True)
    assert bench.life.detail == "SessionStart: user was stopped after 30 s"


async def test_programs_live_until_the_end_script_is_through_and_no_longer_than_its_waiting_time(bench: Bench) -> None:
    bench.give_scripts(**ON_BOTH)
    await bench.ready()
    bench.desktop.streaming.set()
    bench.life.handle(begin())
    await bench.settle()
    bench.processes.exits[0](0)
    await bench.settle()
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    assert bench.processes.started[-1].arguments == ["/opt/end.sh"]
    assert (bench.processes.signals, bench.desktop.calls) == ([], [])
    bench.patience_ends.set()
    await bench.settle()
    assert bench.processes.killed_groups == [2]
    assert bench.processes.signals[-1] == signal.SIGKILL
    assert (bench.life.phase, bench.life.detail) == ("ENDED", "SessionTermination: user was stopped after 20 s")


async def test_a_session_that_ends_while_it_starts_stops_its_start_script_and_shows_nothing(bench: Bench) -> None:
    bench.give_scripts(**ON_BOTH)
    await bench.ready()
    bench.desktop.streaming.set()
    bench.life.handle(begin(application=EDITOR))
    await bench.settle()
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    assert bench.processes.killed_groups == [1]
    bench.processes.exits[0](-9)
    bench.processes.exits[1](0)
    await bench.settle()
    assert [program.arguments[0] for program in bench.processes.started] == ["/opt/start.sh", "/opt/end.sh"]
    assert (bench.life.phase, bench.desktop.begun, bench.processes.killed_groups) == ("ENDED", [], [1])


async def test_a_configuration_that_is_wrong_runs_nothing_and_is_told(bench: Bench) -> None:
    bench.give_scripts(SessionBegin={})
    await bench.in_session(begin())
    assert (bench.life.phase, bench.life.has_script_failed) == ("IN_SESSION", True)
    assert (
        "config.json: may have SessionStart, SessionTermination, each once; it has 'SessionBegin'" in bench.life.detail
    )


async def test_idle_time_is_known_only_while_there_is_a_display(bench: Bench) -> None:
    assert await bench.life.idle_seconds() == -1
    await bench.in_session(begin())
    assert await bench.life.idle_seconds() == 7
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    assert await bench.life.idle_seconds() == -1


async def test_failed_session_can_still_be_ended(bench: Bench) -> None:
    await bench.in_session(begin())
    bench.life.fail("x-server ended")
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    assert bench.phases[-2:] == ["FAILED", "ENDED"]


HOME_FOLDER = StorageMount(kind="HOMEFOLDERS", socket="a.sock", token="secret", folder="HomeFolder")


async def test_files_are_connected_beside_the_start_and_looked_at_anew_when_asked(bench: Bench) -> None:
    await bench.in_session(begin(storage=(HOME_FOLDER,)))
    assert (bench.life.phase, bench.storage.begun) == ("IN_SESSION", [HOME_FOLDER])
    bench.life.handle(RefreshStorage(session_id="s1"))
    assert bench.storage.calls == ["refresh"]


async def test_session_has_not_ended_before_what_was_saved_has_arrived(bench: Bench) -> None:
    bench.storage.has_unsent = True
    await bench.in_session(begin(storage=(HOME_FOLDER,)))
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    assert bench.life.phase == "FLUSHING"
    assert bench.desktop.calls == ["release", "end"], "programs and stream have ended"
    assert signal.SIGKILL in bench.processes.signals
    bench.storage.sent.set()
    await bench.settle()
    assert bench.life.phase == "ENDED"


async def test_session_without_unsent_files_ends_without_a_word_of_them(bench: Bench) -> None:
    await bench.in_session(begin(storage=(HOME_FOLDER,)))
    bench.life.handle(EndSession(session_id="s1"))
    await bench.settle()
    assert bench.storage.calls == ["end"]
    assert bench.phases[-1] == "ENDED"
    assert "FLUSHING" not in bench.phases
