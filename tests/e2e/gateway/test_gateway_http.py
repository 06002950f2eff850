"""What the gateway answers to browsers, to strangers and to junk."""

import asyncio
import io
import re
from typing import Any

import aiohttp
import pytest

from gateway_rig import (
    ICON,
    PAGE,
    Rig,
    RunningGateway,
    SteerableControl,
    a_catalog,
    a_grant,
    post,
    serving_control,
    settings_for,
    sign_in,
    state_of,
    until,
)


async def test_an_absent_control_plane_is_waited_for(directory: Any, http: aiohttp.ClientSession) -> None:
    with RunningGateway(settings_for(directory)) as gateway:
        async with http.get(f"{gateway.url}/authenticate?parameters=x&signature=y") as answer:
            page = await answer.text()

    assert answer.status == 503
    assert "Fanlight is starting up" in page
    assert 'http-equiv="refresh"' in page


async def test_every_answer_carries_the_security_headers(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await sign_in(http, rig.url, "ada")
    for url in (rig.url + "/", page, f"{page}stream/", f"{rig.url}/nothing", f"{page}api/state", f"{rig.url}/healthz"):
        async with http.get(url, headers=PAGE) as answer:
            headers = answer.headers
        assert headers["Referrer-Policy"] == "no-referrer", url
        assert headers["X-Content-Type-Options"] == "nosniff", url
        assert "default-src 'none'" in headers["Content-Security-Policy"], url
        framing = "frame-ancestors 'self'" if url.endswith("/stream/") else "frame-ancestors 'none'"
        assert framing in headers["Content-Security-Policy"], url
        assert "Access-Control-Allow-Origin" not in headers, url
        assert "Server" not in headers, url


async def test_a_user_gets_the_catalogue_and_a_session(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await sign_in(http, rig.url, "ada")
    state = await state_of(http, page)

    assert state["session"] is None
    assert state["mayStart"] is True
    assert [a["name"] for a in state["catalog"]["applications"]] == [
        "Editor",
        "Calculator",
        "Terminal",
        "Firefox",
        "Drawing",
    ]
    status, answer = await post(http, f"{page}api/open", {"applicationId": "editor"})
    assert status == 200
    assert answer["session"]["state"] == "ACTIVE"
    assert "stream" not in str(answer).replace("streamView", "")  # where the socket is, is not the page's business
    assert (await state_of(http, page))["session"]["handle"] == answer["session"]["handle"]


async def test_links_of_a_stack_cannot_run_scripts_in_the_page(rig: Rig, http: aiohttp.ClientSession) -> None:
    rig.control.catalog = a_catalog(redirect_url="javascript:alert(1)", feedback_url="https://example.org/f")
    state = await state_of(http, await sign_in(http, rig.url, "ada"))

    assert state["catalog"]["redirectUrl"] is None
    assert state["catalog"]["feedbackUrl"] == "https://example.org/f"


async def test_the_frame_holds_the_client_of_the_sessions_own_runtime(rig: Rig, http: aiohttp.ClientSession) -> None:
    """New images bring a new runtime while sessions go on in instances that mount the old one."""
    for version in ("2.1.0", "2.2.0"):
        source = rig.settings.data_dir / "runtime" / version / "client" / "src"
        source.mkdir(parents=True)
        (source / "selkies-core.js").write_text(f"// {version}")
    (rig.settings.data_dir / "runtime" / "current").symlink_to("2.2.0")
    page = await sign_in(http, rig.url, "ada")
    await post(http, f"{page}api/open", {"applicationId": "editor"})

    for mounted, served in ((None, "2.2.0"), ("2.1.0", "2.1.0"), ("1.0.0", "2.2.0")):
        await rig.control.change("session-1", runtime_version=mounted)
        async with http.get(f"{page}stream/") as answer:
            assert answer.status == 200
            base = re.findall(r'<base href="([^"]+)"', await answer.text())
        async with http.get(f"{rig.url}{base[0]}src/selkies-core.js") as answer:
            assert await answer.text() == f"// {served}", mounted


async def test_two_identities_live_in_one_browser(rig: Rig, http: aiohttp.ClientSession) -> None:
    ada, bob = await sign_in(http, rig.url, "ada"), await sign_in(http, rig.url, "bob")

    assert (await state_of(http, ada))["user"] == "ada"
    assert (await state_of(http, bob))["user"] == "bob"


async def test_a_cookie_of_one_is_refused_on_the_others_page(rig: Rig, http: aiohttp.ClientSession) -> None:
    ada, bob = await sign_in(http, rig.url, "ada"), await sign_in(http, rig.url, "bob")
    _, mine = await post(http, f"{ada}api/open", {"applicationId": "editor"})
    cookies = {c.key: c.value for c in http.cookie_jar}
    ada_ref, bob_ref = ada.split("/")[-2], bob.split("/")[-2]
    async with aiohttp.ClientSession() as stranger:
        stolen = {"Cookie": f"fanlight-{bob_ref}={cookies[f'fanlight-{ada_ref}']}", **PAGE}
        for path in ("", "api/state", "stream/", "stream/api/websockets", "stream/api/files/x", "api/files"):
            async with stranger.get(bob + path, headers=stolen) as answer:
                assert answer.status == 403, path
    handle = mine["session"]["handle"]
    for action in ("end", "launch", "attach"):
        body = {"viewer": "viewer-12345", "applicationId": "editor", "launchId": "launch-12345"}
        status, _ = await post(http, f"{bob}api/sessions/{handle}/{action}", body)
        assert status == 404, action
    async with http.get(f"{bob}api/sessions/{handle}?viewer=viewer-12345", headers=PAGE) as answer:
        assert answer.status == 404
    assert next(iter(rig.control.sessions.values())).state == "ACTIVE"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"X-Fanlight-Page": "0"},
        {"Content-Type": "text/plain"},
    ],
)
async def test_what_changes_something_needs_our_own_page(
    rig: Rig, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    page = await sign_in(http, rig.url, "ada")

    status, _ = await post(http, f"{page}api/open", {"applicationId": "editor"}, **headers)

    assert status in (400, 403)
    assert rig.control.sessions == {}


async def test_a_request_without_any_origin_changes_nothing(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await sign_in(http, rig.url, "ada")
    async with http.post(f"{page}api/open", json={}, headers=PAGE) as answer:
        assert answer.status == 403
    assert rig.control.sessions == {}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"applicationId": 5}', b'{"applicationId": ""}', b"[" * 9000]
)
async def test_junk_in_a_body_is_refused(rig: Rig, http: aiohttp.ClientSession, body: bytes) -> None:
    page = await sign_in(http, rig.url, "ada")
    headers = {**PAGE, "Origin": rig.url, "Content-Type": "application/json"}
    async with http.post(f"{page}api/open", data=body, headers=headers) as answer:
        assert answer.status == 400
    assert rig.control.sessions == {}


async def test_a_huge_body_is_refused(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await sign_in(http, rig.url, "ada")
    headers = {**PAGE, "Origin": rig.url, "Content-Type": "application/json"}
    async with http.post(f"{page}api/open", data=io.BytesIO(b" " * 10_000_000), headers=headers) as answer:
        assert answer.status == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_other_methods_are_refused(rig: Rig, http: aiohttp.ClientSession, method: str) -> None:
    page = await sign_in(http, rig.url, "ada")
    for path in ("", "api/open", "stream/api/upload", "stream/api/files/x", "stream/api/websockets"):
        async with http.request(method, page + path) as answer:
            assert answer.status == 405, path


async def test_an_icon_needs_an_address_that_the_control_plane_gave_out(rig: Rig, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{rig.url}/icons/sample/editor.png?expires=1&signature=right") as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", ICON)
        assert "sandbox" in answer.headers["Content-Security-Policy"]
    for address in (
        "sample/editor.png",
        "sample/editor.png?expires=1&signature=wrong",
        "other/editor.png?signature=right",
    ):
        async with http.get(f"{rig.url}/icons/{address}") as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/icons/../../etc/passwd",
        "/icons/%2e%2e/%2e%2e/etc/passwd",
        "/icons/sample/..%2f..%2fstate%2fsigning.key",
        "/icons//etc/passwd",
        "/client/../../gateway/cookie.key",
        "/client/2.1.0/tag/..%2f..%2f..%2f..%2fgateway%2fcookie.key",
        "/assets/%2e%2e/session.js",
        "//evil.example/%2f..",
        "/s/x/../../authenticate",
        "/s/",
        "/s/AAAA/api/../../",
    ],
)
async def test_paths_lead_nowhere_else(rig: Rig, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.settings.portal_port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()

    assert re.match(rb"HTTP/1\.1 (400|403|404) ", answer), answer[:100]
    assert b"Location:" not in answer


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain port
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /s/x/api/open HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /s/x/api/open HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 1000,
        b"G" * 20_000,
    ],
)
async def test_junk_on_the_listener_is_a_4xx_or_a_close(rig: Rig, junk: bytes, http: aiohttp.ClientSession) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.settings.portal_port)
    writer.write(junk)
    writer.write_eof()
    try:
        answer = await asyncio.wait_for(reader.read(), 60)
    except ConnectionError:
        answer = b""
    writer.close()

    assert answer == b"" or re.match(rb"HTTP/1\.[01] 4", answer), answer[:200]
    assert b"Traceback" not in answer
    async with http.get(f"{rig.url}/healthz") as health:
        assert health.status == 200


async def test_tokens_stand_in_no_log(rig: Rig, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with http.get(f"{rig.url}/authenticate?parameters=e30%3D&signature=ada-SECRET") as answer:
        assert answer.status == 403
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.settings.portal_port)
    writer.write(b"BREW /authenticate?signature=SECRET-TOKEN HTTP/1.1\r\nHost : x\r\n\r\n")
    await reader.read()
    writer.close()

    assert "SECRET" not in caplog.text


async def test_a_long_poll_is_answered_when_the_session_changes(rig: Rig, http: aiohttp.ClientSession) -> None:
    rig.control.is_start_held = True
    page = await sign_in(http, rig.url, "ada")
    _, opened = await post(http, f"{page}api/open", {"applicationId": "editor"})
    handle = opened["session"]["handle"]
    poll = asyncio.create_task(state_in(http, f"{page}api/sessions/{handle}?viewer=viewer-12345&from=PENDING"))
    await until(lambda: "GET /v1/sessions/session-1" in rig.control.calls)
    assert not poll.done()
    await rig.control.activate("session-1")
    assert await poll == "ACTIVE"


async def state_in(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url, headers=PAGE) as answer:
        return str((await answer.json())["session"]["state"])


async def test_the_older_page_is_told_when_another_takes_the_stream(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await sign_in(http, rig.url, "ada")
    _, opened = await post(http, f"{page}api/open", {"applicationId": "editor"})
    session = f"{page}api/sessions/{opened['session']['handle']}"
    await post(http, f"{session}/attach", {"viewer": "viewer-one-1"})

    async def older() -> dict[str, Any]:
        async with http.get(f"{session}?viewer=viewer-one-1&from=ACTIVE", headers=PAGE) as answer:
            return dict(await answer.json())

    watching = asyncio.create_task(older())
    while not any("wait" in call or "GET /v1/sessions/" in call for call in rig.control.calls):
        await asyncio.sleep(0.01)
    await post(http, f"{session}/attach", {"viewer": "viewer-two-2"})

    assert await asyncio.wait_for(watching, 60) == {"isSuperseded": True}
    async with http.get(f"{session}?viewer=viewer-two-2", headers=PAGE) as answer:
        assert (await answer.json())["session"]["state"] == "ACTIVE"


@pytest.mark.parametrize("signature", ["ada", "app"])
async def test_with_the_simulated_engine_any_client_that_follows_the_url_gets_a_session(
    directory: Any, http: aiohttp.ClientSession, signature: str
) -> None:
    settings = settings_for(directory, compute="simulated")
    control = SteerableControl(grants={"ada": a_grant(), "app": a_grant("app", application_id="editor")})
    async with serving_control(control, settings.effective_run_dir):
        with RunningGateway(settings) as gateway:
            await sign_in(http, gateway.url, signature)

    assert [(s.state, s.application_id) for s in control.sessions.values()] == [("ACTIVE", "editor")]
