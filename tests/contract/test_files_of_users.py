"""My Files: what the storage process does for session pages. Real rclone and real sockets, on a directory and on S3."""

import asyncio
import io
import json
import os
import shutil
import signal
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import boto3
import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer
from yarl import URL

from fanlight.config import Settings
from fanlight.domain.errors import StorageUnusable
from fanlight.storage.buckets import Buckets
from fanlight.storage.embedded_s3 import KeyPair, server_of
from fanlight.storage.files.app import SOCKET_NAME
from fanlight.storage.rclone import keep_serving
from fanlight.storage.sessions import on_s3
from free_ports import free_port
from home_rig import BUCKET, Home, serving_home

KEY = KeyPair("FANLIGHTSTORAGE00001", "the-secret-of-storage")
SESSION = "session-1"

# One loop for all, for the servers outlive a test.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Page:
    """Asks as the gateway does."""

    home: Home
    http: aiohttp.ClientSession

    async def ask(
        self,
        method: str,
        what: str,
        *,
        session: str = SESSION,
        data: Any = None,
        headers: dict[str, str] | None = None,
        **query: str,
    ) -> tuple[int, bytes]:
        url = URL(f"http://x/v1/sessions/{session}/{what}").with_query(query)
        async with self.http.request(method, url, data=data, headers=headers) as answer:
            return answer.status, await answer.read()

    async def said(self, method: str, what: str, **options: Any) -> tuple[int, dict[str, Any]]:
        status, body = await self.ask(method, what, **options)
        return status, dict(json.loads(body))

    async def names(self, path: str = "", **options: Any) -> list[str]:
        status, body = await self.ask("GET", "folder", path=path, **options)
        lines = [json.loads(line) for line in body.splitlines()]
        assert status == 200, body
        assert lines[-1] == {"isWhole": True}
        return sorted(row[0] for line in lines[:-1] for row in line["entries"])

    async def send(
        self, path: str, content: bytes, *, upload: str = "upload-1", **query: str
    ) -> tuple[int, dict[str, Any]]:
        """Send a file in one piece."""
        query = {"path": path, "size": str(len(content)), "offset": "0"} | query
        return await self.said("PUT", f"uploads/{upload}", data=io.BytesIO(content), **query)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    run = Path(tempfile.mkdtemp(prefix="fl-"))  # short: a socket's path has at most 107 bytes
    try:
        async with serving_home(run, tmp_path_factory.mktemp("home")) as home:
            yield home
    finally:
        shutil.rmtree(run)


@pytest_asyncio.fixture(loop_scope="module")
async def page(house: Home) -> AsyncIterator[Page]:
    """The same servers for all tests, and nothing left of the test before."""
    await house.open()
    connector = aiohttp.UnixConnector(str(house.run_dir / "storage" / SOCKET_NAME))
    async with aiohttp.ClientSession(connector=connector) as http:
        yield Page(house, http)
    await house.uploads.close()
    await house.doors.close_all()
    for leftover in (house.stored.parent, *house.spool.iterdir()):
        shutil.rmtree(leftover, ignore_errors=True)


async def test_a_folder_is_made_filled_read_renamed_and_removed(page: Page) -> None:
    assert await page.names() == []
    assert await page.said("POST", "folder", path="Letters") == (200, {})
    status, saved = await page.send("Letters/to%20Bob.txt", b"Dear Bob")
    assert (status, saved) == (200, {"state": "SAVED", "received": 8, "path": "Letters/to%20Bob.txt"})
    assert (page.home.stored / "Letters" / "to Bob.txt").read_bytes() == b"Dear Bob"
    assert await page.names("Letters") == ["to Bob.txt"]
    assert await page.ask("GET", "file", path="Letters/to%20Bob.txt") == (200, b"Dear Bob")
    assert await page.said("POST", "move", path="Letters/to%20Bob.txt", to="Letters/Bob.txt") == (200, {})
    assert await page.said("POST", "move", path="Letters", to="Post") == (200, {})
    assert (page.home.stored / "Post" / "Bob.txt").read_bytes() == b"Dear Bob"
    assert await page.said("DELETE", "file", path="Post") == (200, {})
    assert await page.names() == []
    assert not (page.home.stored / "Post").exists()


async def test_a_listing_says_kind_size_and_time(page: Page) -> None:
    await page.said("POST", "folder", path="Letters")
    await page.send("a.txt", b"12345")
    os.utime(page.home.stored / "a.txt", (1_700_000_000, 1_700_000_000))
    await page.said("POST", "look-anew")
    _, body = await page.ask("GET", "folder", path="")
    rows = {row[0]: row[1:] for line in body.splitlines() for row in json.loads(line).get("entries", ())}
    assert rows["a.txt"] == [0, 5, 1_700_000_000]
    assert rows["Letters"][:2] == [1, 0]


async def test_what_other_tools_put_there_is_seen_at_once_when_asked_to_look_anew(page: Page) -> None:
    assert await page.names() == []
    page.home.stored.mkdir(parents=True, exist_ok=True)
    (page.home.stored / "from elsewhere.txt").write_bytes(b"x")
    assert await page.said("POST", "look-anew") == (200, {})
    assert await page.names() == ["from elsewhere.txt"]


@pytest.mark.parametrize(("path", "status"), [("gone", 404), ("a.txt", 404), ("a.txt/b", 404)])
async def test_what_is_no_folder_is_not_listed(page: Page, path: str, status: int) -> None:
    await page.send("a.txt", b"x")
    assert (await page.ask("GET", "folder", path=path))[0] == status


async def test_a_folder_is_no_file_to_fetch(page: Page) -> None:
    await page.said("POST", "folder", path="Letters")
    for path in ("Letters", "", "gone"):
        assert (await page.ask("GET", "file", path=path))[0] == 404


async def test_names_that_are_taken_are_told(page: Page) -> None:
    await page.send("a.txt", b"x")
    await page.said("POST", "folder", path="Letters")
    for method, what, query in (
        ("POST", "folder", {"path": "Letters"}),
        ("POST", "folder", {"path": "a.txt"}),
        ("POST", "move", {"path": "a.txt", "to": "Letters"}),
        ("POST", "move", {"path": "Letters", "to": "a.txt"}),
    ):
        status, said = await page.said(method, what, **query)
        assert (status, said["code"]) == (409, "EXISTS"), (what, query)
    assert (page.home.stored / "a.txt").read_bytes() == b"x"


async def test_nothing_is_moved_into_itself_or_from_nowhere(page: Page) -> None:
    await page.said("POST", "folder", path="a")
    assert (await page.said("POST", "move", path="a", to="a/b"))[0] == 400
    assert (await page.said("POST", "move", path="gone", to="b"))[0] == 404
    assert (await page.said("POST", "move", path="a", to="gone/b"))[0] == 404
    assert (await page.said("POST", "folder", path="gone/b"))[0] == 404
    assert await page.names() == ["a"]


# ── Names ─────────────────────────────────────────────────────────────────────────────────────────────────────────

HOSTILE = [
    "<img src=x onerror=alert(1)>.txt", "a & b % 100%25 + ? # ; = ' \".txt", "\u202egpj.exe", "tab\tand\nnewline",
    "back\\slash", " blank ", "-rf", ".hidden", "ü" * 127, "日本語 🎉.txt", "CON", "a:b*c|d", "%2e%2e", "...", "\x7f\x01",
]  # fmt: skip


async def test_whatever_a_name_is_the_file_is_listed_fetched_and_removed(page: Page) -> None:
    page.home.stored.mkdir(parents=True, exist_ok=True)
    for name in HOSTILE:
        if name != "%2e%2e":
            (page.home.stored / name).write_bytes(name.encode())
    (page.home.stored.joinpath(os.fsdecode(b"bad\xff.txt"))).write_bytes(b"no UTF-8")
    await page.said("POST", "look-anew")
    _, body = await page.ask("GET", "folder", path="")
    rows = [row for line in body.splitlines() for row in json.loads(line).get("entries", ())]
    assert len(rows) == len(HOSTILE)
    contents = set()
    for row in rows:
        path = row[4] if len(row) > 4 else quote(row[0], safe="")
        status, content = await page.ask("GET", "file", path=path)
        assert status == 200, row
        contents.add(content)
        assert (await page.said("DELETE", "file", path=path))[0] == 200, row
    assert contents == {name.encode() for name in HOSTILE if name != "%2e%2e"} | {b"no UTF-8"}
    assert list(page.home.stored.iterdir()) == []


@pytest.mark.parametrize("name", ["", "n" * 256, "ü" * 128, "new\nline", "bell\x07", "del\x7f", " a", "a "])
async def test_a_name_that_not_all_can_read_is_given_to_nothing(page: Page, name: str) -> None:
    path = quote(name, safe="")
    await page.send("a.txt", b"x")
    for status, said in (
        await page.said("POST", "folder", path=path),
        await page.said("POST", "move", path="a.txt", to=path),
        await page.send(path, b"x", upload="upload-2"),
    ):
        assert (status, said["code"]) == (400, "BAD_PATH")
    assert await page.names() == ["a.txt"]


async def test_a_name_may_have_255_bytes(page: Page) -> None:
    assert (await page.send("n" * 255, b"x"))[1]["state"] == "SAVED"
    assert await page.names() == ["n" * 255]


UPWARDS = [
    "..", "../", "../../", "../other/secret.txt", "a/../../other/secret.txt", "%2e%2e/other/secret.txt", ".",
    "%2E%2e%2Fother%2Fsecret.txt", "..%2fother%2fsecret.txt", "./../other/secret.txt", "//../other/secret.txt", "%00/../other", "a%00b", "a%2fb", "%2f",
]  # fmt: skip


@pytest.mark.parametrize("path", UPWARDS)
async def test_no_spelling_leaves_the_folder(page: Page, path: str) -> None:
    other = page.home.stored.parent / "other"
    other.mkdir(parents=True)
    (other / "secret.txt").write_bytes(b"not for ada")
    await page.send("mine.txt", b"mine")
    for method, what, query in (
        ("GET", "folder", {"path": path}),
        ("GET", "file", {"path": path}),
        ("GET", "zip", {"path": path}),
        ("POST", "folder", {"path": path}),
        ("POST", "move", {"path": path, "to": "taken"}),
        ("POST", "move", {"path": "mine.txt", "to": path}),
        ("DELETE", "file", {"path": path}),
        ("PUT", "uploads/upload-2", {"path": path, "size": "0", "offset": "0"}),
    ):
        assert (await page.ask(method, what, **query))[0] == 400, (what, query)
    assert (other / "secret.txt").read_bytes() == b"not for ada"
    assert sorted(found.name for found in page.home.stored.parent.iterdir()) == ["ada", "other"]
    assert await page.names() == ["mine.txt"]


@pytest.mark.parametrize("name", ["%252e%252e", "%252e%252e%252fother", "..%5cother", "..\\other", "..%255cother"])
async def test_what_only_looks_like_a_way_out_is_at_most_a_name(page: Page, name: str) -> None:
    other = page.home.stored.parent / "other"
    other.mkdir(parents=True)
    (other / "secret.txt").write_bytes(b"not for ada")
    for path in (name, f"{name}/secret.txt", f"{name}%5csecret.txt", f"{name}%252fsecret.txt"):
        for method, what, query in (
            ("GET", "file", {"path": path}),
            ("POST", "folder", {"path": path}),
            ("PUT", "uploads/upload-1", {"path": path, "size": "0", "offset": "0"}),
            ("DELETE", "file", {"path": path}),
        ):
            status, body = await page.ask(method, what, **query)
            assert status in (200, 400, 404, 409), (what, path)
            assert b"not for ada" not in body
        await page.said("DELETE", "uploads/upload-1")
    assert (other / "secret.txt").read_bytes() == b"not for ada"
    assert sorted(found.name for found in page.home.stored.parent.iterdir() if found.name != "ada") == ["other"]


async def test_the_folder_itself_stays(page: Page) -> None:
    await page.send("mine.txt", b"mine")
    assert (await page.said("DELETE", "file", path=""))[0] == 400
    assert (await page.said("DELETE", "file", path="/"))[0] == 400
    assert (await page.said("POST", "move", path="", to="b"))[0] == 400


async def test_a_link_in_the_folder_leads_nowhere(page: Page) -> None:
    other = page.home.stored.parent / "other"
    other.mkdir(parents=True)
    (other / "secret.txt").write_bytes(b"not for ada")
    page.home.stored.mkdir(parents=True, exist_ok=True)
    (page.home.stored / "way").symlink_to(other)
    (page.home.stored / "file").symlink_to(other / "secret.txt")
    await page.said("POST", "look-anew")
    assert await page.names() == []
    assert (await page.ask("GET", "file", path="file"))[0] == 404
    assert (await page.ask("GET", "file", path="way/secret.txt"))[0] == 404
    for path in ("file", "way/secret.txt"):
        assert (await page.said("DELETE", "file", path=path))[0] == 200, "there is no such file"
        assert (await page.said("POST", "folder", path="way/new"))[0] == 503
    assert [found.name for found in other.iterdir()] == ["secret.txt"]
    assert (other / "secret.txt").read_bytes() == b"not for ada"


# ── Whose files ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_session_has_its_own_users_files_only(page: Page) -> None:
    await page.home.open("session-2", user="bob")
    await page.send("diary.txt", b"Ada's")
    assert await page.names(session="session-2") == []
    assert (await page.ask("GET", "file", session="session-2", path="diary.txt"))[0] == 404


async def test_two_sessions_of_one_user_see_the_same(page: Page) -> None:
    await page.send("diary.txt", b"Ada's")
    await page.home.open("session-2")
    assert await page.names(session="session-2") == ["diary.txt"]


@pytest.mark.parametrize("session", ["session-9", "..", "%2e%2e", "session-1%2f..%2fsession-2"])
async def test_a_session_without_an_open_door_has_no_files(page: Page, session: str) -> None:
    for method, what in (("GET", "folder"), ("GET", "room"), ("GET", "file"), ("DELETE", "file"), ("POST", "folder")):
        assert (await page.ask(method, what, session=session, path="a"))[0] in (404, 503)


async def test_after_the_end_nothing_is_answered(page: Page) -> None:
    await page.send("a.txt", b"x")
    await page.said("PUT", "uploads/upload-2", data=b"half", path="b.txt", size="8", offset="0")
    await page.home.doors.close(SESSION)
    for method, what in (("GET", "folder"), ("GET", "file"), ("PUT", "uploads/upload-2")):
        status, said = await page.said(method, what, path="b.txt", size="8", offset="4")
        assert (status, said["code"]) == (503, "AWAY")
    assert (await page.ask("GET", "uploads"))[0] == (await page.ask("DELETE", "uploads/upload-2"))[0] == 503


async def test_another_user_of_the_host_is_refused(tmp_path: Path) -> None:
    run = Path(tempfile.mkdtemp(prefix="fl-"))
    try:
        async with serving_home(run, tmp_path, allowed_uid=os.getuid() + 1) as home:
            await home.open()
            connector = aiohttp.UnixConnector(str(run / "storage" / SOCKET_NAME))
            async with aiohttp.ClientSession(connector=connector) as http:
                assert (await Page(home, http).ask("GET", "folder", path=""))[0] == 403
    finally:
        shutil.rmtree(run)


# ── Fetching ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_part_of_a_file_is_fetched(page: Page) -> None:
    await page.send("digits.txt", b"0123456789")
    assert await page.ask("GET", "file", path="digits.txt", headers={"Range": "bytes=3-5"}) == (206, b"345")
    assert await page.ask("GET", "file", path="digits.txt", headers={"Range": "bytes=8-"}) == (206, b"89")
    assert (await page.ask("GET", "file", path="digits.txt", headers={"Range": "bytes=99-"}))[0] == 416


async def test_a_large_file_comes_whole(page: Page) -> None:
    content = os.urandom(20_000_000)
    assert (await page.send("large", content))[1]["state"] == "SAVED"
    assert (await page.ask("GET", "file", path="large"))[1] == content


async def test_a_folder_is_fetched_as_a_zip(page: Page) -> None:
    await page.said("POST", "folder", path="Letters")
    await page.said("POST", "folder", path="Letters/empty")
    await page.said("POST", "folder", path="Letters/old")
    large = os.urandom(2_000_000)
    await page.send("Letters/a.txt", b"A" * 1000)
    await page.send("Letters/old/b.bin", large, upload="upload-2")
    status, body = await page.ask("GET", "zip", path="Letters")
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["a.txt", "empty/", "old/", "old/b.bin"]
        assert archive.read("old/b.bin") == large
    assert (await page.ask("GET", "zip", path="gone"))[0] == 404
    assert (await page.ask("GET", "zip", path="Letters/a.txt"))[0] == 404


async def test_names_in_a_zip_are_harmless_and_differ(page: Page) -> None:
    page.home.stored.mkdir(parents=True, exist_ok=True)
    for name in [*HOSTILE, "a?", "a*", "A|", "con.txt"]:
        if name != "%2e%2e":
            (page.home.stored / name).write_bytes(name.encode())
    await page.said("POST", "look-anew")
    _, body = await page.ask("GET", "zip", path="")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        names = archive.namelist()
        assert len({name.casefold() for name in names}) == len(names) == len(HOSTILE) + 3
        for name in names:
            assert name.isprintable()
            assert not set(name) & set('\\/:*?"<>|\u202e')
            assert name not in (".", "..", "CON", "con.txt", "...")
            assert name == name.rstrip(". ")
        assert {archive.read(name) for name in names} >= {name.encode() for name in ("a?", "a*", "A|", "-rf")}


# ── Sending ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_file_comes_in_pieces_and_is_there_when_all_of_it_is(page: Page) -> None:
    query = {"path": "a.txt", "size": "9"}
    assert (await page.said("PUT", "uploads/upload-1", data=b"", offset="0", **query))[1]["received"] == 0
    assert (await page.said("PUT", "uploads/upload-1", data=b"abc", offset="0", **query))[1]["received"] == 3
    assert await page.names() == []
    assert (await page.said("PUT", "uploads/upload-1", data=b"defg", offset="3", **query))[1]["state"] == "RECEIVING"
    status, said = await page.said("PUT", "uploads/upload-1", data=b"hi", offset="7", **query)
    assert (status, said) == (200, {"state": "SAVED", "received": 9, "path": "a.txt"})
    assert (page.home.stored / "a.txt").read_bytes() == b"abcdefghi"
    asked = await page.said("PUT", "uploads/upload-1", data=b"", offset="0", **query)
    assert asked[1]["state"] == "SAVED", "said again, for an answer may be lost"
    assert (await page.said("PUT", "uploads/upload-1", data=b"hi", offset="7", **query))[1]["state"] == "SAVED"
    assert list((page.home.spool).iterdir()) == []


async def test_a_piece_that_broke_off_is_gone_on_with(page: Page) -> None:
    query = {"path": "a.bin", "size": "1000000"}
    content = os.urandom(1_000_000)

    async def half() -> AsyncIterator[bytes]:
        yield content[:400_000]
        async with asyncio.timeout(60):
            while not (await page.said("GET", "uploads"))[1]["uploads"][0]["received"]:
                await asyncio.sleep(0.02)
        raise ConnectionError

    await page.said("PUT", "uploads/upload-1", data=b"", offset="0", **query)
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await page.said(
            "PUT", "uploads/upload-1", data=half(), offset="0", headers={"Content-Length": "1000000"}, **query
        )
    _, said = await page.said("PUT", "uploads/upload-1", data=b"", offset="0", **query)
    assert 0 < said["received"] <= 400_000
    assert said["state"] == "RECEIVING"
    at = said["received"]
    _, said = await page.said("PUT", "uploads/upload-1", data=content[at:], offset=str(at), **query)
    assert said["state"] == "SAVED"
    assert (page.home.stored / "a.bin").read_bytes() == content


FINGERPRINT = "0123456789abcdef" * 4


async def test_what_was_begun_is_gone_on_with_in_another_session_and_after_a_restart(page: Page) -> None:
    query = {"path": "Letters/a%20b.txt", "size": "9", "fingerprint": FINGERPRINT}
    await page.said("POST", "folder", path="Letters")
    await page.said("PUT", "uploads/upload-1", data=b"abcd", offset="0", **query)
    begun = {
        "id": "upload-1", "path": "Letters/a%20b.txt", "size": 9, "received": 4, "fingerprint": FINGERPRINT, "isComing": False,
    }  # fmt: skip
    assert await page.said("GET", "uploads") == (200, {"uploads": [begun], "keptInHours": 24})
    await page.home.open("session-2", user="bob")
    assert (await page.said("GET", "uploads", session="session-2"))[1]["uploads"] == [], "another user's"

    await page.home.doors.close(SESSION)
    await page.home.uploads.sweep()
    await page.home.uploads.close()
    page.home.uploads.prepare()  # as the next process does
    await page.home.open("session-3")
    assert (await page.said("GET", "uploads", session="session-3"))[1]["uploads"] == [begun]
    _, said = await page.said("PUT", "uploads/upload-1", session="session-3", data=b"", offset="0", **query)
    assert said == {"state": "RECEIVING", "received": 4}
    other = query | {"fingerprint": FINGERPRINT[::-1]}
    status, said = await page.said("PUT", "uploads/upload-1", session="session-3", data=b"x", offset="4", **other)
    assert (status, said["code"]) == (409, "OTHER_FILE")
    _, said = await page.said("PUT", "uploads/upload-1", session="session-3", data=b"efghi", offset="4", **query)
    assert said["state"] == "SAVED"
    assert (page.home.stored / "Letters" / "a b.txt").read_bytes() == b"abcdefghi"
    assert (await page.said("GET", "uploads", session="session-3"))[1]["uploads"] == []
    assert list(page.home.spool.iterdir()) == []


async def test_what_had_come_but_was_not_saved_is_saved_when_the_file_is_named_again(page: Page) -> None:
    query = {"path": "a.txt", "size": "3", "fingerprint": FINGERPRINT}
    await page.said("PUT", "uploads/upload-1", data=b"ne", offset="0", **query)
    page.home.stored.mkdir(parents=True, exist_ok=True)
    (page.home.stored / "a.txt").write_bytes(b"old")
    await page.said("POST", "look-anew")
    assert (await page.said("PUT", "uploads/upload-1", data=b"w", offset="2", **query))[1]["code"] == "EXISTS"
    await page.home.uploads.close()
    page.home.uploads.prepare()
    assert (await page.said("PUT", "uploads/upload-1", data=b"", offset="0", **query))[1]["code"] == "EXISTS"
    _, said = await page.said("PUT", "uploads/upload-1", data=b"", offset="0", conflict="replace", **query)
    assert said["state"] == "SAVED"
    assert (page.home.stored / "a.txt").read_bytes() == b"new"


async def test_what_is_discarded_is_gone_and_what_nobody_understands_is_cleared_away(page: Page) -> None:
    query = {"path": "a.txt", "size": "9", "offset": "0", "fingerprint": FINGERPRINT}
    await page.said("PUT", "uploads/upload-1", data=b"abc", **query)
    await page.said("PUT", "uploads/upload-2", data=b"abc", **(query | {"path": "b.txt"}))
    assert await page.said("DELETE", "uploads/upload-1") == (200, {})
    (kept,) = page.home.spool.iterdir()
    (page.home.spool / "17").write_bytes(b"of an earlier release")
    (kept / "upload-3.part").write_bytes(b"without a record")
    (kept / "upload-4.json").write_text('{"path": "../bob", "size": 1, "conflict": "ask", "fingerprint": ""}')
    (kept / "upload-4.part").write_bytes(b"x")
    (kept / "upload-5.json").write_text("[")
    await page.home.uploads.close()
    page.home.uploads.prepare()
    assert [path.name for path in page.home.spool.iterdir()] == [kept.name]
    assert sorted(path.name for path in kept.iterdir()) == ["upload-2.json", "upload-2.part"]
    assert [one["id"] for one in (await page.said("GET", "uploads"))[1]["uploads"]] == ["upload-2"]
    for fingerprint in ("x" * 64, "a" * 63, "../../a"):
        assert (await page.said("PUT", "uploads/upload-6", data=b"", **(query | {"fingerprint": fingerprint})))[
            0
        ] == 400


async def test_a_piece_from_the_wrong_place_is_not_taken(page: Page) -> None:
    query = {"path": "a.txt", "size": "9"}
    await page.said("PUT", "uploads/upload-1", data=b"abc", offset="0", **query)
    for offset in ("0", "2", "4", "9"):
        assert (await page.said("PUT", "uploads/upload-1", data=b"xyz", offset=offset, **query))[1]["received"] == 3
    status, said = await page.said("PUT", "uploads/upload-1", data=b"0123456", offset="3", **query)
    assert (status, said["code"]) == (400, "TOO_LONG")
    for changed in ({"path": "b.txt", "size": "9"}, {"path": "a.txt", "size": "10"}):
        assert (await page.said("PUT", "uploads/upload-1", data=b"d", offset="3", **changed))[1]["code"] == "OTHER_FILE"
    assert await page.names() == []


async def test_an_upload_of_another_session_is_unknown(page: Page) -> None:
    await page.home.open("session-2", user="bob")
    await page.said("PUT", "uploads/upload-1", data=b"abc", path="a.txt", size="9", offset="0")
    query = {"path": "a.txt", "size": "9", "offset": "0"}
    asked = await page.said("PUT", "uploads/upload-1", session="session-2", data=b"", **query)
    assert asked[1] == {"state": "RECEIVING", "received": 0}
    await page.said("DELETE", "uploads/upload-1", session="session-2")
    assert (await page.said("PUT", "uploads/upload-1", data=b"", **query))[1]["received"] == 3


async def test_a_name_that_is_taken_is_asked_about(page: Page) -> None:
    await page.send("a.txt", b"old")
    status, said = await page.send("a.txt", b"new", upload="upload-2")
    assert (status, said["code"]) == (409, "EXISTS")
    assert (page.home.stored / "a.txt").read_bytes() == b"old"
    assert (await page.send("a.txt", b"two", upload="upload-3", conflict="keep-both"))[1]["path"] == "a%20%282%29.txt"
    assert (await page.send("a.txt", b"three", upload="upload-4", conflict="keep-both"))[1]["path"] == "a%20%283%29.txt"
    assert (await page.send("a.txt", b"new", upload="upload-5", conflict="replace"))[1]["path"] == "a.txt"
    assert (page.home.stored / "a.txt").read_bytes() == b"new"
    assert (page.home.stored / "a (2).txt").read_bytes() == b"two"
    await page.said("POST", "folder", path="Letters")
    assert (await page.send("Letters", b"x", upload="upload-6", conflict="replace"))[1]["code"] == "IS_FOLDER"


async def test_a_name_that_was_taken_while_the_file_came_is_asked_about_and_nothing_is_sent_twice(page: Page) -> None:
    query = {"path": "a.txt", "size": "3"}
    await page.said("PUT", "uploads/upload-1", data=b"ne", offset="0", **query)
    page.home.stored.mkdir(parents=True, exist_ok=True)
    (page.home.stored / "a.txt").write_bytes(b"old")
    await page.said("POST", "look-anew")
    status, said = await page.said("PUT", "uploads/upload-1", data=b"w", offset="2", **query)
    assert (status, said["code"]) == (409, "EXISTS")
    _, said = await page.said("PUT", "uploads/upload-1", data=b"", offset="3", conflict="keep-both", **query)
    assert said["path"] == "a%20%282%29.txt"
    assert (page.home.stored / "a (2).txt").read_bytes() == b"new"


async def test_an_empty_file_is_a_file(page: Page) -> None:
    assert (await page.send("empty", b""))[1]["state"] == "SAVED"
    assert (page.home.stored / "empty").read_bytes() == b""


async def test_the_quota_is_said_before_anything_is_sent_and_counts_once(page: Page) -> None:
    await page.home.doors.close(SESSION)
    await page.home.open(quota_in_bytes=1000)
    assert await page.said("GET", "room") == (200, {"quota": 1000, "used": 0})
    assert (await page.send("a", b"x" * 600))[1]["state"] == "SAVED"
    assert await page.said("GET", "room") == (200, {"quota": 1000, "used": 600})
    status, said = await page.said("PUT", "uploads/upload-2", data=b"", path="b", size="600", offset="0")
    assert (status, said["code"]) == (507, "QUOTA")
    assert said["message"] == "Your storage is full. Delete something to make room."
    assert (await page.send("a", b"x" * 900, upload="upload-3", conflict="replace"))[1]["state"] == "SAVED"
    assert await page.said("GET", "room") == (200, {"quota": 1000, "used": 900})
    assert await page.names() == ["a"]
    await page.said("DELETE", "file", path="a")
    assert await page.said("GET", "room") == (200, {"quota": 1000, "used": 0})


async def test_two_files_that_fit_alone_do_not_fit_together(page: Page) -> None:
    await page.home.doors.close(SESSION)
    await page.home.open(quota_in_bytes=1000)
    for name in ("a", "b"):
        await page.said("PUT", f"uploads/upload-{name}", data=b"x" * 599, path=name, size="600", offset="0")
    answers = await asyncio.gather(
        *(page.said("PUT", f"uploads/upload-{name}", data=b"x", path=name, size="600", offset="599") for name in "ab")
    )
    assert sorted(status for status, _ in answers) == [200, 507]
    assert len(await page.names()) == 1


async def test_so_many_uploads_at_once_and_no_more(page: Page) -> None:
    for number in range(8):
        query = {"path": f"{number}", "size": "9", "offset": "0"}
        assert (await page.said("PUT", f"uploads/upload-{number}", data=b"x", **query))[0] == 200
    status, said = await page.said("PUT", "uploads/upload-9", data=b"x", path="9", size="9", offset="0")
    assert (status, said["code"]) == (429, "TOO_MANY")
    await page.said("DELETE", "uploads/upload-3")
    assert (await page.said("PUT", "uploads/upload-9", data=b"x", path="9", size="9", offset="0"))[0] == 200


async def test_what_this_host_has_no_room_for_is_refused_before_it_comes(page: Page) -> None:
    status, said = await page.said("PUT", "uploads/upload-1", data=b"", path="a", size=str(10**15 - 1), offset="0")
    assert (status, said["code"]) == (503, "NO_SPACE")
    for size in ("", "-1", "1e9", "9" * 16):
        assert (await page.said("PUT", "uploads/upload-1", data=b"", path="a", size=size, offset="0"))[0] == 400


async def test_a_folder_that_went_meanwhile_is_told(page: Page) -> None:
    await page.said("POST", "folder", path="Letters")
    await page.said("PUT", "uploads/upload-1", data=b"x", path="Letters/a", size="2", offset="0")
    await page.said("DELETE", "file", path="Letters")
    status, said = await page.said("PUT", "uploads/upload-1", data=b"x", path="Letters/a", size="2", offset="1")
    assert (status, said["code"]) == (404, "NOT_FOUND")


async def test_a_server_that_was_killed_comes_up_again(page: Page) -> None:
    await page.send("a.txt", b"x")
    way = page.home.way_to(SESSION)
    assert way is not None
    (server,) = [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit()
        and _command_of(process)[1:3] == ["serve", "webdav"]
        and str(way.upstream) in " ".join(_command_of(process))
    ]
    os.kill(server, signal.SIGKILL)
    async with asyncio.timeout(60):
        while (await page.ask("GET", "folder", path=""))[0] != 200:
            await asyncio.sleep(0.05)
    assert await page.names() == ["a.txt"]
    assert (await page.send("b.txt", b"x", upload="upload-2"))[1]["state"] == "SAVED"


def _command_of(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_text().split("\0")
    except OSError:  # it has just ended
        return []


async def test_ten_thousand_names_are_listed(page: Page) -> None:
    many = page.home.stored / "many"
    many.mkdir(parents=True)
    for number in range(10_000):
        (many / f"file {number:05}.txt").touch()
    await page.said("POST", "look-anew")
    names = await page.names("many")
    assert (len(names), names[0], names[-1]) == (10_000, "file 00000.txt", "file 09999.txt")
    assert await page.said("DELETE", "file", path="many") == (200, {})
    assert not many.exists()


# ── On S3 ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_on_our_own_s3_a_tool_of_s3_sees_the_same(tmp_path: Path) -> None:
    run = Path(tempfile.mkdtemp(prefix="fl-"))
    settings = Settings(data_dir=tmp_path, s3_port=free_port())
    (tmp_path / "storage" / "buckets").mkdir(parents=True)
    serving = asyncio.create_task(keep_serving("s3", *server_of(settings, [KEY])))
    endpoint = settings.effective_s3_endpoint_url
    try:
        await _until_it_answers(Buckets(endpoint, "us-east-1", KEY))
        async with serving_home(run, tmp_path) as home:
            await _walk_on_s3(home, endpoint)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        shutil.rmtree(run)


async def test_on_any_other_s3_it_is_the_same(tmp_path: Path) -> None:
    run = Path(tempfile.mkdtemp(prefix="fl-"))
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        async with serving_home(run, tmp_path, on_s3(endpoint, "us-east-1", KEY)) as home:
            await _walk_on_s3(home, endpoint)
            await asyncio.to_thread(server.stop)
            connector = aiohttp.UnixConnector(str(run / "storage" / SOCKET_NAME))
            async with aiohttp.ClientSession(connector=connector) as http:
                page = Page(home, http)
                await page.said("POST", "look-anew")
                assert (await page.said("GET", "folder", path=""))[0] == 503
                status, said = await page.send("late.txt", b"x", upload="upload-2")
                assert (status, said["code"]) in ((503, "AWAY"), (503, "NOT_SAVED")), "never said to be saved"
    finally:
        shutil.rmtree(run)


async def _walk_on_s3(home: Home, endpoint: str) -> None:
    s3 = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id=KEY.access_key_id, aws_secret_access_key=KEY.secret_access_key,
    )  # fmt: skip
    await home.open()
    connector = aiohttp.UnixConnector(str(home.run_dir / "storage" / SOCKET_NAME))
    async with aiohttp.ClientSession(connector=connector) as http:
        page = Page(home, http)
        assert await page.names() == []
        await page.said("POST", "folder", path="Letters")
        assert (await page.send("Letters/a.txt", b"Dear Bob"))[1]["state"] == "SAVED"

        def stored(key: str) -> bytes:
            return bytes(s3.get_object(Bucket=BUCKET, Key=f"user/custom/ada/{key}")["Body"].read())

        # What is put into the directory behind our own endpoint, that endpoint sees a second later.
        assert await _seen(stored, "Letters/a.txt") == b"Dear Bob"
        await asyncio.to_thread(s3.put_object, Bucket=BUCKET, Key="user/custom/ada/Letters/b.txt", Body=b"by boto3")
        await page.said("POST", "look-anew")
        assert await page.names("Letters") == ["a.txt", "b.txt"]
        assert await page.ask("GET", "file", path="Letters/b.txt") == (200, b"by boto3")
        assert await page.said("POST", "move", path="Letters", to="Post") == (200, {})
        assert await _seen(stored, "Post/b.txt") == b"by boto3"
        _, body = await page.ask("GET", "zip", path="")
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            assert sorted(archive.namelist()) == ["Post/", "Post/a.txt", "Post/b.txt"]
        assert await page.said("DELETE", "file", path="Post") == (200, {})
        assert await page.names() == []


async def _seen(stored: Callable[[str], bytes], key: str) -> bytes:
    for _ in range(100):
        try:
            return await asyncio.to_thread(stored, key)
        except ClientError:
            await asyncio.sleep(0.05)
    raise AssertionError(key)


async def _until_it_answers(buckets: Buckets) -> None:
    for _ in range(100):
        try:
            await buckets.ensure("probe")
        except StorageUnusable:
            await asyncio.sleep(0.05)
        else:
            return
