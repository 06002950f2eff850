"""Scaling of fleets: targets, policies, scheduled actions, and what they did.

A target says that a fleet may be scaled, and between which bounds; the capacity counts instances, or sessions where a
fleet serves several users on one instance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from fanlight.domain.errors import DomainError
from fanlight.domain.places import Scope

SERVICE_NAMESPACE = "appstream"
DIMENSION = "appstream:fleet:DesiredCapacity"
PREDEFINED_METRIC = "AppStreamAverageCapacityUtilization"
DEFAULT_COOLDOWN = timedelta(seconds=300)
_ROLE = (
    "role/aws-service-role/appstream.application-autoscaling.amazonaws.com/"
    "AWSServiceRoleForApplicationAutoScaling_AppStreamFleet"
)


def resource_id(fleet_name: str) -> str:
    return f"fleet/{fleet_name}"


def service_role_arn(scope: Scope) -> str:
    """Return the role that clients expect to see; Fanlight needs none."""
    return f"arn:aws:iam::{scope.account_id}:{_ROLE}"


class ScalingObjectMissing(DomainError):
    """A scalable target, scaling policy or scheduled action that does not exist. The text is the service's own."""


class Direction(StrEnum):
    OUT = "OUT"
    IN = "IN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """What is suspended; suspended work is not made up for later."""

    scaling_in: bool = False
    scaling_out: bool = False
    scheduled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooldown:
    """The last activity of a policy. Until `until`, `base` is the capacity that another step out is counted from."""

    direction: Direction
    base: int
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalableTarget:
    """`decided_at` is the minute of the newest decision of a policy: there is at most one in a minute."""

    target_id: str
    scope: Scope
    fleet_id: str
    fleet_name: str
    version: int = 0
    min_capacity: int
    max_capacity: int
    role_arn: str
    suspension: Suspension = field(default_factory=Suspension)
    cooldown: Cooldown | None = None
    decided_at: datetime | None = None
    created_at: datetime

    @property
    def arn(self) -> str:
        return (
            f"arn:aws:application-autoscaling:{self.scope.region}:{self.scope.account_id}"
            f":scalable-target/{self.target_id}"
        )

    def clamped(self, capacity: int) -> int:
        return max(self.min_capacity, min(capacity, self.max_capacity))


class AdjustmentType(StrEnum):
    CHANGE = "ChangeInCapacity"
    PERCENT = "PercentChangeInCapacity"
    EXACT = "ExactCapacity"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAdjustment:
    """Bounds are differences from the alarm's threshold; None is without end."""

    lower: float | None = None
    upper: float | None = None
    adjustment: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepScaling:
    adjustment_type: AdjustmentType
    steps: tuple[StepAdjustment, ...]
    min_adjustment_magnitude: int | None = None
    cooldown_in_seconds: int | None = None
    metric_aggregation_type: str | None = None

    @property
    def cooldown(self) -> timedelta:
        return _cooldown(self.cooldown_in_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTracking:
    """`metric_name` and `statistic` say what is tracked; `is_predefined` how the administrator named it."""

    target_value: float
    metric_name: str
    statistic: str
    unit: str | None = None
    is_predefined: bool = True
    scale_out_cooldown_in_seconds: int | None = None
    scale_in_cooldown_in_seconds: int | None = None
    disable_scale_in: bool | None = None

    def cooldown(self, direction: Direction) -> timedelta:
        is_out = direction is Direction.OUT
        return _cooldown(self.scale_out_cooldown_in_seconds if is_out else self.scale_in_cooldown_in_seconds)


def _cooldown(seconds: int | None) -> timedelta:
    return DEFAULT_COOLDOWN if seconds is None else timedelta(seconds=seconds)


PolicyRule: TypeAlias = StepScaling | TargetTracking


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPolicy:
    policy_id: str
    scope: Scope
    fleet_name: str
    name: str
    version: int = 0
    rule: PolicyRule
    created_at: datetime

    @property
    def arn(self) -> str:
        return (
            f"arn:aws:autoscaling:{self.scope.region}:{self.scope.account_id}:scalingPolicy:{self.policy_id}"
            f":resource/{SERVICE_NAMESPACE}/{resource_id(self.fleet_name)}:policyName/{self.name}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledAction:
    """`next_run_at` is None once it will never run again."""

    action_id: str
    scope: Scope
    fleet_name: str
    name: str
    version: int = 0
    schedule: str
    timezone: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    min_capacity: int | None = None
    max_capacity: int | None = None
    next_run_at: datetime | None = None
    created_at: datetime

    @property
    def arn(self) -> str:
        return (
            f"arn:aws:autoscaling:{self.scope.region}:{self.scope.account_id}:scheduledAction:{self.action_id}"
            f":resource/{SERVICE_NAMESPACE}/{resource_id(self.fleet_name)}:scheduledActionName/{self.name}"
        )


class ActivityStatus(StrEnum):
    """PENDING is written before the fleet is changed, IN_PROGRESS after; the rest is how it ended."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    SUCCESSFUL = "Successful"
    OVERRIDDEN = "Overridden"
    UNFULFILLED = "Unfulfilled"
    FAILED = "Failed"


LIVE_STATUSES = (ActivityStatus.PENDING, ActivityStatus.IN_PROGRESS)


class NotScaledCode(StrEnum):
    ALREADY_AT_MAX = "AlreadyAtMaxCapacity"
    ALREADY_AT_MIN = "AlreadyAtMinCapacity"
    ALREADY_AT_DESIRED = "AlreadyAtDesiredCapacity"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotScaledReason:
    code: NotScaledCode
    min_capacity: int | None = None
    max_capacity: int | None = None
    current_capacity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingActivity:
    """What scaling did or is doing. `to_capacity` is None for one that changed the bounds of a target only."""

    activity_id: str
    scope: Scope
    fleet_id: str
    fleet_name: str
    version: int = 0
    description: str
    cause: str
    status: ActivityStatus
    status_message: str | None = None
    from_capacity: int | None = None
    to_capacity: int | None = None
    started_at: datetime
    ended_at: datetime | None = None
    not_scaled: NotScaledReason | None = None

    @property
    def is_live(self) -> bool:
        return self.status in LIVE_STATUSES


def setting_capacity(capacity: int) -> str:
    """Return the service's words for an activity."""
    return f"Setting desired capacity to {capacity}."


def find_step(steps: Sequence[StepAdjustment], difference: float, *, is_high: bool) -> StepAdjustment | None:
    """Return the step for a metric so far from the alarm's threshold.

    Above the threshold the lower bound belongs to a step and the upper does not; below it, the other way round.
    """
    for step in steps:
        lower = float("-inf") if step.lower is None else step.lower
        upper = float("inf") if step.upper is None else step.upper
        if (lower <= difference < upper) if is_high else (lower < difference <= upper):
            return step
    return None
