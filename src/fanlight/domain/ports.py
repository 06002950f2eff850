"""What the domain needs from the world outside. Adapters in `store` and `drivers` provide it.

At most seven methods per port. No vendor type, exception or HTTP object crosses here.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from fanlight.domain.access_keys import AccessKey
from fanlight.domain.file_systems import FileSystemMount
from fanlight.domain.fleet_capacity import StateCounts
from fanlight.domain.fleets import Fleet
from fanlight.domain.image_builders import ImageBuilder
from fanlight.domain.image_exports import ImageExports
from fanlight.domain.image_requests import ImageAnswer, ImageRequest
from fanlight.domain.images import Image, ImagePermission
from fanlight.domain.instances import Instance
from fanlight.domain.machine_images import MachineImages
from fanlight.domain.networks import NetworkInterface
from fanlight.domain.nimble.ports import NimbleStore
from fanlight.domain.nimble.session_ports import SessionBackups, SessionStreams, StudioSessions
from fanlight.domain.places import Scope
from fanlight.domain.scaling_ports import (
    Alarms,
    Observations,
    ScalableTargets,
    ScalingActivities,
    ScalingPolicies,
    ScheduledActions,
)
from fanlight.domain.stacks import Stack
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.domain.user_storage import StorageDoor, StorageKind, StorageUsage

# ── Compute ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this engine can do; callers and contract tests ask, they never guess by type."""

    isolates_network: bool  # instances really cannot reach each other
    enforces_disk_quota: bool
    streams_pixels: bool  # a real display, not a drawn test picture
    separates_users: bool  # each seat of an instance has uids of its own


class InstanceRole(StrEnum):
    """What an instance is for. The host tells its agent at the launch; nothing inside the guest can change it."""

    STREAMING = "streaming"
    MAINTENANCE = "maintenance"  # the packages of its image are looked at or upgraded: no seat, nobody ever comes
    QUALIFICATION = "qualification"  # a seat where nobody sits: the host checks that the image's applications start
    WORKSTATION = "workstation"  # one user's own machine: home and software stay over sessions and restarts
    IMAGE_BUILDER = "image-builder"  # an administrator installs software there, over many sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """Everything an engine needs to run an instance. `labels` come back in `observe` and carry re-adoption.

    It gets a network interface if it `has_internet_access` or `subnet_ids` name where it may have one: in one of them,
    the engine chooses. Without groups the default group says what it may reach (`domain.networks`).
    `file_systems` are those of the host that it mounts, by the names that the operator gave them.
    `places` is how many sessions it may have at a time. The label `runtime_version` chooses the runtime that is
    mounted; an engine that mounts one adds it when it is missing.
    """

    instance_id: str
    image_ref: str
    cpu_count: int
    memory_in_mib: int
    disk_in_gib: int
    has_internet_access: bool
    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    file_systems: tuple[FileSystemMount, ...] = ()
    places: int = 1
    role: InstanceRole = InstanceRole.STREAMING
    labels: Mapping[str, str] = field(default_factory=dict)


class Power(StrEnum):
    STARTING = "STARTING"  # accepted, not running yet
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"  # by `stop`, by itself or by a host reboot; it stays so until `start`
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedInstance:
    """`first_uid` is the host uid of the guest's root; the instance owns 65,536 uids from there (None: not known yet)."""

    instance_id: str
    power: Power
    labels: Mapping[str, str]
    first_uid: int | None = None
    detail: str = ""  # the engine's words, when power is FAILED
    interface: NetworkInterface | None = None  # None: it has none


class InstanceDriver(Protocol):
    """Runs streaming instances. Every call may be repeated: the same call twice has the effect of one.

    Each instance gets two socket directories, `RUN_DIR/instances/<instance_id>/host` and `.../guest` (see
    `docs/architecture.md`); they exist before the instance runs and go with it.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def prepare(self) -> None:
        """Make project, network and pool ready; idempotent. Raises DriverUnavailable with what to do."""

    async def launch(self, spec: InstanceSpec) -> None:
        """Return once accepted, not once running.

        Raises CapacityExhausted (SubnetExhausted), ImageMissing, NetworkUnusable, LaunchRefused, DriverUnavailable.
        """

    async def start(self, instance_id: str, runtime_version: str | None = None) -> None:
        """Start a stopped instance on its own disk, with fresh socket directories; one that runs stays as it is.

        `runtime_version` is mounted from now on in place of the one it had; an engine that mounts none ignores it.
        Raises InstanceMissing, CapacityExhausted, LaunchRefused, DriverUnavailable.
        """

    async def stop(self, instance_id: str) -> None:
        """Return once it stands still; its disk and labels stay. Stopped already, unknown or gone is success.

        Raises DriverUnavailable.
        """

    async def terminate(self, instance_id: str) -> None:
        """Destroy it and its socket directories. Unknown or already gone is success. Raises DriverUnavailable."""

    async def observe(self) -> Sequence[ObservedInstance]:
        """Return everything this installation launched and nothing else. Raises DriverUnavailable."""
        ...

    def changes(self) -> AsyncIterator[str]:
        """Yield instance ids to look at again: a hint, never the truth, and it may end at any time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    ref: str
    size_in_bytes: int
    properties: Mapping[str, str] = field(default_factory=dict)


class RootfsStore(Protocol):
    """The engine's store of root file systems, by our own reference names ([a-z0-9-]), for who builds from recipes."""

    async def import_rootfs(self, ref: str, archive: Path, properties: Mapping[str, str]) -> None:
        """Take a rootfs tarball under `ref`, replacing what had that name. Raises DriverUnavailable, CapacityExhausted."""

    async def observe(self) -> Sequence[StoredImage]: ...

    async def delete(self, ref: str) -> None:
        """Unknown is success."""

    async def warm(self, ref: str) -> None:
        """Make the next launch as fast as any later one (unpack into the pool).

        Raises ImageMissing, CapacityExhausted, DriverUnavailable.
        """


class ImageStore(RootfsStore, Protocol):
    """The same for images that are made here.

    Every call may be repeated, also after it was cut off: the same call twice has the effect of one. `publish` and
    `copy` may take minutes; they go on in the engine when the caller dies.
    """

    async def publish(self, instance_id: str, ref: str, properties: Mapping[str, str]) -> None:
        """Make an image of a stopped instance's disk; the instance stays. A `ref` that is there already is success.

        Raises PublishRefused (the instance runs or is not there), CapacityExhausted, DriverUnavailable.
        """

    async def copy(self, ref: str, new_ref: str, region: str) -> None:
        """Have the same root file system under a second name, in the engine of a region.

        Each goes on when the other is deleted. A `new_ref` that is there already is success.
        Raises ImageMissing, CapacityExhausted, DriverUnavailable.
        """


class AgentPhase(StrEnum):
    """What the agent says of the instance as a whole. Spelled as in `agentwire`, like the next."""

    BOOTING = "BOOTING"
    READY = "READY"  # it can take sessions, up to its places
    PREPARED = "PREPARED"  # an image builder whose disk may become an image once it is stopped
    FAILED = "FAILED"


class SessionPhase(StrEnum):
    STARTING_SESSION = "STARTING_SESSION"
    IN_SESSION = "IN_SESSION"
    FLUSHING = "FLUSHING"  # its programs have ended; files that its user saved are being sent
    ENDED = "ENDED"  # nothing of it is left
    FAILED = "FAILED"


class StorageState(StrEnum):
    MOUNTING = "MOUNTING"
    MOUNTED = "MOUNTED"
    OFFLINE = "OFFLINE"  # it cannot be reached; tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A folder that takes long to open: `name`, empty for the uppermost one, and how many `files` are there, `of` how many."""

    name: str
    files: int | None
    of: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageReport:
    """What an agent says of one place of the user's files; unsent is what was saved there and has not arrived yet.

    `is_full` while that is because its user may keep no more.
    """

    kind: StorageKind
    state: StorageState
    unsent_files: int = 0
    unsent_bytes: int = 0
    detail: str = ""
    is_full: bool = False
    opening: Opening | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """What an agent says of one session; `seat` tells which stream socket and which accounts are its own."""

    session_id: str
    seat: int
    phase: SessionPhase
    detail: str = ""
    idle_since: datetime | None = None
    has_script_failed: bool = False  # one that the image runs at the start of a session
    storage: tuple[StorageReport, ...] = ()


class WorkPhase(StrEnum):
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkReport:
    """What an agent says of work that the host asked for (see `agentwire.messages.Maintain`); `progress` is for people.

    `updates` is how many packages a look found, `problems` what does not work, a sentence each.
    """

    work_id: str
    phase: WorkPhase
    progress: str = ""
    detail: str = ""
    updates: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """The newest report of an instance's agent. The instance is hostile: every field is a claim, checked for form only."""

    instance_id: str
    phase: AgentPhase
    sessions: tuple[SessionReport, ...]
    runtime_version: str
    detail: str
    reported_at: datetime
    is_connected: bool
    work: WorkReport | None = None
    protocol: int = 0  # the version of `agentwire` that it speaks

    def session(self, session_id: str) -> SessionReport | None:
        return next((report for report in self.sessions if report.session_id == session_id), None)


class AgentChannel(Protocol):
    """Talks with the agents. The host listens in each instance's `host/` directory; agents connect and reconnect."""

    async def open(self, instance_id: str, first_uid: int, *, is_builder: bool = False) -> None:
        """Listen for this instance's agent; only its root (`first_uid`) may speak. Idempotent.

        Only of a builder are image requests heard.
        """

    async def close(self, instance_id: str) -> None: ...

    def status(self, instance_id: str) -> AgentStatus | None:
        """Return the newest report, or None when the agent has never been heard by this process."""

    async def send(self, instance_id: str, message: Mapping[str, Any]) -> None:
        """Send one `agentwire` message. Raises AgentUnreachable. Delivery is not effect: read the status."""

    def changes(self) -> AsyncIterator[str]:
        """Yield instance ids whose status changed."""
        ...

    def image_requests(self) -> AsyncIterator[ImageRequest]:
        """Yield what image builders ask for, to one listener. An instance asks again only when it was answered."""
        ...

    async def answer(self, request: ImageRequest, answer: ImageAnswer) -> None:
        """Tell the builder that asked. Raises AgentUnreachable; then it will ask again."""


class UserStorage(Protocol):
    """The storage process: it alone has the keys of the buckets. Every call may be repeated."""

    async def open(self, door: StorageDoor) -> None:
        """Let the instance reach those files, and nothing else.

        Raises StorageUnusable (the bucket; the door is open all the same, and works once the bucket does),
        StorageUnavailable (the process, or the instance has no place for a door any more).
        """

    async def close(self, session_id: str, *, but: Collection[StorageKind] = ()) -> None:
        """Close all doors of a session but those of some kinds: what its instance still holds opens nothing.

        Raises StorageUnavailable.
        """

    async def doors(self) -> Collection[tuple[str, StorageKind]]:
        """Return session and kind of each open door; none after the process was started anew. Raises StorageUnavailable."""
        ...

    async def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket unless it is there. Raises StorageUnusable, StorageUnavailable."""

    async def usage(self) -> Sequence[StorageUsage]:
        """Return what each user has in the home folders, by looking at every file.

        Raises StorageUnusable, StorageUnavailable.
        """
        ...


class Clock(Protocol):
    def now(self) -> datetime:
        """Return the present as aware UTC."""
        ...


# ── Store ─────────────────────────────────────────────────────────────────────────────────────────────────────────
# Every `save` is a compare-and-set on `version`: it raises ChangedMeanwhile when the row is newer than the object, and
# returns the object with its new version. There is no other way to change a row.


class Fleets(Protocol):
    async def add(self, fleet: Fleet) -> Fleet:
        """Raises AlreadyExists."""
        ...

    async def get(self, scope: Scope, name: str) -> Fleet:
        """Raises NotFound."""
        ...

    async def find(self, fleet_id: str) -> Fleet | None: ...

    async def page(self, scope: Scope, *, names: Sequence[str] = (), after: str = "", limit: int) -> Sequence[Fleet]:
        """Return fleets by name, those named (any order asked, any missing left out) or all after `after`."""
        ...

    async def everywhere(self) -> Sequence[Fleet]:
        """Return all fleets of all scopes, for the reconcilers."""
        ...

    async def save(self, fleet: Fleet) -> Fleet: ...

    async def remove(self, fleet: Fleet) -> None:
        """Raises ChangedMeanwhile."""


class Stacks(Protocol):
    async def add(self, stack: Stack) -> Stack: ...
    async def get(self, scope: Scope, name: str) -> Stack: ...
    async def page(
        self, scope: Scope, *, names: Sequence[str] = (), after: str = "", limit: int
    ) -> Sequence[Stack]: ...
    async def with_storage(self, scope: Scope | None = None) -> Sequence[Stack]:
        """Return the stacks that have storage connectors or keep settings of applications, of one scope or of all, for the reconcilers."""
        ...

    async def save(self, stack: Stack) -> Stack: ...
    async def remove(self, stack: Stack) -> None: ...


class Associations(Protocol):
    """Which fleet stands behind which stack."""

    async def add(self, scope: Scope, stack_name: str, fleet_name: str) -> None:
        """Associating the same pair again is success."""

    async def remove(self, scope: Scope, stack_name: str, fleet_name: str) -> bool:
        """Return whether there was such a pair."""
        ...

    async def fleets_of(
        self, scope: Scope, stack_name: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[str]: ...
    async def stacks_of(
        self, scope: Scope, fleet_name: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[str]: ...


class Images(Protocol):
    async def add(self, image: Image) -> Image: ...
    async def find(self, scope: Scope, *, name: str = "", arn: str = "") -> Image | None:
        """Return the image visible to `scope` (its own first, then public ones; shared ones by ARN only)."""
        ...

    async def find_by_id(self, image_id: str) -> Image | None: ...

    async def visible(self, scope: Scope) -> Sequence[Image]:
        """Return what `scope` may see, by name: its own, and public ones. What others share: `ImagePermissions`."""
        ...

    async def everywhere(self) -> Sequence[Image]:
        """Return all images of all scopes, for the reconcilers."""
        ...

    async def save(self, image: Image) -> Image: ...
    async def remove(self, image: Image) -> None: ...


class ImagePermissions(Protocol):
    """Which other accounts may do what with an image."""

    async def put(self, permission: ImagePermission) -> None:
        """Add it, or replace what that account had."""

    async def drop(self, image_id: str, shared_account_id: str) -> bool:
        """Return whether the image was shared with that account."""
        ...

    async def of_image(self, image_id: str) -> Sequence[ImagePermission]:
        """Return with whom it is shared, by account."""
        ...

    async def shared_with(self, scope: Scope) -> Sequence[tuple[Image, ImagePermission]]:
        """Return what others share with this account in this region, by name."""
        ...

    async def shared_ids(self, scope: Scope) -> frozenset[str]:
        """Return the ids of the scope's own images that are shared with anybody."""
        ...


class ImageBuilders(Protocol):
    async def add(self, builder: ImageBuilder) -> ImageBuilder:
        """Raises AlreadyExists."""
        ...

    async def get(self, scope: Scope, name: str) -> ImageBuilder:
        """Raises NotFound."""
        ...

    async def find(self, builder_id: str) -> ImageBuilder | None: ...

    async def of_instance(self, instance_id: str) -> ImageBuilder | None:
        """Return the image builder whose own instance this is."""
        ...

    async def page(
        self, scope: Scope, *, names: Sequence[str] = (), after: str = "", limit: int
    ) -> Sequence[ImageBuilder]:
        """Return image builders by name, those named (any missing left out) or all after `after`."""
        ...

    async def everywhere(self) -> Sequence[ImageBuilder]: ...
    async def save(self, builder: ImageBuilder) -> ImageBuilder: ...
    async def remove(self, builder: ImageBuilder) -> None: ...


class Instances(Protocol):
    async def add(self, instance: Instance) -> Instance: ...
    async def find(self, instance_id: str) -> Instance | None: ...
    async def of_fleet(self, fleet_id: str) -> Sequence[Instance]: ...
    async def count_by_state(self, fleet_ids: Sequence[str]) -> Mapping[str, StateCounts]:
        """Count the instances, and their slots, of a page of fleets in one query, for DescribeFleets; fleets without any are missing."""
        ...

    async def everywhere(self) -> Sequence[Instance]: ...
    async def save(self, instance: Instance) -> Instance: ...
    async def remove(self, instance: Instance) -> None: ...


class StreamingSessions(Protocol):
    async def add(self, session: StreamingSession) -> StreamingSession:
        """Raises AlreadyExists when that user has a live session on that stack and fleet: a unique index, not a check."""
        ...

    async def find(self, session_id: str) -> StreamingSession | None: ...

    async def live_of_user(
        self, scope: Scope, stack_name: str, fleet_name: str, user_id: str, authentication_type: str
    ) -> StreamingSession | None: ...

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
        """Return sessions by session id, EXPIRED ones included until they are pruned."""
        ...

    async def live(self, fleet_id: str | None = None) -> Sequence[StreamingSession]:
        """Return the PENDING and ACTIVE sessions of one fleet or of all."""
        ...

    async def save(self, session: StreamingSession) -> StreamingSession: ...

    async def unsent_of_user(self, scope: Scope, user_id: str, authentication_type: str) -> Sequence[StreamingSession]:
        """Return the EXPIRED sessions of a user that have files which did not arrive, whatever stack they were of."""
        ...

    async def unsent(self) -> Sequence[StreamingSession]:
        """Return the EXPIRED sessions of everybody that have files which did not arrive, those that were given up too."""
        ...

    async def prune(self, ended_before: datetime, unsent_before: datetime) -> int:
        """Forget EXPIRED sessions that ended before; return how many. Those with unsent files have a time of their own."""
        ...


class Tags(Protocol):
    async def of(self, arn: str) -> Mapping[str, str]: ...
    async def under(self, prefix: str) -> Mapping[str, Mapping[str, str]]:
        """Return the tags of everything whose ARN begins so; what has no tags is missing."""
        ...

    async def put(self, arn: str, tags: Mapping[str, str]) -> None: ...
    async def drop(self, arn: str, keys: Sequence[str] | None = None) -> None:
        """Drop the named keys, or all of them when `keys` is None."""


class AccessKeys(Protocol):
    async def add(self, key: AccessKey) -> None: ...
    async def find(self, access_key_id: str) -> AccessKey | None: ...
    async def all(self) -> Sequence[AccessKey]: ...
    async def remove(self, access_key_id: str) -> bool: ...


class UnitOfWork(Protocol):
    """One transaction. Nothing is written unless `commit` is awaited; leaving the block without it rolls back."""

    @property
    def fleets(self) -> Fleets: ...
    @property
    def stacks(self) -> Stacks: ...
    @property
    def associations(self) -> Associations: ...
    @property
    def images(self) -> Images: ...
    @property
    def image_permissions(self) -> ImagePermissions: ...
    @property
    def image_builders(self) -> ImageBuilders: ...
    @property
    def machine_images(self) -> MachineImages: ...
    @property
    def image_exports(self) -> ImageExports: ...
    @property
    def instances(self) -> Instances: ...
    @property
    def sessions(self) -> StreamingSessions: ...
    @property
    def studio_sessions(self) -> StudioSessions: ...
    @property
    def session_backups(self) -> SessionBackups: ...
    @property
    def session_streams(self) -> SessionStreams: ...
    @property
    def tags(self) -> Tags: ...
    @property
    def access_keys(self) -> AccessKeys: ...
    @property
    def observations(self) -> Observations: ...
    @property
    def alarms(self) -> Alarms: ...
    @property
    def scalable_targets(self) -> ScalableTargets: ...
    @property
    def scaling_policies(self) -> ScalingPolicies: ...
    @property
    def scheduled_actions(self) -> ScheduledActions: ...
    @property
    def scaling_activities(self) -> ScalingActivities: ...
    @property
    def nimble(self) -> NimbleStore: ...
    async def commit(self) -> None: ...


class Transactions(Protocol):
    """The store as services see it: `async with transactions.begin() as work: ...`.

    `begin(write=True)` takes the write lock at once, so that read-then-write never fails half way on SQLite.
    """

    def begin(self, *, write: bool = False) -> AbstractAsyncContextManager[UnitOfWork]: ...

    def revision(self) -> int | None:
        """Return a number that equals an earlier one only if no process committed anything in between.

        Does not wait. None: this store cannot say.
        """
        ...


class Wake(Protocol):
    """Tell the reconcilers that something changed. Lossy by contract: a timer sweep repairs lost calls."""

    def __call__(self, kind: str, key: str) -> None: ...
