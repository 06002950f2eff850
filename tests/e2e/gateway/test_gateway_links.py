"""Streaming links: how they open, how often they start something, and what they leave in the browser."""

import asyncio
import re
from typing import Any

import aiohttp
import pytest

from fanlight.controlwire.messages import Refusal
from gateway_rig import (
    PAGE,
    Rig,
    RunningGateway,
    SteerableControl,
    a_grant,
    post,
    serving_control,
    settings_for,
    sign_in,
    state_of,
)


async def test_a_streaming_url_leads_to_a_page_without_the_token(rig: Rig, http: aiohttp.ClientSession) -> None:
    url = f"{rig.url}/authenticate?parameters=e30%3D&signature=ada"
    async with http.get(url, allow_redirects=False) as answer:
        assert answer.status == 303
        assert re.fullmatch(r"/s/[a-z2-7]{16}/", answer.headers["Location"])
        cookie = answer.headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert f"Path={answer.headers['Location']}" in cookie
    assert "Max-Age=" in cookie
    assert (await sign_in(http, rig.url, "ada")).endswith(answer.headers["Location"])


async def test_base64_plus_signs_reach_the_control_plane_as_they_are(rig: Rig, http: aiohttp.ClientSession) -> None:
    rig.control.grants["a+b/c="] = a_grant("plus")

    async with http.get(f"{rig.url}/authenticate?parameters=e30=&signature=a%2Bb%2Fc%3D") as answer:
        assert answer.status == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.settings.portal_port)
    writer.write(b"GET /authenticate?parameters=e30=&signature=a+b/c= HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 303")
    writer.close()


async def test_a_head_request_redeems_nothing(rig: Rig, http: aiohttp.ClientSession) -> None:
    async with http.head(f"{rig.url}/authenticate?parameters=e30%3D&signature=ada") as answer:
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers
    assert "POST /v1/redeem" not in rig.control.calls


@pytest.mark.parametrize(
    ("headers", "is_started"),
    [
        ({"Sec-Fetch-Mode": "navigate"}, True),
        ({}, False),  # a link preview
        ({"Sec-Fetch-Mode": "navigate", "Sec-Purpose": "prefetch"}, False),
    ],
)
async def test_only_a_persons_navigation_starts_a_session_at_once(
    rig: Rig,
    http: aiohttp.ClientSession,
    headers: dict[str, str],
    is_started: bool,  # noqa: FBT001
) -> None:
    url = f"{rig.url}/authenticate?parameters=e30%3D&signature=app"
    async with http.get(url, headers=headers, allow_redirects=False) as answer:
        assert answer.status == 303
    assert bool(rig.control.sessions) is is_started


async def test_nothing_is_started_while_an_application_is_still_to_be_chosen(
    rig: Rig, http: aiohttp.ClientSession
) -> None:
    url = f"{rig.url}/authenticate?parameters=e30%3D&signature=ada"
    async with http.get(url, headers={"Sec-Fetch-Mode": "navigate"}) as answer:
        assert answer.status == 200
    assert rig.control.sessions == {}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("EXPIRED", "This link has expired"),
        ("ALTERED", "This link is not complete"),
        ("FLEET_NOT_RUNNING", "The applications are switched off"),
        ("NOT_FOUND", "These applications are gone"),
        ("SOMETHING_NEW", "This link does not open"),
    ],
)
async def test_a_refused_link_is_refused_in_words(rig: Rig, http: aiohttp.ClientSession, code: str, words: str) -> None:
    rig.control.refusals["/v1/redeem"] = Refusal(code=code, message="Because <of> this.")
    async with http.get(f"{rig.url}/authenticate?parameters=x&signature=y") as answer:
        page = await answer.text()

    assert answer.status == 403
    assert words in page
    assert "Because &lt;of&gt; this." in page
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "query", ["", "?", "?parameters=", "?signature=x", "?parameters=%ff%fe&signature=%00", "?" + "x" * 9000]
)
async def test_a_link_of_junk_is_refused(rig: Rig, http: aiohttp.ClientSession, query: str) -> None:
    async with http.get(f"{rig.url}/authenticate{query}") as answer:
        assert answer.status in (400, 403)


async def test_an_expired_link_rejoins_but_starts_nothing(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await sign_in(http, rig.url, "ada")
    _, first = await post(http, f"{page}api/open", {"applicationId": "editor"})
    rig.control.grants["late"] = a_grant("ada", expires_at=1.0)
    await sign_in(http, rig.url, "late")  # the clock of this test: opened, then expired
    status, again = await post(http, f"{page}api/open", {"applicationId": "editor"})
    assert (status, again["session"]["handle"]) == (200, first["session"]["handle"])

    await post(http, f"{page}api/sessions/{first['session']['handle']}/end")
    assert (await state_of(http, page))["mayStart"] is False
    status, refusal = await post(http, f"{page}api/open", {"applicationId": "editor"})

    assert (status, refusal["code"]) == (403, "EXPIRED")
    assert len(rig.control.sessions) == 1


@pytest.mark.parametrize("reason", ["NO_CAPACITY", "START_FAILED"])
async def test_a_start_that_got_no_instance_may_be_tried_again(
    rig: Rig, http: aiohttp.ClientSession, reason: str
) -> None:
    """Streaming URLs are short-lived, and the page says "try again": the link must not have expired meanwhile."""
    rig.control.is_start_held = True
    rig.control.grants["short"] = a_grant("ada", application_id="editor", expires_at=1.0)
    url = f"{rig.url}/authenticate?parameters=e30%3D&signature=short"
    async with http.get(url, headers={"Sec-Fetch-Mode": "navigate"}) as answer:
        page = str(answer.url)
    assert [s.state for s in rig.control.sessions.values()] == ["PENDING"]
    await rig.control.expire("session-1", reason)
    assert (await state_of(http, page))["mayStart"] is True

    for number in (2, 3):
        status, again = await post(http, f"{page}api/open")
        assert (status, again["session"]["state"]) == (200, "PENDING")
        if number == 2:
            await rig.control.expire("session-2", reason)
    await rig.control.activate("session-3")
    async with http.get(f"{page}api/sessions/{again['session']['handle']}?viewer=viewer-12345", headers=PAGE) as answer:
        assert (await answer.json())["session"]["state"] == "ACTIVE"

    await rig.control.expire("session-3", "USER")
    assert (await state_of(http, page))["mayStart"] is False
    status, refusal = await post(http, f"{page}api/open")
    assert (status, refusal["code"]) == (403, "EXPIRED")


async def test_the_cookie_is_a_host_cookie_behind_https(directory: Any) -> None:
    settings = settings_for(directory, public_url="https://apps.example.org")
    control = SteerableControl(grants={"ada": a_grant("ada")})
    async with serving_control(control, settings.effective_run_dir), aiohttp.ClientSession() as http:
        with RunningGateway(settings):
            url = f"http://127.0.0.1:{settings.portal_port}/authenticate?parameters=e30%3D&signature=ada"
            async with http.get(url, allow_redirects=False) as answer:
                cookie = answer.headers["Set-Cookie"]

    assert cookie.startswith("__Host-fanlight-")
    assert "Secure" in cookie
    assert "Path=/;" in cookie + ";"
    assert "Domain" not in cookie


async def test_who_opened_many_links_behind_https_still_gets_in(directory: Any) -> None:
    """Host cookies are all sent with every request: the request's head takes them, and the oldest are let go."""
    settings = settings_for(directory, public_url="https://apps.example.org")
    words = "".join(chr(0x4E00 + (n * 7919) % 20_000) for n in range(600))  # compresses badly
    users = [f"user-{number}" for number in range(30)]
    control = SteerableControl(grants={user: a_grant(user, session_context=words) for user in users})
    jar: dict[str, str] = {}
    base = f"http://127.0.0.1:{settings.portal_port}"
    async with serving_control(control, settings.effective_run_dir), aiohttp.ClientSession() as http:
        with RunningGateway(settings):
            for user in users:
                head = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
                url = f"{base}/authenticate?parameters=e30%3D&signature={user}"
                async with http.get(url, headers=head, allow_redirects=False) as answer:
                    assert answer.status == 303, (user, len(head["Cookie"]))
                    for line in answer.headers.getall("Set-Cookie"):
                        name, _, rest = line.partition("=")
                        assert "Secure" in line
                        assert "Path=/;" in line + ";"
                        jar.pop(name, None)
                        if "Max-Age=0" not in line:
                            jar[name] = rest.partition(";")[0]
            held = sum(len(name) + len(value) for name, value in jar.items())
            head = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items()), **PAGE}
            newest = [name.rpartition("-")[2] for name in jar][-3:]
            for ref in newest:
                async with http.get(f"{base}/s/{ref}/api/state", headers=head) as answer:
                    assert answer.status == 200

    assert 8_190 < held < 48 * 1024, "more than a head's default limit, less than ours"
    assert 10 < len(jar) <= 20


async def test_one_identity_per_cookie_up_to_twenty(directory: Any) -> None:
    settings = settings_for(directory, public_url="https://apps.example.org")
    control = SteerableControl(grants={"ada": a_grant("ada")})
    url = f"http://127.0.0.1:{settings.portal_port}/authenticate?parameters=e30%3D&signature=ada"
    stale = "; ".join(f"__Host-fanlight-stale{number}=junk" for number in range(25))
    async with serving_control(control, settings.effective_run_dir), aiohttp.ClientSession() as http:
        with RunningGateway(settings):
            async with http.get(url, headers={"Cookie": f"{stale}; other=1"}, allow_redirects=False) as answer:
                cookies = answer.headers.getall("Set-Cookie")

    dropped = [line for line in cookies if "Max-Age=0" in line]
    assert len(dropped) == 25 - 19
    assert all(line.startswith("__Host-fanlight-stale") for line in dropped)
