"""GET /s/<ref>/stream/api/websockets: authorise the head, bring the socket to the instance, splice."""

import asyncio

from aiohttp import web

from fanlight.gateway.context import (
    GATEWAY,
    NoStream,
    RunningSession,
    arriving_session,
    require_own_origin,
    running_session,
    signed_in,
)
from fanlight.gateway.relay import Splice, take_over
from fanlight.gateway.responses import json_error
from fanlight.gateway.upgrades import Handshake, NotAnUpgrade, UpgradedGuest, upgrade_guest


async def relay_stream(request: web.Request) -> web.StreamResponse:
    """Every head is authorised anew: cookie, Origin, a running session. Without an upgrade: whether one would succeed."""
    try:
        handshake = Handshake.of(request)
    except NotAnUpgrade:
        await running_session(request)
        return json_error(426, "UPGRADE_REQUIRED", "This is a WebSocket.")
    require_own_origin(request)
    gateway = request.app[GATEWAY]
    ref, _ = signed_in(request)
    with gateway.held_streams.place(ref):
        session = await arriving_session(request)
        if gateway.streams.is_idle(session.view.session_id, as_stored=session.view.is_idle_disconnected):
            raise NoStream  # until the user comes back to the page, which attaches itself
        origin = gateway.origins.own(request)
        async with gateway.streams.turn(session.view.session_id):
            guest = await upgrade_guest(session.socket, session.stream_uid, handshake, origin)
    transport = request.transport
    if transport is None or transport.is_closing() or gateway.stopping.is_set():
        guest.transport.abort()
        raise NoStream
    _splice(request, transport, session, guest)
    # aiohttp is told to answer, finds the connection no longer its own, and lets go of it.
    return web.Response(status=101)


def _splice(request: web.Request, transport: asyncio.Transport, session: RunningSession, guest: UpgradedGuest) -> None:
    gateway = request.app[GATEWAY]
    early = take_over(request.protocol, transport)
    transport.write(guest.answer_head)
    gateway.streams.splice(
        session.view.session_id,
        session.view.max_expires_at,
        gateway.origins.address_of(request),
        lambda on_done: Splice(transport, guest.transport, on_done=on_done, from_browser=early, from_guest=guest.rest),
    )
    guest.transport.resume_reading()
