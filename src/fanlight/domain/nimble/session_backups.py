"""Backups of the streaming sessions of a studio: snapshots of their disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import uuid4

from fanlight.domain.machine import Machine
from fanlight.domain.nimble.identifiers import ResourceKind, arn_of, new_id
from fanlight.domain.nimble.resources import Status
from fanlight.domain.nimble.sessions import StudioSession, StudioSessionCode, StudioSessionState
from fanlight.domain.places import Scope

_S = StudioSessionState


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBackup:
    """A snapshot of the disk of `instance_id`, made while its session stopped. States and codes are those of sessions."""

    backup_id: str
    scope: Scope
    studio_id: str
    version: int = 0
    state: StudioSessionState = StudioSessionState.CREATE_IN_PROGRESS
    status: Status
    session_id: str
    launch_profile_id: str
    owned_by: str
    instance_id: str
    snapshot: str
    created_at: datetime
    state_since: datetime

    @property
    def arn(self) -> str:
        return arn_of(self.scope, ResourceKind.STREAMING_SESSION_BACKUP, self.backup_id)

    @property
    def is_there(self) -> bool:
        return self.state not in (StudioSessionState.DELETED, StudioSessionState.CREATE_FAILED)


class BackupEvent(StrEnum):
    TAKEN = "TAKEN"
    FAILED = "FAILED"
    DELETE_REQUESTED = "DELETE_REQUESTED"
    DELETED = "DELETED"


BACKUP: Machine[StudioSessionState, BackupEvent] = Machine(
    kind="streaming session backup",
    initial=_S.CREATE_IN_PROGRESS,
    table={
        (_S.CREATE_IN_PROGRESS, BackupEvent.TAKEN): _S.READY,
        (_S.CREATE_IN_PROGRESS, BackupEvent.FAILED): _S.CREATE_FAILED,
        (_S.CREATE_IN_PROGRESS, BackupEvent.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.READY, BackupEvent.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.DELETE_IN_PROGRESS, BackupEvent.DELETED): _S.DELETED,
    },
)
_BACKUP_STATUS = {
    BackupEvent.TAKEN: Status(code=StudioSessionCode.STREAMING_SESSION_READY, message="The backup is ready."),
    BackupEvent.DELETE_REQUESTED: Status(
        code=StudioSessionCode.STREAMING_SESSION_DELETE_IN_PROGRESS, message="The backup is being deleted."
    ),
    BackupEvent.DELETED: Status(code=StudioSessionCode.STREAMING_SESSION_DELETED, message="The backup was deleted."),
}
BACKUP_BEGUN = Status(code=StudioSessionCode.STREAMING_SESSION_CREATE_IN_PROGRESS, message="The backup is being made.")


def moved_backup(backup: SessionBackup, event: BackupEvent, now: datetime, why: str = "") -> SessionBackup:
    """Return the backup after an event, `why` it failed. Raises TransitionRefused."""
    status = _BACKUP_STATUS.get(event, Status(code=StudioSessionCode.INTERNAL_ERROR, message=why))
    return replace(backup, state=BACKUP.after(backup.state, event), status=status, state_since=now)


def new_backup_of(session: StudioSession, now: datetime, others: Sequence[SessionBackup] = ()) -> SessionBackup:
    """Return the backup that a stop of the session makes, whose snapshot is still to be taken.

    It is newer than all `others` of the session, whatever the clock was when they were made: the oldest are given up.
    """
    made_after = [other.created_at + timedelta(microseconds=1) for other in others]
    return SessionBackup(
        backup_id=new_id(),
        scope=session.scope,
        studio_id=session.studio_id,
        status=BACKUP_BEGUN,
        session_id=session.session_id,
        launch_profile_id=session.launch_profile_id,
        owned_by=session.owned_by,
        instance_id=session.instance_id,
        snapshot=f"backup-{uuid4().hex}",
        created_at=max(now, *made_after) if made_after else now,
        state_since=now,
    )
