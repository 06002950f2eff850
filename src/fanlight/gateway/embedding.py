"""Sessions inside other sites' pages: who may frame ours, and the cookie that browsers send there.

A stack's EmbedHostDomains say whose pages may. The browser enforces it (frame-ancestors); what is here is to say it, for
that stack alone, and to start nothing in a frame of a stack that has none. All that changes something is asked for by
our own page as ever: its Origin is checked, and in a frame its Origin is ours too.
"""

from aiohttp import web

from fanlight.controlwire.messages import Grant
from fanlight.gateway.context import GATEWAY
from fanlight.gateway.control_client import ControlAway

_FRAMES = frozenset({"iframe", "frame", "embed", "object", "fencedframe"})


def is_framed(request: web.Request) -> bool:
    """Return whether the browser says that what it loads goes into another page. Silence is no frame."""
    return request.headers.get("Sec-Fetch-Dest", "") in _FRAMES


def origins_of(domains: tuple[str, ...]) -> tuple[str, ...]:
    """Return the origins of embedders as a content policy spells them: https, on its own port."""
    return tuple(f"https://{domain}" for domain in domains)


async def embedders(request: web.Request, grant: Grant) -> tuple[str, ...]:
    """Return the origins whose pages may frame what is answered; none while the control plane cannot tell.

    A page in a tab of its own is framed by nobody, and needs no question.
    """
    if request.headers.get("Sec-Fetch-Dest") == "document":
        return ()
    try:
        rules = await request.app[GATEWAY].control.rules(grant)
    except ControlAway:
        return ()
    return origins_of(rules.embed_host_domains)


def embedded_cookie(name: str, value: str, *, path: str, max_age: int) -> str:
    """Return a Set-Cookie for a frame in another site's page: kept for that site alone, sent over https alone.

    Browsers take such a cookie from http://localhost too. Written by hand: the library knows no Partitioned.
    """
    return f"{name}={value}; Max-Age={max_age}; Path={path}; HttpOnly; Secure; SameSite=None; Partitioned"
