"""JSON for the session page. Same origin only: a header of our own on every request, the Origin too on what changes.

A session is named by a handle that this gateway sealed for the identity in the cookie; anything else is unknown here.
"""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from fanlight.agentwire import files_socket_beside
from fanlight.controlwire.messages import TIME_ZONE, Catalog, FilesView, SessionView
from fanlight.gateway.bodies import body_pieces
from fanlight.gateway.context import GATEWAY, Forbidden, Gateway, require_entrance, require_own_origin, signed_in
from fanlight.gateway.control_client import Refused
from fanlight.gateway.cookies import SignedIn
from fanlight.gateway.pages import set_cookie
from fanlight.gateway.responses import json_answer

PAGE_HEADER = "X-Fanlight-Page"
_MAX_BODY_IN_BYTES = 16 * 1024
_VIEWER = re.compile(r"[A-Za-z0-9-]{8,64}")
_STATES = frozenset({"PENDING", "ACTIVE"})


class BadRequest(Exception):
    """The page sent what this version does not understand. The message says what."""


async def read_state(request: web.Request) -> web.StreamResponse:
    """GET state: catalogue, live session if any, and what may be done."""
    gateway, ref, identity = _page_request(request)
    catalog, session, _ = await asyncio.gather(
        gateway.control.catalog(identity.grant),
        gateway.control.find_session(identity.grant),
        require_entrance(request, identity.grant),
    )
    return json_answer(
        {
            "catalog": _catalog(catalog),
            "applicationId": identity.grant.application_id,
            "user": identity.grant.user_id,
            "session": _session(gateway, ref, session) if session else None,
            "mayStart": identity.may_start(gateway.seals.now()),
            "now": gateway.seals.now(),
        }
    )


async def open_session(request: web.Request) -> web.StreamResponse:
    """POST open {applicationId, timeZone}: make the session, or rejoin the live one (and launch the application in it)."""
    gateway, ref, identity = _page_request(request)
    body = await _body(request)
    application_id = _text(body, "applicationId", may_be_absent=True) or identity.grant.application_id
    if not identity.may_start(gateway.seals.now()) and await gateway.control.find_session(identity.grant) is None:
        raise Refused("EXPIRED", "The link has expired. Ask for a new one.", 403)
    time_zone = _text(body, "timeZone", may_be_absent=True) or ""
    if time_zone and not TIME_ZONE.fullmatch(time_zone):
        raise BadRequest("timeZone must be the name of a time zone.")
    await require_entrance(request, identity.grant)
    session = await gateway.control.open_session(identity.grant, application_id, time_zone)
    answer = json_answer({"session": _session(gateway, ref, session), "now": gateway.seals.now()})
    _remember_start(request, answer, ref, identity, session)
    return answer


async def watch_session(request: web.Request) -> web.StreamResponse:
    """GET sessions/<handle>?from=STATE&viewer=ID: answer when something changed, another page took over, the session was
    disconnected because nobody used it, or after a while.

    Without `from`, at once.
    """
    gateway, ref, identity = _page_request(request)
    session_id = _session_id(gateway, ref, request)
    viewer = _viewer(request.query.get("viewer"))
    if gateway.streams.is_superseded(session_id, viewer):
        return json_answer({"isSuperseded": True})
    state = request.query.get("from")
    if state not in _STATES or gateway.streams.is_idle(session_id):
        session: SessionView | None = await gateway.control.session(session_id)
    else:
        with gateway.held_questions.place(ref):
            session = await _next_change(gateway, session_id, state)
    if gateway.streams.is_superseded(session_id, viewer):
        return json_answer({"isSuperseded": True})
    if session is None:
        session = await gateway.control.session(session_id)
    if session.state == "EXPIRED":
        gateway.streams.end(session_id, why="the session ended")
    is_idle = gateway.streams.is_idle(session_id, as_stored=session.is_idle_disconnected)
    body = {"session": _session(gateway, ref, session), "isIdleDisconnected": is_idle, "now": gateway.seals.now()}
    answer = json_answer(body)
    _remember_start(request, answer, ref, identity, session)
    return answer


async def attach(request: web.Request) -> web.StreamResponse:
    """POST sessions/<handle>/attach {viewer}: this page shows the stream from now on; any other page is told to stop."""
    gateway, ref, _ = _page_request(request)
    body = await _body(request)
    session_id = _session_id(gateway, ref, request)
    gateway.streams.attach(session_id, _viewer(body.get("viewer")))
    try:  # first attached, then asked: an end between the two is heard, and an older one is seen here
        session = await gateway.control.session(session_id)
    except Refused:
        gateway.streams.end(session_id, why="the control plane does not know the session")
        raise
    if session.state == "EXPIRED":
        gateway.streams.end(session_id, why="the session ended")
        raise Refused("NOT_FOUND", "The session has ended.", 404)
    return json_answer({})


async def launch(request: web.Request) -> web.StreamResponse:
    """POST sessions/<handle>/launch {applicationId, launchId}; the same launchId twice launches once."""
    gateway, ref, _ = _page_request(request)
    body = await _body(request)
    session = await gateway.control.launch(
        _session_id(gateway, ref, request), str(_text(body, "applicationId")), _viewer(body.get("launchId"))
    )
    return json_answer({"session": _session(gateway, ref, session), "now": gateway.seals.now()})


async def end(request: web.Request) -> web.StreamResponse:
    """POST sessions/<handle>/end: the user's own End session."""
    gateway, ref, _ = _page_request(request)
    await _body(request)
    session = await gateway.control.end(_session_id(gateway, ref, request))
    return json_answer({"session": _session(gateway, ref, session), "now": gateway.seals.now()})


async def ping(request: web.Request) -> web.StreamResponse:
    """GET ping: how long the way to the gateway takes. The browser measures."""
    _page_request(request)
    return web.Response(status=204)


async def _next_change(gateway: Gateway, session_id: str, state: str) -> SessionView | None:
    """Return the changed session; None when something happened to its streams. Raises Refused (503) when the gateway stops."""
    change = asyncio.ensure_future(gateway.control.wait_for_change(session_id, state))
    other = asyncio.ensure_future(gateway.streams.wait_for_news(session_id))
    stopping = asyncio.ensure_future(gateway.stopping.wait())
    try:
        await asyncio.wait({change, other, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if change.done():
            return change.result()
        if stopping.done():
            raise Refused("RESTARTING", "The portal restarts. Your applications go on.", 503)
        return None
    finally:
        for task in (change, other, stopping):
            task.cancel()
        await asyncio.gather(change, other, stopping, return_exceptions=True)


def _remember_start(
    request: web.Request, answer: web.Response, ref: str, identity: SignedIn, session: SessionView
) -> None:
    """Use up the link's first start once the session runs: one that got no instance may be tried again."""
    if session.state == "ACTIVE" and not identity.has_started:
        set_cookie(request, answer, ref, identity.started())


def _page_request(request: web.Request) -> tuple[Gateway, str, SignedIn]:
    if request.headers.get(PAGE_HEADER) != "1":
        raise Forbidden("The request did not come from the session page.")
    if request.method == "POST":
        require_own_origin(request)
    ref, identity = signed_in(request)
    return request.app[GATEWAY], ref, identity


def _session_id(gateway: Gateway, ref: str, request: web.Request) -> str:
    session_id = gateway.seals.session_id(ref, request.match_info["handle"])
    if session_id is None:
        raise Refused("NOT_FOUND", "There is no such session.", 404)
    return session_id


async def _body(request: web.Request) -> Mapping[str, Any]:
    if request.content_type != "application/json":
        raise BadRequest("The body must be application/json.")
    raw = bytearray()
    async for piece in body_pieces(request):
        raw += piece
        if len(raw) > _MAX_BODY_IN_BYTES:
            raise BadRequest(f"The body has more than {_MAX_BODY_IN_BYTES} bytes.")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest("The body is no JSON.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body is no JSON object.")
    return body


def _text(body: Mapping[str, Any], name: str, *, may_be_absent: bool = False) -> str | None:
    value = body.get(name)
    if value is None and may_be_absent:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 256 or not value.isprintable():  # noqa: PLR2004
        raise BadRequest(f"{name} must be a text of 1 to 256 characters.")
    return value


def _viewer(value: object) -> str:
    if not isinstance(value, str) or not _VIEWER.fullmatch(value):
        raise BadRequest("An id must have 8 to 64 letters, digits or dashes.")
    return value


def _session(gateway: Gateway, ref: str, session: SessionView) -> dict[str, Any]:
    """Return what the page may know; where the stream's socket is, it need not."""
    return {
        "handle": gateway.seals.handle(ref, session.session_id),
        "state": session.state,
        "isPlaced": session.instance_id is not None,
        "progress": session.progress,
        "streamView": session.stream_view,
        "applicationId": session.application_id,
        "maxExpiresAt": session.max_expires_at,
        "idleDisconnectInSeconds": session.idle_disconnect_in_seconds,
        "idleDisconnectAt": session.idle_disconnect_at,
        "disconnectTimeoutInSeconds": session.disconnect_timeout_in_seconds,
        "endReason": _end_reason(session),
        "features": list(session.features),
        "hasScriptFailed": session.has_script_failed,
        "hasFolders": session.has_folders,
        "hasTemporaryFolder": _has_temporary_folder(session),
        "folders": [
            {
                "kind": folder.kind,
                "state": folder.state,
                "unsentFiles": folder.unsent_files,
                "unsentBytes": folder.unsent_bytes,
                "isFull": folder.is_full,
                "hasTrouble": folder.has_trouble,
                "opening": folder.opening,
                "openingFiles": folder.opening_files,
                "openingOf": folder.opening_of,
            }
            for folder in session.folders
        ],
        "unsent": _files(session.unsent),
        "lostBefore": _files(session.lost_before),
        "savingBefore": _files(session.saving_before),
        "settingsLoss": session.settings_loss,
    }


def _has_temporary_folder(session: SessionView) -> bool:
    """Return whether the instance lets more be done with temporary files than to list, send and fetch them.

    Runtimes of before have no socket for it.
    """
    return session.stream_socket is not None and os.path.lexists(files_socket_beside(session.stream_socket))


def _files(files: FilesView | None) -> dict[str, Any] | None:
    if files is None:
        return None
    return {
        "count": files.count,
        "size": files.size_in_bytes,
        "isWaitedFor": files.is_waited_for,
        "areLost": files.are_lost,
    }


def _end_reason(session: SessionView) -> str | None:
    """Return why it ended, as the user lived it: who was cut for doing nothing was not merely away for too long."""
    is_idle = session.is_idle_disconnected and session.end_reason == "DISCONNECT_TIMEOUT"
    return "IDLE_TIMEOUT" if is_idle else session.end_reason


def _catalog(catalog: Catalog) -> dict[str, Any]:
    return {
        "stackName": catalog.stack_display_name,
        "fleetName": catalog.fleet_display_name,
        "streamView": catalog.stream_view,
        "isImageBuilder": catalog.is_image_builder,
        "isStudioSession": catalog.is_studio_session,
        "redirectUrl": _web_address(catalog.redirect_url),
        "feedbackUrl": _web_address(catalog.feedback_url),
        "applications": [
            {
                "id": entry.application_id,
                "name": entry.display_name,
                "description": entry.description,
                "icon": f"/icons/{entry.icon}" if entry.icon and "/" in entry.icon else None,
            }
            for entry in catalog.entries
        ],
    }


def _web_address(url: str | None) -> str | None:
    """A link of the stack is offered only when following it cannot run a script in this page."""
    return url if url and urlsplit(url).scheme in ("http", "https") else None
