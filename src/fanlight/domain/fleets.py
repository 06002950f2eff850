"""Fleets: a wished number of running instances of one image."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from fanlight.domain.fleet_errors import FleetError, FleetErrorCause
from fanlight.domain.machine import Machine
from fanlight.domain.places import Scope


class FleetState(StrEnum):
    """The service has no failed state: what keeps a fleet from running stands in `Fleet.errors`."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


class FleetEvent(StrEnum):
    START_REQUESTED = "START_REQUESTED"
    CAPACITY_REACHED = "CAPACITY_REACHED"
    STOP_REQUESTED = "STOP_REQUESTED"
    LAST_INSTANCE_GONE = "LAST_INSTANCE_GONE"


class FleetType(StrEnum):
    ALWAYS_ON = "ALWAYS_ON"
    ON_DEMAND = "ON_DEMAND"


class StreamView(StrEnum):
    APP = "APP"
    DESKTOP = "DESKTOP"


FLEET: Machine[FleetState, FleetEvent] = Machine(
    kind="fleet",
    initial=FleetState.STOPPED,
    table={
        (FleetState.STOPPED, FleetEvent.START_REQUESTED): FleetState.STARTING,
        (FleetState.STARTING, FleetEvent.CAPACITY_REACHED): FleetState.RUNNING,
        # The administrator changed their mind, or the fleet cannot be provisioned and has to be torn down.
        (FleetState.STARTING, FleetEvent.STOP_REQUESTED): FleetState.STOPPING,
        (FleetState.RUNNING, FleetEvent.STOP_REQUESTED): FleetState.STOPPING,
        (FleetState.STOPPING, FleetEvent.LAST_INSTANCE_GONE): FleetState.STOPPED,
    },
)


@dataclass(frozen=True, slots=True)
class VpcConfig:
    """Subnets and security groups by the ids that the administrator gave; which of them exist shows at the launch."""

    subnet_ids: tuple[str, ...]
    security_group_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """`version` is the row's version as read; the store refuses to save over a newer one.

    A fleet with `max_sessions_per_instance` is a multi-session fleet: its capacity is `desired_sessions`, and
    `desired_instances` is always what so many sessions need. Both are None for single-session fleets.
    `root_volume_in_gib` None means the installation's own limit.
    """

    fleet_id: str
    scope: Scope
    name: str
    state: FleetState = FleetState.STOPPED
    version: int = 0
    fleet_type: FleetType = FleetType.ALWAYS_ON
    stream_view: StreamView = StreamView.APP
    image_name: str
    image_arn: str
    instance_type: str
    platform: str
    desired_instances: int
    max_user_duration: timedelta = timedelta(hours=16)
    disconnect_timeout: timedelta = timedelta(minutes=15)
    idle_disconnect_timeout: timedelta = timedelta(0)
    display_name: str | None = None
    description: str | None = None
    enable_default_internet_access: bool = False
    created_at: datetime
    errors: tuple[FleetError, ...] = field(default=())
    launch_failures: int = 0  # In a row; feeds the back-off and is cleared by a success.
    retry_at: datetime | None = None
    vpc_config: VpcConfig | None = None
    max_sessions_per_instance: int | None = None
    desired_sessions: int | None = None
    root_volume_in_gib: int | None = None
    disable_imdsv1: bool | None = None  # As given: instances have no metadata service of any version.

    @property
    def arn(self) -> str:
        return self.scope.arn(f"fleet/{self.name}")

    @property
    def is_multi_session(self) -> bool:
        return self.max_sessions_per_instance is not None

    @property
    def places_per_instance(self) -> int:
        """How many sessions an instance may have at a time."""
        return self.max_sessions_per_instance or 1

    @property
    def is_provisioned(self) -> bool:
        return self.state in (FleetState.STARTING, FleetState.RUNNING)

    def with_error(self, error: FleetError) -> "Fleet":
        """Return the fleet with the error in place of an older one of the same cause."""
        return replace(self, errors=(*(e for e in self.errors if e.cause is not error.cause), error))

    def without_errors(self, causes: Collection[FleetErrorCause]) -> "Fleet":
        """Return the fleet without the errors of these causes; when none is left, it may launch at once again."""
        left = tuple(error for error in self.errors if error.cause not in causes)
        return replace(self, errors=left) if left else replace(self, errors=(), launch_failures=0, retry_at=None)

    def after(self, event: FleetEvent) -> "Fleet":
        """Return the fleet after the event. Raises TransitionRefused."""
        return replace(self, state=FLEET.after(self.state, event))


def instances_for(sessions: int, sessions_per_instance: int) -> int:
    """Return how many instances hold so many sessions."""
    return -(-sessions // sessions_per_instance)
