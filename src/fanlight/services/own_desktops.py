"""Sessions on desktops that belong to one thing: an image builder, or the streaming session of a studio.

One at a time for each: who opens the link again comes back to it. Its end leaves the instance as it is.
"""

from dataclasses import dataclass
from uuid import uuid4

from fanlight.domain.errors import UrlRefused
from fanlight.domain.own_desktops import OwnDesktop, desktop_of_builder, desktop_of_studio_session
from fanlight.domain.ports import Clock, UnitOfWork
from fanlight.domain.session_plan import PREPARING
from fanlight.domain.streaming_sessions import StreamingGrant, StreamingSession


@dataclass(frozen=True, slots=True)
class DesktopCatalog:
    """What is opened: a desktop, and nothing to choose from."""

    desktop: OwnDesktop


async def find_desktop(work: UnitOfWork, named: StreamingGrant | StreamingSession, clock: Clock) -> OwnDesktop | None:
    """Return the desktop that a grant or a session names; None when it is gone, or for the applications of a fleet."""
    if named.image_builder_name is not None:
        found = await work.image_builders.page(named.scope, names=[named.image_builder_name], limit=1)
        return desktop_of_builder(found[0], clock.now()) if found else None
    if named.studio_session_id is not None:
        session = await work.studio_sessions.find(named.studio_session_id)
        is_there = session is not None and session.scope == named.scope
        return desktop_of_studio_session(session, clock.now()) if session is not None and is_there else None
    return None


async def served_desktop(work: UnitOfWork, grant: StreamingGrant, clock: Clock) -> OwnDesktop:
    """Return the desktop of a grant if it is open now.

    Raises UrlRefused NOT_FOUND, IMAGE_BUILDER_NOT_RUNNING, STUDIO_SESSION_NOT_READY.
    """
    desktop = await find_desktop(work, grant, clock)
    if desktop is None:
        raise UrlRefused("NOT_FOUND", "The desktop that this link opens does not exist any more.")
    if not desktop.is_open:
        raise UrlRefused(*desktop.refusal)
    return desktop


async def open_on_desktop(work: UnitOfWork, grant: StreamingGrant, clock: Clock) -> StreamingSession:
    """Add the session of a grant for a desktop. Raises AlreadyExists, and UrlRefused as `served_desktop`."""
    desktop = await served_desktop(work, grant, clock)
    now = clock.now()
    return await work.sessions.add(
        StreamingSession(
            session_id=str(uuid4()),
            scope=grant.scope,
            stack_name=grant.stack_name,
            fleet_name=grant.fleet_name,
            fleet_id=desktop.owner_id,
            user_id=grant.user_id,
            instance_id=desktop.instance_id,
            created_at=now,
            started_at=now,
            max_expires_at=desktop.ends_at,
            progress=PREPARING,
            user_settings=desktop.user_settings,
        )
    )
