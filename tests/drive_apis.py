"""Stand-ins for the parts of Google Drive's API (v3) and of Microsoft Graph that a drive's files go through, in memory."""

import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from aiohttp import web

FOLDER = "application/vnd.google-apps.folder"
DRIVE_ID = "b!drive-1"
ROOT = "root-1"
PAGE = 3  # entries of a listing, however many are asked for: readers must go on
DOWNLOADS = "https://example-my.sharepoint.com"  # neither provider serves all from one host


@dataclass
class Item:
    """`content` is None for a folder."""

    item_id: str
    name: str
    parent: str
    content: bytes | None
    modified: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"))


@dataclass
class Cloud:
    """One user's drive, whoever's API it is reached through. `total` is its size in bytes."""

    total: int = 100_000_000
    drive_type: str = "business"  # as Microsoft calls it
    items: dict[str, Item] = field(default_factory=dict)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    resumed: int = 0  # pieces of uploads that were not the last

    @property
    def used(self) -> int:
        return sum(len(item.content or b"") for item in self.items.values())

    def below(self, parent: str) -> list[Item]:
        return [item for item in self.items.values() if item.parent == parent]

    def at(self, path: str) -> Item | None:
        parent, item = ROOT, None
        for step in path.split("/"):
            item = next((one for one in self.below(parent) if one.name == step), None)
            if item is None:
                return None
            parent = item.item_id
        return item

    def read(self, path: str) -> bytes | None:
        item = self.at(path)
        return item.content if item is not None else None

    def put(self, name: str, content: bytes | None, parent: str = ROOT) -> Item:
        """Add or replace. Raises Full."""
        there = next((one for one in self.below(parent) if one.name == name), None)
        return self.fill(there or Item(f"item-{secrets.token_hex(6)}", name, parent, None), content)

    def fill(self, item: Item, content: bytes | None) -> Item:
        """Raises Full."""
        if self.used - len(item.content or b"") + len(content or b"") > self.total:
            raise Full
        item.content = content
        self.items[item.item_id] = item
        return item

    def drop(self, item_id: str) -> None:
        del self.items[item_id]
        for inner in self.below(item_id):
            self.drop(inner.item_id)


class Full(Exception):
    pass


def routes_of(cloud: Cloud) -> Iterator[web.RouteDef]:
    google, graph = Google(cloud), Graph(cloud)
    yield web.get("/drive/v3/about", google.about)
    yield web.get("/drive/v3/files", google.list)
    yield web.post("/drive/v3/files", google.make)
    yield web.get("/drive/v3/files/{id}", google.get, allow_head=False)
    yield web.patch("/drive/v3/files/{id}", google.change)
    yield web.delete("/drive/v3/files/{id}", google.delete)
    yield web.post("/upload/drive/v3/files", google.upload)
    yield web.patch("/upload/drive/v3/files/{id}", google.upload)
    yield web.post("/upload/pieces/{upload}", google.piece)
    yield web.get("/v1.0/me/drive", graph.drive)
    yield web.route("*", "/v1.0/drives/{rest:.*}", graph.dispatch)
    yield web.put("/pieces/{upload}", graph.piece)
    yield web.get("/bytes/{id}", graph.fetch, allow_head=False)


class Google:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def about(self, _: web.Request) -> web.Response:
        return web.json_response({"storageQuota": {"limit": str(self._cloud.total), "usage": str(self._cloud.used)}})

    async def list(self, request: web.Request) -> web.Response:
        query = request.query["q"]
        assert "trashed=false" in query, query
        if (parents := re.search(r"\('([^']+)' in parents\)", query)) is None:
            raise AssertionError(query)
        found = self._cloud.below(parents[1])
        if named := re.search(r"\(name='((?:[^'\\]|\\.)*)'\)", query):
            found = [item for item in found if item.name == re.sub(r"\\(.)", r"\1", named[1])]
        if f"(mimeType='{FOLDER}'" in query:
            found = [item for item in found if item.content is None]
        if f"mimeType!='{FOLDER}'" in query:
            found = [item for item in found if item.content is not None]
        first = int(request.query.get("pageToken", "0"))
        page: dict[str, Any] = {"files": [self._said(item) for item in found[first : first + PAGE]]}
        if found[first + PAGE :]:
            page["nextPageToken"] = str(first + PAGE)
        return web.json_response(page)

    async def get(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["id"] == "root":
            return web.json_response({"id": ROOT})
        item = self._item(request)
        if request.query.get("alt") == "media":
            assert item.content is not None
            return bytes_of(request, item.content)
        return web.json_response(self._said(item))

    async def make(self, request: web.Request) -> web.Response:
        said = await request.json()
        assert said["mimeType"] == FOLDER, said
        return web.json_response(self._said(self._cloud.put(said["name"], None, said["parents"][0])))

    async def change(self, request: web.Request) -> web.Response:
        item, said = self._item(request), json.loads(await request.read() or b"{}")
        item.name = said.get("name", item.name)
        item.modified = said.get("modifiedTime", item.modified)
        if "addParents" in request.query:
            item.parent = request.query["addParents"]
        if said.get("trashed"):
            self._cloud.drop(item.item_id)
        return web.json_response(self._said(item))

    async def delete(self, request: web.Request) -> web.Response:
        self._cloud.drop(self._item(request).item_id)
        return web.Response(status=204)

    async def upload(self, request: web.Request) -> web.Response:
        if request.query["uploadType"] == "resumable":
            upload = secrets.token_hex(8)
            self._cloud.uploads[upload] = {
                "said": await request.json(),
                "id": request.match_info.get("id"),
                "bytes": b"",
            }
            location = f"https://www.googleapis.com/upload/pieces/{upload}"
            return web.Response(headers={"Location": location})
        said, content = parts_of(request.headers["Content-Type"], await request.read())
        return self._kept(said, request.match_info.get("id"), content)

    async def piece(self, request: web.Request) -> web.Response:
        upload = self._cloud.uploads[request.match_info["upload"]]
        upload["bytes"] += await request.read()
        if request.headers["Content-Range"].rpartition("/")[2] != str(len(upload["bytes"])):
            self._cloud.resumed += 1
            return web.Response(status=308, headers={"Range": f"bytes=0-{len(upload['bytes']) - 1}"})
        return self._kept(upload["said"], upload["id"], upload["bytes"])

    def _kept(self, said: dict[str, Any], item_id: str | None, content: bytes) -> web.Response:
        try:
            if item_id is not None:
                item = self._cloud.fill(self._cloud.items[item_id], content)
            else:
                # Two files of one name may be side by side there; nothing of ours makes such.
                item = self._cloud.put(said["name"], content, said["parents"][0])
        except Full:
            return google_error(403, "storageQuotaExceeded")
        item.modified = said.get("modifiedTime", item.modified)
        return web.json_response(self._said(item))

    def _item(self, request: web.Request) -> Item:
        if (item := self._cloud.items.get(request.match_info["id"])) is None:
            raise web.HTTPNotFound(text='{"error": {"code": 404}}', content_type="application/json")
        return item

    @staticmethod
    def _said(item: Item) -> dict[str, Any]:
        said = {"id": item.item_id, "name": item.name, "parents": [item.parent], "modifiedTime": item.modified}
        if item.content is None:
            return said | {"mimeType": FOLDER}
        digest = hashlib.md5(item.content, usedforsecurity=False).hexdigest()
        return said | {"mimeType": "text/plain", "size": str(len(item.content)), "md5Checksum": digest}


class Graph:
    """Items are named by id, or by a path from one: /root, /items/ID, /items/ID:/name:/content."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def drive(self, _: web.Request) -> web.Response:
        total, used = self._cloud.total, self._cloud.used
        quota = {"total": total, "used": used, "remaining": total - used, "state": "normal"}
        return web.json_response({"id": DRIVE_ID, "driveType": self._cloud.drive_type, "quota": quota})

    async def dispatch(self, request: web.Request) -> web.StreamResponse:
        rest = unquote(request.raw_path.partition("?")[0].removeprefix("/v1.0/drives/"))
        drive_id, _, where = rest.partition("/")
        assert drive_id == DRIVE_ID, rest
        if not where:
            return await self.drive(request)
        if (match := re.fullmatch(r"(root|items/[^/:]+)(?::/([^:]*):?)?(?:/(\w+))?", where)) is None:
            raise AssertionError(where)
        start = ROOT if match[1] == "root" else match[1].removeprefix("items/")
        name, what = match[2], match[3] or ""
        handler = getattr(self, f"_{request.method.lower()}_{what}" if what else f"_{request.method.lower()}")
        answer = await handler(request, start, name)
        assert isinstance(answer, web.StreamResponse)
        return answer

    async def _get(self, _: web.Request, start: str, path: str | None) -> web.Response:
        return web.json_response(self._said(self._found(start, path)))

    async def _get_children(self, request: web.Request, start: str, path: str | None) -> web.Response:
        found = self._cloud.below(self._found(start, path).item_id)
        first = int(request.query.get("$skiptoken", "0"))
        page: dict[str, Any] = {"value": [self._said(item) for item in found[first : first + PAGE]]}
        if found[first + PAGE :]:
            page["@odata.nextLink"] = f"https://graph.microsoft.com{request.path}?$skiptoken={first + PAGE}"
        return web.json_response(page)

    async def _get_delta(self, request: web.Request, start: str, path: str | None) -> web.Response:
        """Where the changes from now on begin; rclone asks for that before it serves."""
        assert (start, path, request.query["token"]) == (ROOT, None, "latest")
        return web.json_response(
            {"value": [], "@odata.deltaLink": f"https://graph.microsoft.com{request.path}?token=1"}
        )

    async def _post_children(self, request: web.Request, start: str, _: str | None) -> web.Response:
        said = await request.json()
        assert said["folder"] == {}, said
        if any(item.name.lower() == said["name"].lower() for item in self._cloud.below(start)):
            return graph_error(409, "nameAlreadyExists")
        return web.json_response(self._said(self._cloud.put(said["name"], None, start)), status=201)

    async def _patch(self, request: web.Request, start: str, path: str | None) -> web.Response:
        item, said = self._found(start, path), await request.json()
        item.name = said.get("name") or item.name
        item.parent = said.get("parentReference", {}).get("id") or item.parent
        item.modified = said.get("fileSystemInfo", {}).get("lastModifiedDateTime", item.modified)
        return web.json_response(self._said(item))

    async def _delete(self, _: web.Request, start: str, path: str | None) -> web.Response:
        self._cloud.drop(self._found(start, path).item_id)
        return web.Response(status=204)

    async def _get_content(self, _: web.Request, start: str, path: str | None) -> web.Response:
        return web.Response(
            status=302, headers={"Location": f"{DOWNLOADS}/bytes/{self._found(start, path).item_id}?tempauth=1"}
        )

    async def _put_content(self, request: web.Request, start: str, path: str | None) -> web.Response:
        return self._kept(start, str(path), await request.read(), {})

    async def _post_createUploadSession(self, request: web.Request, start: str, path: str | None) -> web.Response:  # noqa: N802
        upload = secrets.token_hex(8)
        said = json.loads(await request.read() or b"{}")
        self._cloud.uploads[upload] = {"said": said, "parent": start, "name": path, "bytes": b""}
        return web.json_response({"uploadUrl": f"{DOWNLOADS}/pieces/{upload}"})

    async def piece(self, request: web.Request) -> web.Response:
        upload = self._cloud.uploads[request.match_info["upload"]]
        upload["bytes"] += await request.read()
        if int(request.headers["Content-Range"].rpartition("/")[2]) != len(upload["bytes"]):
            self._cloud.resumed += 1
            return web.json_response({"nextExpectedRanges": [f"{len(upload['bytes'])}-"]}, status=202)
        return self._kept(upload["parent"], upload["name"], upload["bytes"], upload["said"].get("item", {}))

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        assert "Authorization" not in request.headers  # another host: it must not be told
        content = self._cloud.items[request.match_info["id"]].content
        assert content is not None
        return bytes_of(request, content)

    def _kept(self, parent: str, name: str, content: bytes, said: dict[str, Any]) -> web.Response:
        try:
            item = self._cloud.put(name, content, parent)
        except Full:
            return graph_error(507, "quotaLimitReached")
        item.modified = said.get("fileSystemInfo", {}).get("lastModifiedDateTime", item.modified)
        return web.json_response(self._said(item), status=201)

    def _found(self, start: str, path: str | None) -> Item:
        item = Item(ROOT, "root", "", None) if start == ROOT else self._cloud.items.get(start)
        for step in (path or "").split("/") if path else ():
            below = self._cloud.below(item.item_id) if item is not None else []
            item = next((one for one in below if one.name.lower() == step.lower()), None)
        if item is None:
            raise web.HTTPNotFound(text='{"error": {"code": "itemNotFound"}}', content_type="application/json")
        return item

    @staticmethod
    def _said(item: Item) -> dict[str, Any]:
        times = {"createdDateTime": item.modified, "lastModifiedDateTime": item.modified}
        said = {"id": item.item_id, "name": item.name, "fileSystemInfo": times, **times}
        said["parentReference"] = {"driveId": DRIVE_ID, "id": item.parent, "driveType": "business"}
        if item.content is None:
            return said | {"folder": {"childCount": 0}}
        return said | {"size": len(item.content), "file": {"mimeType": "text/plain"}}


def google_error(status: int, reason: str) -> web.Response:
    error = {"code": status, "message": reason, "errors": [{"reason": reason}]}
    return web.json_response({"error": error}, status=status)


def graph_error(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": code, "innererror": {}}}, status=status)


def bytes_of(request: web.Request, content: bytes) -> web.Response:
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if asked is None:
        return web.Response(body=content)
    first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
    return web.Response(
        status=206,
        body=content[first : last + 1],
        headers={"Content-Range": f"bytes {first}-{last}/{len(content)}"},
    )


def parts_of(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return both parts of a multipart/related: what is said of a file, and its bytes."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    _, said, content, _ = body.split(b"--" + boundary)
    described = [part.removeprefix(b"\r\n").partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in (said, content)]
    return json.loads(described[0]), described[1]
