"""A door while a folder takes long to list: real rclone before an S3 endpoint whose pages come when the test lets them."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from contract.test_session_doors import ADA, KEY, PREFIX
from fanlight.storage.front import CHECK, OPENING, USER
from fanlight.storage.sessions import DIRECTORY, SessionDoors, on_s3
from slow_s3 import SlowS3, serving

LIMIT_IN_SECONDS = 60.0
# What rclone asks for when it lists as for an owncloud, as the instance has it.
OF_RCLONE = (
    b'<?xml version="1.0"?><d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop><d:displayname/>'
    b"<d:getlastmodified/><d:getcontentlength/><d:resourcetype/><d:getcontenttype/><oc:checksums/></d:prop></d:propfind>"
)


@dataclass
class House:
    s3: SlowS3
    doors: SessionDoors
    run: Path

    async def find(
        self, path: str, depth: str = "1", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, object] | None, str]:
        """Return status, what it says of a listing that takes long, and the answer."""
        socket = self.run / "instances" / ADA.instance_id / "host" / DIRECTORY / ADA.socket_name
        leave = aiohttp.encode_basic_auth(USER, ADA.token)
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as http,
            http.request(
                "PROPFIND",
                URL("http://x" + path, encoded=True),
                data=OF_RCLONE,
                headers={"Depth": depth, "Authorization": leave, **(headers or {})},
            ) as answer,
        ):
            news = answer.headers.get(OPENING)
            return answer.status, json.loads(news) if news else None, await answer.text()

    async def news(self) -> dict[str, object] | None:
        status, news, _ = await self.find("/", "0", {CHECK: "1"})
        assert status == 207, "the door answers whatever is listed"
        return news

    async def until_news(self, wanted: dict[str, object] | None) -> None:
        said: object = "nothing yet"
        try:
            async with asyncio.timeout(LIMIT_IN_SECONDS):
                while (said := await self.news()) != wanted:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"the door says {said}")


@asynccontextmanager
async def house(slow: str, files: list[str]) -> AsyncIterator[House]:
    run = Path(tempfile.mkdtemp(prefix="fl-"))  # short: a socket's path has at most 107 bytes
    (run / "storage").mkdir()
    (run / "instances" / ADA.instance_id / "host" / DIRECTORY).mkdir(parents=True)

    async def ensure(_: str) -> None:
        """The bucket is there."""

    async with serving(SlowS3(PREFIX, files, slow)) as s3:
        doors = SessionDoors(run, replace(on_s3(s3.endpoint, "us-east-1", KEY), ensure=ensure))
        doors.prepare()
        await doors.open(ADA)
        try:
            yield House(s3, doors, run)
        finally:
            s3.go_on.set()
            await doors.close_all()
            shutil.rmtree(run)


@pytest.fixture
def files() -> list[str]:
    return [*(f"photos/{number}.jpg" for number in range(2_500)), "letters/one.txt"]


async def test_a_folder_that_takes_long_is_told_with_how_many_names_are_there(files: list[str]) -> None:
    async with house("photos", files) as there:
        assert (await there.find("/"))[0] == 207
        assert await there.news() is None
        listing = asyncio.create_task(there.find("/photos"))
        await there.until_news({"name": "photos", "files": 1_000, "of": -1})
        there.s3.go_on.set()
        status, _, text = await listing
        assert (status, text.count("</D:response>")) == (207, 2_501)
        await there.until_news(None)


async def test_other_folders_are_listed_while_one_takes_long(files: list[str]) -> None:
    async with house("photos", files) as there:
        await there.find("/")
        listing = asyncio.create_task(there.find("/photos"))
        await there.until_news({"name": "photos", "files": 1_000, "of": -1})
        async with asyncio.timeout(LIMIT_IN_SECONDS):
            status, _, text = await there.find("/letters")
        assert status == 207
        assert "one.txt" in text
        assert not listing.done()
        # rclone counts all names together: after the others it cannot be known any more how many are whose.
        await there.until_news({"name": "photos", "files": -1, "of": -1})
        there.s3.go_on.set()
        assert (await listing)[0] == 207


async def test_the_uppermost_folder_may_be_the_one_that_takes_long() -> None:
    async with house("", []) as there:
        there.s3.files, there.s3.prefix, there.s3.slow = (
            [f"0123/{number}" for number in range(1_500)],
            PREFIX.removesuffix("0123/"),
            "0123",
        )
        listing = asyncio.create_task(there.find("/"))
        await there.until_news({"name": "", "files": 1_000, "of": -1})
        there.s3.go_on.set()
        assert (await listing)[0] == 207


async def test_a_listing_asks_for_no_file_by_itself_and_for_each_page_once(files: list[str]) -> None:
    async with house("photos", files) as there:
        there.s3.go_on.set()
        await there.find("/")
        there.s3.pages.clear()
        there.s3.others.clear()
        assert (await there.find("/photos"))[2].count("</D:response>") == 2_501
        assert there.s3.pages == [("photos/", 0), ("photos/", 1_000), ("photos/", 2_000)]
        assert there.s3.others == []


async def test_what_others_put_into_a_folder_is_in_the_next_listing(files: list[str]) -> None:
    async with house("photos", files) as there:
        assert "two.txt" not in (await there.find("/letters"))[2]
        files.append("letters/two.txt")
        assert "two.txt" in (await there.find("/letters"))[2]
