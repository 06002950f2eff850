"""Session scripts: what a configuration may say, whom it must belong to, and what is run."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fanlight.agent.accounts import Seat
from fanlight.agent.processes import ExitHandler, Program
from fanlight.agent.script_configs import (
    CONFIG_PATH,
    EventScripts,
    Script,
    ScriptConfig,
    ScriptContext,
    ScriptEvent,
    ScriptsRefused,
    parse_config,
    read_config,
    require_trusted,
)
from fanlight.agent.session_scripts import ROOT, SessionScripts

WINDOWS_SPELLING = {
    "SessionStart": {
        "executables": [
            {"context": "system", "filename": "", "arguments": "", "s3LogEnabled": True},
            {"context": "user", "filename": "/opt/a.sh", "arguments": "", "s3LogEnabled": False},
        ],
        "waitingTime": 45,
    },
    "SessionTermination": {"executables": [], "waitingTime": 30},
}
LINUX_SPELLING = {
    "SessionStart": {
        "Executables": [
            {"Context": "system", "Filename": "/opt/s.sh", "Arguments": "--to 'a b'", "S3LogEnabled": True},
            {"Context": "user", "Filename": "/opt/u.sh", "Arguments": ""},
        ],
        "WaitingTime": 60,
    },
}


def test_the_samples_of_both_systems_are_understood() -> None:
    assert parse_config(b"\xef\xbb\xbf" + json.dumps(WINDOWS_SPELLING).encode()) == ScriptConfig(
        {
            ScriptEvent.START: EventScripts(
                scripts=(Script(context=ScriptContext.USER, path="/opt/a.sh", is_told=False),),
                waiting_time_in_seconds=45,
            ),
            ScriptEvent.TERMINATION: EventScripts(),
        }
    )
    read = parse_config(json.dumps(LINUX_SPELLING).encode())
    assert read.of(ScriptEvent.TERMINATION).scripts == ()
    assert read.of(ScriptEvent.START) == EventScripts(
        scripts=(
            Script(context=ScriptContext.SYSTEM, path="/opt/s.sh", arguments=("--to", "a b")),
            Script(context=ScriptContext.USER, path="/opt/u.sh"),
        ),
        waiting_time_in_seconds=60,
    )


def start(**members: Any) -> dict[str, Any]:
    return {"SessionStart": members}


def one(**members: Any) -> dict[str, Any]:
    return start(Executables=[{"Context": "user", "Filename": "/x", **members}])


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "must be an object"),
        ({"SessionBegin": {}}, "may have SessionStart, SessionTermination, each once; it has 'SessionBegin'"),
        ({"SessionStart": {}, "sessionstart": {}}, "it has 'sessionstart'"),
        (start(WaitingTime=61), "SessionStart.WaitingTime must be a number of seconds from 1 to 60"),
        (start(WaitingTime=0), "from 1 to 60"),
        (start(WaitingTime=True), "from 1 to 60"),
        (start(WaitingTime="30"), "from 1 to 60"),
        (start(Executables={}), "SessionStart.Executables must be a list"),
        (start(Executables=[{}]), 'SessionStart.Executables[0].Context must be "system" or "user"'),
        (one(Context="root"), 'must be "system" or "user"'),
        (one(Filename="x.sh"), "SessionStart.Executables[0].Filename must be an absolute path"),
        (one(Filename="/" + "x" * 1000), "must be a text of at most 1000 characters"),
        (one(Filename="/x\0"), "must be a text"),
        (one(Arguments="x" * 1001), "Arguments must be a text of at most 1000 characters"),
        (one(Arguments="'open"), "Arguments No closing quotation"),
        (one(S3LogEnabled="yes"), "S3LogEnabled must be true or false"),
        (one(Account="ada"), "may have Context, Filename, Arguments, S3LogEnabled, each once; it has 'Account'"),
        (start(Executables=[{"Context": "user"}, {"Context": "USER"}]), 'one entry of context "system" and one of'),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(document: Any, says: str) -> None:
    with pytest.raises(ScriptsRefused) as raised:
        parse_config(json.dumps(document).encode())
    assert says in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000], ids=["empty", "open", "not-utf-8", "deep"])
def test_what_is_not_json_is_refused(content: bytes) -> None:
    with pytest.raises(ScriptsRefused, match="is not JSON"):
        parse_config(content)


# ── Whose it is ───────────────────────────────────────────────────────────────────────────────────────────────────────

ME = os.getuid()


def place(root: Path, path: str, content: str = "", mode: int = 0o755) -> Path:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)
    target.chmod(mode)
    return target


def test_an_image_without_a_configuration_has_no_scripts(tmp_path: Path) -> None:
    assert read_config(tmp_path, ME) == ScriptConfig()


def test_a_configuration_that_others_may_write_is_refused(tmp_path: Path) -> None:
    config = place(tmp_path, CONFIG_PATH, "{}", 0o644)
    assert read_config(tmp_path, ME) == ScriptConfig()
    with pytest.raises(ScriptsRefused, match="/ can be written by others than root"):
        read_config(tmp_path, ME + 1)
    config.chmod(0o666)
    with pytest.raises(ScriptsRefused, match=r"config\.json can be written by others than root"):
        read_config(tmp_path, ME)
    config.chmod(0o644)
    config.parent.parent.chmod(0o775)
    with pytest.raises(ScriptsRefused, match="/opt/appstream can be written by others than root"):
        read_config(tmp_path, ME)


def test_a_configuration_that_never_ends_is_refused(tmp_path: Path) -> None:
    place(tmp_path, CONFIG_PATH, " " * 65_537, 0o644)
    with pytest.raises(ScriptsRefused, match="has more than 65536 bytes"):
        read_config(tmp_path, ME)


def test_a_link_counts_as_the_place_it_leads_to(tmp_path: Path) -> None:
    place(tmp_path, "/home/user/mine.sh")
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/good.sh").symlink_to("../home/user/mine.sh")
    require_trusted("/opt/good.sh", tmp_path, ME)
    (tmp_path / "home/user").chmod(0o777)
    with pytest.raises(ScriptsRefused, match="/home/user can be written by others than root"):
        require_trusted("/opt/good.sh", tmp_path, ME)
    (tmp_path / "opt/out.sh").symlink_to("/proc/version")
    with pytest.raises(ScriptsRefused, match="leads out of the instance"):
        require_trusted("/opt/out.sh", tmp_path, ME)
    with pytest.raises(ScriptsRefused, match="No such file"):
        require_trusted("/opt/lost.sh", tmp_path, ME)


def test_a_link_that_others_can_turn_elsewhere_is_refused(tmp_path: Path) -> None:
    """What it leads to is safe now, and need not be any more when it is run."""
    place(tmp_path, "/opt/good.sh")
    (tmp_path / "home/user").mkdir(parents=True)
    (tmp_path / "home/user/mine.sh").symlink_to("../../opt/good.sh")
    (tmp_path / "opt/start.sh").symlink_to("../home/user/mine.sh")
    require_trusted("/opt/start.sh", tmp_path, ME)
    (tmp_path / "home/user").chmod(0o777)
    for path in ("/home/user/mine.sh", "/opt/start.sh"):
        with pytest.raises(ScriptsRefused, match="/home/user can be written by others than root"):
            require_trusted(path, tmp_path, ME)
    (tmp_path / "opt/loop.sh").symlink_to("loop.sh")
    with pytest.raises(ScriptsRefused, match="Too many levels"):
        require_trusted("/opt/loop.sh", tmp_path, ME)


# ── What is run ───────────────────────────────────────────────────────────────────────────────────────────────────────


class PrintingProcesses:
    """Each program prints into its log and ends at once, with what `statuses` has for its path."""

    def __init__(self, root: Path, statuses: dict[str, int], printed: str = "") -> None:
        self.root, self.statuses, self.printed = root, statuses, printed
        self.started: list[Program] = []

    def start(self, program: Program, on_exit: ExitHandler) -> int:
        self.started.append(program)
        if program.arguments[0] not in self.statuses:
            raise PermissionError(13, "Permission denied")
        with (self.root / f"var/log/fanlight/0/{program.name}.log").open("a") as file:
            file.write(self.printed)
        asyncio.get_running_loop().call_soon(on_exit, self.statuses[program.arguments[0]])
        return 1

    def signal(self, pid: int, number: int) -> None: ...

    def signal_group(self, pid: int, number: int) -> None: ...

    def signal_all_of(self, account: object, number: int) -> bool:
        return False


REFUSED = "/opt/u.sh cannot be started: Permission denied"


async def run(root: Path, document: Any, statuses: dict[str, int], printed: str = "") -> tuple[Any, Any]:
    place(root, CONFIG_PATH, json.dumps(document), 0o644)
    for context in ScriptContext:
        place(root, f"/var/log/fanlight/0/session-start-{context}.log", "earlier lines\n")
    processes = PrintingProcesses(root, statuses, printed)
    scripts = SessionScripts(processes, seat=Seat(0), clock=lambda: 0.0, root=root, owner=ME)
    environment = {
        "HOME": Seat(0).user.home,
        "XDG_RUNTIME_DIR": "/run/user/1000",
        "AppStream_UserName": "ada",
        "DISPLAY": ":0",
    }
    return await scripts.start(Seat(0).user, environment), processes.started


async def test_a_system_script_runs_as_root_beside_that_of_the_user(tmp_path: Path) -> None:
    place(tmp_path, "/opt/s.sh")
    report, started = await run(tmp_path, LINUX_SPELLING, {"/opt/s.sh": 0, "/opt/u.sh": 0})
    assert (report.text, report.has_failed) == (
        "SessionStart: system ended with 0 after 0.0 s; user ended with 0 after 0.0 s",
        False,
    )
    system, user = started
    assert (system.name, system.account, system.arguments) == (
        "session-start-system",
        ROOT,
        ["/opt/s.sh", "--to", "a b"],
    )
    assert (system.environment["HOME"], system.environment["AppStream_UserName"]) == ("/root", "ada")
    assert system.environment["DISPLAY"] == ":0"
    assert "XDG_RUNTIME_DIR" not in system.environment
    assert (user.name, user.account, user.environment["HOME"]) == (
        "session-start-user",
        Seat(0).user,
        Seat(0).user.home,
    )


async def test_what_fails_is_told_with_the_end_of_its_output_on_one_line(tmp_path: Path) -> None:
    place(tmp_path, "/opt/s.sh")
    report, _ = await run(
        tmp_path, LINUX_SPELLING, {"/opt/s.sh": 4}, printed="x" * 200 + "\nno \x1b[31mshare\n\n:\u202e 7\n"
    )
    words = "x" * (160 - len("\nno \x1b[31mshare\n\n:\u202e 7\n".encode()))
    assert (report.text, report.has_failed) == (
        f"SessionStart: system ended with 4 after 0.0 s: {words} no [31mshare : 7; user {REFUSED}",
        True,
    )


async def test_output_that_may_not_leave_stays_in_the_instance(tmp_path: Path) -> None:
    report, _ = await run(tmp_path, WINDOWS_SPELLING, {"/opt/a.sh": 1}, printed="secret\n")
    assert report.text == "SessionStart: user ended with 1 after 0.0 s"
    assert "secret" in (tmp_path / "var/log/fanlight/0/session-start-user.log").read_text()


async def test_a_system_script_that_the_user_could_change_is_not_run(tmp_path: Path) -> None:
    place(tmp_path, "/opt/s.sh", mode=0o777)
    report, started = await run(tmp_path, LINUX_SPELLING, {"/opt/s.sh": 0, "/opt/u.sh": 0})
    assert report.has_failed
    assert "/opt/s.sh can be written by others than root" in report.text
    assert [program.name for program in started] == ["session-start-user"]
