"""Who asks at a Unix socket that speaks HTTP: a user of this host, as the kernel knows it."""

from collections.abc import Callable, Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from fanlight.unix_sockets import uid_of_peer


def uid_of(request: web.BaseRequest) -> int | None:
    """Return the uid of who asks; None when the connection is gone."""
    return uid_of_peer(request.transport.get_extra_info("socket") if request.transport else None)


def admitting(uids: Collection[int], refuse: Callable[[int | None], web.StreamResponse]) -> Middleware:
    """Return the middleware that lets only these users in; `refuse` makes the answer to any other uid."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        uid = uid_of(request)
        return await handler(request) if uid in uids else refuse(uid)

    return admit
