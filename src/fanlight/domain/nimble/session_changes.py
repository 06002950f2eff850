"""How the streaming session of a studio changes when somebody asks for it, its machine got there, or the clock went back.

Pure.
"""

from dataclasses import replace
from datetime import datetime

from fanlight.domain.clock_corrections import TOLERANCE
from fanlight.domain.nimble.resources import Status
from fanlight.domain.nimble.session_backups import SessionBackup
from fanlight.domain.nimble.sessions import (
    StudioSession,
    StudioSessionCode,
    StudioSessionEvent,
    StudioSessionState,
    VolumeRetention,
)

LONGEST_MESSAGE = 500
CREATING = Status(
    code=StudioSessionCode.STREAMING_SESSION_CREATE_IN_PROGRESS, message="The streaming session is being created."
)
READY = Status(code=StudioSessionCode.STREAMING_SESSION_READY, message="The streaming session is ready.")
STARTED = Status(code=StudioSessionCode.STREAMING_SESSION_STARTED, message="The streaming session was started.")
START_BEGUN = Status(
    code=StudioSessionCode.STREAMING_SESSION_START_IN_PROGRESS, message="The streaming session is being started."
)
STOP_BEGUN = Status(
    code=StudioSessionCode.STREAMING_SESSION_STOP_IN_PROGRESS, message="The streaming session is being stopped."
)
STOPPED = Status(code=StudioSessionCode.STREAMING_SESSION_STOPPED, message="The streaming session is stopped.")
DELETE_BEGUN = Status(
    code=StudioSessionCode.STREAMING_SESSION_DELETE_IN_PROGRESS, message="The streaming session is being deleted."
)
DELETED = Status(code=StudioSessionCode.STREAMING_SESSION_DELETED, message="The streaming session was deleted.")


def asked_to_stop(session: StudioSession, now: datetime, by: str | None, retention: VolumeRetention) -> StudioSession:
    """Return the session on its way down. Raises TransitionRefused."""
    stopping = session.after(StudioSessionEvent.STOP_REQUESTED, STOP_BEGUN, now, by)
    return replace(
        stopping,
        stopped_at=now,
        stopped_by=by or session.owned_by,
        stop_at=None,
        terminate_at=None,
        volume_retention=retention,
    )


def asked_to_start(session: StudioSession, now: datetime, by: str, backup: SessionBackup | None) -> StudioSession:
    """Return the session on its way up, from a backup or from its own disk. Raises TransitionRefused."""
    starting = session.after(StudioSessionEvent.START_REQUESTED, START_BEGUN, now, by)
    starting = replace(
        starting,
        started_at=now,
        started_by=by,
        terminate_at=None,
        started_from_backup_id=backup.backup_id if backup else None,
        volume_retention=None,
        accepted_at=None,
        launch_failures=0,
        retry_at=None,
        restoring_backup_id=None,
    )
    if backup is None:
        return starting
    return replace(starting, instance_id=backup.instance_id, has_run=True, restoring_backup_id=backup.backup_id)


def asked_to_delete(session: StudioSession, now: datetime, by: str | None) -> StudioSession:
    """Raises TransitionRefused."""
    return replace(
        session.after(StudioSessionEvent.DELETE_REQUESTED, DELETE_BEGUN, now, by), stop_at=None, terminate_at=None
    )


def become_ready(session: StudioSession, now: datetime) -> StudioSession:
    """Return the session that its user may use; its longest time begins. Raises TransitionRefused."""
    status = status_of_ready(session, READY if session.state is StudioSessionState.CREATE_IN_PROGRESS else STARTED)
    ends_at, settings = now + session.settings.max_length, session.settings
    return replace(
        session.after(StudioSessionEvent.BECAME_READY, status, now),
        has_run=True,
        launch_failures=0,
        retry_at=None,
        stop_at=ends_at if settings.can_stop else None,
        terminate_at=None if settings.can_stop else ends_at,
    )


def status_of_ready(session: StudioSession, status: Status) -> Status:
    """Return what a READY session says: this, and what it has to go without."""
    if missing := (*session.settings.left_out, *session.settings.withdrawn):
        return replace(status, message=f"{status.message} Not mounted: {'; '.join(missing)}."[:LONGEST_MESSAGE])
    return status


def up_again(session: StudioSession) -> StudioSession:
    """Return the session whose machine was started: while it was READY it says so anew, for it may have said why not."""
    if session.state is not StudioSessionState.READY:
        return session
    status = STARTED if session.status.code == STARTED.code else READY
    return replace(session, status=status_of_ready(session, status))


def become_stopped(session: StudioSession, now: datetime) -> StudioSession:
    """Return the session that stands still; the time after which it is given up begins. Raises TransitionRefused."""
    settings = session.settings
    terminate_at = None if settings.may_stay_stopped else now + settings.max_stopped_length
    return replace(session.after(StudioSessionEvent.STOPPED, STOPPED, now), terminate_at=terminate_at)


def with_past_times(session: StudioSession, now: datetime) -> StudioSession:
    """Return the session with none of its past in the future: the same object unless the clock went back past it.

    What its state began with begins anew: the longest time in use, or stopped. See `domain.clock_corrections`. `started_at`
    stays as it is while the session starts, for the agent knows scripts by it and would run them twice.
    """
    limit = now + TOLERANCE
    started_at = None if session.is_starting else session.started_at
    past = (session.created_at, started_at, session.stopped_at, session.begun_at, session.accepted_at)
    if not any(moment is not None and moment > limit for moment in past):
        return session
    ahead = session.begun_at - min(session.begun_at, now)
    return replace(
        session,
        created_at=min(session.created_at, now),
        updated_at=min(session.updated_at, now),
        started_at=_past(started_at, now) or session.started_at,
        stopped_at=_past(session.stopped_at, now),
        begun_at=session.begun_at - ahead,
        accepted_at=_past(session.accepted_at, now),
        stop_at=session.stop_at - ahead if session.stop_at else None,
        terminate_at=session.terminate_at - ahead if session.terminate_at else None,
    )


def _past(moment: datetime | None, now: datetime) -> datetime | None:
    return None if moment is None else min(moment, now)
