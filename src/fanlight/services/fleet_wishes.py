"""What CreateFleet and UpdateFleet may say of a fleet's numbers: ranges and combinations, whatever the fleet is.

The service model declares none of them; botocore sends any integer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fanlight.domain.errors import InvalidCombination
from fanlight.domain.fleets import FleetType, StreamView, VpcConfig

MAX_USER_DURATION = (600, 432_000)
DISCONNECT_TIMEOUT = (60, 36_000)
IDLE_DISCONNECT_TIMEOUT = (60, 36_000)  # or 0: never
SESSIONS_PER_INSTANCE = (2, 50)
ROOT_VOLUME_IN_GIB = (200, 500)
LARGEST_FLEET = 10_000  # no installation runs more; a larger number is a slip of the hand


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFleet:
    """What CreateFleet says; None takes the default."""

    name: str
    instance_type: str
    desired_instances: int | None = None
    desired_sessions: int | None = None
    image_name: str | None = None
    image_arn: str | None = None
    fleet_type: FleetType | None = None
    stream_view: StreamView | None = None
    platform: str | None = None
    max_user_duration_in_seconds: int | None = None
    disconnect_timeout_in_seconds: int | None = None
    idle_disconnect_timeout_in_seconds: int | None = None
    display_name: str | None = None
    description: str | None = None
    enable_default_internet_access: bool | None = None
    vpc_config: VpcConfig | None = None
    max_sessions_per_instance: int | None = None
    root_volume_in_gib: int | None = None
    disable_imdsv1: bool | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetChange:
    """What UpdateFleet says; None leaves as it is, `removed` names attributes of the fleet that become None.

    `subnet_ids` and `security_group_ids` stay as they are when the request gives the other one alone. `removed` may
    hold `vpc_config`, `security_group_ids`, `max_sessions_per_instance` and `root_volume_in_gib`.
    """

    instance_type: str | None = None
    desired_instances: int | None = None
    desired_sessions: int | None = None
    image_name: str | None = None
    image_arn: str | None = None
    stream_view: StreamView | None = None
    platform: str | None = None
    max_user_duration_in_seconds: int | None = None
    disconnect_timeout_in_seconds: int | None = None
    idle_disconnect_timeout_in_seconds: int | None = None
    display_name: str | None = None
    description: str | None = None
    enable_default_internet_access: bool | None = None
    subnet_ids: tuple[str, ...] | None = None
    security_group_ids: tuple[str, ...] | None = None
    max_sessions_per_instance: int | None = None
    root_volume_in_gib: int | None = None
    disable_imdsv1: bool | None = None
    removed: frozenset[str] = field(default=frozenset())


def check_numbers(asked: NewFleet | FleetChange) -> None:
    """Hold the documented ranges. Raises InvalidCombination."""
    _check_range("MaxUserDurationInSeconds", asked.max_user_duration_in_seconds, MAX_USER_DURATION)
    _check_range("DisconnectTimeoutInSeconds", asked.disconnect_timeout_in_seconds, DISCONNECT_TIMEOUT)
    if asked.idle_disconnect_timeout_in_seconds != 0:
        _check_range(
            "IdleDisconnectTimeoutInSeconds",
            asked.idle_disconnect_timeout_in_seconds,
            IDLE_DISCONNECT_TIMEOUT,
            "0, or ",
        )
    _check_range("DesiredInstances", asked.desired_instances, (0, LARGEST_FLEET))
    _check_range("DesiredSessions", asked.desired_sessions, (0, LARGEST_FLEET))
    _check_range("MaxSessionsPerInstance", asked.max_sessions_per_instance, SESSIONS_PER_INSTANCE)
    check_root_volume_size(asked.root_volume_in_gib)


def check_capacity(desired_instances: int | None, desired_sessions: int | None, *, is_multi_session: bool) -> None:
    """Let a capacity be given in the unit of the fleet, and in one unit only. Raises InvalidCombination."""
    if desired_instances is not None and desired_sessions is not None:
        raise InvalidCombination("DesiredInstances and DesiredSessions exclude each other. Give one of them.")
    if is_multi_session and desired_instances is not None:
        raise InvalidCombination(
            "The capacity of a multi-session fleet is given in sessions. Give DesiredSessions, not DesiredInstances."
        )
    if not is_multi_session and desired_sessions is not None:
        raise InvalidCombination(
            "DesiredSessions belongs to multi-session fleets. Give DesiredInstances, or MaxSessionsPerInstance too."
        )


def check_root_volume_size(size_in_gib: int | None) -> None:
    """Hold the documented range. Raises InvalidCombination."""
    _check_range("RootVolumeConfig.VolumeSizeInGb", size_in_gib, ROOT_VOLUME_IN_GIB)


def check_vpc(config: VpcConfig | None) -> None:
    """Raises InvalidCombination for security groups that have no subnet to apply in."""
    if config is not None and not config.subnet_ids:
        raise InvalidCombination("VpcConfig names security groups and no subnet. Give SubnetIds too.")


def _check_range(member: str, value: int | None, bounds: tuple[int, int], also: str = "") -> None:
    lowest, highest = bounds
    if value is not None and not lowest <= value <= highest:
        raise InvalidCombination(f"{member} is {value}; it must be {also}between {lowest} and {highest}.")
