"""The control socket as the gateway uses it, over the simulated system: the gateway's own client, and junk."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, parse_qsl, urlsplit

import aiohttp
import pytest
from simulated_system import SCOPE, System, running_system, until

from fanlight import __version__
from fanlight.control import SessionChanges, make_control_app, serve_control
from fanlight.controlwire.messages import Grant, StackRules, to_json
from fanlight.domain.errors import ChangedMeanwhile, StoreUnavailable
from fanlight.domain.fleets import StreamView
from fanlight.domain.session_plan import DisconnectIdle, SessionFacts
from fanlight.domain.streaming_sessions import SessionState, StreamingSession
from fanlight.gateway.control_client import ControlAway, ControlClient, Notice, Refused
from fanlight.services.stacks import StackChange

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir) as made:
        yield made


@pytest.fixture
def uids() -> set[int]:
    return {os.getuid()}


@pytest.fixture
def audited() -> list[tuple[str, str]]:
    """What the audit log would be told: connection states with addresses."""
    return []


@pytest.fixture
async def socket(system: System, data_dir: Path, uids: set[int], audited: list[tuple[str, str]]) -> AsyncIterator[Path]:
    changes = SessionChanges()
    system.reconcilers._sessions.changed = changes.notify
    system.reconcilers._sessions.idled = changes.disconnect
    app = make_control_app(
        sessions=system.services.sessions,
        transactions=system.transactions,
        agents=system.agents,
        changes=changes,
        run_dir=data_dir / "run",
        stream_uid_of=system.reconcilers.stream_uid_of,
        heard=system.reconcilers.heard,
        allowed_uids=uids,
        clock=system.clock,
        icons=system.services.icons,
        connection_changed=lambda session, address: audited.append((session.connection_state, address)),
    )
    path = data_dir / "control.sock"
    path.write_text("stale")
    runner = await serve_control(app, path)
    yield path
    await runner.cleanup()


@pytest.fixture
async def client(socket: Path) -> AsyncIterator[ControlClient]:
    made = ControlClient(socket)
    yield made
    await made.close()


async def grant_for(
    system: System, client: ControlClient, user_id: str = "ada", application: str | None = None
) -> Grant:
    url, _ = await system.services.sessions.create_url(
        SCOPE, stack_name="cad", fleet_name="cad", user_id=user_id, application_id=application
    )
    query = parse_qs(urlsplit(url).query)
    return await client.redeem(query["parameters"][0], query["signature"][0])


async def test_who_may_frame_a_stack_is_told_with_its_refusals_too(system: System, client: ControlClient) -> None:
    await system.make_fleet()
    await system.start()
    url, _ = await system.services.sessions.create_url(SCOPE, stack_name="cad", fleet_name="cad", user_id="ada")
    query = parse_qs(urlsplit(url).query)
    parameters, signature = query["parameters"][0], query["signature"][0]
    grant = await client.redeem(parameters, signature)
    assert await client.rules(grant) == StackRules()
    domains = ("portal.example.org", "intranet.example.org")
    await system.services.stacks.update(SCOPE, "cad", StackChange(embed_host_domains=domains))
    assert await client.rules(grant) == StackRules(embed_host_domains=domains)
    assert await client.rules(replace(grant, stack_name="lost")) == StackRules()

    system.clock.added += timedelta(seconds=61)
    with pytest.raises(Refused) as expired:
        await client.redeem(parameters, signature)
    assert (expired.value.code, expired.value.embed_host_domains) == ("EXPIRED", domains)
    with pytest.raises(Refused) as altered:
        await client.redeem(parameters, "A" + signature[1:] if signature[0] != "A" else "B" + signature[1:])
    assert (altered.value.code, altered.value.embed_host_domains) == ("ALTERED", ())


async def wait_active(client: ControlClient, session_id: str) -> str:
    view = await client.session(session_id)
    while view.state == "PENDING":
        view = await asyncio.wait_for(client.wait_for_change(session_id, "PENDING"), 60)
    return view.state


async def test_a_session_from_url_to_end(system: System, client: ControlClient, data_dir: Path) -> None:
    await system.make_fleet(desired_instances=1)
    await system.start()
    grant = await grant_for(system, client)
    assert (grant.user_id, grant.account_id, grant.region) == ("ada", SCOPE.account_id, SCOPE.region)
    catalog = await client.catalog(grant)
    icons = [(e.application_id, str(e.icon).partition("?")[0]) for e in catalog.entries]
    assert icons[:2] == [
        ("text-editor", "fanlight-sample/text-editor.png"),
        ("calculator", "fanlight-sample/calculator.png"),
    ]
    signed = dict(parse_qsl(str(catalog.entries[0].icon).partition("?")[2]))
    assert (await client.icon("fanlight-sample", "text-editor.png", **signed)).startswith(b"\x89PNG")
    with pytest.raises(Refused):
        await client.icon("fanlight-sample", "calculator.png", **signed)
    assert await client.find_session(grant) is None

    ended = client.ended()
    assert await anext(ended) is None
    opened = await client.open_session(grant, "text-editor")
    assert await wait_active(client, opened.session_id) == "ACTIVE"
    view = await client.session(opened.session_id)
    assert view.instance_id is not None
    assert view.stream_socket == str(data_dir / "run" / "instances" / view.instance_id / "guest" / "stream-0.sock")
    assert Path(view.stream_socket).is_socket()
    assert view.stream_uid == os.getuid()
    assert (view.disconnect_timeout_in_seconds, view.idle_disconnect_in_seconds) == (900.0, 0.0)
    assert "FILE_UPLOAD" in view.features
    assert await client.find_session(grant) == view

    await client.launch(opened.session_id, "calculator", "l-1")
    await client.launch(opened.session_id, "calculator", "l-1")
    await client.open_session(grant, "terminal")

    async def launched() -> bool:
        return system.driver._known[str(view.instance_id)].sessions[0].launched == [
            "text-editor",
            "calculator",
            "terminal",
        ]

    await until(launched, within=5, what="each application launched once")

    await client.report_connection(opened.session_id, is_connected=True, source_address="192.0.2.7")
    assert (await system.session(opened.session_id)).connected_since is not None
    waiting = asyncio.create_task(client.wait_for_change(opened.session_id, "ACTIVE"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await client.end(opened.session_id)
    over = await asyncio.wait_for(waiting, 60)
    assert (over.state, over.end_reason, over.stream_socket) == ("EXPIRED", "USER", None)
    assert await asyncio.wait_for(anext(ended), 60) == Notice(opened.session_id, is_over=True)
    await ended.aclose()  # type: ignore[attr-defined]


async def connected_idler(system: System, client: ControlClient) -> StreamingSession:
    """Return a connected session that will be disconnected a minute after its user's last key."""
    await system.make_fleet(desired_instances=1, idle_disconnect_timeout=timedelta(minutes=1))
    await system.start()
    opened = await client.open_session(await grant_for(system, client), "text-editor")
    await wait_active(client, opened.session_id)
    assert (await client.session(opened.session_id)).idle_disconnect_at is None
    await client.report_connection(opened.session_id, is_connected=True, source_address="192.0.2.7")
    return await system.session(opened.session_id)


async def test_the_gateway_is_told_of_an_idle_user_until_it_has_cut_the_stream(
    system: System, client: ControlClient, audited: list[tuple[str, str]]
) -> None:
    session = await connected_idler(system, client)
    session_id = session.session_id
    view = await client.session(session_id)
    assert session.connected_since is not None
    assert view.idle_disconnect_at is not None
    assert abs(view.idle_disconnect_at - session.connected_since.timestamp() - 60) < 1
    assert view.runtime_version == f"simulated-{__version__}"

    notices = client.ended()
    assert await anext(notices) is None
    reconciler = system.reconcilers._sessions

    async def disconnect() -> bool:
        """Unless something else writes the row at the same moment."""
        facts = SessionFacts(
            session=await system.session(session_id), fleet=None, instance=None, agent=None,
            heard_at=system.clock.now(), capacity_wait=timedelta(0),
        )  # fmt: skip
        with suppress(ChangedMeanwhile):
            return await reconciler._apply(facts, DisconnectIdle(system.clock.now()))
        return False

    await until(disconnect, within=5, what="the user is disconnected")
    cut = Notice(session_id, is_over=False)
    assert await asyncio.wait_for(anext(notices), 60) == cut
    # A heartbeat that was on its way does not bring the user back, and the gateway is told again.
    await client.report_connection(session_id, is_connected=True, source_address="192.0.2.7")
    assert await asyncio.wait_for(anext(notices), 60) == cut
    assert (await system.session(session_id)).connected_since is None
    assert (await client.session(session_id)).idle_disconnect_at is None
    for _ in range(2):
        await client.report_connection(session_id, is_connected=False, source_address="192.0.2.7")
    await client.report_connection(session_id, is_connected=True, source_address="192.0.2.8")
    assert (await system.session(session_id)).connected_since is not None
    assert audited == [("CONNECTED", "192.0.2.7"), ("NOT_CONNECTED", "192.0.2.7"), ("CONNECTED", "192.0.2.8")]
    await notices.aclose()  # type: ignore[attr-defined]


async def test_a_heartbeat_counts_for_live_sessions_only(system: System, client: ControlClient) -> None:
    session = await connected_idler(system, client)
    await client.end(session.session_id)
    await system.session_becomes(session.session_id, lambda s: not s.is_live)
    await client.report_connection(session.session_id, is_connected=True, source_address="192.0.2.7")
    with pytest.raises(Refused):
        await client.report_connection("no-such", is_connected=True, source_address="192.0.2.7")
    assert system.reconcilers._sessions._heard_at == {}


@pytest.mark.parametrize(
    ("claim", "version"),
    [("1.2.0-rc_1", "1.2.0-rc_1"), ("..", None), (".", None), ("", None), ("../x", None), ("a b", None),
     ("1.2\n", None), ("x" * 64, "x" * 64), ("x" * 65, None)],
)  # fmt: skip
async def test_a_runtime_version_is_a_directory_name_or_nothing(
    system: System, client: ControlClient, claim: str, version: str | None
) -> None:
    session = await connected_idler(system, client)
    line = system.agents._lines[str(session.instance_id)]
    assert line.status is not None
    line.status = replace(line.status, runtime_version=claim)
    assert (await client.session(session.session_id)).runtime_version == version


async def test_the_same_url_again_launches_its_application_once(system: System, client: ControlClient) -> None:
    await system.make_fleet(desired_instances=1)
    await system.start()
    first = await grant_for(system, client, application="text-editor")
    opened = await client.open_session(first, None)
    await wait_active(client, opened.session_id)
    await client.open_session(first, None)
    other = await grant_for(system, client, application="calculator")
    for _ in range(3):
        assert (await client.open_session(other, None)).session_id == opened.session_id
    record = next(iter(system.driver._known.values()))

    async def launched() -> bool:
        return record.sessions[0].launched == ["text-editor", "calculator"]

    await until(launched, within=5, what="the second URL's application launched once")
    await asyncio.sleep(0.05)
    assert await launched()


async def test_an_instance_is_told_to_look_anew_while_its_session_runs(
    system: System, client: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.make_fleet(desired_instances=1)
    await system.start()
    opened = await client.open_session(await grant_for(system, client), "text-editor")
    await wait_active(client, opened.session_id)
    told: list[tuple[str, object]] = []
    send = system.agents.send

    async def recorded(instance_id: str, message: Mapping[str, Any]) -> None:
        told.append((instance_id, message["type"]))
        await send(instance_id, message)

    monkeypatch.setattr(system.agents, "send", recorded)
    await client.refresh_storage(opened.session_id)
    view = await client.session(opened.session_id)
    assert (view.instance_id, "refresh_storage") in told
    await client.end(opened.session_id)

    async def ended() -> bool:
        return (await client.session(opened.session_id)).state == "EXPIRED"

    await until(ended, within=5, what="the end of the session")
    told.clear()
    await client.refresh_storage(opened.session_id)
    assert "refresh_storage" not in [kind for _, kind in told]
    with pytest.raises(Refused):
        await client.refresh_storage("no-such-session")


async def test_refusals_say_what_and_why(system: System, client: ControlClient) -> None:
    await system.make_fleet(desired_instances=1)
    await system.start()
    grant = await grant_for(system, client)
    for call, code, status in (
        (client.redeem("e30=", "AAAA"), "ALTERED", 403),
        (client.open_session(grant, "no-such"), "NOT_FOUND", 404),
        (client.open_session(grant, None), "NO_APPLICATION", 403),
        (client.open_session(grant, "Desktop"), "INVALID", 400),
        (client.session("no-such"), "NOT_FOUND", 404),
        (client.launch("no-such", "calculator", "l-1"), "NOT_FOUND", 404),
        (client.report_connection("no-such", is_connected=True, source_address="192.0.2.7"), "NOT_FOUND", 404),
        (client.end("no-such"), "NOT_FOUND", 404),
        (client.session("a\x00b"), "NOT_FOUND", 404),
    ):
        with pytest.raises(Refused) as refused:
            await call
        assert (refused.value.code, refused.value.status) == (code, status)
    await system.services.fleets.stop(SCOPE, "cad")
    with pytest.raises(Refused) as refused:
        await client.catalog(grant)
    assert refused.value.code == "FLEET_NOT_RUNNING"


async def test_the_desktop_needs_no_application(system: System, client: ControlClient) -> None:
    await system.make_fleet(desired_instances=1, stream_view=StreamView.DESKTOP)
    await system.start()
    grant = await grant_for(system, client, application="Desktop")
    opened = await client.open_session(grant, None)
    assert await wait_active(client, opened.session_id) == "ACTIVE"
    assert (await client.open_session(grant, "Desktop")).state == "ACTIVE"


JUNK = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"{}",
    b'{"grant": {}, "application_id": null}',
    b'{"parameters": 1, "signature": "x"}',
    b'{"parameters": "x", "signature": "x", "more": 1}',
    b'{"parameters": "\\u0000", "signature": "x"}',
    b'{"is_connected": 1}',
    b'{"application_id": "x", "launch_id": ""}',
    b"[" * 60_000,
    b" " * 100_000,
    json.dumps({"grant": {"account_id": "\udc00"}, "application_id": None}).encode(),
]


@pytest.mark.parametrize("path", ["redeem", "catalog", "sessions", "sessions/find", "sessions/x/applications",
                                  "sessions/x/connection", "sessions/x/end"])  # fmt: skip
async def test_junk_is_refused_in_words(socket: Path, path: str) -> None:
    connector = aiohttp.UnixConnector(path=str(socket))
    async with aiohttp.ClientSession(connector=connector) as http:
        for junk in JUNK:
            headers = {"Content-Type": "application/json; charset=utf-8"}
            async with http.post(f"http://control/v1/{path}", data=junk, headers=headers) as response:
                answer = await response.json()
                assert 400 <= response.status < 500, (junk[:40], response.status)
                assert set(answer) == {"code", "message"}


@pytest.mark.parametrize(
    "members",
    [
        {"expires_at": 1e300},
        {"expires_at": -1},
        {"expires_at": True},
        {"expires_at": float("nan")},
        {"user_id": "\ud800"},
        {"region": None},
        {"application_id": 7},
    ],
)
async def test_an_odd_grant_is_refused(socket: Path, members: dict[str, object]) -> None:
    grant = to_json(
        Grant(
            account_id="0", region="r", stack_name="s", fleet_name="f", user_id="u",
            application_id=None, session_context=None, expires_at=1.0,
        )
    ) | members  # fmt: skip
    connector = aiohttp.UnixConnector(path=str(socket))
    async with aiohttp.ClientSession(connector=connector) as http:
        for path, body in (("catalog", grant), ("sessions/find", {"grant": grant})):
            async with http.post(f"http://control/v1/{path}", data=json.dumps(body)) as response:
                assert 400 <= response.status < 500
                assert set(await response.json()) == {"code", "message"}


async def test_unknown_paths_methods_and_queries_are_refused_alike(socket: Path) -> None:
    connector = aiohttp.UnixConnector(path=str(socket))
    async with aiohttp.ClientSession(connector=connector) as http:
        for method, path in (
            ("GET", "/"),
            ("GET", "/v1/redeem"),
            ("DELETE", "/v1/sessions/x"),
            ("GET", "/v1/sessions/x?timeout=inf"),
            ("GET", "/v1/sessions/x?timeout=nan"),
            ("GET", "/v1/sessions/x?timeout=1e9"),
        ):
            async with http.request(method, f"http://control{path}") as response:
                assert 400 <= response.status < 500
                assert set(await response.json()) == {"code", "message"}


class TestForeignUid:
    @pytest.fixture
    def uids(self) -> set[int]:
        return {os.getuid() + 1}

    async def test_another_user_is_refused(self, client: ControlClient) -> None:
        with pytest.raises(Refused) as refused:
            await client.session("x")
        assert (refused.value.code, refused.value.status) == ("FORBIDDEN", 403)
        with pytest.raises(ControlAway):
            await anext(client.ended())


class StoreAway:
    """Transactions of a database that does not answer."""

    def revision(self) -> None:
        return None

    def begin(self, *, write: bool = False) -> NoReturn:
        raise StoreUnavailable("gone")


async def test_while_the_store_is_away_the_gateway_is_told_to_come_again(
    system: System, client: ControlClient, socket: Path
) -> None:
    await system.make_fleet(desired_instances=1)
    await system.start()
    grant = await grant_for(system, client)
    system.services.sessions._transactions = StoreAway()
    with pytest.raises(ControlAway):
        await client.catalog(grant)
    connector = aiohttp.UnixConnector(path=str(socket))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.get("http://control/v1/sessions/x") as response,
    ):
        assert (response.status, (await response.json())["code"]) == (503, "STORE_AWAY")


async def test_a_waiting_user_hears_of_progress(system: System, client: ControlClient) -> None:
    await system.make_fleet(desired_instances=0)
    await system.start()
    opened = await client.open_session(await grant_for(system, client), "calculator")
    texts = {opened.progress}
    while (view := await asyncio.wait_for(client.wait_for_change(opened.session_id, "PENDING"), 60)).state == "PENDING":
        texts.add(view.progress)
    assert "Waiting for a free instance…" in texts
    assert (view.state, view.end_reason) == (SessionState.EXPIRED, "NO_CAPACITY")
