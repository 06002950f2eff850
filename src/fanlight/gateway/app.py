"""Routes of the gateway, and what a browser reads when something is refused or broken. Everything not listed is 404."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from fanlight.gateway import drives, guest_files, home_files, page_api, pages, temporary_files
from fanlight.gateway.context import GATEWAY, Forbidden, Gateway, NoStream, NotSignedIn
from fanlight.gateway.control_client import ControlAway, Refused
from fanlight.gateway.guest_socket import GuestUnreachable
from fanlight.gateway.page_api import BadRequest
from fanlight.gateway.places import Crowded
from fanlight.gateway.responses import IMMUTABLE, add_security_headers, json_error, message_page
from fanlight.gateway.stream_route import relay_stream
from fanlight.gateway.upgrades import GuestMisbehaves

_PNG = b"\x89PNG\r\n\x1a\n"

log = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_STARTING_RETRY_IN_SECONDS = 2


def make_app(gateway: Gateway) -> web.Application:
    app = web.Application(middlewares=[say_refusals])
    app[GATEWAY] = gateway
    app.on_response_prepare.append(add_security_headers)
    app.add_routes(
        [
            web.get("/", pages.front_page),
            web.get("/healthz", health),
            web.get("/authenticate", pages.authenticate),
            web.get("/assets/{digest}/{name}", portal_asset),
            web.get("/client/{version}/{tag}/{steps:.+}", client_file),
            web.get("/icons/{store_ref}/{name}", icon),
            web.get(drives.CALLBACK, drives.connected, allow_head=False),
            web.get("/s/{ref}/", pages.session_page),
            web.get("/s/{ref}/api/state", page_api.read_state),
            web.get("/s/{ref}/api/ping", page_api.ping),
            web.get("/s/{ref}/api/files", guest_files.list_files),
            web.get("/s/{ref}/api/home", home_files.room, allow_head=False),
            web.get("/s/{ref}/api/home/folder", home_files.list_folder, allow_head=False),
            web.post("/s/{ref}/api/home/folder", home_files.make_folder),
            web.get("/s/{ref}/api/home/file", home_files.download, allow_head=False),
            web.get("/s/{ref}/api/home/zip", home_files.download_folder, allow_head=False),
            web.post("/s/{ref}/api/home/move", home_files.rename),
            web.post("/s/{ref}/api/home/delete", home_files.delete),
            web.post("/s/{ref}/api/home/refresh", home_files.refresh),
            web.get("/s/{ref}/api/home/uploads", home_files.list_uploads, allow_head=False),
            web.put("/s/{ref}/api/home/uploads/{upload_id}", home_files.upload),
            web.delete("/s/{ref}/api/home/uploads/{upload_id}", home_files.drop_upload),
            web.get("/s/{ref}/api/temporary/uploads", temporary_files.list_uploads, allow_head=False),
            web.put("/s/{ref}/api/temporary/uploads/{upload_id}", temporary_files.upload),
            web.delete("/s/{ref}/api/temporary/uploads/{upload_id}", temporary_files.drop_upload),
            web.get("/s/{ref}/api/temporary/folder", temporary_files.list_folder, allow_head=False),
            web.post("/s/{ref}/api/temporary/folder", temporary_files.make_folder),
            web.get("/s/{ref}/api/temporary/file", temporary_files.download, allow_head=False),
            web.get("/s/{ref}/api/temporary/zip", temporary_files.download_folder, allow_head=False),
            web.post("/s/{ref}/api/temporary/move", temporary_files.rename),
            web.post("/s/{ref}/api/temporary/delete", temporary_files.delete),
            web.get("/s/{ref}/api/drives", drives.list_drives, allow_head=False),
            web.post("/s/{ref}/api/drives/{kind}/connect", drives.connect),
            web.post("/s/{ref}/api/drives/{kind}/disconnect", drives.disconnect),
            web.post("/s/{ref}/api/open", page_api.open_session),
            web.get("/s/{ref}/api/sessions/{handle}", page_api.watch_session),
            web.post("/s/{ref}/api/sessions/{handle}/attach", page_api.attach),
            web.post("/s/{ref}/api/sessions/{handle}/launch", page_api.launch),
            web.post("/s/{ref}/api/sessions/{handle}/end", page_api.end),
            web.get("/s/{ref}/stream/", pages.stream_frame),
            web.get("/s/{ref}/stream/api/websockets", relay_stream, allow_head=False),
            web.post("/s/{ref}/stream/api/upload", guest_files.upload),
            web.get("/s/{ref}/stream/api/files/{path:.+}", guest_files.download),
            web.get("/s/{ref}/stream/api/print/{name}", guest_files.printed_document, allow_head=False),
        ]
    )
    return app


async def health(request: web.Request) -> web.StreamResponse:  # noqa: ARG001
    """GET /healthz: this process serves. Whether the control plane answers is the API's health."""
    return web.Response(text="ok\n")


async def portal_asset(request: web.Request) -> web.StreamResponse:
    gateway = request.app[GATEWAY]
    asset = gateway.portal.asset(request.match_info["name"])
    if asset is None or not gateway.portal.base.endswith("/" + request.match_info["digest"]):
        raise web.HTTPNotFound
    answer = web.Response(body=asset.body, headers={"Content-Type": asset.content_type, "Cache-Control": IMMUTABLE})
    answer.enable_compression()
    return answer


async def client_file(request: web.Request) -> web.StreamResponse:
    files, match = request.app[GATEWAY].client_files, request.match_info
    found = await asyncio.to_thread(files.client_file, match["version"], match["steps"])
    if found is None:
        raise web.HTTPNotFound
    headers = {"Content-Type": found.content_type, "Cache-Control": IMMUTABLE, "Vary": "Accept-Encoding"}
    if found.compressed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=found.compressed, headers=headers | {"Content-Encoding": "gzip"})
    return web.Response(body=found.body, headers=headers)


async def icon(request: web.Request) -> web.StreamResponse:
    asked = [request.match_info[name] for name in ("store_ref", "name")]
    asked += [request.query.get(name, "") for name in ("expires", "signature")]
    picture = await request.app[GATEWAY].control.icon(*asked)
    if not picture.startswith(_PNG):
        raise web.HTTPNotFound
    return web.Response(
        body=picture,
        headers={
            "Content-Type": "image/png",
            "Cache-Control": "private, max-age=3600",
            "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        },
    )


@web.middleware
async def say_refusals(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Turn what handlers raise into words: a page for a person who navigates, JSON for the page's own requests."""
    try:
        return await handler(request)
    except Refused as refusal:
        if _wants_page(request):
            return pages.refusal_page(request, refusal)
        return json_error(refusal.status, refusal.code, refusal.message)
    except web.HTTPException as error:
        title, text = _WORDS.get(error.status, ("This does not work", error.reason))
        return _say(
            request, error.status, "NOT_FOUND" if isinstance(error, web.HTTPNotFound) else "REFUSED", title, text
        )
    except tuple(_SAID) as error:
        status, code, title, text = _SAID[type(error)]
        if isinstance(error, (GuestUnreachable, GuestMisbehaves)):
            log.warning("an instance cannot be reached", extra={"reason": str(error)})
        return _say(request, status, code, title, text or str(error))
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        log.exception("a request failed", extra={"path": request.path})
        return _say(request, 500, "INTERNAL", "Something went wrong here", "The gateway's log says more. Try again.")


_WORDS = {
    404: ("There is nothing here", "Check the address, or open your streaming link again."),
    408: ("This took too long", "The browser did not send the rest of its request. Try again."),
    405: ("This does not work", "The address does not take this kind of request."),
}
# What handlers raise → status, code, title, text; an empty text stands for the error's own.
_SAID: dict[type[Exception], tuple[int, str, str, str]] = {
    NotSignedIn: (
        403,
        "NOT_SIGNED_IN",
        "Open your streaming link again",
        "This browser does not hold a valid sign-in for this page. Open the link that you were given, or ask for a new one.",
    ),
    Forbidden: (403, "FORBIDDEN", "This is not allowed", ""),
    BadRequest: (400, "BAD_REQUEST", "This does not work", ""),
    Crowded: (
        429,
        "TOO_MANY",
        "This is open too often",
        "So many of your requests wait here already that no more are taken. Close some of the pages, and try again.",
    ),
    NoStream: (409, "NO_SESSION", "No session is running", "Go back to the session page to start one."),
    ControlAway: (503, "STARTING", "Fanlight is starting up", "This page tries again by itself in a moment."),
    GuestUnreachable: (503, "INSTANCE_AWAY", "The instance does not answer", "It may still be starting."),
    GuestMisbehaves: (
        502,
        "INSTANCE_FAILED",
        "The instance does not answer properly",
        "Try again, or end the session.",
    ),
}


def _wants_page(request: web.Request) -> bool:
    is_call = "/api/" in request.path or request.path.endswith("/stream/")
    return not is_call and request.method in ("GET", "HEAD")


def _say(request: web.Request, status: int, code: str, title: str, text: str) -> web.StreamResponse:
    if not _wants_page(request):
        return json_error(status, code, text)
    retry = _STARTING_RETRY_IN_SECONDS if status == 503 else 0  # noqa: PLR2004
    return message_page(request, status=status, title=title, text=text, retry_in_seconds=retry)
