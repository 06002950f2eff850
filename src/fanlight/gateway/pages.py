"""The pages: the door that redeems a streaming URL, the session page, the frame that holds the stream client."""

import asyncio
from urllib.parse import unquote

from aiohttp import web

from fanlight.controlwire.messages import Grant
from fanlight.gateway.client_files import ENTRY_POINT
from fanlight.gateway.context import GATEWAY, Gateway, cookie_name, cookies_of, require_entrance, signed_in
from fanlight.gateway.control_client import ControlAway, Refused
from fanlight.gateway.cookies import COOKIE_LIFETIME_IN_SECONDS, SealTooLarge, SignedIn
from fanlight.gateway.embedding import embedded_cookie, embedders, is_framed, origins_of
from fanlight.gateway.responses import frame_policy, message_page, page_response, shell_policy

_EARLY_START_IN_SECONDS = 5.0
# Behind https every one of our cookies is sent with every request (`__Host-` demands the path "/"). So many identities,
# and so much text, stay within what a request's head may hold; who opened more links than that loses the oldest.
MAX_COOKIES = 20
MAX_COOKIES_IN_BYTES = 40 * 1024
_MOST_COOKIES_OF_A_BROWSER = 200
_REFUSALS = {
    "EXPIRED": ("This link has expired", "Ask for a new one: a streaming link opens only until the time set for it."),
    "ALTERED": (
        "This link is not complete",
        "It was changed or cut off on its way. Copy the whole link again, or ask for a new one.",
    ),
    "FLEET_NOT_RUNNING": (
        "The applications are switched off",
        "The fleet behind this link is not running at the moment. Try again later, or ask your administrator.",
    ),
    "IMAGE_BUILDER_NOT_RUNNING": (
        "The image builder is not running",
        "Its desktop opens when it is RUNNING. Start it, or wait until what is being done with it is over.",
    ),
    "STUDIO_SESSION_NOT_READY": (
        "The session is not ready",
        "Its desktop opens when the session is READY. Start it, or wait until it is.",
    ),
    "NOT_FOUND": ("These applications are gone", "What this link led to no longer exists. Ask your administrator."),
    "NOT_ASSOCIATED": (
        "These applications are gone",
        "What this link led to was taken out of its stack. Ask your administrator.",
    ),
    "NOT_FROM_HERE": (
        "This link does not open from here",
        "Its applications can be reached from certain networks only. Ask your administrator which.",
    ),
    "NOT_EMBEDDABLE": (
        "Open this link in a tab of its own",
        "Its applications may not be shown inside other pages. The stack's administrator can allow it for a site.",
    ),
    "NO_CAPACITY": ("Everything is in use", "No place is free right now. Try again in a few minutes."),
}


def refusal_page(request: web.Request, refusal: Refused) -> web.Response:
    """Say in words why a link does not open. The control plane's own message stands below, as a detail."""
    title, text = _REFUSALS.get(refusal.code, ("This link does not open", "Ask your administrator for a new one."))
    answer = message_page(request, status=refusal.status, title=title, text=text, detail=refusal.message)
    answer.headers["Content-Security-Policy"] = shell_policy(origins_of(refusal.embed_host_domains))
    return answer


async def authenticate(request: web.Request) -> web.StreamResponse:
    """GET /authenticate?parameters&signature: set the cookie and go to the page without the token.

    HEAD, as link checkers send it, redeems nothing.
    """
    if request.method == "HEAD":
        return web.Response()
    gateway = request.app[GATEWAY]
    given = _raw_query(request.raw_path)
    if not given.get("parameters") or not given.get("signature"):
        raise Refused("ALTERED", "The link has no parameters or no signature.", 400)
    grant = await gateway.control.redeem(given["parameters"], given["signature"])
    identity = SignedIn(grant=grant, opened_at=gateway.seals.now(), is_embedded=is_framed(request))
    rules = await require_entrance(request, grant)
    if identity.is_embedded and not rules.embed_host_domains:
        raise Refused("NOT_EMBEDDABLE", "The stack has no EmbedHostDomains.", 403)
    if await _started_early(request, gateway, grant):
        identity = identity.started()
    ref = gateway.seals.ref(grant)
    answer = web.Response(status=303, headers={"Location": f"/s/{ref}/"})
    try:
        set_cookie(request, answer, ref, identity)
    except SealTooLarge:
        raise Refused("TOO_LONG", "Its session context is too long to be kept in a cookie.", 400) from None
    _drop_oldest_cookies(request, answer, ref, is_embedded=identity.is_embedded)
    return answer


def _drop_oldest_cookies(
    request: web.Request, answer: web.StreamResponse, newest_ref: str, *, is_embedded: bool
) -> None:
    """Make room for the cookie that `answer` sets: beyond a number, or a size, the oldest sign-ins are forgotten."""
    gateway = request.app[GATEWAY]
    if not gateway.origins.is_secure(request):
        return  # those have paths of their own and are not sent together
    prefix = cookie_name(gateway, request, "")
    others: list[tuple[float, str, int]] = []
    for name, values in list(cookies_of(request).items())[:_MOST_COOKIES_OF_A_BROWSER]:
        ref = name.removeprefix(prefix)
        if name.startswith(prefix) and ref != newest_ref:
            opened = [identity.opened_at for sealed in values if (identity := gateway.seals.open(ref, sealed))]
            others.append((max(opened, default=0.0), name, sum(len(name) + len(sealed) for sealed in values)))
    left = MAX_COOKIES_IN_BYTES
    for count, (_, name, size) in enumerate(sorted(others, reverse=True), start=2):  # the newest is the first
        left -= size
        if count > MAX_COOKIES or left < 0:
            if is_embedded:
                answer.headers.add("Set-Cookie", embedded_cookie(name, "", path="/", max_age=0))
            else:
                answer.del_cookie(name, path="/", secure=True, httponly=True, samesite="Lax")


def set_cookie(request: web.Request, answer: web.StreamResponse, ref: str, identity: SignedIn) -> None:
    """Raises SealTooLarge."""
    gateway = request.app[GATEWAY]
    is_secure = gateway.origins.is_secure(request)
    name, sealed = cookie_name(gateway, request, ref), gateway.seals.seal(identity)
    path = "/" if is_secure else f"/s/{ref}/"  # the __Host- prefix demands "/"
    if identity.is_embedded:
        cookie = embedded_cookie(name, sealed, path=path, max_age=COOKIE_LIFETIME_IN_SECONDS)
        answer.headers.add("Set-Cookie", cookie)
        return
    answer.set_cookie(
        name, sealed, max_age=COOKIE_LIFETIME_IN_SECONDS, path=path, httponly=True, secure=is_secure, samesite="Lax"
    )


def _raw_query(raw_path: str) -> dict[str, str]:
    """Return the query decoded from percent encoding only: in base64 a plus sign is a plus sign, not a blank."""
    _, _, query = raw_path.partition("?")
    pairs = (pair.partition("=") for pair in query.split("&"))
    return {name: unquote(value) for name, _, value in pairs}


async def _started_early(request: web.Request, gateway: Gateway, grant: Grant) -> bool:
    """Make the session while the browser still loads the page, if it is clear which; return whether it runs already.

    Only for a person's own navigation, so that a chat program's link preview starts nothing. With the simulated engine
    any HTTP client will do, and gets the first application if its URL names none: there it is the whole way to a
    session. A failure is left to the page, which says it.
    """
    is_prefetch = "Sec-Purpose" in request.headers or "Purpose" in request.headers
    is_navigation = request.headers.get("Sec-Fetch-Mode") == "navigate"
    is_plain_client = gateway.settings.compute == "simulated" and "Sec-Fetch-Mode" not in request.headers
    if is_prefetch or not (is_navigation or is_plain_client):
        return False
    try:
        async with asyncio.timeout(_EARLY_START_IN_SECONDS):
            application_id = grant.application_id
            if application_id is None:
                catalog = await gateway.control.catalog(grant)
                if catalog.stream_view != "DESKTOP":
                    if not is_plain_client or not catalog.entries:
                        return False
                    application_id = catalog.entries[0].application_id
            zone = "" if is_plain_client else None  # only the page can ask a browser for its time zone
            session = await gateway.control.open_session(grant, application_id, zone)
    except (Refused, ControlAway, TimeoutError):
        return False
    return session.state == "ACTIVE"


async def session_page(request: web.Request) -> web.StreamResponse:
    """GET /s/<ref>/: the same page for everybody; what it shows comes from the API."""
    _, identity = signed_in(request)
    gateway = request.app[GATEWAY]
    base = gateway.stream_client()
    client = f"{base}{ENTRY_POINT}" if base else f"{gateway.portal.base}/frame_simple.js"
    answer = page_response(request, "session.html", client=client)
    answer.headers["Content-Security-Policy"] = shell_policy(await embedders(request, identity.grant))
    return answer


async def stream_frame(request: web.Request) -> web.StreamResponse:
    """GET /s/<ref>/stream/: the document around the stream client, framed by the session page alone."""
    _, identity = signed_in(request)
    gateway = request.app[GATEWAY]
    session, around = await asyncio.gather(
        gateway.control.find_session(identity.grant), embedders(request, identity.grant)
    )
    client = gateway.stream_client(session.runtime_version if session else None)
    answer = (
        page_response(request, "frame.html", client=client) if client else page_response(request, "frame_simple.html")
    )
    answer.headers["Content-Security-Policy"] = frame_policy(gateway.origins.own(request), around)
    return answer


async def front_page(request: web.Request) -> web.StreamResponse:
    """GET /: nothing to choose here; say what to do."""
    return message_page(
        request,
        status=200,
        title="Open your streaming link",
        text="Applications are opened with the link that you were given. Open it in this browser.",
    )
