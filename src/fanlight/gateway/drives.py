"""Users' own drives in the session page: connect one at its provider, and take that back.

The storage process knows providers and tokens; here is only seen to it that the browser that comes back from the
provider is the one that was sent there. Else somebody could have another person connect a drive to their own session.
"""

import re
import secrets
from urllib.parse import quote

from aiohttp import web

from fanlight.gateway.context import GATEWAY, Forbidden, cookies_of, require_own_origin, running_session, signed_in
from fanlight.gateway.control_client import Refused
from fanlight.gateway.page_api import PAGE_HEADER
from fanlight.gateway.responses import json_answer, message_page

CALLBACK = "/drives/connected"  # registered at the providers
COOKIE_LIFETIME_IN_SECONDS = 900
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")
_NAMES = {"GOOGLE_DRIVE": "Google Drive", "ONE_DRIVE": "OneDrive"}


async def list_drives(request: web.Request) -> web.StreamResponse:
    """GET api/drives: those of the running session, and whether they are connected."""
    _require_page(request)
    session = await running_session(request)
    return json_answer(await request.app[GATEWAY].home.json("GET", session.view.session_id, "drives", {}))


async def connect(request: web.Request) -> web.StreamResponse:
    """POST api/drives/<kind>/connect: answer with the provider's address, to which the page sends a window of its own."""
    _require_page(request)
    require_own_origin(request)
    session = await running_session(request)
    _, identity = signed_in(request)
    if identity.is_embedded:
        raise Refused("EMBEDDED", "Open your streaming link in a tab of its own to connect a drive.", 409)
    gateway = request.app[GATEWAY]
    # The same for all drives that one browser connects side by side.
    browser = _browser(request) or secrets.token_urlsafe(32)
    query = {"redirect_uri": gateway.origins.own(request) + CALLBACK, "browser": browser}
    said = await gateway.home.json("POST", session.view.session_id, f"drives/{_kind(request)}/connect", query)
    answer = json_answer({"url": said["url"]})
    is_secure = gateway.origins.is_secure(request)
    answer.set_cookie(
        _cookie_name(request),
        browser,
        max_age=COOKIE_LIFETIME_IN_SECONDS,
        path="/" if is_secure else CALLBACK,  # the __Host- prefix demands "/"
        httponly=True,
        secure=is_secure,
        samesite="Lax",
    )
    return answer


async def disconnect(request: web.Request) -> web.StreamResponse:
    """POST api/drives/<kind>/disconnect."""
    _require_page(request)
    require_own_origin(request)
    session = await running_session(request)
    home = request.app[GATEWAY].home
    return json_answer(await home.json("POST", session.view.session_id, f"drives/{_kind(request)}/disconnect", {}))


async def connected(request: web.Request) -> web.StreamResponse:
    """GET /drives/connected?state&code, or error instead of the code: the provider sends the user's browser here."""
    query = {
        "state": request.query.get("state", ""),
        "code": request.query.get("code", ""),
        "browser": _browser(request) or "-",
    }
    try:
        said = await request.app[GATEWAY].home.drive_connected(query)
    except Refused as refusal:
        return message_page(request, status=refusal.status, title="Your drive is not connected", text=refusal.message)
    name = _NAMES.get(said["kind"], "Your drive")
    text = f"It is shown in your session as a folder in MyFiles. Account: {said['account']}. You can close this page."
    return message_page(request, status=200, title=f"{name} is connected", text=text)


def _kind(request: web.Request) -> str:
    return quote(request.match_info["kind"], safe="")


def _cookie_name(request: web.Request) -> str:
    prefix = "__Host-" if request.app[GATEWAY].origins.is_secure(request) else ""
    return f"{prefix}fanlight_drives"  # no name of an identity: those begin with "fanlight-"


def _browser(request: web.Request) -> str | None:
    given = cookies_of(request).get(_cookie_name(request), [])
    return next((value for value in given if _BROWSER.fullmatch(value)), None)


def _require_page(request: web.Request) -> None:
    if request.headers.get(PAGE_HEADER) != "1":
        raise Forbidden("The request did not come from the session page.")
