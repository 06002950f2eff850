"""What the gateway holds for each session, and how it hears of what becomes of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from fanlight.gateway.control_client import ControlClient
from fanlight.gateway.process import make_gateway, make_runner
from fanlight.gateway.streams import RECHECKED_AT_ONCE, Streams
from gateway_rig import SteerableControl, a_grant, serving_control, settings_for, sign_in

PAGE = {"X-Fanlight-Page": "1"}


@pytest.fixture
async def control(directory: Path) -> SteerableControl:
    return SteerableControl()


@pytest.fixture
async def client(directory: Path) -> AsyncIterator[ControlClient]:
    made = ControlClient(settings_for(directory).effective_run_dir / "control" / "control.sock")
    yield made
    await made.close()


@pytest.fixture
async def streams(client: ControlClient) -> AsyncIterator[Streams]:
    made = Streams(client)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def until_gone(streams: Streams, *session_ids: str) -> None:
    async with asyncio.timeout(60):
        while streams.session_ids & set(session_ids):
            await asyncio.sleep(0.01)


async def test_many_sessions_are_asked_for_a_few_at_a_time_while_ends_are_heard(
    directory: Path, control: SteerableControl, client: ControlClient, streams: Streams
) -> None:
    """When the control plane comes back, five hundred questions must neither flood it nor make an end wait."""
    async with serving_control(control, directory / "run"):
        first = await client.open_session(a_grant(), "editor")
    for number in range(1, 501):
        control.sessions[f"session-{number}"] = replace(first, session_id=f"session-{number}")
        streams.attach(f"session-{number}", "viewer-12345")
    control.answer_delay_in_seconds = 0.2
    async with serving_control(control, directory / "run"):
        async with asyncio.timeout(60):
            while control.asked_at_once == 0:
                await asyncio.sleep(0.01)
        await control.expire("session-500")
        await until_gone(streams, "session-500")
        assert sum(call.startswith("GET /v1/sessions/") for call in control.calls) < 500

    assert 1 < control.asked_at_once <= RECHECKED_AT_ONCE


async def test_an_end_that_was_missed_is_found(
    directory: Path, control: SteerableControl, client: ControlClient, streams: Streams
) -> None:
    async with serving_control(control, directory / "run"):
        await client.open_session(a_grant(), "editor")
    streams.attach("session-1", "viewer-12345")
    streams.attach("session-unknown", "viewer-12345")
    await control.expire("session-1")
    async with serving_control(control, directory / "run"):
        await until_gone(streams, "session-1", "session-unknown")


async def test_who_only_watches_leaves_nothing_behind(streams: Streams) -> None:
    watching = asyncio.create_task(streams.wait_for_news("session-1"))
    await asyncio.sleep(0.01)
    assert streams.session_ids == {"session-1"}
    watching.cancel()
    await until_gone(streams, "session-1")


async def test_a_socket_that_could_not_be_opened_leaves_nothing_behind(streams: Streams) -> None:
    async with streams.turn("session-1"):
        pass
    await until_gone(streams, "session-1")


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_page_of_an_ended_session_gets_and_leaves_nothing(
    directory: Path,
    control: SteerableControl,
    is_known: bool,  # noqa: FBT001
) -> None:
    """A tab that was left open for days asks again and again; each time its session was over long ago."""
    control.grants = {"ada": a_grant()}
    settings = settings_for(directory)
    async with (
        serving_control(control, settings.effective_run_dir),
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
    ):
        gateway = make_gateway(settings)
        runner = make_runner(gateway)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", settings.portal_port).start()
        url = f"http://127.0.0.1:{settings.portal_port}"
        page, headers = await sign_in(http, url, "ada"), {**PAGE, "Origin": url}
        async with http.post(f"{page}api/open", json={"applicationId": "editor"}, headers=headers) as answer:
            session = f"{page}api/sessions/{(await answer.json())['session']['handle']}"
        await control.expire("session-1")
        if not is_known:
            control.sessions.clear()

        async with http.post(f"{session}/attach", json={"viewer": "viewer-12345"}, headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (404, "NOT_FOUND")
        async with http.get(f"{session}?viewer=viewer-12345&from=ACTIVE", headers=PAGE) as answer:
            assert answer.status == (200 if is_known else 404)

        await until_gone(gateway.streams, "session-1")
        await runner.cleanup()
        await gateway.control.close()


async def test_a_gateway_that_begins_anew_knows_who_was_disconnected_for_being_idle(
    directory: Path, control: SteerableControl, client: ControlClient
) -> None:
    """An older gateway cut the stream; until a page comes back to the session, this one gives none either."""
    async with serving_control(control, directory / "run"):
        opened = await client.open_session(a_grant(), "editor")
        await control.change(opened.session_id, is_idle_disconnected=True)
        view = await client.session(opened.session_id)
        streams = Streams(client)
        assert streams.is_idle(opened.session_id, as_stored=view.is_idle_disconnected)
        streams.attach(opened.session_id, "viewer-12345")
        assert not streams.is_idle(opened.session_id, as_stored=view.is_idle_disconnected)
        streams.disconnect(opened.session_id)
        assert streams.is_idle(opened.session_id, as_stored=False)
