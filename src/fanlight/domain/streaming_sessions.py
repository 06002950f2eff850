"""Streaming sessions: one user of one stack on one instance, or one on a desktop that is there before and stays.

The reference of such a desktop, `image-builder/<name>` or `studio-session/<id>`, stands where a stack and a fleet stand in
other sessions and grants, as in the URLs of the service. No name of a stack or fleet has a slash: nothing is confused.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from fanlight.domain.machine import Machine
from fanlight.domain.networks import NetworkInterface
from fanlight.domain.nimble.sessions import studio_session_id
from fanlight.domain.places import Scope
from fanlight.domain.stacks import UserSettings
from fanlight.domain.unsent_files import SettingsLoss, UnsentFiles
from fanlight.domain.user_storage import StorageConnector, StorageKind


class SessionState(StrEnum):
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"


class SessionEvent(StrEnum):
    STARTED = "STARTED"
    ENDED = "ENDED"


class ConnectionState(StrEnum):
    CONNECTED = "CONNECTED"
    NOT_CONNECTED = "NOT_CONNECTED"


class EndReason(StrEnum):
    """Why a session ended; shown to the user in words, and in the audit log."""

    USER = "USER"  # End session in the toolbar
    EXPIRED_BY_ADMINISTRATOR = "EXPIRED_BY_ADMINISTRATOR"  # ExpireSession
    DISCONNECT_TIMEOUT = "DISCONNECT_TIMEOUT"
    MAX_DURATION = "MAX_DURATION"
    FLEET_STOPPED = "FLEET_STOPPED"  # or the desktop's own machine does not run any more
    INSTANCE_LOST = "INSTANCE_LOST"
    NO_CAPACITY = "NO_CAPACITY"  # waited, and no instance became free
    START_FAILED = "START_FAILED"


SESSION: Machine[SessionState, SessionEvent] = Machine(
    kind="streaming session",
    initial=SessionState.PENDING,
    table={
        (SessionState.PENDING, SessionEvent.STARTED): SessionState.ACTIVE,
        (SessionState.PENDING, SessionEvent.ENDED): SessionState.EXPIRED,
        (SessionState.ACTIVE, SessionEvent.ENDED): SessionState.EXPIRED,
    },
)

_BUILDER = "image-builder/"
BUILDER_USER = "admin"


def builder_reference(name: str) -> str:
    """Return what stands for an image builder where sessions and grants name a stack and a fleet."""
    return f"{_BUILDER}{name}"


def _builder_name(stack_name: str) -> str | None:
    return stack_name.removeprefix(_BUILDER) if stack_name.startswith(_BUILDER) else None


def _is_own(stack_name: str) -> bool:
    return _builder_name(stack_name) is not None or studio_session_id(stack_name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingSession:
    """`connected_since` is set while at least one stream socket is open; `disconnected_at` while none is.

    `max_expires_at` is fixed when the session is made and does not slide. `progress` is what the waiting page shows.
    `user_settings` are those of the stack when the session was made: a change of the stack holds for later sessions.
    `time_zone` is the browser's, by its IANA name; None unless the stack redirects time zones and the browser knew it.
    A session on an own desktop has the id of its image builder or studio session as `fleet_id`.
    `unsent` is set while it has folders of its user's: what was saved there and is not known to have arrived. It stays
    over the end until everything was sent, or is lost. `lost_before` is what earlier sessions of this user lost. `settings_loss`
    is why the settings of its applications were not kept at its end.
    `is_idle_disconnected` from the moment the stream was cut because nobody used it, until the user comes back.
    """

    session_id: str
    scope: Scope
    stack_name: str
    fleet_name: str
    fleet_id: str
    user_id: str
    authentication_type: str = "API"
    state: SessionState = SessionState.PENDING
    version: int = 0
    instance_id: str | None = None
    application_id: str | None = None
    session_context: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    max_expires_at: datetime
    connected_since: datetime | None = None
    disconnected_at: datetime | None = None
    is_idle_disconnected: bool = False
    idle_since: datetime | None = None  # last keyboard or pointer input, as the agent reports it
    end_requested: EndReason | None = None  # the wish; the reconciler carries it out
    end_reason: EndReason | None = None
    ended_at: datetime | None = None
    progress: str = ""
    user_settings: UserSettings = field(default=UserSettings())
    storage_connectors: tuple[StorageConnector, ...] = ()  # of the stack when the session was made
    settings_group: str | None = None  # likewise
    time_zone: str | None = None
    network_interface: NetworkInterface | None = None  # of its instance, known once it is ACTIVE; None: it has none
    unsent: UnsentFiles | None = None
    lost_before: UnsentFiles | None = None
    settings_loss: SettingsLoss | None = None

    @property
    def storage_kinds(self) -> frozenset[StorageKind]:
        """What its instance reaches of its user's."""
        kinds = {connector.kind for connector in self.storage_connectors}
        return frozenset(kinds | {StorageKind.APPLICATION_SETTINGS} if self.settings_group is not None else kinds)

    @property
    def is_live(self) -> bool:
        return self.state is not SessionState.EXPIRED

    @property
    def image_builder_name(self) -> str | None:
        """The image builder it is in, None for any other session."""
        return _builder_name(self.stack_name)

    @property
    def studio_session_id(self) -> str | None:
        """The streaming session of a studio that it is in, None for any other session."""
        return studio_session_id(self.stack_name)

    @property
    def is_on_own_desktop(self) -> bool:
        return _is_own(self.stack_name)

    @property
    def connection_state(self) -> ConnectionState:
        return ConnectionState.CONNECTED if self.connected_since else ConnectionState.NOT_CONNECTED

    def after(self, event: SessionEvent) -> "StreamingSession":
        """Return the session after the event. Raises TransitionRefused."""
        return replace(self, state=SESSION.after(self.state, event))


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingGrant:
    """What a streaming URL says, once its signature and expiry were checked."""

    scope: Scope
    stack_name: str
    fleet_name: str
    user_id: str
    application_id: str | None
    session_context: str | None
    expires_at: datetime

    @property
    def image_builder_name(self) -> str | None:
        """The image builder that it opens, None when it opens something else."""
        return _builder_name(self.stack_name)

    @property
    def studio_session_id(self) -> str | None:
        """The streaming session of a studio that it opens, None when it opens something else."""
        return studio_session_id(self.stack_name)

    @property
    def is_for_own_desktop(self) -> bool:
        return _is_own(self.stack_name)
