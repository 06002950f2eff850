"""Image builders: one instance each, kept over stop and start, in which an administrator prepares an image."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from fanlight.domain.errors import ImageMissing, LaunchRefused, NetworkUnusable, NotSupported
from fanlight.domain.fleet_errors import FleetError, FleetErrorCause
from fanlight.domain.fleets import VpcConfig
from fanlight.domain.machine import Machine
from fanlight.domain.networks import NetworkInterface
from fanlight.domain.places import Scope


class ImageBuilderState(StrEnum):
    """The service's states. Those below the second line belong to work that has no builder here.

    Between the lines: builders that come and go with the update of an image (`services.image_updates`).
    """

    PENDING = "PENDING"
    UPDATING_AGENT = "UPDATING_AGENT"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    REBOOTING = "REBOOTING"
    SNAPSHOTTING = "SNAPSHOTTING"
    DELETING = "DELETING"
    FAILED = "FAILED"
    # ──
    UPDATING = "UPDATING"
    PENDING_QUALIFICATION = "PENDING_QUALIFICATION"
    # ──
    PENDING_SYNCING_APPS = "PENDING_SYNCING_APPS"
    SYNCING_APPS = "SYNCING_APPS"
    PENDING_IMAGE_IMPORT = "PENDING_IMAGE_IMPORT"


class ImageBuilderEvent(StrEnum):
    START_REQUESTED = "START_REQUESTED"
    OTHER_AGENT_REQUESTED = "OTHER_AGENT_REQUESTED"
    AGENT_READY = "AGENT_READY"
    START_FAILED = "START_FAILED"
    STOP_REQUESTED = "STOP_REQUESTED"
    INSTANCE_STOPPED = "INSTANCE_STOPPED"
    REBOOTED = "REBOOTED"
    REBOOT_FAILED = "REBOOT_FAILED"
    SNAPSHOT_REQUESTED = "SNAPSHOT_REQUESTED"
    SNAPSHOT_OVER = "SNAPSHOT_OVER"
    INSTANCE_LOST = "INSTANCE_LOST"
    DELETE_REQUESTED = "DELETE_REQUESTED"
    PACKAGES_UPDATED = "PACKAGES_UPDATED"


class StateChangeCode(StrEnum):
    """The service's ImageBuilderStateChangeReasonCode."""

    INTERNAL_ERROR = "INTERNAL_ERROR"
    IMAGE_UNAVAILABLE = "IMAGE_UNAVAILABLE"


_S, _E = ImageBuilderState, ImageBuilderEvent

IMAGE_BUILDER: Machine[ImageBuilderState, ImageBuilderEvent] = Machine(
    kind="image builder",
    initial=_S.PENDING,
    table={
        (_S.STOPPED, _E.START_REQUESTED): _S.PENDING,
        (_S.STOPPED, _E.OTHER_AGENT_REQUESTED): _S.UPDATING_AGENT,
        (_S.PENDING, _E.AGENT_READY): _S.RUNNING,
        (_S.UPDATING_AGENT, _E.AGENT_READY): _S.RUNNING,
        (_S.REBOOTING, _E.AGENT_READY): _S.RUNNING,
        # It never ran: there is nothing to keep. One that ran has its administrator's work on its disk, and goes back
        # to STOPPED, from where it can be started again.
        (_S.PENDING, _E.START_FAILED): _S.FAILED,
        (_S.PENDING, _E.INSTANCE_STOPPED): _S.STOPPED,
        (_S.UPDATING_AGENT, _E.INSTANCE_STOPPED): _S.STOPPED,
        (_S.RUNNING, _E.STOP_REQUESTED): _S.STOPPING,
        (_S.STOPPING, _E.INSTANCE_STOPPED): _S.STOPPED,
        (_S.RUNNING, _E.REBOOTED): _S.REBOOTING,
        # Shut down from within, or by its host.
        (_S.REBOOTING, _E.INSTANCE_STOPPED): _S.STOPPED,
        (_S.REBOOTING, _E.REBOOT_FAILED): _S.STOPPING,
        (_S.RUNNING, _E.SNAPSHOT_REQUESTED): _S.SNAPSHOTTING,
        (_S.SNAPSHOTTING, _E.SNAPSHOT_OVER): _S.STOPPED,
        # The engine does not have it any more: what was on its disk is gone.
        (_S.PENDING, _E.INSTANCE_LOST): _S.FAILED,
        (_S.UPDATING_AGENT, _E.INSTANCE_LOST): _S.FAILED,
        (_S.RUNNING, _E.INSTANCE_LOST): _S.FAILED,
        (_S.REBOOTING, _E.INSTANCE_LOST): _S.FAILED,
        (_S.RUNNING, _E.DELETE_REQUESTED): _S.DELETING,
        (_S.STOPPED, _E.DELETE_REQUESTED): _S.DELETING,
        (_S.FAILED, _E.DELETE_REQUESTED): _S.DELETING,
        # Its row goes with the end of the update, whatever that is.
        (_S.UPDATING, _E.PACKAGES_UPDATED): _S.PENDING_QUALIFICATION,
    },
)

# As long as the longest session of a fleet. The builder goes on when it is over.
LONGEST_SESSION = timedelta(days=5)
# A launch that fails for want of room or network is tried again for so long; then the administrator has to know.
LAUNCH_PATIENCE = timedelta(minutes=5)
_FINAL = (ImageMissing, LaunchRefused, NetworkUnusable, NotSupported)


@dataclass(frozen=True, slots=True)
class StateChangeReason:
    code: StateChangeCode
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuilder:
    """`instance_id` is chosen when the builder is made and stays its own as long as it exists.

    `accepted_at` is when the engine took the launch or the start that is under way (None: not yet); `begun_at` when the
    present state began; `has_run` once its desktop was up: from then on its disk is worth keeping. `image_ref` is what
    it was made from, which may be deleted meanwhile. While SNAPSHOTTING, `snapshot_image_id` is the image that is being
    made of it, and `is_prepared` says that its agent left nothing of the builder's own there: then, and only then, an image
    may be made of its disk.
    """

    builder_id: str
    scope: Scope
    name: str
    state: ImageBuilderState = ImageBuilderState.PENDING
    version: int = 0
    image_name: str
    image_arn: str
    image_ref: str
    instance_id: str
    instance_type: str
    platform: str
    agent_version: str
    display_name: str | None = None
    description: str | None = None
    vpc_config: VpcConfig | None = None
    enable_default_internet_access: bool = False
    access_endpoints: tuple[str, ...] = ()
    root_volume_in_gib: int | None = None
    disable_imdsv1: bool | None = None  # As given: instances have no metadata service of any version.
    created_at: datetime
    begun_at: datetime
    accepted_at: datetime | None = None
    has_run: bool = False
    launch_failures: int = 0
    retry_at: datetime | None = None
    reason: StateChangeReason | None = None
    errors: tuple[FleetError, ...] = field(default=())
    network_interface: NetworkInterface | None = None
    snapshot_image_id: str | None = None
    is_prepared: bool = False

    @property
    def arn(self) -> str:
        return self.scope.arn(f"image-builder/{self.name}")

    @property
    def is_starting(self) -> bool:
        return self.state in (ImageBuilderState.PENDING, ImageBuilderState.UPDATING_AGENT)

    @property
    def has_desktop(self) -> bool:
        """Whether a session may live on it: a reboot from within ends the session by itself."""
        return self.state in (ImageBuilderState.RUNNING, ImageBuilderState.REBOOTING)

    def after(self, event: ImageBuilderEvent, now: datetime, reason: StateChangeReason | None = None) -> "ImageBuilder":
        """Return the builder after the event. Raises TransitionRefused."""
        return replace(self, state=IMAGE_BUILDER.after(self.state, event), begun_at=now, reason=reason)

    def starting(self, event: ImageBuilderEvent, now: datetime, agent_version: str) -> "ImageBuilder":
        """Return a STOPPED builder on its way up, with nothing left of former failures. Raises TransitionRefused."""
        return replace(
            self.after(event, now),
            agent_version=agent_version,
            accepted_at=None,
            launch_failures=0,
            retry_at=None,
            errors=(),
        )

    def with_error(self, error: FleetError) -> "ImageBuilder":
        """Return the builder with the error in place of an older one of the same cause."""
        return replace(self, errors=(*(e for e in self.errors if e.cause is not error.cause), error))


def is_final(error: Exception) -> bool:
    """Return whether a launch that failed so is not worth another try."""
    return isinstance(error, _FINAL)


def code_of(cause: FleetErrorCause) -> StateChangeCode:
    """Return the StateChangeReason code under which a start that failed for this cause is told."""
    is_image = cause in (
        FleetErrorCause.IMAGE_UNKNOWN,
        FleetErrorCause.IMAGE_NOT_AVAILABLE,
        FleetErrorCause.IMAGE_NOT_IN_ENGINE,
    )
    return StateChangeCode.IMAGE_UNAVAILABLE if is_image else StateChangeCode.INTERNAL_ERROR
