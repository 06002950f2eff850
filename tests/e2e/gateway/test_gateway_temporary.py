"""Temporary files through the gateway: by the stack's policy, from an instance that may say anything, and in a browser."""

import asyncio
import io
import json
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from playwright.async_api import expect

from fanlight.agent.files_server import FilesServer
from fanlight.agent.temporary_folder import TemporaryFolder
from gateway_guests import speaking
from gateway_pages import link, streaming
from gateway_rig import PAGE, Rig, sign_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from playwright.async_api import Page

CHANGES = (("folder?path=new", "POST"), ("move?path=a.txt&to=b.txt", "POST"), ("delete?path=a.txt", "POST"))
FETCHES = (("file?path=a.txt", "GET"), ("zip?path=", "GET"))


@contextmanager
def serving_files(path: Path, folder: Path) -> Iterator[None]:
    """Serve as the agent has them served in an instance."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        server = FilesServer(listener, TemporaryFolder(str(folder)), 0.05)
        is_over = threading.Event()

        def serve() -> None:
            while not is_over.is_set():
                server.handle_request()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join(10)


@pytest.fixture
def temporary(rig: Rig, directory: Path) -> Iterator[Path]:
    folder = directory / "MyFiles"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"text")
    with serving_files(rig.socket.with_name("files.sock"), folder):
        yield folder


async def open_session(rig: Rig, http: aiohttp.ClientSession) -> tuple[str, dict[str, Any]]:
    page = await sign_in(http, rig.url, "ada")
    headers = {**PAGE, "Origin": rig.url}
    async with http.post(f"{page}api/open", json={"applicationId": "editor"}, headers=headers) as answer:
        assert answer.status == 200
        return f"{page}api/temporary/", (await answer.json())


async def asked(rig: Rig, http: aiohttp.ClientSession, method: str, url: str, **headers: str) -> tuple[int, bytes]:
    async with http.request(method, url, headers={**PAGE, "Origin": rig.url, **headers}) as answer:
        return answer.status, await answer.read()


async def test_files_are_listed_made_renamed_fetched_and_removed(
    rig: Rig, http: aiohttp.ClientSession, temporary: Path
) -> None:
    base, _ = await open_session(rig, http)

    assert (await asked(rig, http, "POST", f"{base}folder?path=new%2520folder"))[0] == 200
    assert (await asked(rig, http, "POST", f"{base}folder?path=new%2520folder"))[0] == 409
    assert (await asked(rig, http, "POST", f"{base}move?path=a.txt&to=new%2520folder/b.txt"))[0] == 200
    status, listing = await asked(rig, http, "GET", f"{base}folder?path=new%2520folder")
    assert (status, json.loads(listing.splitlines()[0])["entries"][0][:3]) == (200, ["b.txt", 0, 4])
    async with http.get(f"{base}file?path=new%2520folder/b.txt") as answer:
        assert await answer.read() == b"text"
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
        assert "sandbox" in answer.headers["Content-Security-Policy"]
    status, zipped = await asked(rig, http, "GET", f"{base}zip?path=")
    assert zipfile.ZipFile(io.BytesIO(zipped)).read("new folder/b.txt") == b"text"
    assert (await asked(rig, http, "POST", f"{base}delete?path=new%2520folder"))[0] == 200
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("features", "allowed", "refused"),
    [
        (("FILE_UPLOAD",), CHANGES, FETCHES),
        (("FILE_DOWNLOAD",), FETCHES, CHANGES),
        (("CLIPBOARD_COPY_TO_LOCAL_DEVICE",), (), (*FETCHES, *CHANGES, ("folder?path=", "GET"))),
    ],
)
async def test_the_stack_says_what_is_allowed(  # noqa: PLR0917 - fixtures
    rig: Rig,
    http: aiohttp.ClientSession,
    temporary: Path,
    features: tuple[str, ...],
    allowed: tuple[tuple[str, str], ...],
    refused: tuple[tuple[str, str], ...],
) -> None:
    rig.control.features = features
    base, _ = await open_session(rig, http)

    for what, method in refused:
        assert (await asked(rig, http, method, base + what))[0] == 403, what
    assert [path.name for path in temporary.iterdir()] == ["a.txt"]
    for what, method in allowed:
        assert (await asked(rig, http, method, base + what))[0] in (200, 404), what


async def test_only_the_page_changes_anything(rig: Rig, http: aiohttp.ClientSession, temporary: Path) -> None:
    base, _ = await open_session(rig, http)

    for what, method in CHANGES:
        assert (await asked(rig, http, method, base + what, Origin="http://evil.example"))[0] == 403
        async with http.request(method, base + what, headers={"Origin": rig.url}) as answer:
            assert answer.status == 403
    assert (await asked(rig, http, "GET", f"{base}zip?path=", **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert [path.name for path in temporary.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("path", ["..", "%252e%252e/x", "a%0d%0aX-To:%20b", "a%2500", "%C3%BC", "a b"])
async def test_odd_paths_are_refused(rig: Rig, http: aiohttp.ClientSession, temporary: Path, path: str) -> None:
    base, _ = await open_session(rig, http)

    for what, method in (("folder", "POST"), ("delete", "POST"), ("file", "GET"), ("zip", "GET")):
        assert (await asked(rig, http, method, f"{base}{what}?path={path}"))[0] == 400
    assert [each.name for each in temporary.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["%2520blank", "tab%2509", "back%255Cslash", "%25FF", "x" * 256, "%25E2%2580%25AEgnp"])
async def test_what_is_made_has_a_name_that_all_can_read(
    rig: Rig, http: aiohttp.ClientSession, temporary: Path, name: str
) -> None:
    base, _ = await open_session(rig, http)

    assert (await asked(rig, http, "POST", f"{base}folder?path={name}"))[0] == 400
    assert (await asked(rig, http, "POST", f"{base}move?path=a.txt&to={name}"))[0] == 400
    assert [each.name for each in temporary.iterdir()] == ["a.txt"]


async def test_an_instance_of_before_offers_nothing_more(rig: Rig, http: aiohttp.ClientSession) -> None:
    base, opened = await open_session(rig, http)

    assert opened["session"]["hasTemporaryFolder"] is False
    assert (await asked(rig, http, "GET", f"{base}folder?path="))[0] == 503


async def test_a_socket_of_somebody_else_is_not_asked(rig: Rig, http: aiohttp.ClientSession, temporary: Path) -> None:
    base, opened = await open_session(rig, http)
    assert opened["session"]["hasTemporaryFolder"] is True
    for session_id in rig.control.sessions:
        await rig.control.change(session_id, stream_uid=rig.control.stream_uid + 1)

    assert (await asked(rig, http, "POST", f"{base}delete?path=a.txt"))[0] == 503
    assert (temporary / "a.txt").exists()


WHOLE = b'{"isWhole": true}\n'
DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xff", b"[]\n" + WHOLE, b'{"entries": 1}\n' + WHOLE, b'{"entries": [["a", 0, 1, 1]]}\n', DEEP,
        b'{"entries": [["a", 0, ' + b"9" * 5000 + b", 1]]}\n" + WHOLE, b" " * (5 << 20) + WHOLE,
    ],
)  # fmt: skip
async def test_an_odd_listing_is_a_502(rig: Rig, http: aiohttp.ClientSession, body: bytes) -> None:
    async with speaking(rig.socket.with_name("files.sock"), _saying(b"HTTP/1.0 200 OK\r\n\r\n" + body)):
        base, _ = await open_session(rig, http)
        assert (await asked(rig, http, "GET", f"{base}folder?path="))[0] == 502


async def test_odd_entries_are_left_out(rig: Rig, http: aiohttp.ClientSession) -> None:
    good = ["<b>.txt", 0, 1, 2]
    odd: list[Any] = [
        ["..", 1, 0, 0], ["a/b", 0, 0, 0], ["", 0, 0, 0], ["x" * 1000, 0, 0, 0], ["\ud800", 0, 0, 0], ["n", 0, -1, 0],
        ["k", 0, 0, 0, "..%2F.."], ["k", 0, 0, 0, "%2e%2e"], ["k", 0, 0, 0, "a\r\nb"], ["f", 0, 1.5, 0], "text", None,
        ["t", 0, 0, 2**60], [1, 0, 0, 0], {"a": 1},
    ]  # fmt: skip
    said = json.dumps({"entries": [*odd, good, ["\ufffd", 0, 3, 4, "%FF"]]}).encode() + b"\n" + WHOLE
    async with speaking(rig.socket.with_name("files.sock"), _saying(b"HTTP/1.0 200 OK\r\n\r\n" + said)):
        base, _ = await open_session(rig, http)
        _, listing = await asked(rig, http, "GET", f"{base}folder?path=")
    assert json.loads(listing.splitlines()[0])["entries"] == [good, ["\ufffd", 0, 3, 4, "%FF"]]


async def test_half_a_zip_is_no_zip(rig: Rig, http: aiohttp.ClientSession) -> None:
    async with speaking(rig.socket.with_name("files.sock"), _saying(b"HTTP/1.0 200 OK\r\n\r\nPK\x03\x04 and so on")):
        base, _ = await open_session(rig, http)
        with pytest.raises(aiohttp.ClientPayloadError):
            await asked(rig, http, "GET", f"{base}zip?path=")


def _saying(words: bytes) -> Any:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(words)
        await writer.drain()

    return converse


@pytest.mark.browser
async def test_a_person_manages_temporary_files(
    rig: Rig,
    temporary: Path,
    new_page: "Callable[..., Awaitable[Page]]",
    keep: "Callable[[Page, str], Awaitable[Path]]",
    troubles: list[str],
) -> None:
    (temporary / "<img src=x onerror=document.title='owned'>").mkdir()
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)
    await page.get_by_role("toolbar").get_by_role("button", name="My Files").click()
    panel = page.locator('[data-panel="files"]')
    await panel.get_by_role("button", name="New folder").click()
    await page.get_by_label("Name").fill("Reports")
    await page.get_by_role("button", name="Make folder").click()
    await panel.get_by_role("row", name="Folder Reports").wait_for()
    assert (temporary / "Reports").is_dir()
    await keep(page, "temporary-files")

    await panel.get_by_role("button", name="More for a.txt").click()
    await panel.page.get_by_role("menuitem", name="Rename").click()
    await page.get_by_label("New name").fill("b.txt")
    await page.get_by_role("dialog").last.get_by_role("button", name="Rename").click()
    async with page.expect_download() as fetching:
        await panel.get_by_role("button", name="b.txt", exact=True).click()
    assert Path(await (await fetching.value).path()).read_bytes() == b"text"

    (temporary / "Reports" / "c.txt").write_bytes(b"c")
    async with page.expect_download() as fetching:
        await panel.get_by_role("button", name="More for Reports").click()
        await page.get_by_role("menuitem", name="Download as zip").click()
    assert zipfile.ZipFile(await (await fetching.value).path()).namelist() == ["c.txt"]
    await panel.get_by_role("button", name="Reports", exact=True).click()
    await panel.get_by_role("row", name="File c.txt, 1 byte").wait_for()
    await panel.get_by_role("button", name="Temporary Files").click()
    await panel.get_by_role("button", name="More for Reports").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await page.get_by_role("dialog").last.get_by_role("button", name="Delete").click()
    await expect(panel.get_by_role("row", name="Folder Reports")).to_have_count(0)
    assert not (temporary / "Reports").exists()
    assert await page.title() != "owned"
    assert troubles == []
