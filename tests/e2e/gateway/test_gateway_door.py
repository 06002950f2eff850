"""Connections that say nothing, or little, or are too many; bodies that stop in the middle."""

import asyncio
import re
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from fanlight.gateway.context import QUESTIONS_HELD_AT_ONCE, STREAMS_HELD_AT_ONCE
from fanlight.gateway.door import MAX_CONNECTIONS, Addresses
from gateway_rig import Rig, RunningGateway, settings_for, sign_in

ALIVE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def connect(rig: Rig) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", rig.settings.portal_port)


async def first_line(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readline(), 60)


@pytest.mark.parametrize("words", [b"", b"GET /healthz HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, words: bytes
) -> None:
    monkeypatch.setattr("fanlight.gateway.door.FIRST_HEAD_IN_SECONDS", 0.3)
    reader, writer = await connect(rig)
    writer.write(words)

    assert (await first_line(reader)).startswith(b"HTTP/1.1 408 ")
    await reader.read()
    writer.close()


async def test_a_head_that_trickles_is_not_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanlight.gateway.door.FIRST_HEAD_IN_SECONDS", 0.5)
    reader, writer = await connect(rig)
    started = time.monotonic()

    async def trickle() -> None:
        while True:
            writer.write(b"X")
            await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    assert (await first_line(reader)).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started > 0.4
    trickling.cancel()
    writer.transport.abort()


async def test_a_head_in_pieces_is_read_and_the_connection_goes_on(rig: Rig) -> None:
    reader, writer = await connect(rig)
    for piece in (ALIVE[:20], ALIVE[20:-3], ALIVE[-3:-1], ALIVE[-1:], ALIVE, ALIVE * 3):
        writer.write(piece)
        await asyncio.sleep(0.02)
    answer = b""
    while answer.count(b"\r\n\r\nok\n") < 5:
        answer += await asyncio.wait_for(reader.read(4096), 60)
    writer.close()


async def test_a_head_without_end_is_refused(rig: Rig) -> None:
    reader, writer = await connect(rig)
    writer.write(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 30_000)

    assert (await first_line(reader)).startswith(b"HTTP/1.1 431 ")
    writer.transport.abort()


async def test_there_is_a_last_place(rig: Rig, monkeypatch: pytest.MonkeyPatch, http: aiohttp.ClientSession) -> None:
    """Those who wait, those who are served and those who stream count alike."""
    page = await sign_in(http, rig.url, "ada")
    headers = {"X-Fanlight-Page": "1", "Origin": rig.url}
    async with http.post(f"{page}api/open", json={"applicationId": "editor"}, headers=headers) as answer:
        assert answer.status == 200
    async with http.ws_connect(f"{page}stream/api/websockets", headers={"Origin": rig.url}) as stream:
        await stream.receive()
        served, waiting = await connect(rig), await connect(rig)
        served[1].write(ALIVE)
        assert re.match(rb"HTTP/1.1 200 ", await first_line(served[0]))
        monkeypatch.setattr("fanlight.gateway.door.MAX_CONNECTIONS", 3)
        late = await connect(rig)
        assert (await first_line(late[0])).startswith(b"HTTP/1.1 503 ")
        for _, writer in (served, waiting, late):
            writer.transport.abort()
        await asyncio.sleep(0.2)
        again = await connect(rig)
        again[1].write(ALIVE)
        assert re.match(rb"HTTP/1.1 200 ", await first_line(again[0]))
        again[1].close()


@pytest.mark.parametrize(("trusted", "is_refused"), [((), True), (("127.0.0.1",), False)])
async def test_one_address_has_its_share_of_the_places(
    directory: Path, trusted: tuple[str, ...], *, is_refused: bool
) -> None:
    """Until it lets go of some; a trusted proxy speaks for many."""
    settings = settings_for(directory, max_connections_per_address=2, trusted_proxies=trusted)
    writers: list[asyncio.StreamWriter] = []

    async def knock(source: str = "127.0.0.1") -> bytes:
        to = settings.portal_port
        reader, writer = await asyncio.open_connection("127.0.0.1", to, local_addr=(source, 0))
        writers.append(writer)
        writer.write(ALIVE)
        return (await first_line(reader)).split()[1]

    with RunningGateway(settings):
        await asyncio.sleep(0.5)  # who looked whether the gateway is there has gone
        assert [await knock() for _ in range(2)] == [b"200", b"200"]
        assert await knock() == (b"429" if is_refused else b"200")
        assert await knock("127.0.0.9") == b"200"
        writers[0].transport.abort()
        async with asyncio.timeout(60):
            while await knock() != b"200":
                await asyncio.sleep(0.1)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("limit", [0, 2])
def test_an_ipv6_customer_counts_once(limit: int) -> None:
    addresses = Addresses(limit)
    seen = [addresses.admits(_Peer(f"2001:db8::{number}"), now=0.0) for number in range(1, 4)]
    assert seen == [True, True, limit == 0]
    assert addresses.admits(_Peer("2001:db8:0:1::1"), now=0.0)
    assert addresses.admits(_Peer("fe80::1%eth0"), now=0.0)


class _Peer(asyncio.Transport):
    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1, 0, 0)})


@pytest.fixture
def few_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_files")
async def test_there_are_as_many_files_as_places(directory: Path) -> None:
    with RunningGateway(settings_for(directory)):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > min(2 * MAX_CONNECTIONS, hard - 1)


@pytest.mark.parametrize("path", ["stream/api/upload", "api/open"])
async def test_a_body_that_stops_is_not_waited_for(
    rig: Rig, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("fanlight.gateway.bodies.SILENCE_IN_SECONDS", 0.3)
    page = await sign_in(http, rig.url, "ada")
    headers = {"X-Fanlight-Page": "1", "Origin": rig.url}
    async with http.post(f"{page}api/open", json={"applicationId": "editor"}, headers=headers) as answer:
        assert answer.status == 200
    cookie = "; ".join(f"{c.key}={c.value}" for c in http.cookie_jar)
    reader, writer = await connect(rig)
    writer.write(
        f"POST {page.removeprefix(rig.url)}{path} HTTP/1.1\r\nHost: {rig.url[7:]}\r\nOrigin: {rig.url}\r\n"
        f"Cookie: {cookie}\r\nX-Fanlight-Page: 1\r\nContent-Type: application/json\r\nX-Upload-Path: a\r\n"
        'Content-Length: 1000\r\n\r\n{"a'.encode()
    )

    assert (await first_line(reader)).startswith(b"HTTP/1.1 408 ")
    writer.transport.abort()


async def test_one_user_holds_so_many_waiting_streams_and_questions_and_no_more(
    rig: Rig, http: aiohttp.ClientSession
) -> None:
    """Of others nothing is taken, and what a browser gave up is no longer held."""
    rig.control.is_start_held = True
    headers = {"X-Fanlight-Page": "1", "Origin": rig.url}
    page = await sign_in(http, rig.url, "ada")
    async with http.post(f"{page}api/open", json={"applicationId": "editor"}, headers=headers) as answer:
        handle = (await answer.json())["session"]["handle"]
    stream, question = f"{page}stream/api/websockets", f"{page}api/sessions/{handle}?viewer=ada-viewer-1&from=PENDING"

    async def opens() -> None:
        async with http.ws_connect(stream, headers={"Origin": rig.url}):
            pass

    async def asks() -> int:
        async with http.get(question, headers=headers) as answer:
            return answer.status

    held = [asyncio.create_task(opens()) for _ in range(STREAMS_HELD_AT_ONCE)]
    polls = [asyncio.create_task(asks()) for _ in range(QUESTIONS_HELD_AT_ONCE)]
    await asyncio.sleep(0.5)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await opens()
    assert refused.value.status == 429
    assert await asks() == 429
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as other:
        hers = await sign_in(other, rig.url, "bob")
        async with other.get(f"{hers}api/state", headers=headers) as answer:
            assert answer.status == 200
    for task in (*held, *polls):
        task.cancel()
    await asyncio.gather(*held, *polls, return_exceptions=True)
    async with asyncio.timeout(60):
        again = asyncio.create_task(opens())
        while True:
            await asyncio.wait({again}, timeout=0.5)
            if not again.done():
                break
            assert again.exception() is not None
            again = asyncio.create_task(opens())
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
