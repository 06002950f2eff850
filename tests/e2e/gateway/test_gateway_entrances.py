"""Interface endpoints: users of a stack that names some are let in from their networks, and from nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fanlight.controlwire.messages import StackRules
from gateway_guests import PictureGuest, serving_guest
from gateway_rig import PAGE, RunningGateway, SteerableControl, a_grant, post, serving_control, settings_for, sign_in

OFFICE = ("vpce-office=10.8.0.0/16", "vpce-office=192.168.7.0/24", "vpce-here=127.0.0.0/8")
LINK = "/authenticate?parameters=e30%3D&signature=app"


@asynccontextmanager
async def serving(directory: Path, **changes: Any) -> AsyncIterator[tuple[str, SteerableControl]]:
    settings = settings_for(directory, access_endpoints=OFFICE, **changes)
    socket = directory / "stream.sock"
    control = SteerableControl(stream_socket=str(socket), grants={"app": a_grant("app", application_id="editor")})
    async with serving_control(control, settings.effective_run_dir), serving_guest(PictureGuest().app(), socket):
        with RunningGateway(settings) as gateway:
            yield gateway.url, control


@pytest.mark.parametrize("endpoints", [("vpce-office",), ("vpce-gone",)])
async def test_who_comes_from_elsewhere_gets_nothing(
    directory: Path, http: aiohttp.ClientSession, endpoints: tuple[str, ...]
) -> None:
    async with serving(directory) as (url, control):
        page = await sign_in(http, url, "app")  # while the stack let everybody in
        await post(http, f"{page}api/open")
        control.rules = StackRules(access_endpoints=endpoints)
        async with http.get(url + LINK, headers={"Sec-Fetch-Mode": "navigate"}) as answer:
            assert answer.status == 403
            assert "This link does not open from here" in await answer.text()
            assert "Set-Cookie" not in answer.headers
        async with http.get(f"{page}api/state", headers=PAGE) as answer:
            assert (answer.status, (await answer.json())["code"]) == (403, "NOT_FROM_HERE")
        status, refusal = await post(http, f"{page}api/open")
        assert (status, refusal["code"]) == (403, "NOT_FROM_HERE")
        for path in ("api/files?folder=", "stream/api/files/a.txt"):
            async with http.get(page + path, headers=PAGE) as answer:
                assert answer.status == 403, path
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await http.ws_connect(page.replace("http", "ws", 1) + "stream/api/websockets", headers={"Origin": url})
        assert raised.value.status == 403
    assert len(control.sessions) == 1
    assert control.connections == []


async def test_who_comes_through_one_of_the_endpoints_is_let_in(directory: Path, http: aiohttp.ClientSession) -> None:
    async with serving(directory) as (url, control):
        control.rules = StackRules(access_endpoints=("vpce-office", "vpce-here"))
        page = await sign_in(http, url, "app")
        status, opened = await post(http, f"{page}api/open")
        assert (status, opened["session"]["state"]) == (200, "ACTIVE")
        stream = page.replace("http", "ws", 1) + "stream/api/websockets"
        async with http.ws_connect(stream, headers={"Origin": url}):
            pass


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [("10.8.1.2", 303), ("192.168.7.9", 303), ("10.9.0.1", 403), ("10.8.1.2, 203.0.113.5", 403)],
)
async def test_behind_a_trusted_proxy_the_user_s_own_address_counts(
    directory: Path, http: aiohttp.ClientSession, forwarded: str, status: int
) -> None:
    async with serving(directory, trusted_proxies=("127.0.0.1",)) as (url, control):
        control.rules = StackRules(access_endpoints=("vpce-office",))
        headers = {"X-Forwarded-For": forwarded}
        async with http.get(url + LINK, headers=headers, allow_redirects=False) as answer:
            assert answer.status == status


async def test_nobody_speaks_for_himself(directory: Path, http: aiohttp.ClientSession) -> None:
    async with serving(directory) as (url, control):
        control.rules = StackRules(access_endpoints=("vpce-office",))
        headers = {"X-Forwarded-For": "10.8.1.2"}
        async with http.get(url + LINK, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 403
