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

MARK = "0123456789abcdef" * 4
SENDING = f"uploads/upload-1?path=sent.txt&size=4&offset=0&conflict=ask&fingerprint={MARK}"
CHANGES = (
    (SENDING, "PUT"),
    ("uploads/upload-1", "DELETE"),
    ("folder?path=new", "POST"),
    ("move?path=a.txt&to=b.txt", "POST"),
    ("delete?path=a.txt", "POST"),
)
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


async def asked(
    rig: Rig, http: aiohttp.ClientSession, method: str, url: str, data: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    data = b"" if data is None and method == "PUT" else data
    async with http.request(method, url, data=data, headers={**PAGE, "Origin": rig.url, **headers}) as answer:
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


async def test_a_file_is_sent_into_any_folder_and_gone_on_with(
    rig: Rig, http: aiohttp.ClientSession, temporary: Path
) -> None:
    base, _ = await open_session(rig, http)
    (temporary / "new folder").mkdir()
    upload = f"{base}uploads/upload-1?path=new%2520folder/b.txt&size=8&fingerprint={MARK}"

    status, said = await asked(rig, http, "PUT", f"{upload}&offset=0&conflict=ask", b"four")
    assert (status, json.loads(said)) == (200, {"state": "RECEIVING", "received": 4})
    _, said = await asked(rig, http, "GET", f"{base}uploads")
    begun = {"id": "upload-1", "path": "new%20folder/b.txt", "size": 8, "received": 4}
    assert json.loads(said)["uploads"] == [begun | {"fingerprint": MARK, "isComing": False}]
    (temporary / "new folder" / "b.txt").write_bytes(b"old")
    status, said = await asked(rig, http, "PUT", f"{upload}&offset=4&conflict=ask", b"more")
    assert (status, json.loads(said)["code"]) == (409, "EXISTS")
    status, said = await asked(rig, http, "PUT", f"{upload}&offset=0&conflict=replace")
    assert (status, json.loads(said)) == (200, {"state": "SAVED", "received": 8})
    assert (temporary / "new folder" / "b.txt").read_bytes() == b"fourmore"
    for code, query in (
        ("IS_FOLDER", f"upload-2?path=new%2520folder&size=0&offset=0&conflict=replace&fingerprint={MARK}"),
        ("OTHER_FILE", f"upload-1?path=c.txt&size=8&offset=0&conflict=ask&fingerprint={MARK}"),
        ("NOT_FOUND", f"upload-3?path=gone/c.txt&size=8&offset=0&conflict=ask&fingerprint={MARK}"),
    ):
        assert json.loads((await asked(rig, http, "PUT", f"{base}uploads/{query}"))[1])["code"] == code
    assert (await asked(rig, http, "DELETE", f"{base}uploads/upload-1"))[0] == 200


@pytest.mark.parametrize(
    "changed",
    [
        "path=..%252fx",
        "path=a%2509",
        "size=-1",
        "size=1e3",
        "offset=",
        "conflict=maybe",
        "fingerprint=x",
        "size=%0d%0aX: y",
    ],
)
async def test_odd_wishes_are_refused(rig: Rig, http: aiohttp.ClientSession, temporary: Path, changed: str) -> None:
    base, _ = await open_session(rig, http)
    query = dict(each.split("=") for each in SENDING.partition("?")[2].split("&"))
    query[changed.partition("=")[0]] = changed.partition("=")[2]
    address = f"{base}uploads/upload-1?{'&'.join(f'{name}={value}' for name, value in query.items())}"
    assert (await asked(rig, http, "PUT", address, b"text"))[0] == 400
    assert (await asked(rig, http, "PUT", f"{base}uploads/short?{SENDING.partition('?')[2]}"))[0] == 400
    assert [each.name for each in temporary.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("method", "what", "body"),
    [
        ("PUT", SENDING, b""), ("PUT", SENDING, b"{}"), ("PUT", SENDING, b'{"state": "SAVED", "received": 5}'),
        ("PUT", SENDING, b'{"state": "DONE", "received": 1}'), ("PUT", SENDING, b" " * 2000), ("GET", "uploads", b"{"),
        ("GET", "uploads", b"[" * 100_000), ("GET", "uploads", b" " * (1 << 20)),
    ],
)  # fmt: skip
async def test_odd_words_about_uploads_are_a_502(
    rig: Rig, http: aiohttp.ClientSession, method: str, what: str, body: bytes
) -> None:
    async with speaking(rig.socket.with_name("files.sock"), _saying(b"HTTP/1.0 200 OK\r\n\r\n" + body)):
        base, _ = await open_session(rig, http)
        assert (await asked(rig, http, method, base + what))[0] == 502


async def test_odd_uploads_are_left_out(rig: Rig, http: aiohttp.ClientSession) -> None:
    good = ["upload-1", "a%20b", 9, 4, MARK]
    odd: list[Any] = [
        ["../../etc", "a", 9, 4, MARK], ["upload-2", "<b>", 9, 4, MARK], ["upload-2", "", 9, 4, MARK], ["upload-2", "a", 9, 10, MARK],
        ["upload-2", "a", -1, -1, MARK], ["upload-2", "a", 9, 4, "<img>"], ["upload-2", "a", 9], "text", None,
    ]  # fmt: skip
    body = json.dumps([*odd, good, *[good] * 50]).encode()
    async with speaking(rig.socket.with_name("files.sock"), _saying(b"HTTP/1.0 200 OK\r\n\r\n" + body)):
        base, _ = await open_session(rig, http)
        _, said = await asked(rig, http, "GET", f"{base}uploads")
    found = json.loads(said)["uploads"]
    assert len(found) == 20
    assert {one["path"] for one in found} == {"a%20b"}


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
async def test_a_person_sends_files_into_the_folder_that_is_shown(  # noqa: PLR0917 - fixtures
    rig: Rig,
    temporary: Path,
    new_page: "Callable[..., Awaitable[Page]]",
    keep: "Callable[[Page, str], Awaitable[Path]]",
    troubles: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fanlight.agent.temporary_folder.MAX_ENTRIES", 3)
    monkeypatch.setattr("fanlight.agent.files_server.MAX_ENTRIES", 3)
    for number in range(4):
        (temporary / "Reports" / f"{number}").mkdir(parents=True)
    sent = tmp_path / "sent <b>.bin"
    sent.write_bytes(b"0123456789abcdef" * (1024 * 1024))
    page = await new_page()
    await page.goto(link(rig, "app"))
    await streaming(page)

    async def cut(route: Any) -> None:
        await route.abort("connectionreset")

    async def open_reports() -> None:
        await page.get_by_role("toolbar").get_by_role("button", name="My Files").click()
        await panel.get_by_role("button", name="Reports", exact=True).click()
        await expect(panel.get_by_text("There are more than these 3.")).to_be_visible()

    panel = page.locator('[data-panel="files"]')
    await open_reports()
    await page.route("**/api/temporary/uploads/**offset=8388608**", cut)
    await panel.get_by_label("Files to upload").set_input_files(sent)
    await expect(panel.get_by_text("No connection. It goes on by itself.")).to_be_visible(timeout=30_000)
    page.on("dialog", lambda dialog: dialog.accept())
    await page.reload()
    await streaming(page)
    await page.unroute("**/api/temporary/uploads/**offset=8388608**")
    await open_reports()
    begun = panel.get_by_role("list", name="Unfinished uploads").get_by_role("listitem")
    await expect(begun).to_contain_text("Reports/sent <b>.bin")
    await keep(page, "temporary-unfinished")
    offsets: list[str] = []
    page.on("request", lambda request: offsets.extend(request.url.partition("offset=")[2].split("&")[:1]))
    await panel.get_by_label("Files to upload").set_input_files(sent)
    await expect(panel.locator(".upload .words")).to_contain_text("Saved", timeout=30_000)
    assert [offset for offset in offsets if offset] == ["0", "8388608"], "asked once, and nothing is sent twice"
    assert (temporary / "Reports" / sent.name).read_bytes() == sent.read_bytes()
    await expect(begun).to_have_count(0)
    assert troubles == []


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
