"""What the gateway sees of a session and of a catalogue."""

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from fanlight.agentwire import stream_socket_name
from fanlight.controlwire.messages import (
    Catalog,
    CatalogEntry,
    FilesView,
    FolderView,
    SessionView,
    StackRules,
)
from fanlight.domain.errors import DriverUnavailable, NotFound
from fanlight.domain.fleets import StreamView
from fanlight.domain.flush_plan import SHOWN_FLUSH
from fanlight.domain.own_desktops import OwnDesktop
from fanlight.domain.ports import AgentChannel, AgentStatus, Clock, SessionReport, Transactions, UnitOfWork
from fanlight.domain.session_plan import idle_disconnect_at, whole_minutes
from fanlight.domain.streaming_sessions import SessionState, StreamingGrant, StreamingSession
from fanlight.domain.unsent_files import UnsentFiles, in_all
from fanlight.domain.user_storage import StorageKind
from fanlight.services.icon_urls import IconUrls
from fanlight.services.own_desktops import DesktopCatalog, find_desktop
from fanlight.services.streaming_sessions import SessionCatalog

DISABLED = "DISABLED"
_VERSION = re.compile(r"[A-Za-z0-9._-]{1,64}")


class SessionViews:
    """`stream_uid_of` tells whose the stream socket of an instance's seat must be, None while the engine has not said it."""

    def __init__(
        self,
        transactions: Transactions,
        agents: AgentChannel,
        clock: Clock,
        run_dir: Path,
        stream_uid_of: Callable[[str, int], int | None],
    ) -> None:
        self._transactions, self._agents, self._clock = transactions, agents, clock
        self._run_dir, self._stream_uid_of = run_dir, stream_uid_of

    async def of(self, session: StreamingSession) -> SessionView:
        """Raises DriverUnavailable while an ACTIVE session cannot be reached: its engine or agent has not been seen yet."""
        async with self._transactions.begin() as work:
            fleet = await work.fleets.find(session.fleet_id)
            disabled = await _disabled_kinds(work, session)
            saving_before = await _saving_before(work, session)
        is_active = session.state is SessionState.ACTIVE and session.instance_id is not None
        agent = self._agents.status(session.instance_id) if session.instance_id else None
        report = agent.session(session.session_id) if agent else None
        seat = _seat_of(report) if is_active else None
        idle_at = idle_disconnect_at(session, agent, fleet, self._clock.now()) if fleet else None
        return SessionView(
            session_id=session.session_id,
            state=session.state,
            progress=session.progress,
            stream_view=fleet.stream_view if fleet else _view_without_fleet(session),
            application_id=session.application_id,
            max_expires_at=session.max_expires_at.timestamp(),
            idle_disconnect_in_seconds=whole_minutes(fleet.idle_disconnect_timeout).total_seconds() if fleet else 0.0,
            disconnect_timeout_in_seconds=fleet.disconnect_timeout.total_seconds() if fleet else 0.0,
            instance_id=session.instance_id,
            stream_socket=str(self._socket_of(str(session.instance_id), seat)) if seat is not None else None,
            stream_uid=self._uid_of(str(session.instance_id), seat) if seat is not None else None,
            end_reason=session.end_reason,
            features=tuple(sorted(session.user_settings.enabled_actions)),
            idle_disconnect_at=idle_at.timestamp() if idle_at else None,
            is_idle_disconnected=session.is_idle_disconnected,
            runtime_version=_runtime_of(agent),
            has_script_failed=report is not None and report.has_script_failed,
            has_folders=bool(session.storage_connectors) and session.started_at is not None,
            folders=_folders_of(report, disabled) if is_active else (),
            unsent=_unsent_of(session, self._clock.now()),
            lost_before=_files_view(session.lost_before),
            saving_before=_files_view(saving_before),
            settings_loss=session.settings_loss,
        )

    async def rules_of(self, grant: StreamingGrant) -> StackRules:
        """Return what the grant's stack, or desktop, asks of the gateway; nothing when it is gone."""
        async with self._transactions.begin() as work:
            if grant.is_for_own_desktop:
                desktop = await find_desktop(work, grant, self._clock)
                return StackRules(access_endpoints=desktop.access_endpoints if desktop else ())
            try:
                stack = await work.stacks.get(grant.scope, grant.stack_name)
            except NotFound:
                return StackRules()
        return StackRules(embed_host_domains=stack.embed_host_domains, access_endpoints=stack.access_endpoints)

    def _socket_of(self, instance_id: str, seat: int) -> Path:
        return self._run_dir / "instances" / instance_id / "guest" / stream_socket_name(seat)

    def _uid_of(self, instance_id: str, seat: int) -> int:
        uid = self._stream_uid_of(instance_id, seat)
        if uid is None:
            raise DriverUnavailable("The engine has not been seen yet. Try again in a moment.")
        return uid


def _view_without_fleet(session: StreamingSession) -> str:
    return StreamView.DESKTOP if session.is_on_own_desktop else StreamView.APP


def _desktop_view(desktop: OwnDesktop) -> Catalog:
    return Catalog(
        stack_display_name=desktop.title,
        fleet_display_name=desktop.display_name,
        stream_view=StreamView.DESKTOP,
        image_name=desktop.image_name,
        entries=(),
        redirect_url=None,
        feedback_url=None,
        is_image_builder=desktop.is_image_builder,
        is_studio_session=not desktop.is_image_builder,
    )


def _seat_of(report: SessionReport | None) -> int:
    if report is None:
        raise DriverUnavailable("The instance has not been heard yet. Try again in a moment.")
    return report.seat


async def _disabled_kinds(work: UnitOfWork, session: StreamingSession) -> Collection[StorageKind]:
    """Return the connectors that a live session has and its stack has no more; settings stay as they were."""
    kinds = {connector.kind for connector in session.storage_connectors}
    if not kinds or not session.is_live:
        return ()
    try:
        stack = await work.stacks.get(session.scope, session.stack_name)
    except NotFound:
        return kinds
    return kinds - {connector.kind for connector in stack.storage_connectors}


async def _saving_before(work: UnitOfWork, session: StreamingSession) -> UnsentFiles | None:
    """Return what earlier sessions of the user are still sending, for one that may have missed those files."""
    if not session.storage_kinds or session.state is not SessionState.ACTIVE:
        return None
    earlier = await work.sessions.unsent_of_user(session.scope, session.user_id, session.authentication_type)
    unsent = [one.unsent for one in earlier if one.unsent is not None and one.unsent.files and not one.unsent.are_lost]
    found = in_all(unsent)
    return replace(found, are_lost=False) if found is not None else None


def _folders_of(report: SessionReport | None, disabled: Collection[StorageKind]) -> tuple[FolderView, ...]:
    return tuple(
        FolderView(
            kind=one.kind,
            state=DISABLED if one.kind in disabled else one.state,
            unsent_files=one.unsent_files,
            unsent_bytes=one.unsent_bytes,
            is_full=one.is_full,
            has_trouble=bool(one.detail),
            opening=one.opening.name if one.opening else None,
            opening_files=one.opening.files if one.opening else None,
            opening_of=one.opening.of if one.opening else None,
        )
        for one in (report.storage if report else ())
    )


def _unsent_of(session: StreamingSession, now: datetime) -> FilesView | None:
    if session.is_live or session.ended_at is None:
        return None
    return _files_view(session.unsent, is_waited_for=now < session.ended_at + SHOWN_FLUSH)


def _files_view(files: UnsentFiles | None, *, is_waited_for: bool = False) -> FilesView | None:
    if files is None:
        return None
    return FilesView(
        count=files.files,
        size_in_bytes=files.size_in_bytes,
        is_waited_for=is_waited_for and not files.are_lost,
        are_lost=files.are_lost,
    )


def _runtime_of(agent: AgentStatus | None) -> str | None:
    """Return what the agent claims, if it can be the name of a version's directory; "." and ".." never are."""
    if agent is None or not _VERSION.fullmatch(agent.runtime_version) or not agent.runtime_version.strip("."):
        return None
    return agent.runtime_version


def catalog_view(catalog: SessionCatalog | DesktopCatalog, icons: IconUrls) -> Catalog:
    if isinstance(catalog, DesktopCatalog):
        return _desktop_view(catalog.desktop)
    return Catalog(
        stack_display_name=catalog.stack.display_name or catalog.stack.name,
        fleet_display_name=catalog.fleet.display_name or catalog.fleet.name,
        stream_view=catalog.fleet.stream_view,
        image_name=catalog.image.name,
        entries=tuple(
            CatalogEntry(
                application_id=application.name,
                display_name=application.display_name,
                description=application.description,
                icon=icons.path(catalog.image, application),
            )
            for application in catalog.applications
        ),
        redirect_url=catalog.stack.redirect_url,
        feedback_url=catalog.stack.feedback_url,
    )
