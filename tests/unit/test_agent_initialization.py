"""Initialization scripts of a workstation, really run: by whom, with what, and what is said when they fail."""

import asyncio
import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from fanlight.agent import initialization
from fanlight.agent.accounts import Seat
from fanlight.agent.commands import CommandFailed, Commands
from fanlight.agent.initialization import InitializationScripts
from fanlight.agent.processes import ExitHandler, Program
from fanlight.agent.work import DONE, FAILED, HostedWork
from fanlight.agentwire.messages import ApplicationToLaunch, RunScript


class Runs:
    """Runs programs as whoever runs the test, and notes what they were given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs: list[Program] = []
        self.killed: list[int] = []
        self.modes: list[int] = []

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        self.programs.append(program)
        script = next(Path(each) for each in program.arguments if "/run/seats/" in each)
        self.modes.append(stat.S_IMODE(script.stat().st_mode))
        with (self.root / "var/log/fanlight/0" / f"{program.name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(each) for each in program.arguments],
                env=dict(program.environment), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, process.wait).add_done_callback(lambda done: on_exit(done.result()))
        return process.pid

    def signal_group(self, pid: int, number: int) -> None:
        self.killed.append(pid)
        os.killpg(pid, number)


class Life:
    """The seat of a session that is under way."""

    is_in_session = True

    def __init__(self, runs: Runs, root: Path) -> None:
        self.seat = Seat(3, is_workstation=True)
        self._runs, self._root = runs, root

    def start_application(self, application: ApplicationToLaunch, on_end: ExitHandler) -> int:
        program = Program(
            name=application.name,
            seat=self.seat,
            arguments=[application.launch_path, *shlex.split(application.launch_parameters)],
            account=self.seat.user,
            environment={"HOME": str(self._root), "PATH": "/usr/bin:/bin"},
        )
        return self._runs.start(program, on_end)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    (tmp_path / "var/log/fanlight/0").mkdir(parents=True)
    return Runs(tmp_path)


def scripts_of(runs: Runs) -> InitializationScripts:
    life = Life(runs, runs.root)
    commands = Commands(runs, root=runs.root)  # type: ignore[arg-type]
    return InitializationScripts(
        commands,
        runs,
        lambda session_id: life if session_id == "s" else None,
        root=runs.root,  # type: ignore[arg-type,return-value]
    )


async def run(runs: Runs, message: RunScript) -> None:
    await scripts_of(runs).tasks["run_script"](message, lambda _: None)


async def test_a_script_runs_with_its_parameters_and_leaves_no_text_behind(runs: Runs) -> None:
    text = f'#!/bin/sh\nprintf "%s" "$SERVER" >{runs.root}/out\n'
    await run(runs, RunScript(work_id="w", script=text, variables={"SERVER": "lic 1; rm -rf $HOME"}))
    assert (runs.root / "out").read_text() == "lic 1; rm -rf $HOME"
    assert list((runs.root / "run/seats/scripts").iterdir()) == []
    assert (runs.programs[0].account.name, runs.modes) == ("root", [0o700])


async def test_a_text_without_an_interpreter_is_for_bash(runs: Runs) -> None:
    await run(runs, RunScript(work_id="w", script=f'[[ -n "$BASH_VERSION" ]] && touch {runs.root}/out'))
    assert (runs.root / "out").exists()


async def test_a_script_of_a_session_runs_as_its_user_where_others_cannot_read_it(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initialization.os, "fchown", lambda *_: None)  # a test need not be root
    text = f'printf "%s" "$SERVER" >{runs.root}/out'
    await run(runs, RunScript(work_id="w", script=text, session_id="s", variables={"SERVER": "two words"}))
    assert (runs.root / "out").read_text() == "two words"
    assert (runs.programs[0].account.name, runs.programs[0].account.uid, runs.modes) == ("user", 1000, [0o750])


async def test_a_session_that_is_not_there_has_no_scripts(runs: Runs) -> None:
    with pytest.raises(CommandFailed, match="no session x"):
        await run(runs, RunScript(work_id="w", script="true", session_id="x"))


async def test_what_fails_is_told_with_its_last_words_once_for_each_work_id(runs: Runs) -> None:
    tasks: set[asyncio.Task[None]] = set()
    work = HostedWork(
        scripts_of(runs).tasks, on_change=lambda: None, in_background=lambda task: tasks.add(asyncio.create_task(task))
    )
    message = RunScript(work_id="w-1", script="echo no licence; exit 3")
    work.handle(message)
    await asyncio.gather(*tasks)
    work.handle(message)
    assert len(runs.programs) == 1
    assert work.report is not None
    assert (work.report.phase, work.report.detail) == (FAILED, "initialization ended with 3: no licence")
    work.handle(RunScript(work_id="w-2", script="true"))
    await asyncio.gather(*tasks)
    assert (work.report.work_id, work.report.phase) == ("w-2", DONE)


async def test_a_script_that_does_not_end_is_ended(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initialization, "LIMIT_IN_SECONDS", 0.05)
    with pytest.raises(CommandFailed, match="took longer"):
        await run(runs, RunScript(work_id="w", script="sleep 100"))
    assert len(runs.killed) == 1


def test_the_user_of_a_workstation_is_the_same_at_every_seat() -> None:
    first, later = Seat(0, is_workstation=True), Seat(7, is_workstation=True)
    assert first.user == later.user == Seat(0).user
    assert first.display != later.display
    assert (later.keeps_user, later.user.may_become_root, later.own("/home/user/work")) == (
        True,
        False,
        "/home/user/work",
    )
    assert Seat(7).own("/home/user/work") == "/home/user7/work"
