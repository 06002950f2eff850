"""Streams through the gateway: who may open one, what passes, and when it is cut. Guests are real sockets, some hostile."""

import asyncio
import base64
import hashlib
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fanlight.gateway.control_client import LONG_POLL_IN_SECONDS
from fanlight.gateway.guest_socket import GuestUnreachable, connect_guest
from gateway_guests import PictureGuest, serving_guest, speaking
from gateway_rig import Rig, RunningGateway, SteerableControl, a_grant, serving_control, settings_for, sign_in, until

PAGE = {"X-Fanlight-Page": "1"}


async def open_session(rig: Rig, http: aiohttp.ClientSession, signature: str = "ada") -> tuple[str, str]:
    """Return the page's address and the session's handle."""
    page = await sign_in(http, rig.url, signature)
    headers = {**PAGE, "Origin": rig.url}
    async with http.post(f"{page}api/open", json={"applicationId": "editor"}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return page, (await answer.json())["session"]["handle"]


def stream_of(rig: Rig, http: aiohttp.ClientSession, page: str, **options: Any) -> Any:
    options.setdefault("headers", {"Origin": rig.url})
    return http.ws_connect(f"{page}stream/api/websockets", max_msg_size=2**26, **options)


async def first_picture(stream: aiohttp.ClientWebSocketResponse) -> bytes:
    async with asyncio.timeout(60):
        while (message := await stream.receive()).type is not WSMsgType.BINARY:
            assert message.type is WSMsgType.TEXT, message
    return bytes(message.data)


async def test_pictures_come_and_input_goes(rig: Rig, http: aiohttp.ClientSession) -> None:
    page, _ = await open_session(rig, http)
    async with stream_of(rig, http, page) as stream:
        await stream.send_str("kd,97")

        assert (await first_picture(stream))[0] == 3
        await until(lambda: rig.guest.messages == ["kd,97"])


async def test_no_credential_reaches_the_instance(rig: Rig, http: aiohttp.ClientSession) -> None:
    page, _ = await open_session(rig, http)
    headers = {"Origin": rig.url, "Authorization": "Bearer x", "X-Forwarded-For": "1.2.3.4", "User-Agent": "me"}
    async with stream_of(rig, http, page, headers=headers) as stream:
        await first_picture(stream)

    assert set(rig.guest.heads[0]) == {
        "Host",
        "Origin",
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Key",
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
    ],
)
async def test_a_foreign_or_missing_origin_opens_no_stream(
    rig: Rig, http: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    page, _ = await open_session(rig, http)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await stream_of(rig, http, page, headers=headers)
    assert refusal.value.status == status
    assert rig.guest.heads == []


async def test_no_cookie_opens_no_stream(rig: Rig, http: aiohttp.ClientSession) -> None:
    page, _ = await open_session(rig, http)
    async with aiohttp.ClientSession() as stranger:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await stream_of(rig, stranger, page)
    assert refusal.value.status == 403


async def test_without_a_running_session_there_is_no_stream(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await sign_in(http, rig.url, "ada")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await stream_of(rig, http, page)
    assert refusal.value.status == 409


async def test_a_stream_asked_for_while_the_session_starts_opens_with_it(rig: Rig, http: aiohttp.ClientSession) -> None:
    rig.control.is_start_held = True
    page, _ = await open_session(rig, http)
    asked = asyncio.ensure_future(stream_of(rig, http, page)._coro)
    await until(lambda: any(call.startswith("GET /v1/sessions/") for call in rig.control.calls))
    await rig.control.change("session-1", progress="Starting…")
    await asyncio.sleep(0.1)
    assert not asked.done()
    assert rig.guest.heads == []

    await rig.control.activate("session-1")
    async with await asked as stream:
        await first_picture(stream)


async def test_a_stream_waits_neither_for_a_place_nor_for_a_session_that_ends(
    rig: Rig, http: aiohttp.ClientSession
) -> None:
    rig.control.is_start_held, rig.control.has_instance = True, False
    page, _ = await open_session(rig, http)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await stream_of(rig, http, page)
    assert refusal.value.status == 409

    await rig.control.change("session-1", instance_id="instance-1")
    asked = asyncio.ensure_future(stream_of(rig, http, page)._coro)
    await asyncio.sleep(0.1)
    assert not asked.done()
    await rig.control.expire("session-1")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await asked
    assert refusal.value.status == 409


async def test_a_second_request_behind_a_stream_is_bytes_for_the_guest_only(
    rig: Rig, http: aiohttp.ClientSession
) -> None:
    """What a client sends behind the upgrade never meets the gateway's own parser."""
    page, _ = await open_session(rig, http)
    cookie = "; ".join(f"{c.key}={c.value}" for c in http.cookie_jar)
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.settings.portal_port)
    path = page.removeprefix(rig.url)
    writer.write(
        f"GET {path}stream/api/websockets HTTP/1.1\r\nHost: {rig.url[7:]}\r\nOrigin: {rig.url}\r\nCookie: {cookie}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    )
    answer = await asyncio.wait_for(reader.read(), 60)  # the guest finds no WebSocket frame there, and closes
    writer.close()

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_connections_are_reported_as_they_happen(rig: Rig, http: aiohttp.ClientSession) -> None:
    page, _ = await open_session(rig, http)
    async with stream_of(rig, http, page) as stream:
        await first_picture(stream)
        await until(lambda: rig.control.connections == [("session-1", True)])
    await until(lambda: rig.control.connections[-1] == ("session-1", False))


async def test_a_stream_is_cut_at_once_when_the_session_ends(rig: Rig, http: aiohttp.ClientSession) -> None:
    page, _ = await open_session(rig, http)
    async with stream_of(rig, http, page) as stream:
        await first_picture(stream)
        await rig.control.expire("session-1")
        async with asyncio.timeout(LONG_POLL_IN_SECONDS - 1):  # found by looking anew, it would be later
            while (await stream.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                pass
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await stream_of(rig, http, page)


async def test_who_does_nothing_loses_the_stream_until_the_page_asks_for_it(
    rig: Rig, http: aiohttp.ClientSession
) -> None:
    page, handle = await open_session(rig, http)
    session = f"{page}api/sessions/{handle}"
    attach = {"url": f"{session}/attach", "json": {"viewer": "viewer-12345"}, "headers": {**PAGE, "Origin": rig.url}}
    async with http.post(**attach) as answer:
        assert answer.status == 200
    watching = asyncio.create_task(_watched(http, f"{session}?viewer=viewer-12345&from=ACTIVE"))
    async with stream_of(rig, http, page) as stream:
        await first_picture(stream)
        await rig.control.disconnect("session-1")
        async with asyncio.timeout(60):
            while (await stream.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                pass
    told = await asyncio.wait_for(watching, 60)
    assert (told["isIdleDisconnected"], told["session"]["state"]) == (True, "ACTIVE")
    await until(lambda: rig.control.connections[-1] == ("session-1", False))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await stream_of(rig, http, page)
    assert refusal.value.status == 409

    async with http.post(**attach) as answer:
        assert answer.status == 200
    async with stream_of(rig, http, page) as stream:
        await first_picture(stream)
    assert (await _watched(http, f"{session}?viewer=viewer-12345"))["isIdleDisconnected"] is False


async def _watched(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with http.get(url, headers=PAGE) as answer:
        return dict(await answer.json())


async def test_a_stream_ends_with_the_maximum_duration(rig: Rig, http: aiohttp.ClientSession) -> None:
    rig.control.lifetime_in_seconds = 1.0
    page, _ = await open_session(rig, http)
    async with stream_of(rig, http, page) as stream, asyncio.timeout(60):
        while (await stream.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
            pass


async def test_another_page_that_takes_the_stream_cuts_the_older(rig: Rig, http: aiohttp.ClientSession) -> None:
    page, handle = await open_session(rig, http)

    async def attach(viewer: str) -> None:
        url, headers = f"{page}api/sessions/{handle}/attach", {**PAGE, "Origin": rig.url}
        async with http.post(url, json={"viewer": viewer}, headers=headers) as answer:
            assert answer.status == 200

    await attach("viewer-one-1")
    async with stream_of(rig, http, page) as older:
        await first_picture(older)
        await attach("viewer-two-2")
        async with asyncio.timeout(60):
            while (await older.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                pass
    async with stream_of(rig, http, page) as newer:
        await first_picture(newer)


async def test_sockets_of_a_session_reach_the_guest_half_a_second_apart(rig: Rig, http: aiohttp.ClientSession) -> None:
    page, _ = await open_session(rig, http)
    started = time.monotonic()
    for _ in range(2):
        async with stream_of(rig, http, page) as stream:
            await first_picture(stream)
    assert time.monotonic() - started > 0.5


async def test_streams_go_on_while_the_control_plane_restarts(directory: Path, http: aiohttp.ClientSession) -> None:
    settings, guest, path = settings_for(directory), PictureGuest(), directory / "stream.sock"
    control = SteerableControl(stream_socket=str(path), grants={"ada": a_grant()})
    async with serving_guest(guest.app(), path):
        with RunningGateway(settings) as gateway:
            rig = Rig(settings, control, guest, gateway, path)
            async with serving_control(control, settings.effective_run_dir):
                page, _ = await open_session(rig, http)
                stream = await stream_of(rig, http, page)
                await first_picture(stream)
            await first_picture(stream)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await stream_of(rig, http, page)
            assert refusal.value.status == 503
            control.connections.clear()
            async with serving_control(control, settings.effective_run_dir):
                await first_picture(stream)
                await control.expire("session-1")
                async with asyncio.timeout(60):  # it asks for what it missed, or hears it
                    while (await stream.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                        pass
            await stream.close()


async def test_a_large_transfer_arrives_whole_and_slow_readers_slow_the_guest(
    rig: Rig, http: aiohttp.ClientSession
) -> None:
    """A guest that floods a browser that does not read: the gateway holds a bounded part of it, then all of it arrives."""
    flood, size = b"x" * 65_536, 64 * 1024 * 1024
    sent = 0
    upgraded = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await answer_upgrade(reader, writer)
        upgraded.set()
        while sent < size:
            writer.write(flood)
            await writer.drain()
            sent += len(flood)
        await asyncio.sleep(30)

    path = rig.socket.with_name("flood.sock")
    rig.control.stream_socket = str(path)
    async with speaking(path, converse):
        page, _ = await open_session(rig, http)
        reader, writer = await raw_stream(rig, http, page)
        await upgraded.wait()
        stalled_at = await settled(lambda: sent)
        assert stalled_at < 16 * 1024 * 1024
        received = 0
        async with asyncio.timeout(60):
            while received < size:
                received += len(await reader.read(1 << 20))
        assert received == size
        writer.transport.abort()


async def test_the_last_words_of_a_guest_arrive(rig: Rig, http: aiohttp.ClientSession) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer_upgrade(reader, writer)
        writer.write(b"y" * 1_000_000)
        writer.write_eof()
        await reader.read()

    path = rig.socket.with_name("brief.sock")
    rig.control.stream_socket = str(path)
    async with speaking(path, converse):
        page, _ = await open_session(rig, http)
        reader, writer = await raw_stream(rig, http, page)
        assert len(await asyncio.wait_for(reader.read(), 60)) == 1_000_000
        writer.close()
    await until(lambda: rig.control.connections[-1:] == [("session-1", False)])


async def test_the_last_words_of_a_browser_arrive(rig: Rig, http: aiohttp.ClientSession) -> None:
    heard = bytearray()
    is_over = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer_upgrade(reader, writer)
        heard.extend(await reader.read())
        while piece := await reader.read():
            heard.extend(piece)
        writer.write(b"bye")
        await writer.drain()
        writer.close()
        is_over.set()

    path = rig.socket.with_name("listener.sock")
    rig.control.stream_socket = str(path)
    async with speaking(path, converse):
        page, _ = await open_session(rig, http)
        reader, writer = await raw_stream(rig, http, page)
        writer.write(b"z" * 100_000)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 60) == b"bye"
        await asyncio.wait_for(is_over.wait(), 60)
        writer.close()

    assert bytes(heard) == b"z" * 100_000


async def answer_upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = head.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    accept = base64.b64encode(digest).decode()
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )


async def raw_stream(
    rig: Rig, http: aiohttp.ClientSession, page: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a stream without a WebSocket library, so that bytes can be counted; the answer's head is read."""
    cookie = "; ".join(f"{c.key}={c.value}" for c in http.cookie_jar)
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.settings.portal_port, limit=1 << 16)
    writer.write(
        f"GET {page.removeprefix(rig.url)}stream/api/websockets HTTP/1.1\r\nHost: {rig.url[7:]}\r\n"
        f"Origin: {rig.url}\r\nCookie: {cookie}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return reader, writer


async def settled(value: Callable[[], int]) -> int:
    """Return the value once it has not moved for half a second."""
    before = -1
    async with asyncio.timeout(60):
        while (now := value()) != before:
            before = now
            await asyncio.sleep(0.5)
    return before


# Guests that mean harm. Each is asked for a stream; none may hang the gateway, crash it, or be believed.


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(os.urandom(4096) + b"\r\n\r\n")
    await writer.drain()


async def _endless_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        writer.write(b"X-Endless: and so on\r\n" * 1000)
        await writer.drain()


async def _wrong_status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script>")
    await writer.drain()


async def _closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("guest", [_silent, _garbage, _endless_head, _wrong_status, _closes])
async def test_a_guest_that_speaks_no_websocket_is_a_502(
    rig: Rig,
    http: aiohttp.ClientSession,
    guest: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fanlight.gateway.upgrades.GUEST_HEAD_TIMEOUT_IN_SECONDS", 0.5)
    path = rig.socket.with_name("hostile.sock")
    rig.control.stream_socket = str(path)
    async with speaking(path, guest):
        page, _ = await open_session(rig, http)
        async with asyncio.timeout(60):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await stream_of(rig, http, page)

    assert refusal.value.status == 502
    assert rig.control.connections == []


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_symlink_to_a_socket_of_the_host(path: Path) -> None:
    path.symlink_to(path.with_name("stream.sock"))


def a_plain_file(path: Path) -> None:
    path.write_text("no socket")


def a_folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    assert not path.exists()


def a_socket_without_a_listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


PLANTED = [a_fifo, a_symlink_to_a_socket_of_the_host, a_plain_file, a_folder, nothing, a_socket_without_a_listener]


@pytest.mark.parametrize("plant", PLANTED)
async def test_what_a_guest_plants_is_not_connected_to(
    rig: Rig, http: aiohttp.ClientSession, plant: Callable[[Path], None]
) -> None:
    path = rig.socket.with_name("planted.sock")
    plant(path)
    rig.control.stream_socket = str(path)
    page, _ = await open_session(rig, http)
    async with asyncio.timeout(60):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await stream_of(rig, http, page)

    assert refusal.value.status == 503
    assert rig.guest.heads == []


async def test_a_socket_of_another_instance_is_not_spoken_to(rig: Rig, http: aiohttp.ClientSession) -> None:
    rig.control.stream_uid = 1_000_000 if os.geteuid() < 1_000_000 else 0
    page, _ = await open_session(rig, http)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await stream_of(rig, http, page)

    assert refusal.value.status == 503
    assert rig.guest.heads == []


async def test_a_listener_that_never_accepts_is_given_up(directory: Path) -> None:
    path = directory / "full.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        first = await connect_guest(str(path), os.geteuid())
        with pytest.raises(GuestUnreachable, match="does not accept"):
            await connect_guest(str(path), os.geteuid(), timeout_in_seconds=0.3)
        first.close()


async def test_a_path_too_long_or_odd_is_unreachable() -> None:
    for path in ("/nonexistent/" + "x" * 300, "", "\x00", "/dev/null"):
        with pytest.raises(GuestUnreachable):
            await connect_guest(path, 0)


async def test_the_gateway_stops_within_seconds_while_streams_are_open(
    directory: Path, http: aiohttp.ClientSession
) -> None:
    settings, guest, path = settings_for(directory), PictureGuest(), directory / "stream.sock"
    control = SteerableControl(stream_socket=str(path), grants={"ada": a_grant()})
    async with serving_guest(guest.app(), path), serving_control(control, settings.effective_run_dir):
        with RunningGateway(settings) as gateway:
            rig = Rig(settings, control, guest, gateway, path)
            page, handle = await open_session(rig, http)
            stream = await stream_of(rig, http, page)
            await first_picture(stream)
            poll = asyncio.create_task(poll_status(http, f"{page}api/sessions/{handle}"))
            await until(lambda: any(call == "GET /v1/sessions/session-1" for call in control.calls))
            started = time.monotonic()
            await asyncio.to_thread(gateway.__exit__)
            took = time.monotonic() - started
        assert took < 15, "the poll alone is held for longer"
        assert await poll == 503  # the page says "reconnecting", and comes back
        await until(lambda: control.connections[-1:] == [("session-1", False)])
        await stream.close()


async def poll_status(http: aiohttp.ClientSession, session: str) -> int:
    async with http.get(f"{session}?viewer=viewer-12345&from=ACTIVE", headers=PAGE) as answer:
        return answer.status


async def test_a_tls_handshake_that_does_not_come_is_not_waited_for(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanlight.gateway.process.TLS_HANDSHAKE_IN_SECONDS", 0.3)
    certificate, key = self_signed(directory)
    settings = settings_for(directory, tls_cert=certificate, tls_key=key)
    with RunningGateway(settings):
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.portal_port)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()


async def test_streams_pass_through_tls(directory: Path) -> None:
    """A large transfer each way, and the cut: TLS transports are others than plain ones."""
    certificate, key = self_signed(directory)
    settings = settings_for(directory, tls_cert=certificate, tls_key=key)
    path = directory / "stream.sock"
    control = SteerableControl(stream_socket=str(path), grants={"ada": a_grant()})
    guest = PictureGuest()
    trust = ssl.create_default_context(cafile=str(certificate))
    connector, jar = aiohttp.TCPConnector(ssl=trust), aiohttp.CookieJar(unsafe=True)
    async with (
        serving_guest(guest.app(), path),
        serving_control(control, settings.effective_run_dir),
        aiohttp.ClientSession(connector=connector, cookie_jar=jar) as http,
    ):
        with RunningGateway(settings) as gateway:
            assert gateway.url.startswith("https://")
            rig = Rig(settings, control, guest, gateway, path)
            page, _ = await open_session(rig, http)
            [cookie] = http.cookie_jar
            assert cookie.key.startswith("__Host-")
            assert cookie["secure"]
            async with stream_of(rig, http, page) as stream:
                await first_picture(stream)
                sent = os.urandom(8_000_000)
                await stream.send_bytes(sent)
                async with asyncio.timeout(60):
                    while (await stream.receive()).data != sent:
                        pass
                await rig.control.expire("session-1")
                async with asyncio.timeout(60):
                    while (await stream.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                        pass


def self_signed(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = directory / "cert.pem", directory / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path


async def test_an_open_stream_is_reported_again_and_again(
    rig: Rig, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control plane may have forgotten, or died, since it was told last."""
    monkeypatch.setattr("fanlight.gateway.streams.HEARTBEAT_IN_SECONDS", 0.05)
    page, _ = await open_session(rig, http)
    async with stream_of(rig, http, page) as stream:
        await first_picture(stream)
        await until(lambda: rig.control.connections == [("session-1", True)] * 4)
