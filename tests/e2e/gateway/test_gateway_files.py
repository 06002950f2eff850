"""Files to and from an instance: by the stack's policy, as bytes, never as pages."""

import asyncio
import io
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from gateway_guests import speaking
from gateway_rig import Rig, sign_in

if TYPE_CHECKING:
    from pathlib import Path

PAGE = {"X-Fanlight-Page": "1"}


async def open_session(rig: Rig, http: aiohttp.ClientSession) -> str:
    page = await sign_in(http, rig.url, "ada")
    headers = {**PAGE, "Origin": rig.url}
    async with http.post(f"{page}api/open", json={"applicationId": "editor"}, headers=headers) as answer:
        assert answer.status == 200
    return page


async def upload(
    rig: Rig, http: aiohttp.ClientSession, page: str, size: int, **headers: str
) -> tuple[int, dict[str, Any]]:
    headers = {"Origin": rig.url, "X-Upload-Path": "a%20b.txt", **headers}
    body = io.BytesIO(b"u" * size)
    async with http.post(f"{page}stream/api/upload", data=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_an_upload_passes_through(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await open_session(rig, http)

    assert await upload(rig, http, page, 5_000_000) == (200, {"status": "success"})
    assert rig.guest.uploads == {"a%20b.txt": 5_000_000}


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}])
async def test_an_upload_from_elsewhere_is_refused(
    rig: Rig, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    page = await open_session(rig, http)

    status, _ = await upload(rig, http, page, 10, **headers)

    assert status == 403
    assert rig.guest.uploads == {}


async def test_a_piece_above_the_limit_is_refused(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await open_session(rig, http)
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.settings.portal_port)
    cookie = "; ".join(f"{c.key}={c.value}" for c in http.cookie_jar)
    writer.write(
        f"POST {page.removeprefix(rig.url)}stream/api/upload HTTP/1.1\r\nHost: {rig.url[7:]}\r\nOrigin: {rig.url}\r\n"
        f"Cookie: {cookie}\r\nContent-Length: 99999999999\r\n\r\n".encode()
    )
    assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"HTTP/1.1 413 ")
    writer.transport.abort()


async def test_an_upload_without_a_size_is_refused(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await open_session(rig, http)

    async def pieces() -> Any:
        yield b"abc"

    headers = {"Origin": rig.url, "X-Upload-Path": "x"}
    async with http.post(f"{page}stream/api/upload", data=pieces(), headers=headers) as answer:
        assert answer.status == 411


@pytest.mark.parametrize(
    ("path", "method"), [("stream/api/files/a.txt", "GET"), ("api/files", "GET"), ("stream/api/print/x.pdf", "GET")]
)
async def test_what_the_stack_does_not_allow_is_refused(
    rig: Rig, http: aiohttp.ClientSession, path: str, method: str
) -> None:
    rig.control.features = ("CLIPBOARD_COPY_TO_LOCAL_DEVICE",)
    page = await open_session(rig, http)
    async with http.request(method, page + path, headers=PAGE) as answer:
        assert answer.status == 403
    assert (await upload(rig, http, page, 10))[0] == 403
    assert rig.guest.uploads == {}


async def test_a_folder_is_listed_as_names(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await open_session(rig, http)
    async with http.get(f"{page}api/files?folder=", headers=PAGE) as answer:
        assert await answer.json() == {
            "folder": "",
            "entries": [
                {"name": "reports", "isFolder": True, "modified": "2026-11-21 06:00", "size": "-"},
                {"name": "a & b.txt", "isFolder": False, "modified": "2026-11-21 06:00", "size": "1.5 KiB"},
            ],
        }
        assert answer.content_type == "application/json"


@pytest.mark.parametrize("folder", ["..", "../..", "a/../..", "%00", "a%0d%0aX: y"])
async def test_a_listing_stays_in_the_folder(rig: Rig, http: aiohttp.ClientSession, folder: str) -> None:
    page = await open_session(rig, http)
    async with http.get(f"{page}api/files?folder={folder}", headers=PAGE) as answer:
        assert answer.status == 400


async def test_a_guests_page_is_saved_never_shown(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await open_session(rig, http)
    async with http.get(f"{page}stream/api/files/page.html") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert "Set-Cookie" not in answer.headers
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert await answer.text() == "<script>alert(document.domain)</script>"


async def test_a_printed_document_is_a_pdf_to_save(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await open_session(rig, http)
    async with http.get(f"{page}stream/api/print/letter.pdf") as answer:
        assert answer.headers["Content-Type"] == "application/pdf"
        assert answer.headers["Content-Disposition"].startswith("attachment;")


async def test_another_site_cannot_fetch_a_file(rig: Rig, http: aiohttp.ClientSession) -> None:
    page = await open_session(rig, http)
    for site in ("cross-site", "same-site"):
        async with http.get(f"{page}stream/api/files/page.html", headers={"Sec-Fetch-Site": site}) as answer:
            assert answer.status == 403


@pytest.mark.parametrize("path", ["", "reports", "reports/", "%2e%2e/secret", "..%2fsecret", "missing"])
async def test_what_is_no_file_is_not_there(rig: Rig, http: aiohttp.ClientSession, path: str) -> None:
    page = await open_session(rig, http)
    async with http.get(f"{page}stream/api/files/{path}", allow_redirects=False) as answer:
        assert answer.status in (400, 404)


HOSTILE_ANSWERS = [
    b"",
    b"garbage\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1e9\r\n\r\n",
    b"HTTP/1.1 999 Odd\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
]


@pytest.mark.parametrize("says", HOSTILE_ANSWERS)
async def test_a_guests_odd_answer_is_a_502(rig: Rig, http: aiohttp.ClientSession, says: bytes) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says)
        await writer.drain()

    path: Path = rig.socket.with_name("odd.sock")
    rig.control.stream_socket = str(path)
    async with speaking(path, converse):
        page = await open_session(rig, http)
        for url in (f"{page}stream/api/files/a.txt", f"{page}api/files"):
            async with http.get(url, headers=PAGE) as answer:
                assert answer.status == 502, url


async def test_half_a_file_is_no_file(rig: Rig, http: aiohttp.ClientSession) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
        await writer.drain()

    path = rig.socket.with_name("half.sock")
    rig.control.stream_socket = str(path)
    async with speaking(path, converse):
        page = await open_session(rig, http)
        with pytest.raises(aiohttp.ClientPayloadError):
            async with http.get(f"{page}stream/api/files/a.txt") as answer:
                await answer.read()


async def test_a_silent_guest_is_given_up(
    rig: Rig, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanlight.gateway.guest_http.SILENCE_IN_SECONDS", 0.3)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    path = rig.socket.with_name("silent.sock")
    rig.control.stream_socket = str(path)
    async with speaking(path, converse):
        page = await open_session(rig, http)
        async with http.get(f"{page}api/files", headers=PAGE) as answer:
            assert answer.status == 502
