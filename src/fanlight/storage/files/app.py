"""What the storage process does for the gateway, over RUN_DIR/storage/files.sock: one user's files, for the page of a session.

A session is named by its id; the gateway asks only for sessions that the user of its cookie owns, and only for what
their stack allows. Whoever asks, a path never leaves the folder of that session's user.
"""

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias

import aiohttp
from aiohttp import web

from fanlight.domain.errors import StorageUnusable
from fanlight.http_peers import admitting
from fanlight.storage.files.folders import PIECE_IN_BYTES, FolderAway, NothingThere, UserFolder, Way, to_line
from fanlight.storage.files.paths import BadPath, Steps, new_steps_of, steps_of, target_of
from fanlight.storage.files.spool import Conflict, Wish
from fanlight.storage.files.uploads import UNFINISHED_KEPT_IN_SECONDS, Upload, UploadRefused, Uploads
from fanlight.storage.files.zips import TooMuch, zip_of
from fanlight.unix_sockets import listen_in

log = logging.getLogger(__name__)

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
SOCKET_NAME = "files.sock"
_BACKLOG = 512
_PASSED_ON = ("Content-Length", "Content-Range", "ETag", "Last-Modified", "Accept-Ranges")
_CONDITIONS = ("Range", "If-Range")
_UPLOAD_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_NUMBER = re.compile(r"[0-9]{1,15}")
_FINGERPRINT = re.compile(r"([0-9a-f]{64})?")
_STATUS_OF = {
    "EXISTS": HTTPStatus.CONFLICT,
    "IS_FOLDER": HTTPStatus.CONFLICT,
    "OTHER_FILE": HTTPStatus.CONFLICT,
    "NOT_FOUND": HTTPStatus.NOT_FOUND,
    "QUOTA": HTTPStatus.INSUFFICIENT_STORAGE,
    "TOO_MANY": HTTPStatus.TOO_MANY_REQUESTS,
    "NO_SPACE": HTTPStatus.SERVICE_UNAVAILABLE,
    "NOT_SAVED": HTTPStatus.SERVICE_UNAVAILABLE,
}


def make_files_app(
    way_to: Callable[[str], Way | None], uploads: Uploads, allowed_uids: Collection[int]
) -> web.Application:
    """Return the application. `way_to` finds the home folder of a session, None when it has none or it is closed."""
    handlers = _Handlers(way_to, uploads)
    app = web.Application(
        middlewares=[admitting(frozenset(allowed_uids), _turn_away), _saying_refusals],
        client_max_size=0,
        handler_args={"auto_decompress": False},
    )
    session = "/v1/sessions/{session_id}"
    app.router.add_get(f"{session}/room", handlers.room, allow_head=False)
    app.router.add_get(f"{session}/folder", handlers.list, allow_head=False)
    app.router.add_post(f"{session}/folder", handlers.make_folder)
    app.router.add_get(f"{session}/file", handlers.download, allow_head=False)
    app.router.add_delete(f"{session}/file", handlers.delete)
    app.router.add_get(f"{session}/zip", handlers.zip, allow_head=False)
    app.router.add_post(f"{session}/move", handlers.move)
    app.router.add_post(f"{session}/look-anew", handlers.look_anew)
    app.router.add_get(f"{session}/uploads", handlers.unfinished, allow_head=False)
    app.router.add_put(f"{session}/uploads/{{upload_id}}", handlers.receive)
    app.router.add_delete(f"{session}/uploads/{{upload_id}}", handlers.drop)
    return app


async def serve_files(app: web.Application, run_dir: Path) -> web.AppRunner:
    """Listen; the caller cleans the runner up. Raises OSError."""
    listener = listen_in(run_dir / "storage", SOCKET_NAME, mode=0o660, backlog=_BACKLOG)
    # A browser that goes away takes with it what is read for it. What is being saved goes on.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=_BACKLOG).start()
    return runner


class _Handlers:
    def __init__(self, way_to: Callable[[str], Way | None], uploads: Uploads) -> None:
        self._way_to, self._uploads = way_to, uploads

    async def room(self, request: web.Request) -> web.StreamResponse:
        usage = self._folder(request).usage
        left = await usage.left()
        if left is None or usage.quota_in_bytes is None:
            return web.json_response({"quota": None, "used": None})
        return web.json_response({"quota": usage.quota_in_bytes, "used": usage.quota_in_bytes - left})

    async def list(self, request: web.Request) -> web.StreamResponse:
        """Answer with lines of JSON, the last one {"isWhole": true}: without it the listing broke off."""
        async with self._folder(request) as folder:
            return await _send(request, {"Content-Type": "application/x-ndjson"}, _lines(folder, _path(request)))

    async def download(self, request: web.Request) -> web.StreamResponse:
        conditions = {name: request.headers[name] for name in _CONDITIONS if name in request.headers}
        steps = _path(request)
        async with self._folder(request) as folder:
            there = await folder.find(steps)
            if there is None or there.is_folder:
                raise NothingThere
            async with folder.ask("GET", steps, headers=conditions) as answer:
                if answer.status == HTTPStatus.NOT_FOUND:
                    raise NothingThere
                headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
                headers["Content-Type"] = "application/octet-stream"
                pieces = answer.content.iter_chunked(PIECE_IN_BYTES)
                return await _send(request, headers, pieces, status=answer.status)

    async def zip(self, request: web.Request) -> web.StreamResponse:
        async with self._folder(request) as folder:
            return await _send(request, {"Content-Type": "application/zip"}, zip_of(folder, _path(request)))

    async def make_folder(self, request: web.Request) -> web.StreamResponse:
        steps = new_steps_of(request.query.get("path", ""))
        async with self._folder(request) as folder:
            if await folder.find(steps) is not None:
                return _refusal("EXISTS", "There is something with this name already.")
            await folder.make_folder(steps)
        return web.json_response({})

    async def move(self, request: web.Request) -> web.StreamResponse:
        steps, to = _inner(request), new_steps_of(request.query.get("to", ""))
        if to[: len(steps)] == steps:
            raise BadPath("A folder cannot be moved into itself.")
        async with self._folder(request) as folder:
            if await folder.find(steps) is None or (to[:-1] and await folder.find(to[:-1]) is None):
                raise NothingThere
            if await folder.find(to) is not None:
                return _refusal("EXISTS", "There is something with this name already.")
            await folder.move(steps, to)
        return web.json_response({})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        steps = _inner(request)
        async with self._folder(request) as folder:
            there = await folder.find(steps)
            if there is not None:
                await folder.delete(steps)
            if there is not None and there.is_folder:
                folder.usage.forget()
            elif there is not None:
                folder.usage.removed(there.size)
        return web.json_response({})

    async def look_anew(self, request: web.Request) -> web.StreamResponse:
        folder = self._folder(request)
        await folder.look_anew()
        folder.usage.forget()
        return web.json_response({})

    async def unfinished(self, request: web.Request) -> web.StreamResponse:
        """Answer with what the user has begun to send and can go on with, when the page has the same file again."""
        found = [_unfinished(upload) for upload in self._uploads.unfinished(request.match_info["session_id"])]
        return web.json_response({"uploads": found, "keptInHours": UNFINISHED_KEPT_IN_SECONDS / 3600})

    async def receive(self, request: web.Request) -> web.StreamResponse:
        self._folder(request)  # or there is none
        offset = _number(request, "offset")
        session_id, upload_id = request.match_info["session_id"], _upload_id(request)
        upload = await self._uploads.receive(session_id, upload_id, _wish(request), offset, _pieces(request))
        return _progress(upload)

    async def drop(self, request: web.Request) -> web.StreamResponse:
        await self._uploads.drop(request.match_info["session_id"], _upload_id(request))
        return web.json_response({})

    def _folder(self, request: web.Request) -> UserFolder:
        way = self._way_to(request.match_info["session_id"])
        if way is None:
            raise FolderAway("no open folder")
        return UserFolder(way)


def _progress(upload: Upload) -> web.Response:
    if upload.refusal is not None:
        return _refusal(upload.refusal.code, upload.refusal.message)
    body: dict[str, object] = {"state": upload.state, "received": upload.received}
    if upload.saved_as:
        body["path"] = target_of(upload.saved_as)[1:]
    return web.json_response(body)


def _unfinished(upload: Upload) -> dict[str, object]:
    return {
        "id": upload.upload_id,
        "path": target_of(upload.wish.steps)[1:],
        "size": upload.wish.size,
        "received": upload.received,
        "fingerprint": upload.wish.fingerprint,
        "isComing": upload.is_coming,
    }


async def _lines(folder: UserFolder, steps: Steps) -> AsyncIterator[bytes]:
    async for entries in folder.entries(steps):
        yield to_line(entries)
    yield b'{"isWhole":true}\n'


async def _send(
    request: web.Request, headers: Mapping[str, str], pieces: AsyncIterator[bytes], *, status: int = HTTPStatus.OK
) -> web.StreamResponse:
    """Answer with the pieces. What fails before the first is raised; what fails later cuts the answer off in the middle."""
    response = web.StreamResponse(status=status, headers=headers)
    first = await anext(pieces, b"")
    await response.prepare(request)
    try:
        if first:
            await response.write(first)
        async for piece in pieces:
            await response.write(piece)
    except (FolderAway, NothingThere, TooMuch, aiohttp.ClientError, TimeoutError, OSError) as error:
        log.info("an answer with a user's files broke off", extra={"why": str(error) or type(error).__name__})
        if request.transport is not None:
            request.transport.abort()  # half of it must not be taken for the whole
    return response


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    while piece := await request.content.read(PIECE_IN_BYTES):
        yield piece


def _path(request: web.Request) -> Steps:
    return steps_of(request.query.get("path", ""))


def _inner(request: web.Request) -> Steps:
    """Return the path of something in the folder, not that of the folder itself. Raises BadPath."""
    steps = _path(request)
    if not steps:
        raise BadPath("The name is missing.")
    return steps


def _wish(request: web.Request) -> Wish:
    try:
        conflict = Conflict(request.query.get("conflict", Conflict.ASK))
    except ValueError:
        raise BadPath("There is no such answer to a conflict.") from None
    fingerprint = request.query.get("fingerprint", "")
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise BadPath("A fingerprint has 64 hexadecimal digits.")
    return Wish(new_steps_of(request.query.get("path", "")), _number(request, "size"), conflict, fingerprint)


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise BadPath(f"{name} must be a number.")
    return int(text)


def _upload_id(request: web.Request) -> str:
    upload_id = request.match_info["upload_id"]
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise BadPath("The id of an upload has 8 to 64 letters, digits or dashes.")
    return upload_id


def _turn_away(uid: int | None) -> web.Response:
    log.warning("a user without leave asked for users' files", extra={"uid": uid})
    return web.json_response({"code": "FORBIDDEN", "message": "This socket is the gateway's."}, status=403)


@web.middleware
async def _saying_refusals(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadPath as error:
        return _said(HTTPStatus.BAD_REQUEST, "BAD_PATH", str(error))
    except NothingThere:
        return _said(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is no such file or folder any more.")
    except UploadRefused as refusal:
        return _refusal(refusal.code, refusal.message)
    except (StorageUnusable, TooMuch) as error:
        log.warning("users' files cannot be reached", extra={"why": str(error)})
        return _said(HTTPStatus.SERVICE_UNAVAILABLE, "AWAY", "Your storage does not answer at the moment.")


def _refusal(code: str, message: str) -> web.Response:
    return _said(_STATUS_OF.get(code, HTTPStatus.BAD_REQUEST), code, message)


def _said(status: HTTPStatus, code: str, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=status)
