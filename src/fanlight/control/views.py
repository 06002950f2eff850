"""What the gateway sees of a session and of a catalogue."""

import re
from collections.abc import Callable
from pathlib import Path

from fanlight.agentwire import STREAM_SOCKET_NAME
from fanlight.controlwire.messages import Catalog, CatalogEntry, SessionView
from fanlight.domain.errors import DriverUnavailable
from fanlight.domain.ports import AgentChannel, AgentStatus, Clock, Transactions
from fanlight.domain.session_plan import idle_disconnect_at, whole_minutes
from fanlight.domain.streaming_sessions import SessionState, StreamingSession
from fanlight.services.streaming_sessions import SessionCatalog

_VERSION = re.compile(r"[A-Za-z0-9._-]{1,64}")


class SessionViews:
    """`first_uid_of` tells from whose uids an instance's socket must come, None while the engine has not said it."""

    def __init__(
        self,
        transactions: Transactions,
        agents: AgentChannel,
        clock: Clock,
        run_dir: Path,
        first_uid_of: Callable[[str], int | None],
    ) -> None:
        self._transactions, self._agents, self._clock = transactions, agents, clock
        self._run_dir, self._first_uid_of = run_dir, first_uid_of

    async def of(self, session: StreamingSession) -> SessionView:
        """Raises DriverUnavailable while an ACTIVE session cannot be reached because the engine has not been seen."""
        async with self._transactions.begin() as work:
            fleet = await work.fleets.find(session.fleet_id)
        is_active = session.state is SessionState.ACTIVE and session.instance_id is not None
        agent = self._agents.status(session.instance_id) if session.instance_id else None
        idle_at = idle_disconnect_at(session, agent, fleet, self._clock.now()) if fleet else None
        return SessionView(
            session_id=session.session_id,
            state=session.state,
            progress=session.progress,
            stream_view=fleet.stream_view if fleet else "APP",
            application_id=session.application_id,
            max_expires_at=session.max_expires_at.timestamp(),
            idle_disconnect_in_seconds=whole_minutes(fleet.idle_disconnect_timeout).total_seconds() if fleet else 0.0,
            disconnect_timeout_in_seconds=fleet.disconnect_timeout.total_seconds() if fleet else 0.0,
            instance_id=session.instance_id,
            stream_socket=str(self._socket_of(str(session.instance_id))) if is_active else None,
            first_uid=self._uid_of(str(session.instance_id)) if is_active else None,
            end_reason=session.end_reason,
            features=tuple(sorted(session.user_settings.enabled_actions)),
            idle_disconnect_at=idle_at.timestamp() if idle_at else None,
            runtime_version=_runtime_of(agent),
            has_script_failed=agent is not None and agent.has_script_failed,
        )

    def _socket_of(self, instance_id: str) -> Path:
        return self._run_dir / "instances" / instance_id / "guest" / STREAM_SOCKET_NAME

    def _uid_of(self, instance_id: str) -> int:
        first_uid = self._first_uid_of(instance_id)
        if first_uid is None:
            raise DriverUnavailable("The engine has not been seen yet. Try again in a moment.")
        return first_uid


def _runtime_of(agent: AgentStatus | None) -> str | None:
    """Return what the agent claims, if it can be the name of a version's directory; "." and ".." never are."""
    if agent is None or not _VERSION.fullmatch(agent.runtime_version) or not agent.runtime_version.strip("."):
        return None
    return agent.runtime_version


def catalog_view(catalog: SessionCatalog) -> Catalog:
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
                icon=f"{catalog.image.store_ref}/{application.icon}" if application.icon else None,
            )
            for application in catalog.applications
        ),
        redirect_url=catalog.stack.redirect_url,
        feedback_url=catalog.stack.feedback_url,
    )
