"""Streaming sessions: from a URL to a session, and what is recorded while it lives.

A session is a wish until a reconciler gives it an instance. One user has at most one live session per stack, fleet
and way of signing in; who comes again, comes back to it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from fanlight.domain.clock_corrections import TOLERANCE
from fanlight.domain.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    InvalidCombination,
    NotAvailable,
    NotFound,
    NotPermitted,
    UrlRefused,
)
from fanlight.domain.fleets import Fleet, FleetState, StreamView
from fanlight.domain.images import Application, Image
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork, Wake
from fanlight.domain.stacks import Stack, UserAction
from fanlight.domain.streaming_sessions import EndReason, StreamingGrant, StreamingSession
from fanlight.services.own_desktops import DesktopCatalog, open_on_desktop, served_desktop
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.streaming_urls import LONGEST_VALIDITY_IN_SECONDS, StreamingUrls, checked_validity

DESKTOP = "Desktop"  # the application id that means the whole desktop
DEFAULT_VALIDITY_IN_SECONDS = 60
DEFAULT_PAGE, LARGEST_PAGE = 20, 50
_EXPIRE_ATTEMPTS = 5  # the API has no error for a session that changes at this very moment
BY_URL = "API"  # how users of streaming URLs signed in


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCatalog:
    """What the user may choose from. `applications` are the enabled ones of the fleet's image."""

    stack: Stack
    fleet: Fleet
    image: Image
    applications: tuple[Application, ...]


class StreamingSessionService:
    def __init__(
        self, transactions: Transactions, clock: Clock, wake: Wake, urls: StreamingUrls, tokens: PageTokens
    ) -> None:
        self._transactions, self._clock, self._wake = transactions, clock, wake
        self._urls, self._tokens = urls, tokens

    async def create_url(
        self,
        scope: Scope,
        *,
        stack_name: str,
        fleet_name: str,
        user_id: str,
        application_id: str | None = None,
        validity_in_seconds: int | None = None,
        session_context: str | None = None,
    ) -> tuple[str, datetime]:
        """Return a streaming URL and when it expires. Nothing is stored or reserved.

        Raises NotFound (stack, fleet, application), NotPermitted (not associated), NotAvailable (fleet not RUNNING),
        InvalidCombination (validity, the desktop of a fleet in APP view).
        """
        lasting = checked_validity(validity_in_seconds, DEFAULT_VALIDITY_IN_SECONDS)
        async with self._transactions.begin() as work:
            await work.stacks.get(scope, stack_name)
            fleet = await work.fleets.get(scope, fleet_name)
            await _check_serves(work, fleet, stack_name)
            if application_id is not None:
                _check_application(fleet, await _image_of(work, fleet), application_id)
        expires_at = self._clock.now().replace(microsecond=0) + lasting
        grant = StreamingGrant(
            scope=scope,
            stack_name=stack_name,
            fleet_name=fleet_name,
            user_id=user_id,
            application_id=application_id,
            session_context=session_context,
            expires_at=expires_at,
        )
        url = self._urls.issue(grant, fleet.max_user_duration)
        if url is None:
            raise InvalidCombination(
                "The SessionContext is too long for a URL and a cookie of the browser. Shorten it."
            )
        return url, expires_at

    def issued(self, parameters: str, signature: str) -> StreamingGrant | None:
        """Return what a URL granted when it was issued here, whatever became of that since; None if it never was."""
        try:
            return self._urls.read(parameters, signature)
        except UrlRefused:
            return None

    async def redeem(self, parameters: str, signature: str) -> StreamingGrant:
        """Return what a streaming URL grants. May be repeated until it expires.

        Raises UrlRefused with code ALTERED, EXPIRED, NOT_FOUND, NOT_ASSOCIATED, FLEET_NOT_RUNNING,
        IMAGE_BUILDER_NOT_RUNNING or STUDIO_SESSION_NOT_READY.
        """
        grant = self._urls.read(parameters, signature)
        now = self._clock.now()
        # No link lasts longer: the clock that made such a one was ahead and has been set back since.
        longest = timedelta(seconds=LONGEST_VALIDITY_IN_SECONDS) + TOLERANCE
        if not now < grant.expires_at <= now + longest:
            raise UrlRefused("EXPIRED", "This link has expired. Ask for a new one.")
        async with self._transactions.begin() as work:
            await (served_desktop(work, grant, self._clock) if grant.is_for_own_desktop else _served_by(work, grant))
        return grant

    async def catalog(self, grant: StreamingGrant) -> SessionCatalog | DesktopCatalog:
        """Return what the user of this grant may open.

        Raises UrlRefused as `redeem`, but for ALTERED and EXPIRED.
        """
        async with self._transactions.begin() as work:
            if grant.is_for_own_desktop:
                return DesktopCatalog(await served_desktop(work, grant, self._clock))
            stack, fleet = await _served_by(work, grant)
            image = await _image_of(work, fleet)
        enabled = tuple(application for application in image.applications if application.enabled)
        return SessionCatalog(stack=stack, fleet=fleet, image=image, applications=enabled)

    async def open_session(
        self, grant: StreamingGrant, application_id: str | None, time_zone: str | None = ""
    ) -> StreamingSession:
        """Return the user's live session, made now if there is none.

        `time_zone` is what the browser says ("" when it does not know), None before it was asked: then no session is
        made for a stack that redirects time zones.

        `application_id` is what the user chose, else the URL's. A session of None shows the desktop. For a session
        that was there already the choice is not recorded: launching it there is the caller's next step.
        Raises UrlRefused (as `catalog`; SESSION_ENDING while the user's last session is being ended; NO_APPLICATION
        in APP view without a choice; NO_TIME_ZONE), NotFound (application), InvalidCombination (the desktop in APP view).
        """
        async with self._transactions.begin(write=True) as work:
            if grant.is_for_own_desktop:
                await served_desktop(work, grant, self._clock)
                live = await _live_of(work, grant) or await open_on_desktop(work, grant, self._clock)
                await work.commit()
            else:
                live = await self._open_in_fleet(work, grant, application_id, time_zone)
        if live.end_requested is not None:
            raise UrlRefused("SESSION_ENDING", "Your last session is just being closed. Try again in a few seconds.")
        self._wake("session", live.session_id)
        return live

    async def _open_in_fleet(
        self, work: UnitOfWork, grant: StreamingGrant, application_id: str | None, time_zone: str | None
    ) -> StreamingSession:
        stack, fleet = await _served_by(work, grant)
        chosen = _choice(fleet, await _image_of(work, fleet), application_id or grant.application_id)
        live = await _live_of(work, grant)
        if live is None:
            zone = _zone_for(stack, time_zone)
            live = await self._make(work, grant, stack, fleet, chosen, zone)
            await work.commit()
        return live

    async def find_live(self, grant: StreamingGrant) -> StreamingSession | None:
        """Return the user's live session, also one whose end is requested; makes nothing."""
        async with self._transactions.begin() as work:
            return await _live_of(work, grant)

    async def find(self, session_id: str) -> StreamingSession:
        """Raises NotFound, also for sessions that ended long ago and are pruned."""
        async with self._transactions.begin() as work:
            return await _get(work, session_id)

    async def record_connection(self, session_id: str, *, is_connected: bool) -> StreamingSession:
        """Record that the user's stream is open, or that none is. Repetition changes nothing. Raises NotFound."""
        session = await self.find(session_id)
        if not _connection_changes(session, is_connected=is_connected):
            return session
        async with self._transactions.begin(write=True) as work:
            session = await _get(work, session_id)
            if not _connection_changes(session, is_connected=is_connected):
                return session
            now = self._clock.now()
            session = await work.sessions.save(
                replace(
                    session,
                    connected_since=now if is_connected else None,
                    disconnected_at=None if is_connected else now,
                    is_idle_disconnected=session.is_idle_disconnected and not is_connected,
                )
            )
            await work.commit()
        self._wake("session", session_id)
        return session

    async def request_end(self, session_id: str, reason: EndReason) -> StreamingSession:
        """Ask the reconciler to end a session; the first reason stays. Does nothing when it ended. Raises NotFound."""
        async with self._transactions.begin(write=True) as work:
            session = await _get(work, session_id)
            if not session.is_live or session.end_requested is not None:
                return session
            session = await work.sessions.save(replace(session, end_requested=reason))
            await work.commit()
        self._wake("session", session_id)
        return session

    async def expire(self, scope: Scope, session_id: str) -> None:
        """End a session of this scope. Unknown, ended or foreign ids are success: the API has no error for them."""
        async with self._transactions.begin() as work:
            session = await work.sessions.find(session_id)
        if session is None or session.scope != scope:
            return
        for is_last in (*[False] * (_EXPIRE_ATTEMPTS - 1), True):
            try:
                await self.request_end(session_id, EndReason.EXPIRED_BY_ADMINISTRATOR)
            except NotFound:  # pruned since we looked
                return
            except ChangedMeanwhile:
                if is_last:
                    raise
            else:
                return

    async def describe(
        self,
        scope: Scope,
        *,
        stack_name: str,
        fleet_name: str,
        user_id: str | None = None,
        authentication_type: str | None = None,
        instance_id: str | None = None,
        limit: int | None = None,
        next_token: str | None = None,
    ) -> tuple[tuple[StreamingSession, ...], str | None]:
        """Return one page of the sessions of a stack on a fleet, and the token of the next.

        Unknown stacks and fleets have no sessions. Raises InvalidCombination (limit, a user without authentication
        type), InvalidPageToken.
        """
        if user_id is not None and authentication_type is None:
            raise InvalidCombination("UserId needs AuthenticationType: the same id may mean two users. Give both.")
        size = DEFAULT_PAGE if limit is None else limit
        if not 1 <= size <= LARGEST_PAGE:
            raise InvalidCombination(f"Limit is {size}; it must be between 1 and {LARGEST_PAGE}.")
        asked = ["sessions", stack_name, fleet_name, user_id or "", authentication_type or "", instance_id or ""]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            found = await work.sessions.page(
                scope,
                stack_name,
                fleet_name,
                authentication_type=authentication_type or BY_URL,
                user_id=user_id,
                instance_id=instance_id,
                after=after,
                limit=size + 1,
            )
        page, has_more = cut(found, size)
        return tuple(page), self._tokens.issue(scope, asked, page[-1].session_id) if has_more else None

    async def _make(  # noqa: PLR0917 - called once, above
        self,
        work: UnitOfWork,
        grant: StreamingGrant,
        stack: Stack,
        fleet: Fleet,
        application_id: str | None,
        time_zone: str | None,
    ) -> StreamingSession:
        now = self._clock.now()
        session = StreamingSession(
            session_id=str(uuid4()),
            scope=grant.scope,
            stack_name=grant.stack_name,
            fleet_name=grant.fleet_name,
            fleet_id=fleet.fleet_id,
            user_id=grant.user_id,
            authentication_type=BY_URL,
            application_id=application_id,
            session_context=grant.session_context,
            created_at=now,
            max_expires_at=now + fleet.max_user_duration,
            progress="Waiting for an instance",
            user_settings=stack.user_settings,
            storage_connectors=stack.storage_connectors,
            settings_group=stack.settings_group,
            time_zone=time_zone,
        )
        try:
            return await work.sessions.add(session)
        except AlreadyExists:
            # Another process made it between our look and our write; the unique index let one of us win.
            if (winner := await _live_of(work, grant)) is not None:
                return winner
            raise


def _zone_for(stack: Stack, said: str | None) -> str | None:
    """Return the time zone of a new session. Raises UrlRefused when the browser must be asked first."""
    if UserAction.AUTO_TIME_ZONE_REDIRECTION not in stack.enabled_actions:
        return None
    if said is None:
        raise UrlRefused("NO_TIME_ZONE", "The browser has not said its time zone yet.")
    return said or None


async def _served_by(work: UnitOfWork, grant: StreamingGrant) -> tuple[Stack, Fleet]:
    """Return stack and fleet of a grant if they can serve it now. Raises UrlRefused."""
    try:
        stack = await work.stacks.get(grant.scope, grant.stack_name)
        fleet = await work.fleets.get(grant.scope, grant.fleet_name)
    except NotFound:
        raise UrlRefused("NOT_FOUND", "What this link opens does not exist any more. Ask for a new one.") from None
    if grant.fleet_name not in await work.associations.fleets_of(grant.scope, grant.stack_name):
        raise UrlRefused("NOT_ASSOCIATED", "This link opens applications that are not offered any more.")
    if fleet.state is not FleetState.RUNNING:
        raise UrlRefused("FLEET_NOT_RUNNING", "The applications are switched off now. Try again later.")
    return stack, fleet


async def _check_serves(work: UnitOfWork, fleet: Fleet, stack_name: str) -> None:
    """Raise NotPermitted or NotAvailable unless the fleet stands behind the stack and runs."""
    if fleet.name not in await work.associations.fleets_of(fleet.scope, stack_name):
        raise NotPermitted(
            f"The fleet {fleet.name} is not associated with the stack {stack_name}. Associate them first."
        )
    if fleet.state is not FleetState.RUNNING:
        why = f"The fleet {fleet.name} is {fleet.state}. A streaming URL needs a fleet that is RUNNING: start it."
        raise NotAvailable("fleet", fleet.name, why)


async def _image_of(work: UnitOfWork, fleet: Fleet) -> Image:
    image = await work.images.find(fleet.scope, arn=fleet.image_arn)
    if image is None:
        raise NotFound("image", fleet.image_name)
    return image


async def _live_of(work: UnitOfWork, grant: StreamingGrant) -> StreamingSession | None:
    return await work.sessions.live_of_user(grant.scope, grant.stack_name, grant.fleet_name, grant.user_id, BY_URL)


async def _get(work: UnitOfWork, session_id: str) -> StreamingSession:
    session = await work.sessions.find(session_id)
    if session is None:
        raise NotFound("streaming session", session_id)
    return session


def _connection_changes(session: StreamingSession, *, is_connected: bool) -> bool:
    if not session.is_live:
        return False
    if is_connected:
        return session.connected_since is None
    return session.connected_since is not None or session.disconnected_at is None


def _check_application(fleet: Fleet, image: Image, application_id: str) -> None:
    """Raise NotFound or InvalidCombination unless this fleet can open the application."""
    if application_id == DESKTOP:
        if fleet.stream_view is not StreamView.DESKTOP:
            raise InvalidCombination(
                f"The application {DESKTOP} is the whole desktop, and the fleet {fleet.name} has StreamView APP. "
                "Choose an application of its image, or set StreamView to DESKTOP."
            )
        return
    if not any(application.name == application_id and application.enabled for application in image.applications):
        raise NotFound("application", application_id)


def _choice(fleet: Fleet, image: Image, application_id: str | None) -> str | None:
    if application_id is not None:
        _check_application(fleet, image, application_id)
        return None if application_id == DESKTOP else application_id
    if fleet.stream_view is StreamView.APP:
        raise UrlRefused("NO_APPLICATION", "Choose an application first.")
    return None
