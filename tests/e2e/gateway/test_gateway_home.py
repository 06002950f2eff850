"""My Files through the gateway: who may do what, whose files they are, and what browsers are told of them."""

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from gateway_rig import PAGE, Rig, post, sign_in
from home_rig import Home, serving_home

BROWSING = [("GET", "api/home", {}), ("GET", "api/home/folder", {"path": ""}), ("POST", "api/home/refresh", {})]
FETCHING = [("GET", "api/home/file", {"path": "a.txt"}), ("GET", "api/home/zip", {"path": ""})]
CHANGING = [
    ("POST", "api/home/folder", {"path": "b"}),
    ("POST", "api/home/move", {"path": "a.txt", "to": "b.txt"}),
    ("POST", "api/home/delete", {"path": "a.txt"}),
    ("PUT", "api/home/uploads/upload-1", {"path": "c", "size": "0", "offset": "0", "conflict": "ask"}),
    ("DELETE", "api/home/uploads/upload-1", {}),
]


@pytest.fixture
async def home(rig: Rig) -> AsyncIterator[Home]:
    async with serving_home(rig.settings.effective_run_dir, rig.settings.data_dir) as home:
        yield home


async def begin(rig: Rig, http: aiohttp.ClientSession, home: Home, user: str = "ada") -> str:
    """Return the page of a session whose home folder is open, with one file in it."""
    page = await sign_in(http, rig.url, user)
    assert (await post(http, f"{page}api/open", {"applicationId": "editor"}))[0] == 200
    session_id = next(one for one, owner in rig.control.owners.items() if owner[-1] == user)
    await home.open(session_id, user=user)
    (home.stored.parent / user).mkdir(parents=True, exist_ok=True)
    (home.stored.parent / user / "a.txt").write_bytes(f"{user}'s".encode())
    return page


async def ask(
    http: aiohttp.ClientSession, method: str, url: str, query: dict[str, str], data: Any = None, **headers: str
) -> tuple[int, bytes]:
    origin = {"Origin": "/".join(url.split("/")[:3])} if method != "GET" else {}
    async with http.request(method, url, params=query, data=data, headers=PAGE | origin | headers) as answer:
        return answer.status, await answer.read()


@pytest.mark.parametrize(
    ("features", "allowed"),
    [
        (("FILE_UPLOAD", "FILE_DOWNLOAD"), [*BROWSING, *FETCHING, *CHANGING]),
        (("FILE_DOWNLOAD",), [*BROWSING, *FETCHING]),
        (("FILE_UPLOAD",), [*BROWSING, *CHANGING]),
        (("CLIPBOARD_COPY_TO_LOCAL_DEVICE",), []),
    ],
)
async def test_the_stack_decides_who_may_what(
    rig: Rig, home: Home, http: aiohttp.ClientSession, features: tuple[str, ...], allowed: list[Any]
) -> None:
    rig.control.features = features
    page = await begin(rig, http, home)
    for method, what, query in [*BROWSING, *FETCHING, *CHANGING]:
        status, _ = await ask(http, method, page + what, query, data=b"" if method == "PUT" else None)
        assert (status == 200) == ((method, what, query) in allowed), (what, status)
        assert status in (200, 403)


async def test_a_page_of_another_site_reaches_nothing(rig: Rig, home: Home, http: aiohttp.ClientSession) -> None:
    page = await begin(rig, http, home)
    for method, what, query in [*BROWSING, *CHANGING]:
        if method != "GET":
            assert (await ask(http, method, page + what, query, Origin="http://evil.example"))[0] == 403, what
        async with http.request(method, page + what, params=query, headers={"Origin": rig.url}) as answer:
            assert answer.status == 403, f"{what} without the page's header"
    for _, what, query in FETCHING:
        assert (await ask(http, "GET", page + what, query, **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert (home.stored / "a.txt").exists()


async def test_each_user_has_their_own_files(rig: Rig, home: Home, http: aiohttp.ClientSession) -> None:
    page = await begin(rig, http, home)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as other:
        bobs = await begin(rig, other, home, "bob")
        assert await ask(http, "GET", f"{page}api/home/file", {"path": "a.txt"}) == (200, b"ada's")
        assert await ask(other, "GET", f"{bobs}api/home/file", {"path": "a.txt"}) == (200, b"bob's")
        assert (await ask(other, "GET", f"{page}api/home/file", {"path": "a.txt"}))[0] == 403, "with Bob's cookies"
        for path in ("../ada/a.txt", "..%2fada%2fa.txt", "%2e%2e/ada/a.txt"):
            assert (await ask(other, "GET", f"{bobs}api/home/file", {"path": path}))[0] == 400


async def test_a_folder_is_listed_to_its_end(rig: Rig, home: Home, http: aiohttp.ClientSession) -> None:
    page = await begin(rig, http, home)
    status, body = await ask(http, "GET", f"{page}api/home/folder", {"path": ""})
    lines = [json.loads(line) for line in body.splitlines()]
    assert status == 200
    assert [row[0] for line in lines[:-1] for row in line["entries"]] == ["a.txt"]
    assert lines[-1] == {"isWhole": True}


async def test_a_file_is_saved_never_shown(rig: Rig, home: Home, http: aiohttp.ClientSession) -> None:
    page = await begin(rig, http, home)
    name = "\u202e<b>ü.html"
    (home.stored / name).write_bytes(b"<script>alert(1)</script>")
    query = {"path": "%E2%80%AE%3Cb%3E%C3%BC.html"}
    async with http.get(f"{page}api/home/file", params=query) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == (
            "attachment; filename=\"__b__.html\"; filename*=UTF-8''_%3Cb%3E%C3%BC.html"
        )
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert await ask(http, "GET", f"{page}api/home/file", query, Range="bytes=1-6") == (206, b"script")
    async with http.get(f"{page}api/home/zip", params={"path": ""}) as answer:
        assert 'filename="Home Folder.zip"' in answer.headers["Content-Disposition"]
        assert (await answer.read()).startswith(b"PK")


async def test_an_upload_passes_in_pieces_and_the_instance_hears_of_it(
    rig: Rig, home: Home, http: aiohttp.ClientSession
) -> None:
    page = await begin(rig, http, home)
    url, query = f"{page}api/home/uploads/upload-1", {"path": "new.bin", "size": "3000000", "conflict": "ask"}
    content = bytes(range(250)) * 12_000
    for offset in (0, 1_000_000, 2_000_000):
        piece = io.BytesIO(content[offset : offset + 1_000_000])
        status, body = await ask(http, "PUT", url, query | {"offset": str(offset)}, data=piece)
        assert status == 200
    assert json.loads(body) == {"state": "SAVED", "received": 3_000_000, "path": "new.bin"}
    assert (home.stored / "new.bin").read_bytes() == content
    await post(http, f"{page}api/home/folder?path=one")
    await post(http, f"{page}api/home/folder?path=two")
    async with asyncio.timeout(60):
        while not rig.control.refreshed:
            await asyncio.sleep(0.02)
    assert set(rig.control.refreshed) == {"session-1"}


async def test_a_piece_is_bounded_and_says_its_size(rig: Rig, home: Home, http: aiohttp.ClientSession) -> None:
    page = await begin(rig, http, home)
    url, query = f"{page}api/home/uploads/upload-1", {"path": "new", "size": "9", "offset": "0", "conflict": "ask"}

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"

    assert (await ask(http, "PUT", url, query, data=pieces()))[0] == 411
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.settings.portal_port)
    cookie = "; ".join(f"{c.key}={c.value}" for c in http.cookie_jar)
    writer.write(
        f"PUT {url.removeprefix(rig.url)} HTTP/1.1\r\nHost: {rig.url[7:]}\r\nOrigin: {rig.url}\r\n"
        f"X-Fanlight-Page: 1\r\nCookie: {cookie}\r\nContent-Length: 99999999999\r\n\r\n".encode()
    )
    assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"HTTP/1.1 413 ")
    writer.transport.abort()


async def test_what_the_storage_says_reaches_the_page_in_words(
    rig: Rig, home: Home, http: aiohttp.ClientSession
) -> None:
    page = await begin(rig, http, home)
    for what, query, status, code in (
        ("api/home/folder", {"path": "gone"}, 404, "NOT_FOUND"),
        ("api/home/folder", {"path": ".."}, 400, "BAD_PATH"),
        ("api/home/file", {"path": "gone"}, 404, "NOT_FOUND"),
    ):
        found, body = await ask(http, "GET", page + what, query)
        assert (found, json.loads(body)["code"]) == (status, code)
    assert (await post(http, f"{page}api/home/folder?path=a.txt"))[1]["code"] == "EXISTS"
    await home.doors.close("session-1")
    found, body = await ask(http, "GET", f"{page}api/home/folder", {"path": ""})
    assert (found, json.loads(body)["code"]) == (503, "AWAY")


async def test_so_many_zips_at_once_and_no_more(rig: Rig, home: Home, http: aiohttp.ClientSession) -> None:
    page = await begin(rig, http, home)
    (home.stored / "large").write_bytes(os.urandom(16 * 2**20))  # more than all buffers on the way hold
    async with AsyncExitStack() as stack:
        for _ in range(8):
            answer = await stack.enter_async_context(http.get(f"{page}api/home/zip", params={"path": ""}))
            assert answer.status == 200
        status, body = await ask(http, "GET", f"{page}api/home/folder", {"path": ""})
        assert (status, json.loads(body)["code"]) == (429, "TOO_MANY")


async def test_without_a_storage_process_the_page_hears_that_it_is_away(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await sign_in(http, rig.url, "ada")
    await post(http, f"{page}api/open", {"applicationId": "editor"})
    for method, what, query in [*BROWSING, *FETCHING, *CHANGING]:
        status, body = await ask(http, method, page + what, query, data=b"" if method == "PUT" else None)
        assert (status, json.loads(body)["code"]) == (503, "AWAY"), what


async def test_without_a_session_there_are_no_files(rig: Rig, home: Home, http: aiohttp.ClientSession) -> None:
    page = await sign_in(http, rig.url, "ada")
    assert (await ask(http, "GET", f"{page}api/home/folder", {"path": ""}))[0] == 409
