"""My Files: the temporary files of a session in the session page, through the agent's server in the instance.

The rules are those of the home folder. Whoever answers is in the instance, so hostile: of its answers nothing is
believed but a status and bytes to be saved; a listing is taken apart and written anew.
"""

import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from aiohttp import web

from fanlight.agentwire import files_socket_beside
from fanlight.gateway.bodies import body_pieces, piece_length
from fanlight.gateway.context import GATEWAY, RunningSession, refuse_cross_site, require_own_origin, running_session
from fanlight.gateway.guest_files import UNTRUSTED
from fanlight.gateway.guest_http import GuestAnswer, ask_guest
from fanlight.gateway.home_files import CHANGES, NO_CHANGES, browsing, require_page, saved_as
from fanlight.gateway.listings import is_plain_name
from fanlight.gateway.page_api import BadRequest
from fanlight.gateway.responses import json_answer, json_error
from fanlight.gateway.upgrades import GuestMisbehaves

log = logging.getLogger(__name__)

MAX_LISTING_IN_BYTES = 4 * 1024 * 1024
_MAX_ENTRIES = 10_000
_MAX_NAME_IN_BYTES = 255
_MAX_SHOWN_IN_BYTES = 3 * _MAX_NAME_IN_BYTES  # each odd byte is shown as a mark
_LARGEST, _LATEST = 2**53, 2**40  # what a page can count, and a time far away
_OK = 200
# As the page encodes it; what a step means is the instance's to find out, whose files they are.
_PATH = re.compile(r"[A-Za-z0-9_.~%/-]{0,8192}")
_KEY = re.compile(r"[A-Za-z0-9_.~%-]{1,765}")
_UPLOAD_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_NUMBER = re.compile(r"[0-9]{1,15}")
_CONFLICT = re.compile(r"ask|replace|keep-both")
_FINGERPRINT = re.compile(r"([0-9a-f]{64})?")
_MAX_UPLOADS, _MAX_UPLOADS_IN_BYTES, _MAX_PROGRESS_IN_BYTES = 20, 256 * 1024, 1024
# What a zip file ends with; one that is cut off does not.
_END_OF_ZIP, _END_OF_ZIP_IN_BYTES = b"PK\x05\x06", 22
_REFUSALS = {
    400: ("BAD_PATH", "This name or place is not possible."),
    403: ("FORBIDDEN", "The session does not let this be changed."),
    404: ("NOT_FOUND", "There is no such file or folder."),
    409: ("EXISTS", "There is something with this name already."),
    412: ("OTHER_FILE", "Another file is being sent under this id."),
    413: ("TOO_MANY", "There are too many files, or folders in each other."),
    416: ("TOO_LONG", "The file is longer than was said. Did it change meanwhile?"),
    422: ("IS_FOLDER", "There is a folder with this name."),
    501: ("NOT_OFFERED", "This session began before an update. Drop the file on the application instead."),
    507: ("NO_SPACE", "The session has no room left."),
}


async def list_folder(request: web.Request) -> web.StreamResponse:
    """GET api/temporary/folder?path: lines of JSON as those of the home folder. The last may say isCut: there are more."""
    session = await browsing(request)
    with request.app[GATEWAY].held_readings.place(request.match_info["ref"]):
        async with _ask(session, "GET", "/folder", {"X-Path": _path(request)}) as answer:
            if answer.status != _OK:
                return _refusal(answer.status)
            body = await answer.whole(MAX_LISTING_IN_BYTES)
    entries, is_cut = checked_listing(body)
    lines = [json.dumps({"entries": entries}), json.dumps({"isWhole": True, "isCut": is_cut}), ""]
    return web.Response(text="\n".join(lines), content_type="application/x-ndjson")


async def download(request: web.Request) -> web.StreamResponse:
    """GET api/temporary/file?path: a file, always to be saved, never shown."""
    return await _hand_out(request, "/file", _name(request) or "file", is_zip=False)


async def download_folder(request: web.Request) -> web.StreamResponse:
    """GET api/temporary/zip?path: a folder with all that is in it."""
    with request.app[GATEWAY].held_readings.place(request.match_info["ref"]):
        return await _hand_out(request, "/zip", f"{_name(request) or 'Temporary Files'}.zip", is_zip=True)


async def make_folder(request: web.Request) -> web.StreamResponse:
    """POST api/temporary/folder?path."""
    return await _change(request, "/folder", {"X-Path": _new_path(request, "path")})


async def rename(request: web.Request) -> web.StreamResponse:
    """POST api/temporary/move?path&to."""
    return await _change(request, "/move", {"X-Path": _path(request), "X-To": _new_path(request, "to")})


async def delete(request: web.Request) -> web.StreamResponse:
    """POST api/temporary/delete?path: a file, or a folder with all that is in it."""
    return await _change(request, "/delete", {"X-Path": _path(request)})


async def list_uploads(request: web.Request) -> web.StreamResponse:
    """GET api/temporary/uploads: what was begun to be sent and can be gone on with, as for the home folder."""
    require_page(request)
    session = await running_session(request, feature=CHANGES)
    async with _ask(session, "GET", "/uploads", {}) as answer:
        if answer.status != _OK:
            return _refusal(answer.status)
        body = await answer.whole(_MAX_UPLOADS_IN_BYTES)
    return json_answer({"uploads": checked_uploads(body)})


async def upload(request: web.Request) -> web.StreamResponse:
    """PUT api/temporary/uploads/<id>?path&size&offset&conflict&fingerprint: as for the home folder."""
    require_page(request)
    require_own_origin(request)
    session = await running_session(request, feature=CHANGES)
    length = piece_length(request)
    size = int(_checked(request, "size", _NUMBER))
    headers = {
        "Content-Length": str(length),
        "X-Path": _new_path(request, "path"),
        "X-Upload-Id": _upload_id(request),
        "X-Size": str(size),
        "X-Offset": _checked(request, "offset", _NUMBER),
        "X-Conflict": _checked(request, "conflict", _CONFLICT),
        "X-Fingerprint": _checked(request, "fingerprint", _FINGERPRINT),
    }
    files = files_socket_beside(session.socket)
    async with ask_guest(
        files, session.stream_uid, "PUT", "/uploads", headers=headers, body=body_pieces(request)
    ) as answer:
        if answer.status != _OK:
            return _refusal(answer.status)
        said = await answer.whole(_MAX_PROGRESS_IN_BYTES)
    return json_answer(checked_progress(said, size))


async def drop_upload(request: web.Request) -> web.StreamResponse:
    """DELETE api/temporary/uploads/<id>: forget what came of it."""
    return await _change(request, "/drop-upload", {"X-Upload-Id": _upload_id(request)})


def checked_progress(said: bytes, size: int) -> dict[str, Any]:
    """Raises GuestMisbehaves."""
    try:
        match json.loads(said):
            case {"state": "RECEIVING" | "SAVED" as state, "received": int(received)} if 0 <= received <= size:
                return {"state": state, "received": int(received)}
    except (ValueError, RecursionError):
        pass
    raise GuestMisbehaves("the progress of an upload is malformed")


def checked_uploads(body: bytes) -> list[dict[str, Any]]:
    """Return those that can be what they seem. Raises GuestMisbehaves."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise GuestMisbehaves("the list of uploads is malformed") from error
    rows = (_upload_row(each) for each in (said if isinstance(said, list) else ()))
    return [row for row in rows if row is not None][:_MAX_UPLOADS]


def _upload_row(said: object) -> dict[str, Any] | None:
    match said:
        case [str(upload_id), str(path), int(size), int(received), str(fingerprint)]:
            is_sound = _UPLOAD_ID.fullmatch(upload_id) and path and _PATH.fullmatch(path)
            if is_sound and _FINGERPRINT.fullmatch(fingerprint) and 0 <= received <= size <= _LARGEST:
                row = {"id": upload_id, "path": path, "size": int(size), "received": int(received)}
                return row | {"fingerprint": fingerprint, "isComing": False}
    return None


def checked_listing(body: bytes) -> tuple[list[list[Any]], bool]:
    """Return the entries that can be what they seem, and whether there are more. Raises GuestMisbehaves."""
    entries: list[list[Any]] = []
    is_whole = is_cut = False
    try:
        for line in body.splitlines():
            said = json.loads(line)
            is_whole, is_cut = is_whole or said.get("isWhole") is True, is_cut or said.get("isCut") is True
            entries += (row for each in said.get("entries", ()) if (row := _row(each)))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise GuestMisbehaves("the listing is malformed") from error
    if not is_whole:
        raise GuestMisbehaves("the listing broke off")
    return entries[:_MAX_ENTRIES], is_cut or len(entries) > _MAX_ENTRIES


def _row(said: object) -> list[Any] | None:
    """Return [name, is folder, size, modified at], and the key of a name that is no text; None for what is no entry."""
    match said:
        case [str(name), int(is_folder), int(size), int(modified_at)]:
            step, key = name, []
        case [str(name), int(is_folder), int(size), int(modified_at), str(encoded)] if _KEY.fullmatch(encoded):
            step, key = unquote(encoded, encoding="latin-1"), [encoded]
        case _:
            return None
    try:
        is_name = 0 < len(name.encode()) <= _MAX_SHOWN_IN_BYTES and 0 < len(step) <= _MAX_NAME_IN_BYTES
    except UnicodeEncodeError:
        return None
    if not is_name or step in (".", "..") or "/" in step or "\0" in step:
        return None
    if not (0 <= size <= _LARGEST and 0 <= modified_at <= _LATEST):
        return None
    return [name, int(is_folder == 1), int(size), int(modified_at), *key]


async def _hand_out(request: web.Request, what: str, name: str, *, is_zip: bool) -> web.StreamResponse:
    refuse_cross_site(request)
    session = await running_session(request, feature=NO_CHANGES)
    async with _ask(session, "GET", what, {"X-Path": _path(request)}) as answer:
        if answer.status != _OK:
            return _refusal(answer.status)
        headers = {"Content-Type": "application/octet-stream", "Content-Disposition": saved_as(name)}
        response = web.StreamResponse(headers={**UNTRUSTED, **headers})
        response.content_length = answer.length
        await response.prepare(request)
        try:
            async for piece in _whole_zip(answer) if is_zip else answer.pieces():
                await response.write(piece)
            await response.write_eof()
        except GuestMisbehaves as reason:
            log.warning("a download broke off", extra={"reason": str(reason)})
            if request.transport:
                request.transport.abort()  # the browser must not take half of it for the whole
    return response


async def _whole_zip(answer: GuestAnswer) -> AsyncIterator[bytes]:
    """Yield the body. Raises GuestMisbehaves when it does not end as a zip file does; its length nobody said before."""
    end = b""
    async for piece in answer.pieces():
        end = (end + piece)[-_END_OF_ZIP_IN_BYTES:]
        yield piece
    if not end.startswith(_END_OF_ZIP):
        raise GuestMisbehaves("the zip file has no end")


async def _change(request: web.Request, what: str, headers: dict[str, str]) -> web.StreamResponse:
    require_page(request)
    require_own_origin(request)
    session = await running_session(request, feature=CHANGES)
    async with _ask(session, "POST", what, headers) as answer:
        return json_answer({}) if answer.status == _OK else _refusal(answer.status)


def _ask(
    session: RunningSession, method: str, what: str, headers: dict[str, str]
) -> AbstractAsyncContextManager[GuestAnswer]:
    return ask_guest(files_socket_beside(session.socket), session.stream_uid, method, what, headers=headers)


def _refusal(status: int) -> web.Response:
    if status not in _REFUSALS:
        raise GuestMisbehaves("the files cannot be served")
    return json_error(status, *_REFUSALS[status])


def _path(request: web.Request, name: str = "path") -> str:
    path = request.query.get(name, "")
    if not _PATH.fullmatch(path):
        raise BadRequest("The path is malformed.")
    return path


def _checked(request: web.Request, name: str, form: re.Pattern[str]) -> str:
    text = request.query.get(name, "")
    if not form.fullmatch(text):
        raise BadRequest(f"{name} is malformed.")
    return text


def _upload_id(request: web.Request) -> str:
    upload_id = request.match_info["upload_id"]
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise BadRequest("The id of an upload has 8 to 64 letters, digits or dashes.")
    return upload_id


def _new_path(request: web.Request, name: str) -> str:
    """Return the path of what is to have a name that everybody can read. Raises BadRequest."""
    path = _path(request, name)
    new_name = unquote_to_bytes(path.rpartition("/")[2])
    text = new_name.decode("utf-8", "replace")
    is_text = text.encode() == new_name and text == text.strip()
    if len(new_name) > _MAX_NAME_IN_BYTES or not is_text or not is_plain_name(text):
        raise BadRequest("This name is not possible.")
    return path


def _name(request: web.Request) -> str:
    return unquote(_path(request).rstrip("/").rpartition("/")[2], errors="replace")
