"""Upload, download and printing: the few plain HTTP routes that reach an instance, each by the stack's policy."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from urllib.parse import quote, unquote

from aiohttp import web

from fanlight.gateway.bodies import body_pieces, piece_length
from fanlight.gateway.context import GATEWAY, RunningSession, refuse_cross_site, require_own_origin, running_session
from fanlight.gateway.guest_http import GuestAnswer, ask_guest
from fanlight.gateway.listings import MAX_LISTING_IN_BYTES, entries_of, is_plain_name, to_json
from fanlight.gateway.page_api import PAGE_HEADER, BadRequest
from fanlight.gateway.responses import json_answer, json_error
from fanlight.gateway.upgrades import GuestMisbehaves

log = logging.getLogger(__name__)

_MAX_GUEST_WORDS_IN_BYTES = 4 * 1024
_UPLOAD_HEADERS = ("X-Upload-Path", "X-Upload-Id", "X-Upload-Offset", "X-Upload-Total", "X-Upload-Final")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]{1,4096}")
# What a guest says is in a file is never believed: it is bytes to be saved, in no origin, without any right.
UNTRUSTED = {
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


async def upload(request: web.Request) -> web.StreamResponse:
    """POST stream/api/upload: hand one piece of a file through, nothing of it kept here."""
    require_own_origin(request)
    session = await running_session(request, feature="FILE_UPLOAD")
    length = piece_length(request)
    headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream", **_guest_host(request)}
    for name in _UPLOAD_HEADERS:
        if (value := request.headers.get(name)) is not None:
            if not _HEADER_VALUE.fullmatch(value):
                raise BadRequest(f"{name} is malformed.")
            headers[name] = value
    async with _ask(session, "POST", "/api/upload", headers, body_pieces(request)) as answer:
        words = await answer.whole(_MAX_GUEST_WORDS_IN_BYTES)
        if answer.status == 200:  # noqa: PLR2004
            return json_answer({"status": "success"})
    text = words.decode("utf-8", "replace")
    return json_error(answer.status if answer.status in (400, 403, 409) else 502, "UPLOAD_REFUSED", text)


async def list_files(request: web.Request) -> web.StreamResponse:
    """GET api/files?folder=a/b: what the user may fetch, as JSON. The guest's own page of it is not shown."""
    if request.headers.get(PAGE_HEADER) != "1":
        refuse_cross_site(request)
    session = await running_session(request, feature="FILE_DOWNLOAD")
    folder = _inner_path(request.query.get("folder", ""))
    path = f"/api/files/{folder}/" if folder else "/api/files/"
    async with _ask(session, "GET", path, _guest_host(request)) as answer:
        listing = await answer.whole(MAX_LISTING_IN_BYTES)
        if answer.status != 200:  # noqa: PLR2004
            return json_error(404, "NOT_FOUND", "There is no such folder.")
    return json_answer({"folder": folder, "entries": [to_json(entry) for entry in entries_of(listing)]})


async def download(request: web.Request) -> web.StreamResponse:
    """GET stream/api/files/<path>: one file, always to be saved, never shown."""
    refuse_cross_site(request)
    session = await running_session(request, feature="FILE_DOWNLOAD")
    path = _inner_path(request.match_info["path"])
    if not path:
        return json_error(404, "NOT_FOUND", "Folders are listed by the session page.")
    async with _ask(session, "GET", f"/api/files/{path}", _guest_host(request)) as answer:
        return await _hand_out(request, answer, path.rpartition("/")[2], "application/octet-stream")


async def printed_document(request: web.Request) -> web.StreamResponse:
    """GET stream/api/print/<name>: a document that an application printed, as a PDF to be saved or printed."""
    refuse_cross_site(request)
    session = await running_session(request, feature="PRINTING_TO_LOCAL_DEVICE")
    name = unquote(request.match_info["name"])
    if not is_plain_name(name):
        return json_error(404, "NOT_FOUND", "There is no such document.")
    async with _ask(session, "GET", f"/api/print/{name}", _guest_host(request)) as answer:
        return await _hand_out(request, answer, f"{name.removesuffix('.pdf')}.pdf", "application/pdf")


async def _hand_out(request: web.Request, answer: GuestAnswer, name: str, kind: str) -> web.StreamResponse:
    if answer.status != 200:  # noqa: PLR2004 - a folder redirects; it is no file
        return json_error(404, "NOT_FOUND", "There is no such file.")
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    response = web.StreamResponse(headers={**UNTRUSTED, "Content-Type": kind, "Content-Disposition": disposition})
    response.content_length = answer.length
    await response.prepare(request)
    try:
        if request.method != "HEAD":
            async for piece in answer.pieces():
                await response.write(piece)
        await response.write_eof()
    except GuestMisbehaves as reason:
        log.warning("a download broke off", extra={"reason": str(reason)})
        if request.transport:
            request.transport.abort()  # the browser must not take half a file for a whole one
    return response


def _ask(
    session: RunningSession, method: str, path: str, headers: dict[str, str], body: AsyncIterator[bytes] | None = None
) -> AbstractAsyncContextManager[GuestAnswer]:
    return ask_guest(session.socket, session.stream_uid, method, path, headers=headers, body=body)


def _guest_host(request: web.Request) -> dict[str, str]:
    return {"Host": request.app[GATEWAY].origins.own(request).partition("://")[2]}


def _inner_path(path: str) -> str:
    """Return a path inside the user's folder. Raises BadRequest when a step of it is no plain name."""
    steps = [step for step in path.strip("/").split("/") if step]
    if not all(is_plain_name(step) for step in steps):
        raise BadRequest("The path leaves the folder.")
    return "/".join(steps)
