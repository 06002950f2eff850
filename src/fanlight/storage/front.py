"""What an instance reaches: one session's door to its user's files.

Behind it stands an rclone that serves WebDAV of the user's prefix and nothing else. Here is decided who may ask (the
root of the one instance, with the session's token), that no path climbs out of the prefix, and whether a file fits into the quota.
"""

import hmac
import json
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

import aiohttp
from aiohttp import web
from yarl import URL

from fanlight.domain.errors import StorageUnusable
from fanlight.http_peers import uid_of
from fanlight.storage.links import LeadsAway, no_links
from fanlight.storage.listings import WANTED, Listings
from fanlight.storage.usage import Usage

log = logging.getLogger(__name__)

USER = "session"
CHECK = "X-Fanlight-Check"  # on a PROPFIND: is the bucket there as well
OPENING = "X-Fanlight-Opening"  # on the answer to that: which listing takes long, and how far it is
BUSY = "X-Fanlight-Busy"  # on the same, while a folder is being read
# Without COPY, which would grow past a quota unseen; no mount asks for it.
METHODS = frozenset({"OPTIONS", "HEAD", "GET", "PUT", "DELETE", "PROPFIND", "PROPPATCH", "MKCOL", "MOVE"})
_TIME = "x-oc-mtime"  # on a PUT: when the file was changed
_UPSTREAM = "http://storage.invalid"
_CHUNK_IN_BYTES = 256 * 1024
# Of one connection, not of the message: each side has its own.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-connection",
        "accept-encoding",
        "authorization",
        "host",
    }
)


class Front:
    """Serve `application` on the session's socket. `first_uid` is the host's uid of the instance's root.

    `check` raises StorageUnusable when the bucket cannot be used: rclone says so only when it has to look into it.
    """

    def __init__(
        self,
        upstream: Path,
        *,
        token: str,
        first_uid: int,
        usage: Usage,
        listings: Listings,
        check: Callable[[], Awaitable[None]],
        leads_away: LeadsAway = no_links,
        keeps_times: bool = True,
    ) -> None:
        """Where times are not kept, what a program wishes for a file's is not passed on: each wish would copy the object."""
        self._listings = listings
        self._upstream, self._first_uid, self._usage, self._leads_away = upstream, first_uid, usage, leads_away
        self._check, self._keeps_times = check, keeps_times
        self._expected = f"Basic {b64encode(f'{USER}:{token}'.encode()).decode()}"
        self._http: aiohttp.ClientSession | None = None
        self.application = web.Application(handler_args={"auto_decompress": False})
        self.application.router.add_route("*", "/{path:(?s:.*)}", self._serve)
        self.application.cleanup_ctx.append(self._with_client)

    async def _with_client(self, _: web.Application) -> AsyncIterator[None]:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self._upstream), limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            headers={
                "Accept-Encoding": "identity"
            },  # the way is short, and compressed answers do not tell a file's size
            auto_decompress=False,
        )
        yield
        await self._http.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._refusal_of(request)) is not None:
            return web.Response(status=refusal)
        dropped = _HOP_BY_HOP if self._keeps_times else _HOP_BY_HOP | {_TIME}
        headers = {name: value for name, value in request.headers.items() if name.lower() not in dropped}
        if request.method == "MOVE":
            headers["Destination"] = _UPSTREAM + _destination_of(request)
        try:
            return await self._answer(request, headers)
        except StorageUnusable as error:
            log.warning("users' files cannot be reached", extra={"why": str(error)})
        except (aiohttp.ClientError, TimeoutError, OSError):
            log.debug("a request for users' files broke off", exc_info=True)
        return web.Response(status=HTTPStatus.BAD_GATEWAY)

    async def _answer(self, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
        match request.method:
            case "PUT":
                return await self._put(request, headers)
            case "PROPFIND":
                return await self._find(request, headers)
            case "DELETE" | "MOVE":
                return await self._pass_and_count_off(request, headers)
            case "PROPPATCH" if not self._keeps_times:
                return _taken(_target_of(request))
            case _:
                return await self._pass(request, headers)

    async def _find(self, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
        if headers.get("Depth") != "0":
            return await self._list(request, headers)
        if CHECK in request.headers and not await self._is_usable():
            return web.Response(status=HTTPStatus.BAD_GATEWAY)  # asked all the time: no word of it here
        news = self._news() if CHECK in request.headers else {}
        if _asks_for_room(request) and self._usage.quota_in_bytes is not None:
            used = await self._usage.used_as_known()
            return _room(used, max(0, self._usage.quota_in_bytes - used), news)
        return await self._pass(request, headers, more=news)

    def _news(self) -> dict[str, str]:
        long_one = self._listings.long_one()
        news = {OPENING: json.dumps(long_one.as_news())} if long_one else {}
        return news | {BUSY: "1"} if self._listings.is_busy() else news

    async def _is_usable(self) -> bool:
        try:
            await self._check()
        except StorageUnusable:
            return False
        return True

    def _refusal_of(self, request: web.Request) -> HTTPStatus | None:
        peer = uid_of(request)
        given = request.headers.get("Authorization", "")
        if peer != self._first_uid or not hmac.compare_digest(given.encode(), self._expected.encode()):
            log.warning("somebody without leave asked for a session's files", extra={"uid": peer})
            return HTTPStatus.UNAUTHORIZED
        if request.method not in METHODS:
            return HTTPStatus.METHOD_NOT_ALLOWED
        if climbs(_target_of(request)) or (request.method == "MOVE" and climbs(_destination_of(request))):
            return HTTPStatus.BAD_REQUEST
        if self._follows_link(_target_of(request)) or (
            request.method == "MOVE" and self._follows_link(_destination_of(request))
        ):
            return HTTPStatus.NOT_FOUND
        return None

    def _follows_link(self, target: str) -> bool:
        return self._leads_away([step for step in unquote_to_bytes(target).split(b"/") if step])

    async def _put(self, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
        size = request.content_length
        if size is None:
            return web.Response(status=HTTPStatus.LENGTH_REQUIRED)
        replaced = await self._size_of(_target_of(request))
        if not await self._usage.has_room_for(size, replaced):
            return web.Response(status=HTTPStatus.INSUFFICIENT_STORAGE, text="The storage quota is used up.\n")
        counted_at, has_arrived = self._usage.measured_at, False
        try:
            response = await self._pass(request, headers)
            has_arrived = response.status < HTTPStatus.BAD_REQUEST
            return response
        finally:
            if not has_arrived:
                self._usage.removed(size - replaced)
            if self._usage.measured_at != counted_at:  # with a part of it, or without it
                self._usage.forget()

    async def _pass_and_count_off(self, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
        """Count what goes: a file that is removed, or that another one takes the place of."""
        gone = _destination_of(request) if request.method == "MOVE" else _target_of(request)
        is_folder = gone.endswith("/")
        size = 0 if is_folder else await self._size_of(gone)
        response = await self._pass(request, headers)
        if response.status < HTTPStatus.BAD_REQUEST:
            self._usage.removed(size)
            if is_folder and request.method == "DELETE":
                self._usage.forget()
        return response

    async def _size_of(self, target: str) -> int:
        if self._usage.quota_in_bytes is None:
            return 0
        async with self._client().head(_url(target)) as found:
            return int(found.headers.get("Content-Length", 0)) if found.status == HTTPStatus.OK else 0

    async def _list(self, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
        with self._listings.begun(_target_of(request)) as listing:
            await self._listings.read(listing)
            if not request.can_read_body or headers.get("Depth") != "1":
                return await self._pass(request, headers, on_piece=listing.hand_out)
            await request.read()
            headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
            return await self._pass(request, headers, data=WANTED, on_piece=listing.hand_out)

    async def _pass(
        self,
        request: web.Request,
        headers: Mapping[str, str],
        *,
        data: bytes | None = None,
        on_piece: Callable[[bytes], None] | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> web.StreamResponse:
        """Ask rclone the same, with another body if `data` is one, and answer what it does, with `more` headers."""
        asked = self._client().request(
            request.method,
            _url(_target_of(request)),
            headers=headers,
            data=data or (request.content.iter_chunked(_CHUNK_IN_BYTES) if request.can_read_body else None),
            allow_redirects=False,
        )
        async with asked as answer:
            response = web.StreamResponse(status=answer.status, headers=more)
            for name, value in answer.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    response.headers.add(name, value)
            await response.prepare(request)
            async for chunk in answer.content.iter_chunked(_CHUNK_IN_BYTES):
                await response.write(chunk)
                if on_piece is not None:
                    on_piece(chunk)
            return response

    def _client(self) -> aiohttp.ClientSession:
        assert self._http is not None  # noqa: S101 - requests come while the application runs
        return self._http


def _asks_for_room(request: web.Request) -> bool:
    """Whether rclone wants to know how much fits: it asks nothing else about the uppermost directory with a body."""
    is_about = request.method == "PROPFIND" and request.headers.get("Depth") == "0" and request.can_read_body
    return is_about and _target_of(request) == "/"


def _room(used: int, left: int, news: Mapping[str, str]) -> web.Response:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><D:multistatus xmlns:D="DAV:"><D:response><D:href>/</D:href><D:propstat>'
        f"<D:prop><D:quota-available-bytes>{left}</D:quota-available-bytes>"
        f"<D:quota-used-bytes>{used}</D:quota-used-bytes></D:prop><D:status>HTTP/1.1 200 OK</D:status>"
        "</D:propstat></D:response></D:multistatus>"
    )
    return web.Response(status=HTTPStatus.MULTI_STATUS, text=text, content_type="application/xml", headers=news)


def _taken(target: str) -> web.Response:
    """Say that a file has the time that was asked for."""
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><D:multistatus xmlns:D="DAV:"><D:response><D:href>{escape(target)}</D:href>'
        "<D:propstat><D:prop><D:lastmodified/></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"
        "</D:response></D:multistatus>"
    )
    return web.Response(status=HTTPStatus.MULTI_STATUS, text=text, content_type="application/xml")


def climbs(target: str) -> bool:
    """Return whether a path has a step upwards or a zero in it, escaped or not.

    Escaped twice it is a name, and so is one with a backslash: rclone takes them for that too, and a file that is called
    so must arrive, for the end of its session waits for it.
    """
    plain = unquote_to_bytes(target.encode("utf-8", "surrogateescape"))
    return b"\0" in plain or any(step in (b"..", b".") for step in plain.split(b"/"))


def _target_of(request: web.Request) -> str:
    return request.raw_path.partition("?")[0]


def _destination_of(request: web.Request) -> str:
    """Return the path of it: the client writes a whole URL, and whatever host that names does not count."""
    return "/" + request.headers.get("Destination", "").partition("://")[2].partition("/")[2]


def _url(target: str) -> URL:
    return URL(_UPSTREAM + target, encoded=True)
