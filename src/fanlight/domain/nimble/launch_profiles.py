"""Launch profiles: which images, machine sizes, networks and components a streaming session may be made of."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar

from fanlight.domain.errors import InvalidCombination
from fanlight.domain.nimble.identifiers import ResourceKind
from fanlight.domain.nimble.resources import USABLE, Resource, ResourceEvent, ResourceState, Status
from fanlight.domain.nimble.studio_components import PROTOCOL_VERSION

LONGEST_SESSION_BY_DEFAULT = 690  # minutes


class Switch(StrEnum):
    """AutomaticTerminationMode and SessionPersistenceMode."""

    DEACTIVATED = "DEACTIVATED"
    ACTIVATED = "ACTIVATED"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBackups:
    is_automatic: bool = False
    most_retained: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadStorage:
    """Where users' uploads go; None where the caller did not say."""

    linux_root: str | None = field(default=None, repr=False)
    windows_root: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeWish:
    size_in_gib: int | None = None
    iops: int | None = None
    throughput_in_mib_per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfiguration:
    """What sessions copy when they are made. None is what the caller did not say; lengths are in minutes."""

    has_clipboard: bool
    instance_types: tuple[str, ...]
    streaming_image_ids: tuple[str, ...]
    max_session_length: int = LONGEST_SESSION_BY_DEFAULT
    max_stopped_session_length: int = 0
    persistence: Switch = Switch.DEACTIVATED
    termination: Switch | None = None
    backups: SessionBackups | None = None
    upload: UploadStorage | None = None
    volume: VolumeWish | None = None


class ValidationType(StrEnum):
    VALIDATE_ACTIVE_DIRECTORY_STUDIO_COMPONENT = "VALIDATE_ACTIVE_DIRECTORY_STUDIO_COMPONENT"
    VALIDATE_SUBNET_ASSOCIATION = "VALIDATE_SUBNET_ASSOCIATION"
    VALIDATE_NETWORK_ACL_ASSOCIATION = "VALIDATE_NETWORK_ACL_ASSOCIATION"
    VALIDATE_SECURITY_GROUP_ASSOCIATION = "VALIDATE_SECURITY_GROUP_ASSOCIATION"


class ValidationState(StrEnum):
    VALIDATION_NOT_STARTED = "VALIDATION_NOT_STARTED"
    VALIDATION_IN_PROGRESS = "VALIDATION_IN_PROGRESS"
    VALIDATION_SUCCESS = "VALIDATION_SUCCESS"
    VALIDATION_FAILED = "VALIDATION_FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    type: ValidationType
    state: ValidationState
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileBefore:
    """What an update in progress may still fail back to."""

    name: str
    description: str | None = None
    component_ids: tuple[str, ...]
    stream: StreamConfiguration


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchProfile(Resource):
    KIND: ClassVar[ResourceKind] = ResourceKind.LAUNCH_PROFILE

    name: str
    description: str | None = None
    subnet_ids: tuple[str, ...] = ()
    protocol_versions: tuple[str, ...] = (PROTOCOL_VERSION,)
    component_ids: tuple[str, ...]
    stream: StreamConfiguration
    validations: tuple[Validation, ...] = ()
    before: ProfileBefore | None = None

    def remembering(self) -> "LaunchProfile":
        """Return the profile with what it is now as what it was before."""
        before = ProfileBefore(
            name=self.name, description=self.description, component_ids=self.component_ids, stream=self.stream
        )
        return replace(self, before=before)

    def settled(self) -> "LaunchProfile":
        """Return the profile after a change: as it was before where an update failed."""
        if self.before is None or self.state is not ResourceState.UPDATE_FAILED:
            return replace(self, before=None)
        return replace(
            self,
            name=self.before.name,
            description=self.before.description,
            component_ids=self.before.component_ids,
            stream=self.before.stream,
            before=None,
        )


def check_stream(stream: StreamConfiguration) -> None:
    """Raise InvalidCombination for settings that do not go together."""
    is_persistent = stream.persistence is Switch.ACTIVATED
    if stream.volume is not None and not is_persistent:
        raise InvalidCombination("A volumeConfiguration needs sessionPersistenceMode ACTIVATED.")
    if stream.termination is not None and not is_persistent:
        raise InvalidCombination("An automaticTerminationMode needs sessionPersistenceMode ACTIVATED.")
    if is_persistent and stream.termination is not Switch.ACTIVATED and stream.max_stopped_session_length:
        raise InvalidCombination(
            "maxStoppedSessionLengthInMinutes with sessionPersistenceMode ACTIVATED needs automaticTerminationMode "
            "ACTIVATED: without it a stopped session stays."
        )
    for what, values in (
        ("ec2InstanceTypes", stream.instance_types),
        ("streamingImageIds", stream.streaming_image_ids),
    ):
        if len(set(values)) != len(values):
            raise InvalidCombination(f"{what} names something twice.")


CREATING = Status(code="LAUNCH_PROFILE_CREATE_IN_PROGRESS", message="The launch profile is being created.")
UPDATING = Status(code="LAUNCH_PROFILE_UPDATE_IN_PROGRESS", message="The launch profile is being updated.")
DELETING = Status(code="LAUNCH_PROFILE_DELETE_IN_PROGRESS", message="The launch profile is being deleted.")
_CREATED = Status(code="LAUNCH_PROFILE_CREATED", message="The launch profile was created.")
UPDATED = Status(code="LAUNCH_PROFILE_UPDATED", message="The launch profile was updated.")
_DELETED = Status(code="LAUNCH_PROFILE_DELETED", message="The launch profile was deleted.")


def settle_profile(
    profile: LaunchProfile, images: Mapping[str, ResourceState], *, session_count: int
) -> tuple[ResourceEvent, Status]:
    """Return how a change in progress ends.

    `images` has the state of each image of the profile that there is; `session_count` is of sessions that are not deleted.
    """
    if profile.state is ResourceState.DELETE_IN_PROGRESS:
        if session_count:
            why = f"The launch profile has {session_count} streaming session{'s' * (session_count > 1)}: delete them first."
            return ResourceEvent.FAILED, Status(code="LAUNCH_PROFILE_WITH_STREAM_SESSIONS_NOT_DELETED", message=why)
        return ResourceEvent.SUCCEEDED, _DELETED
    for image_id in profile.stream.streaming_image_ids:
        state = images.get(image_id)
        if state is None or state in (ResourceState.DELETED, ResourceState.CREATE_FAILED):
            why = f"The streaming image {image_id} does not exist."
            return ResourceEvent.FAILED, Status(code="STREAMING_IMAGE_NOT_FOUND", message=why)
        if state not in USABLE:
            why = f"The streaming image {image_id} is {state}."
            return ResourceEvent.FAILED, Status(code="STREAMING_IMAGE_NOT_READY", message=why)
    return ResourceEvent.SUCCEEDED, _CREATED if profile.state is ResourceState.CREATE_IN_PROGRESS else UPDATED


def validate(
    *, has_directory: bool, missing_subnets: Sequence[str], missing_groups: Collection[str]
) -> tuple[Validation, ...]:
    """Return what is to be said of the parts of a profile, in the service's order.

    A profile that fails one of them is READY all the same; its sessions meet what is said here.
    """
    directory = ""
    if has_directory:
        directory = "Machines here are Linux and join no Active Directory; sessions would fail for it."
    subnets = f"These subnets are not offered here: {', '.join(missing_subnets)}." if missing_subnets else ""
    groups = (
        f"These security groups are not offered here: {', '.join(sorted(missing_groups))}." if missing_groups else ""
    )
    return (
        _validation(
            ValidationType.VALIDATE_ACTIVE_DIRECTORY_STUDIO_COMPONENT,
            "VALIDATION_FAILED_INVALID_ACTIVE_DIRECTORY",
            directory,
        ),
        _validation(ValidationType.VALIDATE_SUBNET_ASSOCIATION, "VALIDATION_FAILED_SUBNET_NOT_FOUND", subnets),
        _validation(ValidationType.VALIDATE_NETWORK_ACL_ASSOCIATION, "", ""),
        _validation(
            ValidationType.VALIDATE_SECURITY_GROUP_ASSOCIATION,
            "VALIDATION_FAILED_INVALID_SECURITY_GROUP_ASSOCIATION",
            groups,
        ),
    )


NOT_VALIDATED = tuple(
    Validation(
        type=kind,
        state=ValidationState.VALIDATION_NOT_STARTED,
        code="VALIDATION_NOT_STARTED",
        message="The validation has not started yet.",
    )
    for kind in ValidationType
)


def _validation(kind: ValidationType, code: str, complaint: str) -> Validation:
    if complaint:
        return Validation(type=kind, state=ValidationState.VALIDATION_FAILED, code=code, message=complaint)
    success = ValidationState.VALIDATION_SUCCESS
    return Validation(type=kind, state=success, code=success.value, message="The validation succeeded.")
