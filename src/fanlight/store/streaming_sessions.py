"""Streaming sessions in the database."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, null, or_, select

from fanlight.domain.networks import NetworkInterface
from fanlight.domain.places import Scope
from fanlight.domain.stacks import UserAction, UserSettings
from fanlight.domain.streaming_sessions import SESSION, EndReason, SessionState, StreamingSession
from fanlight.domain.unsent_files import SettingsLoss, UnsentFiles
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import Kind, Rows, Statements
from fanlight.store.storage_connectors import connectors_of_json, connectors_to_json
from fanlight.store.tables import HAS_UNSENT, IS_LIVE
from fanlight.store.tables import streaming_sessions as table

_DEFAULTS, _NOTHING = UserSettings(), UserSettings(enabled_actions=frozenset())


def _to_row(session: StreamingSession) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "account_id": session.scope.account_id,
        "region": session.scope.region,
        "stack_name": session.stack_name,
        "fleet_name": session.fleet_name,
        "fleet_id": session.fleet_id,
        "user_id": session.user_id,
        "authentication_type": session.authentication_type,
        "state": session.state,
        "version": session.version,
        "instance_id": session.instance_id,
        "application_id": session.application_id,
        "session_context": session.session_context,
        "created_at": session.created_at,
        "started_at": session.started_at,
        "max_expires_at": session.max_expires_at,
        "connected_since": session.connected_since,
        "disconnected_at": session.disconnected_at,
        "is_idle_disconnected": session.is_idle_disconnected,
        "idle_since": session.idle_since,
        "end_requested": session.end_requested,
        "end_reason": session.end_reason,
        "ended_at": session.ended_at,
        "progress": session.progress,
        "user_settings": _settings_to_json(session.user_settings),
        "time_zone": session.time_zone,
        "network_interface": asdict(session.network_interface) if session.network_interface else None,
        "storage_connectors": connectors_to_json(session.storage_connectors),
        "unsent": asdict(session.unsent) if session.unsent else None,
        "settings_loss": session.settings_loss,
        "lost_before": asdict(session.lost_before) if session.lost_before else None,
        "settings_group": session.settings_group,
    }


def _from_row(row: AnyRow) -> StreamingSession:
    return StreamingSession(
        session_id=row.session_id,
        scope=Scope(row.account_id, row.region),
        stack_name=row.stack_name,
        fleet_name=row.fleet_name,
        fleet_id=row.fleet_id,
        user_id=row.user_id,
        authentication_type=row.authentication_type,
        state=SessionState(row.state),
        version=row.version,
        instance_id=row.instance_id,
        application_id=row.application_id,
        session_context=row.session_context,
        created_at=row.created_at,
        started_at=row.started_at,
        max_expires_at=row.max_expires_at,
        connected_since=row.connected_since,
        disconnected_at=row.disconnected_at,
        is_idle_disconnected=row.is_idle_disconnected,
        idle_since=row.idle_since,
        end_requested=EndReason(row.end_requested) if row.end_requested else None,
        end_reason=EndReason(row.end_reason) if row.end_reason else None,
        ended_at=row.ended_at,
        progress=row.progress,
        user_settings=_settings_of_json(row.user_settings),
        time_zone=row.time_zone,
        network_interface=NetworkInterface(**row.network_interface) if row.network_interface else None,
        storage_connectors=connectors_of_json(row.storage_connectors),
        unsent=UnsentFiles(**row.unsent) if row.unsent else None,
        settings_loss=SettingsLoss(row.settings_loss) if row.settings_loss else None,
        lost_before=UnsentFiles(**row.lost_before) if row.lost_before else None,
        settings_group=row.settings_group,
    )


def _settings_to_json(settings: UserSettings) -> dict[str, Any]:
    """Most sessions have the defaults; those take no room."""
    if settings == _DEFAULTS:
        return {}
    return {
        "enabled_actions": sorted(settings.enabled_actions),
        "max_copy_from": settings.max_copy_from,
        "max_copy_to": settings.max_copy_to,
    }


def _settings_of_json(kept: dict[str, Any] | None) -> UserSettings:
    """A session that is older than the column is allowed nothing: what its stack said then is not known."""
    if not kept:
        return _NOTHING if kept is None else _DEFAULTS
    actions = frozenset(UserAction(action) for action in kept["enabled_actions"])
    return UserSettings(enabled_actions=actions, max_copy_from=kept["max_copy_from"], max_copy_to=kept["max_copy_to"])


KIND = Kind(
    noun="streaming session",
    table=table,
    key="session_id",
    to_row=_to_row,
    from_row=_from_row,
    name_of=lambda session: session.session_id,
    machine=SESSION,
)
STATEMENTS = Statements.of(KIND)

_BY_ID = select(table).where(table.c.session_id == bindparam("session_id"))
_OF_PAIR = select(table).where(
    table.c.account_id == bindparam("account_id"),
    table.c.region == bindparam("region"),
    table.c.stack_name == bindparam("stack_name"),
    table.c.fleet_name == bindparam("fleet_name"),
    table.c.authentication_type == bindparam("authentication_type"),
)
_LIVE = select(table).where(IS_LIVE).order_by(table.c.created_at, table.c.session_id)
_LIVE_OF_FLEET = _LIVE.where(table.c.fleet_id == bindparam("fleet_id"))
_LIVE_OF_USER = _OF_PAIR.where(table.c.user_id == bindparam("user_id"), IS_LIVE)
_UNSENT = select(table).where(table.c.state == SessionState.EXPIRED, HAS_UNSENT)
_UNSENT_OF_USER = select(table).where(
    table.c.account_id == bindparam("account_id"),
    table.c.region == bindparam("region"),
    table.c.user_id == bindparam("user_id"),
    table.c.authentication_type == bindparam("authentication_type"),
    table.c.state == SessionState.EXPIRED,
    HAS_UNSENT,
)
_PRUNE = delete(table).where(
    table.c.state == SessionState.EXPIRED,
    table.c.ended_at < bindparam("ended_before"),
    or_(table.c.unsent.is_(null()), table.c.ended_at < bindparam("unsent_before")),
)


class SqlStreamingSessions(Rows[StreamingSession]):
    def __init__(self, door: Door) -> None:
        super().__init__(door, KIND, STATEMENTS)

    async def find(self, session_id: str) -> StreamingSession | None:
        return await self._one(_BY_ID, {"session_id": session_id})

    async def live_of_user(
        self, scope: Scope, stack_name: str, fleet_name: str, user_id: str, authentication_type: str
    ) -> StreamingSession | None:
        pair = _pair(scope, stack_name, fleet_name, authentication_type)
        return await self._one(_LIVE_OF_USER, {**pair, "user_id": user_id})

    async def page(
        self,
        scope: Scope,
        stack_name: str,
        fleet_name: str,
        *,
        authentication_type: str,
        user_id: str | None = None,
        instance_id: str | None = None,
        after: str = "",
        limit: int,
    ) -> Sequence[StreamingSession]:
        parameters: dict[str, Any] = _pair(scope, stack_name, fleet_name, authentication_type)
        statement = _OF_PAIR.where(table.c.session_id > bindparam("after"))
        if user_id is not None:
            statement = statement.where(table.c.user_id == bindparam("user_id"))
            parameters["user_id"] = user_id
        if instance_id is not None:
            statement = statement.where(table.c.instance_id == bindparam("instance_id"))
            parameters["instance_id"] = instance_id
        statement = statement.order_by(table.c.session_id).limit(bindparam("page_size"))
        return await self._many(statement, {**parameters, "after": after, "page_size": limit})

    async def live(self, fleet_id: str | None = None) -> Sequence[StreamingSession]:
        if fleet_id is None:
            return await self._all(_LIVE)
        return await self._all(_LIVE_OF_FLEET, {"fleet_id": fleet_id})

    async def unsent_of_user(self, scope: Scope, user_id: str, authentication_type: str) -> Sequence[StreamingSession]:
        parameters = {
            "account_id": scope.account_id,
            "region": scope.region,
            "user_id": user_id,
            "authentication_type": authentication_type,
        }
        return await self._many(_UNSENT_OF_USER, parameters)

    async def unsent(self) -> Sequence[StreamingSession]:
        return await self._all(_UNSENT)

    async def prune(self, ended_before: datetime, unsent_before: datetime) -> int:
        return await self._door.change(_PRUNE, {"ended_before": ended_before, "unsent_before": unsent_before})


def _pair(scope: Scope, stack_name: str, fleet_name: str, authentication_type: str) -> dict[str, Any]:
    return {
        "account_id": scope.account_id,
        "region": scope.region,
        "stack_name": stack_name,
        "fleet_name": fleet_name,
        "authentication_type": authentication_type,
    }
