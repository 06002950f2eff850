"""The WebSocket handshake is rebuilt on both sides; nothing of either head is passed on as it came."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from fanlight.config import Settings
from fanlight.gateway.origins import Origins
from fanlight.gateway.upgrades import GuestMisbehaves, Handshake, NotAnUpgrade

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
UPGRADE = {
    "Host": "apps.example.org",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
ANSWER = (
    f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}"
)


def asked(**headers: str | None) -> web.Request:
    merged = {**UPGRADE, **headers}
    return make_mocked_request(
        "GET", "/x", headers={name: value for name, value in merged.items() if value is not None}
    )


def test_the_guest_gets_what_a_websocket_needs_and_nothing_else() -> None:
    request = asked(
        **{
            "Cookie": "fanlight-x=secret",
            "Authorization": "Bearer secret",
            "X-Forwarded-For": "10.0.0.1",
            "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
        }
    )

    head = Handshake.of(request).request_head("https://apps.example.org")

    assert head.decode().split("\r\n") == [
        "GET /api/websockets HTTP/1.1",
        "Host: apps.example.org",
        "Origin: https://apps.example.org",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "",
        "",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Connection": None},
        {"Connection": "close"},
        {"Sec-WebSocket-Version": "8"},
        {"Sec-WebSocket-Version": None},
        {"Sec-WebSocket-Key": None},
        {"Sec-WebSocket-Key": "short"},
        {"Sec-WebSocket-Key": KEY + "\r\nX: y"},
        {"Sec-WebSocket-Protocol": "a\r\nX: y"},
        {"Sec-WebSocket-Extensions": "x" * 2000},
        {"Content-Length": "5"},
    ],
)
def test_what_is_no_handshake(headers: dict[str, str | None]) -> None:
    with pytest.raises(NotAnUpgrade):
        Handshake.of(asked(**headers))


def test_the_browser_gets_an_answer_of_ours() -> None:
    guest_says = ANSWER + "\r\nSet-Cookie: evil=1\r\nSec-WebSocket-Extensions: permessage-deflate\r\nServer: guest"

    head = Handshake.of(asked()).answer_head(guest_says.encode())

    assert head.decode().split("\r\n") == [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {ACCEPT}",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "",
        "",
    ]


@pytest.mark.parametrize(
    "head",
    [
        "",
        "garbage",
        ANSWER.replace("101", "200"),
        ANSWER.replace("HTTP/1.1", "HTTP/1.0"),
        ANSWER.replace("101 ", "1010 "),
        ANSWER.replace("Upgrade: websocket", "Upgrade: tls"),
        ANSWER.replace(ACCEPT, "AAAA"),
        ANSWER + "\r\nSec-WebSocket-Protocol: a\x00b",
        "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example",
    ],
)
def test_a_guests_wrong_answer_is_not_passed_on(head: str) -> None:
    with pytest.raises(GuestMisbehaves):
        Handshake.of(asked()).answer_head(head.encode("latin-1"))


@pytest.mark.parametrize(
    ("settings", "origin", "is_own"),
    [
        ({}, "http://apps.example.org", True),
        ({}, "HTTP://Apps.Example.Org", True),
        ({}, "https://apps.example.org", False),
        ({}, "http://apps.example.org:80", False),
        ({}, "http://apps.example.org.evil.example", False),
        ({}, "http://evil.example", False),
        ({}, "null", False),
        ({}, None, False),
        ({"public_url": "https://apps.example.org/"}, "https://apps.example.org", True),
        ({"public_url": "https://Apps.Example.Org:443"}, "https://apps.example.org", True),
        ({"public_url": "https://apps.example.org:8443"}, "https://apps.example.org:8443", True),
        ({"public_url": "https://portal.example.org"}, "http://apps.example.org", False),
    ],
)
def test_whose_origin_is_ours(settings: dict[str, str], origin: str | None, is_own: bool) -> None:  # noqa: FBT001
    origins = Origins.of(Settings(**settings))  # type: ignore[arg-type]

    assert origins.is_own(asked(Origin=origin)) is is_own


@pytest.mark.parametrize("host", ["", "é.example", "x; script-src *", "a b", "evil.example/", "x" * 300, "[::1", "a:b"])
def test_an_odd_host_has_no_page_of_ours(host: str) -> None:
    origins = Origins.of(Settings())

    for origin in (f"http://{host}", "null"):
        assert not origins.is_own(asked(Host=host, Origin=origin))


def test_a_public_url_that_is_no_web_address_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="--public-url apps is no web address"):
        Origins.of(Settings(public_url="apps"))
