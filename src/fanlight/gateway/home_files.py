"""My Files: the user's home folder in the session page. Everything passes through here, nothing is kept.

Who may do what follows from the stack's actions: FILE_DOWNLOAD for what leaves the folder, FILE_UPLOAD for whatever
changes it (uploads, new folders, other names, removal), either of them to look into it. Paths are percent-encoded by the
page, each step for itself, and stay so: the storage process reads them, and keeps them inside the folder.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

import aiohttp
from aiohttp import web

from fanlight.gateway.bodies import body_pieces, piece_length
from fanlight.gateway.context import (
    GATEWAY,
    Forbidden,
    RunningSession,
    refuse_cross_site,
    require_own_origin,
    running_session,
)
from fanlight.gateway.guest_files import UNTRUSTED
from fanlight.gateway.page_api import PAGE_HEADER
from fanlight.gateway.responses import json_answer

NO_CHANGES, CHANGES = "FILE_DOWNLOAD", "FILE_UPLOAD"
_PASSED_ON = ("Content-Length", "Content-Range", "ETag", "Last-Modified", "Accept-Ranges")
_CONDITIONS = ("Range", "If-Range")
# Control characters, and those that turn the reading direction round: "exe.png" may really be called "gnp.exe".
_MISLEADING = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069/\\]")


async def room(request: web.Request) -> web.StreamResponse:
    """GET api/home: whether the folder is there, and how much of it is used when there is a quota."""
    session = await browsing(request)
    return json_answer(await request.app[GATEWAY].home.json("GET", session.view.session_id, "room", {}))


async def list_folder(request: web.Request) -> web.StreamResponse:
    """GET api/home/folder?path: lines of JSON as they come, the last one {"isWhole": true}."""
    session = await browsing(request)
    gateway = request.app[GATEWAY]
    with gateway.held_readings.place(request.match_info["ref"]):
        async with gateway.home.ask("GET", session.view.session_id, "folder", _path(request)) as answer:
            return await _pass_on(request, answer, {"Content-Type": "application/x-ndjson"})


async def download(request: web.Request) -> web.StreamResponse:
    """GET api/home/file?path: a file, always to be saved, never shown. Parts of it too."""
    conditions = {name: request.headers[name] for name in _CONDITIONS if name in request.headers}
    name = unquote(_path(request)["path"].rpartition("/")[2], errors="replace")
    return await _hand_out(request, "file", name, conditions)


async def download_folder(request: web.Request) -> web.StreamResponse:
    """GET api/home/zip?path: a folder with all that is in it."""
    name = unquote(_path(request)["path"].rstrip("/").rpartition("/")[2], errors="replace") or "Home Folder"
    with request.app[GATEWAY].held_readings.place(request.match_info["ref"]):
        return await _hand_out(request, "zip", f"{name}.zip", {})


async def make_folder(request: web.Request) -> web.StreamResponse:
    """POST api/home/folder?path."""
    return await _change(request, "POST", "folder", _path(request))


async def rename(request: web.Request) -> web.StreamResponse:
    """POST api/home/move?path&to: another name, or another place in the folder."""
    return await _change(request, "POST", "move", _path(request) | {"to": request.query.get("to", "")})


async def delete(request: web.Request) -> web.StreamResponse:
    """POST api/home/delete?path: a file, or a folder with all that is in it."""
    return await _change(request, "DELETE", "file", _path(request))


async def refresh(request: web.Request) -> web.StreamResponse:
    """POST api/home/refresh: see what other tools have put into the folder, here and in the instance."""
    require_own_origin(request)
    session = await browsing(request)
    home = request.app[GATEWAY].home
    answer = await home.json("POST", session.view.session_id, "look-anew", {})
    await home.tell(session.view.session_id)
    return json_answer(answer)


async def upload(request: web.Request) -> web.StreamResponse:
    """PUT api/home/uploads/<id>?path&size&offset&conflict&fingerprint: one piece of a file; the answer says how far it is.

    An empty piece at 0 begins, or asks. While the file is being saved, the answer waits a while.
    """
    require_page(request)
    require_own_origin(request)
    session = await running_session(request, feature=CHANGES)
    length = piece_length(request)
    query = {name: request.query.get(name, "") for name in ("path", "size", "offset", "conflict", "fingerprint")}
    home = request.app[GATEWAY].home
    async with home.ask(
        "PUT",
        session.view.session_id,
        _upload(request),
        query,
        headers={"Content-Length": str(length), "Content-Type": "application/octet-stream"},
        body=body_pieces(request),
    ) as answer:
        progress = await answer.json(content_type=None)
    if progress.get("state") == "SAVED":
        home.changed(session.view.session_id)
    return json_answer(dict(progress))


async def list_uploads(request: web.Request) -> web.StreamResponse:
    """GET api/home/uploads: what was begun to be sent, in this session or an earlier one, and can be gone on with."""
    require_page(request)
    session = await running_session(request, feature=CHANGES)
    return json_answer(await request.app[GATEWAY].home.json("GET", session.view.session_id, "uploads", {}))


async def drop_upload(request: web.Request) -> web.StreamResponse:
    """DELETE api/home/uploads/<id>: forget what came of it."""
    return await _change(request, "DELETE", _upload(request), {})


async def browsing(request: web.Request) -> RunningSession:
    require_page(request)
    session = await running_session(request)
    if not {CHANGES, NO_CHANGES}.intersection(session.view.features):
        raise Forbidden("Your administrator has not allowed this for the stack.")
    return session


async def _change(request: web.Request, method: str, what: str, query: Mapping[str, str]) -> web.StreamResponse:
    require_page(request)
    require_own_origin(request)
    session = await running_session(request, feature=CHANGES)
    home = request.app[GATEWAY].home
    answer = await home.json(method, session.view.session_id, what, query)
    home.changed(session.view.session_id)
    return json_answer(answer)


async def _hand_out(request: web.Request, what: str, name: str, conditions: Mapping[str, str]) -> web.StreamResponse:
    refuse_cross_site(request)
    session = await running_session(request, feature=NO_CHANGES)
    home = request.app[GATEWAY].home
    async with home.ask("GET", session.view.session_id, what, _path(request), headers=conditions) as answer:
        headers = {each: answer.headers[each] for each in _PASSED_ON if each in answer.headers}
        headers |= UNTRUSTED | {"Content-Type": "application/octet-stream", "Content-Disposition": saved_as(name)}
        return await _pass_on(request, answer, headers)


async def _pass_on(
    request: web.Request, answer: aiohttp.ClientResponse, headers: Mapping[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    try:
        async for piece in answer.content.iter_any():
            await response.write(piece)
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        if request.transport:
            request.transport.abort()  # the browser must not take half of it for the whole
    return response


def saved_as(name: str) -> str:
    name = _MISLEADING.sub("_", name)
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


def require_page(request: web.Request) -> None:
    if request.headers.get(PAGE_HEADER) != "1":
        raise Forbidden("The request did not come from the session page.")


def _path(request: web.Request) -> dict[str, str]:
    return {"path": request.query.get("path", "")}


def _upload(request: web.Request) -> str:
    return f"uploads/{quote(request.match_info['upload_id'], safe='')}"
