"""Streaming sessions of a studio: a machine of one's own, made for one user from a launch profile, stopped and started.

What the launch profile says is copied when the session is made: a later change of the profile is for later sessions.
Not to be confused with `domain.streaming_sessions`: such a one is what is on such a machine while somebody uses it.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from fanlight.domain.file_systems import FileSystemWish
from fanlight.domain.machine import Machine
from fanlight.domain.nimble.identifiers import ResourceKind, arn_of
from fanlight.domain.nimble.resources import Status
from fanlight.domain.places import Scope
from fanlight.domain.stacks import UserAction, UserSettings


class StudioSessionState(StrEnum):
    CREATE_IN_PROGRESS = "CREATE_IN_PROGRESS"
    DELETE_IN_PROGRESS = "DELETE_IN_PROGRESS"
    READY = "READY"
    DELETED = "DELETED"
    CREATE_FAILED = "CREATE_FAILED"
    DELETE_FAILED = "DELETE_FAILED"
    STOP_IN_PROGRESS = "STOP_IN_PROGRESS"
    START_IN_PROGRESS = "START_IN_PROGRESS"
    STOPPED = "STOPPED"
    STOP_FAILED = "STOP_FAILED"
    START_FAILED = "START_FAILED"


class StudioSessionCode(StrEnum):
    STREAMING_SESSION_READY = "STREAMING_SESSION_READY"
    STREAMING_SESSION_DELETED = "STREAMING_SESSION_DELETED"
    STREAMING_SESSION_CREATE_IN_PROGRESS = "STREAMING_SESSION_CREATE_IN_PROGRESS"
    STREAMING_SESSION_DELETE_IN_PROGRESS = "STREAMING_SESSION_DELETE_IN_PROGRESS"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    INSUFFICIENT_CAPACITY = "INSUFFICIENT_CAPACITY"
    ACTIVE_DIRECTORY_DOMAIN_JOIN_ERROR = "ACTIVE_DIRECTORY_DOMAIN_JOIN_ERROR"
    NETWORK_CONNECTION_ERROR = "NETWORK_CONNECTION_ERROR"
    INITIALIZATION_SCRIPT_ERROR = "INITIALIZATION_SCRIPT_ERROR"
    DECRYPT_STREAMING_IMAGE_ERROR = "DECRYPT_STREAMING_IMAGE_ERROR"
    NETWORK_INTERFACE_ERROR = "NETWORK_INTERFACE_ERROR"
    STREAMING_SESSION_STOPPED = "STREAMING_SESSION_STOPPED"
    STREAMING_SESSION_STARTED = "STREAMING_SESSION_STARTED"
    STREAMING_SESSION_STOP_IN_PROGRESS = "STREAMING_SESSION_STOP_IN_PROGRESS"
    STREAMING_SESSION_START_IN_PROGRESS = "STREAMING_SESSION_START_IN_PROGRESS"
    AMI_VALIDATION_ERROR = "AMI_VALIDATION_ERROR"


class StudioSessionEvent(StrEnum):
    BECAME_READY = "BECAME_READY"
    START_FAILED = "START_FAILED"
    STOP_REQUESTED = "STOP_REQUESTED"
    STOPPED = "STOPPED"
    START_REQUESTED = "START_REQUESTED"
    INSTANCE_LOST = "INSTANCE_LOST"
    DELETE_REQUESTED = "DELETE_REQUESTED"
    DELETED = "DELETED"


_S, _E = StudioSessionState, StudioSessionEvent
STUDIO_SESSION: Machine[StudioSessionState, StudioSessionEvent] = Machine(
    kind="streaming session",
    initial=_S.CREATE_IN_PROGRESS,
    table={
        (_S.CREATE_IN_PROGRESS, _E.BECAME_READY): _S.READY,
        (_S.CREATE_IN_PROGRESS, _E.START_FAILED): _S.CREATE_FAILED,
        (_S.START_IN_PROGRESS, _E.BECAME_READY): _S.READY,
        (_S.START_IN_PROGRESS, _E.START_FAILED): _S.START_FAILED,
        (_S.READY, _E.STOP_REQUESTED): _S.STOP_IN_PROGRESS,
        (_S.STOP_FAILED, _E.STOP_REQUESTED): _S.STOP_IN_PROGRESS,
        (_S.STOP_IN_PROGRESS, _E.STOPPED): _S.STOPPED,
        (_S.STOPPED, _E.START_REQUESTED): _S.START_IN_PROGRESS,
        (_S.START_FAILED, _E.START_REQUESTED): _S.START_IN_PROGRESS,
        # The engine does not have the machine any more, and its disk is gone.
        (_S.READY, _E.INSTANCE_LOST): _S.STOP_FAILED,
        (_S.STOP_IN_PROGRESS, _E.INSTANCE_LOST): _S.STOP_FAILED,
        (_S.READY, _E.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.STOPPED, _E.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.CREATE_FAILED, _E.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.START_FAILED, _E.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.STOP_FAILED, _E.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.DELETE_FAILED, _E.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.DELETE_IN_PROGRESS, _E.DELETED): _S.DELETED,
    },
)
STARTING = frozenset({_S.CREATE_IN_PROGRESS, _S.START_IN_PROGRESS})
IN_TRANSITION = frozenset({_S.CREATE_IN_PROGRESS, _S.START_IN_PROGRESS, _S.STOP_IN_PROGRESS, _S.DELETE_IN_PROGRESS})
GONE = frozenset({_S.DELETED, _S.CREATE_FAILED})
"""States in which it is not counted, and is forgotten after a while."""

# Of a session whose length nobody limits: the page wants to say when the time is over.
LONGEST_LENGTH = timedelta(minutes=43_200)
_REFERENCE = "studio-session/"


class ScriptContext(StrEnum):
    """When a script runs: as root before the session is READY, or as its user when the desktop is opened."""

    SYSTEM_INITIALIZATION = "SYSTEM_INITIALIZATION"
    USER_INITIALIZATION = "USER_INITIALIZATION"


class VolumeRetention(StrEnum):
    """What becomes of the disk when the session stops."""

    RETAIN = "RETAIN"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class InitializationScript:
    """One script of a studio component; `parameters` are variables in its environment."""

    context: ScriptContext
    component: str
    text: str = field(repr=False)
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """`iops` and `throughput` are as given: an engine's pool has what its disks have."""

    size_in_gib: int | None = None
    iops: int | None = None
    throughput: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """What the launch profile said when the session was made.

    `upload_root` is where uploaded files are to be found besides MyFiles, None: users may not upload.
    `joins_directory`: a component of the profile is an Active Directory, which no machine here can join.
    `file_systems` are wishes: which of them are on the host is known when the machine is launched, and `left_out` says then
    what it went without, and why; `withdrawn` says at each later start what the machine lost since.
    `terminates_automatically` and `is_persistent` are AutomaticTerminationMode and SessionPersistenceMode.
    """

    has_clipboard: bool = False
    upload_root: str | None = None
    max_length: timedelta = timedelta(minutes=690)
    max_stopped_length: timedelta = timedelta(0)
    is_persistent: bool = False
    terminates_automatically: bool = False
    makes_backups: bool = False
    backups_to_retain: int = 0
    volume: Volume | None = None
    joins_directory: bool = False
    file_systems: tuple[FileSystemWish, ...] = ()
    left_out: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()

    @property
    def can_stop(self) -> bool:
        return self.max_stopped_length > timedelta(0) or self.may_stay_stopped

    @property
    def may_stay_stopped(self) -> bool:
        """Whether a stopped session waits for its user for ever."""
        return self.is_persistent and not self.terminates_automatically

    @property
    def backs_up_at_stop(self) -> bool:
        return self.makes_backups and self.backups_to_retain > 0

    @property
    def user_settings(self) -> UserSettings:
        """What the user may do in the stream: Nimble knows clipboard and upload, and neither printing nor download."""
        actions: set[UserAction] = set()
        if self.has_clipboard:
            actions |= {UserAction.CLIPBOARD_COPY_FROM_LOCAL_DEVICE, UserAction.CLIPBOARD_COPY_TO_LOCAL_DEVICE}
        if self.upload_root is not None:
            actions.add(UserAction.FILE_UPLOAD)
        return UserSettings(enabled_actions=frozenset(actions))


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioSession:
    """`instance_id` is the machine that has the disk in use; backups of an earlier disk may be on another one.

    `accepted_at`, `begun_at`, `has_run`, `launch_failures` and `retry_at` as of an image builder.
    `restoring_backup_id` is the backup that a start has to put back first.
    """

    session_id: str
    scope: Scope
    studio_id: str
    version: int = 0
    state: StudioSessionState = StudioSessionState.CREATE_IN_PROGRESS
    status: Status
    launch_profile_id: str
    streaming_image_id: str
    ec2_instance_type: str
    image_ref: str
    instance_id: str
    agent_version: str
    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    settings: SessionSettings
    scripts: tuple[InitializationScript, ...] = field(default=(), repr=False)
    owned_by: str
    created_by: str
    updated_by: str
    started_by: str
    stopped_by: str | None = None
    created_at: datetime
    updated_at: datetime
    started_at: datetime
    stopped_at: datetime | None = None
    stop_at: datetime | None = None
    terminate_at: datetime | None = None
    started_from_backup_id: str | None = None
    volume_retention: VolumeRetention | None = None
    begun_at: datetime
    accepted_at: datetime | None = None
    has_run: bool = False
    launch_failures: int = 0
    retry_at: datetime | None = None
    restoring_backup_id: str | None = None

    @property
    def arn(self) -> str:
        return arn_of(self.scope, ResourceKind.STREAMING_SESSION, self.session_id)

    @property
    def reference(self) -> str:
        """What stands for it where the streaming sessions of the portal name a stack and a fleet."""
        return studio_session_reference(self.session_id)

    @property
    def is_starting(self) -> bool:
        return self.state in STARTING

    def of_context(self, context: ScriptContext) -> tuple[InitializationScript, ...]:
        return tuple(script for script in self.scripts if script.context is context)

    def after(self, event: StudioSessionEvent, status: Status, now: datetime, by: str | None = None) -> "StudioSession":
        """Return the session after the event, `by` a caller or by itself. Raises TransitionRefused."""
        state = STUDIO_SESSION.after(self.state, event)
        return replace(self, state=state, status=status, begun_at=now, updated_at=now, updated_by=by or self.updated_by)


def studio_session_reference(session_id: str) -> str:
    """Return what stands for the session where the streaming sessions of the portal name a stack and a fleet.

    No name of a stack or fleet has a slash.
    """
    return f"{_REFERENCE}{session_id}"


def studio_session_id(stack_name: str) -> str | None:
    """Return the id that such a reference has, None for the name of a stack."""
    return stack_name.removeprefix(_REFERENCE) if stack_name.startswith(_REFERENCE) else None
