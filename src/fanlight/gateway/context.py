"""What every handler of the gateway needs, and who is asking."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from fanlight.config import Settings
from fanlight.controlwire.messages import Grant, SessionView, StackRules
from fanlight.forwarding import Network, is_among
from fanlight.gateway.client_files import ClientFiles
from fanlight.gateway.control_client import ControlClient, Refused
from fanlight.gateway.cookies import Seals, SignedIn
from fanlight.gateway.home_client import HomeFolders
from fanlight.gateway.origins import Origins
from fanlight.gateway.places import Places
from fanlight.gateway.portal_files import PortalFiles
from fanlight.gateway.streams import Streams

ARRIVAL_LIMIT_IN_SECONDS = 60.0  # as long as a start may take before it counts as failed
# Of one user. A page has one stream and one question under way; reloads and further tabs leave some behind for a while.
STREAMS_HELD_AT_ONCE = 8
QUESTIONS_HELD_AT_ONCE = 32
READINGS_HELD_AT_ONCE = 8  # lists of folders and zips, which cost more than they look
_LOOK_IN_SECONDS = 1.0  # whether the browser that waits is still there


@dataclass(slots=True)
class Gateway:
    settings: Settings
    seals: Seals
    control: ControlClient
    streams: Streams
    origins: Origins
    portal: PortalFiles
    client_files: ClientFiles
    home: HomeFolders
    endpoints: Mapping[str, tuple[Network, ...]] = field(default_factory=dict)  # of AccessEndpoints: id → networks
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    held_streams: Places = field(default_factory=lambda: Places(STREAMS_HELD_AT_ONCE))
    held_readings: Places = field(default_factory=lambda: Places(READINGS_HELD_AT_ONCE))
    held_questions: Places = field(default_factory=lambda: Places(QUESTIONS_HELD_AT_ONCE))

    def stream_client(self, version: str | None = None) -> str | None:
        """Return where the stream client's files are served; None where only the simple picture client will do.

        `version` is the runtime that the session's instance mounts: client and stream server must be of one make.
        """
        return None if self.settings.compute == "simulated" else self.client_files.base(version)


GATEWAY: Final = web.AppKey("gateway", Gateway)


class NotSignedIn(Exception):
    """No cookie, or one that is altered, too old, or another identity's."""


class Forbidden(Exception):
    """The request came from elsewhere, or the stack does not allow what it asks. The message is for the user."""


class NoStream(Exception):
    """There is no running session to reach."""


_MOST_OF_ONE_NAME = 4


def cookie_name(gateway: Gateway, request: web.Request, ref: str) -> str:
    """Return the cookie's name. `__Host-` makes browsers refuse one that another host or plain http tries to set."""
    prefix = "__Host-" if gateway.origins.is_secure(request) else ""
    return f"{prefix}fanlight-{ref}"


def cookies_of(request: web.Request) -> dict[str, list[str]]:
    """Return the cookies as they were sent. One name may come twice: from the browser's own jar and an embedder's.

    Ours need no unquoting, and a header that a stranger filled to the brim should cost no more than to cut it up.
    """
    cookies: dict[str, list[str]] = {}
    for header in request.headers.getall("Cookie", []):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            values = cookies.setdefault(name, [])
            if len(values) < _MOST_OF_ONE_NAME:
                values.append(value)
    return cookies


def signed_in(request: web.Request) -> tuple[str, SignedIn]:
    """Return the identity that the path names and the cookie proves. Raises NotSignedIn."""
    gateway = request.app[GATEWAY]
    ref = request.match_info["ref"]
    given = cookies_of(request).get(cookie_name(gateway, request, ref), [])
    found = [identity for sealed in given if (identity := gateway.seals.open(ref, sealed))]
    if not found:
        raise NotSignedIn
    return ref, max(found, key=lambda identity: identity.opened_at)


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session whose instance can be reached: where its stream server listens, and whose socket that must be."""

    view: SessionView
    socket: str
    stream_uid: int


async def arriving_session(request: web.Request) -> RunningSession:
    """Return the caller's running session; one whose instance is being prepared is waited for. Raises as running_session.

    The page opens its stream while the session starts, so that the picture need not wait for a browser's round trips.
    """
    _, identity = signed_in(request)
    gateway = request.app[GATEWAY]
    arriving = asyncio.ensure_future(_arrival(gateway, identity))
    stopping = asyncio.ensure_future(gateway.stopping.wait())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(ARRIVAL_LIMIT_IN_SECONDS):
                while not _is_gone(request) and not (arriving.done() or stopping.done()):
                    awaited = {arriving, stopping}
                    await asyncio.wait(awaited, timeout=_LOOK_IN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if arriving.done():
            arriving.result()
    finally:
        arriving.cancel()
        stopping.cancel()
        await asyncio.gather(arriving, stopping, return_exceptions=True)
    return await running_session(request)


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _arrival(gateway: Gateway, identity: SignedIn) -> None:
    """Return when nobody prepares an instance for this user (any more). Raises ControlAway, Refused."""
    view = await gateway.control.find_session(identity.grant)
    while view is not None and view.state == "PENDING" and view.instance_id:
        view = await gateway.control.wait_for_change(view.session_id, view.state)


async def running_session(request: web.Request, *, feature: str | None = None) -> RunningSession:
    """Return the caller's running session.

    Raises NotSignedIn, NoStream, Refused (see `require_entrance`), and Forbidden when the stack lacks the feature.
    """
    _, identity = signed_in(request)
    view, _ = await asyncio.gather(
        request.app[GATEWAY].control.find_session(identity.grant), require_entrance(request, identity.grant)
    )
    if view is None or view.state != "ACTIVE" or not view.stream_socket or view.stream_uid is None:
        raise NoStream
    if feature is not None and feature not in view.features:
        raise Forbidden("Your administrator has not allowed this for the stack.")
    return RunningSession(view, view.stream_socket, view.stream_uid)


async def require_entrance(request: web.Request, grant: Grant) -> StackRules:
    """Return the rules of the grant's stack. Raises Refused unless the user comes from where they let users in.

    An endpoint that is not configured any more lets nobody in: the stack says so in its StackErrors.
    """
    gateway = request.app[GATEWAY]
    rules = await gateway.control.rules(grant)
    if rules.access_endpoints:
        address = gateway.origins.address_of(request)
        if not any(is_among(address, gateway.endpoints.get(endpoint, ())) for endpoint in rules.access_endpoints):
            raise Refused("NOT_FROM_HERE", "These applications can be reached from certain networks only.", 403)
    return rules


def require_own_origin(request: web.Request) -> None:
    """Raises Forbidden unless the browser says that a page of this gateway asks."""
    if not request.app[GATEWAY].origins.is_own(request):
        raise Forbidden("The request did not come from this site.")


def refuse_cross_site(request: web.Request) -> None:
    """For downloads, which navigate and carry no Origin: raises Forbidden if the browser says another site asked."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("The request did not come from this site.")
