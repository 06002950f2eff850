"""Streaming sessions of studios in the database, with their backups and streams."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, or_, select

from fanlight.domain.file_systems import FileSystemWish
from fanlight.domain.nimble.resources import Status
from fanlight.domain.nimble.session_backups import BACKUP, SessionBackup
from fanlight.domain.nimble.sessions import (
    STUDIO_SESSION,
    InitializationScript,
    ScriptContext,
    SessionSettings,
    StudioSession,
    StudioSessionState,
    Volume,
    VolumeRetention,
)
from fanlight.domain.nimble.streams import STREAM, SessionStream, StreamState
from fanlight.domain.places import Scope
from fanlight.store.door import AnyRow, Door
from fanlight.store.nimble_session_tables import session_backups, session_streams, studio_sessions
from fanlight.store.rows import Kind, Rows, Statements

_DURATIONS = ("max_length", "max_stopped_length")
# Columns whose name and value are those of the entity's own member.
_PLAIN = (
    "session_id", "studio_id", "version", "state", "launch_profile_id", "streaming_image_id", "ec2_instance_type",
    "image_ref", "instance_id", "agent_version", "owned_by", "created_by", "updated_by", "started_by", "stopped_by",
    "created_at", "updated_at", "started_at", "stopped_at", "stop_at", "terminate_at", "started_from_backup_id",
    "volume_retention", "begun_at", "accepted_at", "has_run", "launch_failures", "retry_at", "restoring_backup_id",
)  # fmt: skip
_PLAIN_OF_BACKUP = (
    "backup_id", "studio_id", "version", "state", "session_id", "launch_profile_id", "owned_by", "instance_id",
    "snapshot", "created_at", "state_since",
)  # fmt: skip
_PLAIN_OF_STREAM = (
    "stream_id", "studio_id", "session_id", "version", "state", "owned_by", "created_by", "created_at", "expires_at",
    "state_since",
)  # fmt: skip


def _place_of(entity: StudioSession | SessionBackup | SessionStream) -> dict[str, Any]:
    return {"account_id": entity.scope.account_id, "region": entity.scope.region}


def _status_of(entity: StudioSession | SessionBackup) -> dict[str, Any]:
    return {"status_code": entity.status.code, "status_message": entity.status.message}


def _to_row(session: StudioSession) -> dict[str, Any]:
    settings = asdict(session.settings)
    return {
        **{name: getattr(session, name) for name in _PLAIN},
        **_place_of(session),
        **_status_of(session),
        "subnet_ids": list(session.subnet_ids),
        "security_group_ids": list(session.security_group_ids),
        "settings": settings | {name: settings[name].total_seconds() for name in _DURATIONS},
        "scripts": [asdict(script) for script in session.scripts],
    }


def _from_row(row: AnyRow) -> StudioSession:
    members = {name: getattr(row, name) for name in _PLAIN}
    return StudioSession(
        **members
        | {
            "state": StudioSessionState(row.state),
            "volume_retention": VolumeRetention(row.volume_retention) if row.volume_retention else None,
        },
        scope=Scope(row.account_id, row.region),
        status=Status(code=row.status_code, message=row.status_message),
        subnet_ids=tuple(row.subnet_ids),
        security_group_ids=tuple(row.security_group_ids),
        settings=_settings(row.settings),
        scripts=tuple(map(_script, row.scripts)),
    )


def _settings(stored: Mapping[str, Any]) -> SessionSettings:
    durations = {name: timedelta(seconds=stored[name]) for name in _DURATIONS}
    volume = Volume(**stored["volume"]) if stored["volume"] else None
    wishes = tuple(FileSystemWish(**one) for one in stored.get("file_systems", ()))
    named = {
        "file_systems": wishes,
        "left_out": tuple(stored.get("left_out", ())),
        "withdrawn": tuple(stored.get("withdrawn", ())),
    }
    return SessionSettings(**{**stored, **durations, "volume": volume, **named})


def _script(stored: Mapping[str, Any]) -> InitializationScript:
    parameters = tuple((key, value) for key, value in stored["parameters"])
    return InitializationScript(**{**stored, "context": ScriptContext(stored["context"]), "parameters": parameters})


def _backup_to_row(backup: SessionBackup) -> dict[str, Any]:
    return {
        **{name: getattr(backup, name) for name in _PLAIN_OF_BACKUP},
        **_place_of(backup),
        **_status_of(backup),
    }


def _backup_from_row(row: AnyRow) -> SessionBackup:
    members = {name: getattr(row, name) for name in _PLAIN_OF_BACKUP}
    return SessionBackup(
        **members | {"state": StudioSessionState(row.state)},
        scope=Scope(row.account_id, row.region),
        status=Status(code=row.status_code, message=row.status_message),
    )


def _stream_to_row(stream: SessionStream) -> dict[str, Any]:
    return {**{name: getattr(stream, name) for name in _PLAIN_OF_STREAM}, **_place_of(stream)}


def _stream_from_row(row: AnyRow) -> SessionStream:
    members = {name: getattr(row, name) for name in _PLAIN_OF_STREAM}
    return SessionStream(**members | {"state": StreamState(row.state)}, scope=Scope(row.account_id, row.region))


SESSIONS = Kind(
    noun="streaming session",
    table=studio_sessions,
    key="session_id",
    to_row=_to_row,
    from_row=_from_row,
    name_of=lambda session: session.session_id,
    machine=STUDIO_SESSION,
)
BACKUPS = Kind(
    noun="streaming session backup",
    table=session_backups,
    key="backup_id",
    to_row=_backup_to_row,
    from_row=_backup_from_row,
    name_of=lambda backup: backup.backup_id,
    machine=BACKUP,
)
STREAMS = Kind(
    noun="stream",
    table=session_streams,
    key="stream_id",
    to_row=_stream_to_row,
    from_row=_stream_from_row,
    name_of=lambda stream: stream.stream_id,
    machine=STREAM,
)
_OF_SESSIONS, _OF_BACKUPS, _OF_STREAMS = Statements.of(SESSIONS), Statements.of(BACKUPS), Statements.of(STREAMS)

_GONE = (StudioSessionState.DELETED, StudioSessionState.CREATE_FAILED)
_DELETED = StudioSessionState.DELETED
_s, _b, _t = studio_sessions.c, session_backups.c, session_streams.c
_BY_ID = select(studio_sessions).where(_s.session_id == bindparam("session_id"))
_OF_INSTANCE = select(studio_sessions).where(
    _s.state != _DELETED,
    or_(
        _s.instance_id == bindparam("instance_id"),
        _s.session_id.in_(
            select(_b.session_id).where(_b.instance_id == bindparam("instance_id"), _b.state.not_in(_GONE))
        ),
    ),
)
_OF_PROFILE = select(studio_sessions).where(_s.launch_profile_id == bindparam("launch_profile_id"))
_EVERYWHERE = select(studio_sessions).where(_s.state != _DELETED).order_by(_s.session_id)
_BACKUP_BY_ID = select(session_backups).where(_b.backup_id == bindparam("backup_id"))
_BACKUPS_OF = (
    select(session_backups)
    .where(_b.session_id == bindparam("session_id"), _b.state.not_in(_GONE))
    .order_by(_b.created_at, _b.backup_id)
)
_STREAM_BY_ID = select(session_streams).where(_t.stream_id == bindparam("stream_id"))
_OPEN_STREAMS = select(session_streams).where(
    _t.session_id == bindparam("session_id"), _t.state.in_((StreamState.CREATE_IN_PROGRESS, StreamState.READY))
)
_PRUNINGS = (
    delete(studio_sessions).where(_s.state.in_(_GONE), _s.begun_at < bindparam("gone_before")),
    delete(session_backups).where(_b.state.in_(_GONE), _b.state_since < bindparam("gone_before")),
    delete(session_streams).where(
        _t.state.in_((StreamState.DELETED, StreamState.CREATE_FAILED)), _t.state_since < bindparam("gone_before")
    ),
)


def _page_of(table: Any, key: str) -> Any:
    columns = table.c
    return (
        select(table)
        .where(
            columns.account_id == bindparam("account_id"),
            columns.region == bindparam("region"),
            columns.studio_id == bindparam("studio_id"),
            columns[key] > bindparam("after"),
        )
        .order_by(columns[key])
        .limit(bindparam("page_size"))
    )


_PAGE, _BACKUP_PAGE = _page_of(studio_sessions, "session_id"), _page_of(session_backups, "backup_id")


def _page_parameters(scope: Scope, studio_id: str, after: str, limit: int) -> dict[str, Any]:
    return {
        "account_id": scope.account_id,
        "region": scope.region,
        "studio_id": studio_id,
        "after": after,
        "page_size": limit,
    }


class SqlStudioSessions(Rows[StudioSession]):
    def __init__(self, door: Door) -> None:
        super().__init__(door, SESSIONS, _OF_SESSIONS)

    async def find(self, session_id: str) -> StudioSession | None:
        return await self._one(_BY_ID, {"session_id": session_id})

    async def of_instance(self, instance_id: str) -> StudioSession | None:
        return await self._one(_OF_INSTANCE, {"instance_id": instance_id})

    async def page(self, scope: Scope, studio_id: str, *, after: str = "", limit: int) -> Sequence[StudioSession]:
        return await self._many(_PAGE, _page_parameters(scope, studio_id, after, limit))

    async def of_launch_profile(self, launch_profile_id: str) -> Sequence[StudioSession]:
        return await self._many(_OF_PROFILE, {"launch_profile_id": launch_profile_id})

    async def everywhere(self) -> Sequence[StudioSession]:
        return await self._all(_EVERYWHERE)

    async def prune(self, gone_before: datetime) -> int:
        return sum([await self._door.change(one, {"gone_before": gone_before}) for one in _PRUNINGS])


class SqlSessionBackups(Rows[SessionBackup]):
    def __init__(self, door: Door) -> None:
        super().__init__(door, BACKUPS, _OF_BACKUPS)

    async def find(self, backup_id: str) -> SessionBackup | None:
        return await self._one(_BACKUP_BY_ID, {"backup_id": backup_id})

    async def of_session(self, session_id: str) -> Sequence[SessionBackup]:
        return await self._many(_BACKUPS_OF, {"session_id": session_id})

    async def page(self, scope: Scope, studio_id: str, *, after: str = "", limit: int) -> Sequence[SessionBackup]:
        return await self._many(_BACKUP_PAGE, _page_parameters(scope, studio_id, after, limit))


class SqlSessionStreams(Rows[SessionStream]):
    def __init__(self, door: Door) -> None:
        super().__init__(door, STREAMS, _OF_STREAMS)

    async def find(self, stream_id: str) -> SessionStream | None:
        return await self._one(_STREAM_BY_ID, {"stream_id": stream_id})

    async def open_of(self, session_id: str) -> Sequence[SessionStream]:
        return await self._many(_OPEN_STREAMS, {"session_id": session_id})
