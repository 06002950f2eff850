"""What the desktop of an image builder offers, and who may ask its agent for something."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from fanlight.agent import launchers
from fanlight.agent.accounts import TEMPLATE_USER, TEST_USER, Seat
from fanlight.agent.assistant.agent_socket import ask_agent
from fanlight.agent.assistant.applications import Applications, ApplicationWishes
from fanlight.agent.assistant.installed import installed_applications
from fanlight.agent.assistant.manifests import files_in_use
from fanlight.agent.assistant.menus import pipe_menu
from fanlight.agent.assistant.refusals import AssistantRefuses
from fanlight.agent.assistant_server import AssistantServer
from fanlight.agent.image_requests import ImageRequests
from fanlight.agent.sessions import Refused
from fanlight.agentwire import LATER_SEATS_UID, MAX_SEATS
from fanlight.agentwire.messages import ApplicationToLaunch, ImageAnswer

ENTRIES = {
    "draw.desktop": "Type=Application\nName=Draw & Paint\nExec=draw --new %U\nIcon=draw\nCategories=Qt;Graphics;",
    "top.desktop": "Type=Application\nName=Processes\nExec=/usr/bin/top '100%%'\nTerminal=true\nCategories=System;",
    "hidden.desktop": "Type=Application\nName=Helper\nExec=draw\nNoDisplay=true",
    "gone.desktop": "Type=Application\nName=Gone\nExec=/usr/bin/gone",
    "link.desktop": "Type=Link\nName=Page\nURL=http://localhost",
    "broken.desktop": "Type=Application\nName=Broken\nExec=draw 'unclosed",
    "odd.desktop": "no section",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for program in ("draw", "top"):
        path = tmp_path / "usr/bin" / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        path.chmod(0o755)
    for name, text in ENTRIES.items():
        path = tmp_path / "usr/share/applications" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[Desktop Entry]\n{text}\n")
    icon = tmp_path / "usr/share/icons/hicolor/48x48/apps/draw.png"
    icon.parent.mkdir(parents=True)
    icon.write_bytes(b"")
    return tmp_path


def test_installed_applications_are_those_that_can_be_started(root: Path) -> None:
    found = {each.entry_id: each for each in installed_applications(root)}
    assert sorted(found) == ["draw", "hidden", "top"]
    draw = found["draw"]
    assert (draw.launch_path, draw.launch_parameters, draw.is_shown) == ("/usr/bin/draw", "--new", True)
    assert draw.icon == root / "usr/share/icons/hicolor/48x48/apps/draw.png"
    assert (found["top"].needs_terminal, found["top"].launch_parameters) == (True, "100%")
    assert not found["hidden"].is_shown


def test_the_menu_has_them_by_category(root: Path) -> None:
    menu = ET.fromstring(pipe_menu(installed_applications(root)))
    listed = {section.get("label"): [item.get("label") for item in section] for section in menu}
    assert listed == {"Graphics": ["Draw & Paint"], "System": ["Processes"]}
    commands = [command.text for command in menu.iter("command")]
    assert commands == ["/usr/bin/draw --new", "x-terminal-emulator -e '/usr/bin/top 100%'"]


def test_an_image_where_nothing_is_installed_has_a_menu_too(tmp_path: Path) -> None:
    assert len(ET.fromstring(pipe_menu(installed_applications(tmp_path)))) == 1


def test_the_panel_of_a_builder_has_what_is_there(root: Path) -> None:
    (root / "usr/bin/xterm").write_text("")
    (root / "usr/bin/xterm").chmod(0o755)
    offered = launchers.administrators_launchers([root / "usr/bin"])
    assert [each.title for each in offered] == ["Applications", "Image Assistant", "Terminal"]
    assert all(Path(each.icon).is_file() for each in offered)
    launchers.write(root / "panel", offered)
    assert [path.name for path in sorted((root / "panel").iterdir())] == [
        "00-menu.desktop", "01-assistant.desktop", "02-terminal.desktop",
    ]  # fmt: skip


def test_the_desktop_of_users_has_the_catalogue_that_the_assistant_wrote(root: Path) -> None:
    assert launchers.catalogue_launchers(root) is None
    wishes = ApplicationWishes(
        name="draw", absolute_app_path="/usr/bin/draw", display_name="Draw <2>", launch_parameters="--x 'a & b' 5%"
    )
    Applications(root).add(wishes)
    offered = launchers.catalogue_launchers(root)
    assert offered is not None
    (item,) = ET.fromstring(launchers.menu(offered).split("\n", 1)[1]).iter("{http://openbox.org/3.4/menu}item")
    assert item.get("label") == "Draw <2>"
    launchers.write(root / "panel", offered)
    text = (root / "panel/00-application0.desktop").read_text()
    assert "Exec=/usr/bin/draw --x 'a & b' 5%%\n" in text


def test_accounts_of_builders_are_no_seats_accounts() -> None:
    uids = {TEST_USER.uid, Seat(0, is_administrators=True).user.uid}
    assert not uids & {*range(1_000, LATER_SEATS_UID + 2 * MAX_SEATS + 2)}
    assert Seat(3, is_administrators=True).user == Seat(0, is_administrators=True).user
    assert Seat(3, is_administrators=True).display == Seat(3).display


@pytest.mark.parametrize("seat", [Seat(0), Seat(2, is_shared=True)])
def test_nobody_but_the_administrator_of_a_builder_may_become_root(seat: Seat) -> None:
    assert not any(account.may_become_root for account in (*seat.accounts, *seat.guests))
    builders = Seat(seat.number, is_administrators=True)
    assert [account.name for account in (*builders.accounts, *builders.guests) if account.may_become_root] == [
        "ImageBuilderAdmin"
    ]
    assert builders.guests == (TEMPLATE_USER, TEST_USER)


def test_files_in_use_are_those_that_every_instance_has() -> None:
    found = files_in_use(os.getuid())
    assert found
    assert all(path.startswith(("/usr/", "/opt/", "/lib", "/srv/", "/etc/")) for path in found)
    assert files_in_use(4_000_000_000) == []


class Server:
    """The agent's end, with a host that answers and a desktop that only notes."""

    def __init__(self, path: Path, owner: int) -> None:
        self.path = str(path)
        self.requests = ImageRequests(pause=0)
        self.tried: list[tuple[str, ApplicationToLaunch]] = []
        self.server = AssistantServer(self.requests, self._try, path=self.path, owner=owner)

    async def _try(self, account: str, application: ApplicationToLaunch) -> None:
        if account not in ("template", "test"):
            raise Refused(f"there is no user {account} here")
        self.tried.append((account, application))

    async def ask(self, operation: str, **members: Any) -> str:
        return await asyncio.to_thread(ask_agent, operation, path=self.path, limit=10.0, **members)


@contextlib.asynccontextmanager
async def serving(path: Path, owner: int) -> AsyncIterator[Server]:
    made = Server(path, owner)
    running = asyncio.create_task(made.server.run())
    while not path.exists():
        await asyncio.sleep(0.01)
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_assistant_is_told_what_the_host_says(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", os.getuid()) as agent:
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        for status in (0, 1):
            asking = asyncio.create_task(agent.ask("create_image", request_id=f"r-{status}", parts=["{}"]))
            await agent.requests.is_waiting.wait()
            agent.requests.handle(ImageAnswer(request_id=f"r-{status}", status=status, message="so it is"))
            if status == 0:
                assert await asking == "so it is"
            else:
                with pytest.raises(AssistantRefuses, match="so it is"):
                    await asking


async def test_applications_are_started_for_users_that_there_are(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", os.getuid()) as agent:
        application = {"name": "ed", "launch_path": "/usr/bin/ed"}
        assert await agent.ask("try_application", account="test", application=application) == "Success"
        with pytest.raises(AssistantRefuses, match="no user root"):
            await agent.ask("try_application", account="root", application=application)
        assert agent.tried == [("test", ApplicationToLaunch(name="ed", launch_path="/usr/bin/ed"))]


async def test_whoever_is_not_root_is_told_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", os.getuid() + 1) as agent:
        with pytest.raises(AssistantRefuses, match="Only root"):
            await agent.ask("create_image", request_id="r", parts=["{}"])
        assert not agent.requests.unanswered()


@pytest.mark.parametrize(
    "asked",
    [
        {"operation": "explode"},
        {"operation": "create_image"},
        {"operation": "create_image", "request_id": "r", "parts": []},
        {"operation": "create_image", "request_id": "r", "parts": ["x" * 24_001]},
        {"operation": "create_image", "request_id": "r", "parts": ["x"] * 400},
        {"operation": "try_application", "account": "test"},
        {"operation": "try_application", "account": "test", "application": {"name": "x"}},
        {
            "operation": "try_application",
            "account": "test",
            "application": {"name": "x", "launch_path": "/x", "u": "0"},
        },
    ],
    ids=lambda asked: json.dumps(asked)[:60],
)
async def test_requests_that_make_no_sense_are_refused(tmp_path: Path, asked: dict[str, Any]) -> None:
    async with serving(tmp_path / "s", os.getuid()) as agent:
        with pytest.raises(AssistantRefuses):
            await agent.ask(**asked)
        assert (agent.tried, list(agent.requests.unanswered())) == ([], [])
