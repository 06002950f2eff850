"""Every switch of a stack's UserSettings, proven where the stream ends: a hand-made client asks, whatever the page shows.

What is enabled works, and what is disabled is refused by the gateway and by the stream server itself, and nothing has
changed. Each combination is a stack of its own on the shared fleet.
"""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.desks import Desk, desk_in
from e2e.hands import HELLO, Hand, copied, hand_of, pasted, streaming
from e2e.installation import Installation, wait_for
from e2e.instances import Instances
from fanlight.agentwire import stream_socket_name

pytestmark = pytest.mark.incus

COPY_IN, COPY_OUT = "CLIPBOARD_COPY_FROM_LOCAL_DEVICE", "CLIPBOARD_COPY_TO_LOCAL_DEVICE"
SWITCHES = {COPY_IN, COPY_OUT, "FILE_UPLOAD", "FILE_DOWNLOAD", "PRINTING_TO_LOCAL_DEVICE", "AUTO_TIME_ZONE_REDIRECTION"}
FILES = "/home/user/MyFiles"
DOT = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()


@dataclass(frozen=True)
class Session:
    hand: Hand
    desk: Desk
    instance: str
    instances: Instances
    stream_socket: Path

    async def asked_directly(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        """Ask the stream server itself, past the gateway."""
        connector = aiohttp.UnixConnector(str(self.stream_socket))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.request(method, f"http://localhost/{path}", **options) as answer,
        ):
            return answer.status, await answer.read()

    def file(self, name: str) -> bytes | None:
        return self.instances.read(self.instance, f"{FILES}/{name}")

    def as_user(self, script: str) -> str:
        done = self.instances.run(self.instance, "sh", "-c", script, as_user=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()


def live_sessions(appstream: Any, stack: str, fleet: str) -> list[Any]:
    found = appstream.describe_sessions(StackName=stack, FleetName=fleet)["Sessions"]
    return [each for each in found if each["State"] != "EXPIRED"]


def end_sessions(appstream: Any, stack: str, fleet: str) -> None:
    for each in live_sessions(appstream, stack, fleet):
        appstream.expire_session(SessionId=each["Id"])
    wait_for(lambda: not live_sessions(appstream, stack, fleet), timeout=10, what="the end of the sessions")


@pytest.fixture
def session_with(fleet: str, administrator: Administrator, instances: Instances, installation: Installation) -> Any:
    """Return what begins a session of a stack in which only the named switches are on."""

    numbers = itertools.count()

    @asynccontextmanager
    async def begin(*enabled: str, lengths: Mapping[str, int] | None = None, **said: Any) -> AsyncIterator[Session]:
        name = f"policies-{next(numbers)}"
        settings = [
            {"Action": action, "Permission": "ENABLED" if action in enabled else "DISABLED"}
            | ({"MaximumLength": lengths[action]} if lengths and action in lengths else {})
            for action in sorted(SWITCHES)
        ]
        appstream = administrator.client
        appstream.create_stack(Name=name, UserSettings=settings)
        appstream.associate_fleet(StackName=name, FleetName=fleet)
        try:
            url = appstream.create_streaming_url(StackName=name, FleetName=fleet, UserId="hand", Validity=300)
            async with hand_of(url["StreamingURL"]) as hand:
                await hand.begin("text-editor", **said)
                assert await hand.features() & SWITCHES == set(enabled)
                (found,) = live_sessions(appstream, name, fleet)
                instance = found["InstanceId"]
                socket = installation.data_dir / "run/instances" / instance / "guest" / stream_socket_name(0)
                async with streaming(hand):
                    with desk_in(instances, instance) as desk:
                        yield Session(hand, desk, instance, instances, socket)
        finally:
            end_sessions(appstream, name, fleet)
            appstream.disassociate_fleet(StackName=name, FleetName=fleet)
            appstream.delete_stack(Name=name)
            administrator.wait_for_capacity(fleet)

    return begin


async def test_what_is_enabled_works_up_to_its_length(session_with: Any) -> None:
    lengths = {COPY_IN: 10, COPY_OUT: 12}
    async with session_with(*SWITCHES, lengths=lengths, timeZone="Asia/Calcutta") as session:
        hand, desk = session.hand, session.desk
        # Into the session: text of ten characters however many bytes, on both selections; pictures; not an eleventh.
        await hand.say(pasted("äöü4567890"))
        await hand.settles()
        assert (desk.does("paste", "CLIPBOARD"), desk.does("paste", "PRIMARY")) == ("äöü4567890", "äöü4567890")
        eleven = base64.b64encode(b"12345678901").decode()
        await hand.say(
            pasted("12345678901"),
            "cws,a,11,,",
            f"cwd,a,{eleven}",
            "cwe,a",
            f"cb,image/png,{DOT}",
            f"cb,text/plain,{eleven}",
        )
        await hand.hears(lambda text: text == "fanlight_copy_too_long,in,11,10", "that it is too long")
        await hand.settles()
        assert desk.does("paste", "CLIPBOARD") == "äöü4567890"
        assert desk.does("paste image") is None
        # Out of it.
        desk.does("copy", "äöü456789012")
        await hand.hears(lambda text: text == copied("äöü456789012"), "a copy of twelve characters")
        since = len(hand.texts)
        desk.does("copy", "1234567890123")
        await hand.hears(lambda text: text == "fanlight_copy_too_long,out,13,12", "that it is too long", since=since)
        await hand.say("REQUEST_CLIPBOARD", "cr")
        await hand.hears(lambda text: text == copied(""), "an empty answer", since=since)
        desk.does("copy image", 64)
        desk.does("copy", "short")
        await hand.hears(lambda text: text == copied("short"), "a short copy", since=since)
        assert not [text for text in hand.texts[since:] if copied("1234567890123")[:30] in text or "image/png" in text]
        # Files, in the one folder and nowhere else, whatever links a program makes.
        assert await hand.upload("a/new.txt", b"up") == 200
        assert session.file("a/new.txt") == b"up"
        assert await hand.fetch("stream/api/files/a/new.txt") == (200, b"up")
        session.as_user(f"ln -s /run {FILES}/way; ln -s /etc/passwd {FILES}/users; ln -s /run/user {FILES}/b")
        for path in ("../out.txt", "way/out.txt", "b/1001/out.txt", "/etc/out.txt", "a/../../out.txt"):
            assert await hand.upload(path, b"out") != 200 or session.file(path.lstrip("/")) == b"out", path
        assert (
            session.instances.run(
                session.instance, "find", "/", "-xdev", "-name", "out.txt", "-not", "-path", f"{FILES}/*"
            ).stdout
            == b""
        )
        for path in ("users", "way/seats", "..%2fout", "%2e%2e/%2e%2e/etc/passwd"):
            assert (await hand.fetch(f"stream/api/files/{path}"))[0] in (400, 403, 404), path
        # Printing, once.
        assert desk.does("print", "My letter") != ""
        found = json.loads(await hand.hears(lambda text: "print_document" in text, "a printed document"))
        status, document = await hand.fetch(f"stream/api/print/{found['name']}")
        assert (status, document[:5], found["name"][:9]) == (200, b"%PDF-", "My letter")
        assert (await hand.fetch(f"stream/api/print/{found['name']}"))[0] == 404
        # The browser's time zone, by the name that the image has for it.
        assert desk.does("environment", "TZ") == "Asia/Kolkata"


async def test_what_is_disabled_is_refused_and_nothing_changes(session_with: Any) -> None:
    async with session_with(timeZone="Asia/Calcutta") as session:
        hand, desk = session.hand, session.desk
        desk.does("copy", "mine")
        session.as_user(f"echo secret >{FILES}/secret.txt")
        sent = base64.b64encode(b"stranger").decode()
        since = len(hand.texts)
        await hand.say(
            *(pasted("stranger"), f"cb,image/png,{DOT}", f"cb,text/plain,{sent}", "cws,a,8", f"cwd,a,{sent}", "cwe,a"),
            *("cbs,b,text/plain,8", f"cbd,b,{sent}", "cbe,b", "REQUEST_CLIPBOARD", "cr", "_ebc,true"),
            'SETTINGS,{"enable_clipboard":"true","enable_binary_clipboard":true,"clipboard_in_enabled":true,"command_enabled":true}',
            *("cmd,touch /tmp/commanded", "REQUEST_CLIPBOARD", pasted("stranger")),
        )
        await hand.settles()
        assert desk.does("paste", "PRIMARY") is None
        desk.does("copy image", 64)
        desk.does("copy", "mine again")
        assert desk.does("paste", "CLIPBOARD") == "mine again"
        await asyncio.sleep(0.3)  # as long as a copy takes to arrive, and longer
        assert not [text for text in hand.texts[since:] if text.startswith(("clipboard", "fanlight"))]

        assert await hand.upload("new.txt", b"x") == 403
        assert (await session.asked_directly("POST", "api/upload", data=b"x", headers={"X-Upload-Path": "new.txt"}))[
            0
        ] == 403
        assert session.file("new.txt") is None
        assert (await hand.fetch("stream/api/files/secret.txt"))[0] == 403
        assert (await hand.fetch("api/files?folder="))[0] == 403
        for path in ("api/files/secret.txt", "api/files/"):
            status, body = await session.asked_directly("GET", path)
            assert (status, b"secret" in body) == (403, False), path

        assert session.as_user("test -e /run/seats/0/printer.sock || echo none") == "none"
        session.as_user("printf %%PDF-1.4 >/run/seats/0/printed/own.pdf")
        assert (await hand.fetch("stream/api/print/own.pdf"))[0] == 403
        assert (await session.asked_directly("GET", "api/print/own.pdf"))[0] == 403
        assert not [text for text in hand.texts[since:] if "print_document" in text]
        assert desk.does("environment", "TZ") is None


async def test_each_direction_is_a_switch_of_its_own(session_with: Any) -> None:
    async with session_with(COPY_IN, "FILE_UPLOAD") as session:
        hand, desk = session.hand, session.desk
        desk.does("copy", "mine")
        await hand.say(pasted("from outside"), "REQUEST_CLIPBOARD", "cr")
        await hand.settles()
        assert desk.does("paste", "CLIPBOARD") == "from outside"
        await hand.say(f"cb,image/png,{DOT}")
        await hand.settles()
        assert desk.does("paste image") == [1, 1]
        assert not [text for text in hand.texts if text.startswith("clipboard")]
        assert await hand.upload("new.txt", b"up") == 200
        assert (await hand.fetch("stream/api/files/new.txt"))[0] == 403
        assert (await session.asked_directly("GET", "api/files/new.txt"))[0] == 403
    async with session_with(COPY_OUT, "FILE_DOWNLOAD") as session:
        hand, desk = session.hand, session.desk
        desk.does("copy", "to outside")
        await hand.hears(lambda text: text == copied("to outside"), "the copy")
        await hand.say(pasted("from outside"), f"cb,image/png,{DOT}")
        await hand.settles()
        assert desk.does("paste", "CLIPBOARD") == "to outside"
        desk.does("copy image", 2)
        await hand.hears(lambda text: text.startswith("clipboard_binary,image/png,"), "the picture")
        session.as_user(f"echo -n down >{FILES}/file.txt")
        assert await hand.fetch("stream/api/files/file.txt") == (200, b"down")
        assert await hand.upload("new.txt", b"up") == 403
        assert (await session.asked_directly("POST", "api/upload", data=b"x", headers={"X-Upload-Path": "new.txt"}))[
            0
        ] == 403
        assert session.file("new.txt") is None


async def test_what_no_policy_names_is_not_to_be_had(session_with: Any) -> None:
    """Commands, microphone, webcam, game pads, other displays, viewers, senseless sizes; and the stream goes on."""
    async with session_with(*SWITCHES) as session:
        hand = session.hand
        await hand.say(
            *("cmd,touch /tmp/commanded", "js,c,0,eA==,4,11", "_arg_fps,1000000", "vb,2000000000", "ab,2000000000"),
            *("r,999999x999999", "s,100000", "r,0x0", "s,-1", "_crf,0", "_rc,crf"),
            *(b"\x02" + bytes(960), b"\x06" + bytes(960), b"\x07" + bytes(64)),
        )
        await hand.hears(lambda text: text == "MICROPHONE_DISABLED", "that there is no microphone")
        await hand.hears(lambda text: text == "WEBCAM_DISABLED", "that there is no webcam")
        await hand.settles()
        await hand.say("START_VIDEO")
        await hand.hears(lambda text: text == "VIDEO_STARTED", "the stream again")
        assert session.instances.read(session.instance, "/tmp/commanded") is None
        settings = json.loads(next(text for text in hand.texts if "server_settings" in text))["settings"]
        for name in ("microphone_enabled", "webcam_enabled", "gamepad_enabled", "second_screen", "enable_sharing"):
            assert settings[name]["value"] is False, name
        # Neither does any other request reach the stream server.
        for path in (
            "api/screenshot",
            "api/sessions",
            "api/recording",
            "api/status",
            "api/metrics",
            "api/apps/metadata.yml",
        ):
            assert (await hand.fetch(f"stream/{path}"))[0] == 404, path
        address = f"{hand.page}stream/api/websockets"
        wanted = {**HELLO, "displayId": "display2", "tabId": "second"}
        async with hand.http.ws_connect(address, headers={"Origin": hand.origin}) as second:
            await second.send_str("SETTINGS," + json.dumps(wanted))
            async with asyncio.timeout(60):
                said = [str(message.data) async for message in second if message.type is aiohttp.WSMsgType.TEXT]
        assert "KILL Second screens are disabled on this server." in said


@pytest.mark.browser
def test_the_page_shows_what_is_allowed_and_brings_its_time_zone_and_what_was_printed(
    fleet: str, administrator: Administrator, instances: Instances, new_visitor: Callable[..., Visitor]
) -> None:
    """With the application in the URL: a session that begins before the page is there would know no time zone."""
    appstream, name = administrator.client, "policies-page"
    settings = [
        {"Action": "AUTO_TIME_ZONE_REDIRECTION", "Permission": "ENABLED"},
        {"Action": "FILE_UPLOAD", "Permission": "DISABLED"},
        {"Action": "FILE_DOWNLOAD", "Permission": "DISABLED"},
        {"Action": COPY_IN, "Permission": "ENABLED", "MaximumLength": 5},
    ]
    appstream.create_stack(Name=name, UserSettings=settings)
    appstream.associate_fleet(StackName=name, FleetName=fleet)
    try:
        ada = new_visitor(timezone_id="America/New_York")
        url = appstream.create_streaming_url(StackName=name, FleetName=fleet, UserId="ada", ApplicationId="text-editor")
        ada.open(url["StreamingURL"])
        ada.wait_for_picture()
        actions = ada.page.eval_on_selector_all("#bar [data-action]", "all => all.map((one) => one.dataset.action)")
        assert "clipboard" in actions
        assert "files" not in actions
        (found,) = live_sessions(appstream, name, fleet)
        with desk_in(instances, found["InstanceId"]) as desk:
            assert desk.does("environment", "TZ") == "America/New_York"
            desk.does("print", "My letter")
            link = ada.page.wait_for_selector("#toasts a[data-action=save-printed]")
            assert link is not None
            with ada.page.expect_download() as saving:
                link.click()
            assert saving.value.suggested_filename.startswith("My letter")
            assert Path(saving.value.path()).read_bytes().startswith(b"%PDF-")
        ada.press_tool("clipboard")
        ada.page.fill("textarea[aria-label='To the session']", "123456")
        ada.page.click("text=Send to the session")
        wait_for(lambda: "Not copied to the session" in ada.words(), timeout=5, what="that it was too long")
    finally:
        end_sessions(appstream, name, fleet)
        appstream.disassociate_fleet(StackName=name, FleetName=fleet)
        appstream.delete_stack(Name=name)
