"""What a fleet measures each minute, and how the metrics of namespace AWS/AppStream follow from it.

An observation holds counts, the metrics are formulas over them, so that stored data can never disagree with itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

from fanlight.domain.places import Scope

NAMESPACE = "AWS/AppStream"
DIMENSION = "Fleet"
# The service publishes one datum a minute; everything that evaluates them counts in whole minutes.
RESOLUTION = timedelta(minutes=1)

Unit = Literal["Count", "Percent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSlots:
    """The places for users of a multi-session fleet. `draining` counts instances, the others sessions or free places."""

    available: int = 0
    active: int = 0
    pending: int = 0
    draining: int = 0
    drain_mode_active: int = 0
    drain_mode_unused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetObservation:
    """One fleet during the minute that begins at `at`: counts as they were at its end, refusals as they came within it.

    `available` and `in_use` are instances; `pending` are those being provisioned. `slots` is None for a fleet with one
    session on each instance.
    """

    scope: Scope
    fleet_name: str
    at: datetime
    is_always_on: bool
    available: int
    in_use: int
    pending: int
    insufficient_capacity_errors: int = 0
    slots: SessionSlots | None = None

    @property
    def actual(self) -> int:
        return self.available + self.in_use


@dataclass(frozen=True, slots=True)
class Metric:
    """`value_of` returns None where the metric is undefined: nothing is published then."""

    name: str
    unit: Unit
    meaning: str
    value_of: Callable[[FleetObservation], float | None]


def _share(part: int, whole: int) -> float | None:
    # Nothing divided by nothing is no number: a fleet without capacity has no utilization, neither 0 nor 100 %.
    return 100.0 * part / whole if whole else None


def _utilization(seen: FleetObservation) -> float | None:
    if seen.slots is not None:
        return _share(seen.slots.active, seen.slots.available + seen.slots.active)
    return _share(seen.in_use, seen.actual)


def _of_slots(count: Callable[[SessionSlots], int]) -> Callable[[FleetObservation], float | None]:
    return lambda seen: None if seen.slots is None else float(count(seen.slots))


def _actual_slots(slots: SessionSlots) -> int:
    return slots.available + slots.active


def _running_slots(seen: FleetObservation) -> float | None:
    return float(_actual_slots(seen.slots)) if seen.slots is not None and seen.is_always_on else None


_METRICS = (
    Metric("ActualCapacity", "Count", "Instances that serve or could serve a user", lambda s: float(s.actual)),
    Metric("AvailableCapacity", "Count", "Instances that are free for the next user", lambda s: float(s.available)),
    Metric("CapacityUtilization", "Percent", "How much of the actual capacity is in use", _utilization),
    Metric("DesiredCapacity", "Count", "Actual and pending capacity", lambda s: float(s.actual + s.pending)),
    Metric("InUseCapacity", "Count", "Instances that a user holds", lambda s: float(s.in_use)),
    Metric("PendingCapacity", "Count", "Instances being provisioned", lambda s: float(s.pending)),
    Metric(
        "RunningCapacity",
        "Count",
        "Instances that run; Always-On fleets only",
        lambda s: float(s.actual) if s.is_always_on else None,
    ),
    Metric(
        "InsufficientCapacityError",
        "Count",
        "Sessions refused because no capacity was free",
        lambda s: float(s.insufficient_capacity_errors),
    ),
    Metric(
        "ActualUserSessionCapacity",
        "Count",
        "Places for sessions, taken or free; multi-session",
        _of_slots(_actual_slots),
    ),
    Metric(
        "AvailableUserSessionCapacity",
        "Count",
        "Free places for sessions; multi-session",
        _of_slots(lambda s: s.available),
    ),
    Metric(
        "ActiveUserSessionCapacity", "Count", "Sessions that users hold; multi-session", _of_slots(lambda s: s.active)
    ),
    Metric(
        "PendingUserSessionCapacity",
        "Count",
        "Places for sessions on instances being provisioned; multi-session",
        _of_slots(lambda s: s.pending),
    ),
    Metric(
        "RunningUserSessionCapacity",
        "Count",
        "Places for sessions on running instances; multi-session, Always-On only",
        _running_slots,
    ),
    Metric(
        "DesiredUserSessionCapacity",
        "Count",
        "Actual and pending places for sessions; multi-session",
        _of_slots(lambda s: _actual_slots(s) + s.pending),
    ),
    Metric(
        "DrainingCapacity",
        "Count",
        "Instances that take no new sessions; multi-session",
        _of_slots(lambda s: s.draining),
    ),
    Metric(
        "DrainModeActiveUserSessionCapacity",
        "Count",
        "Sessions on draining instances; multi-session",
        _of_slots(lambda s: s.drain_mode_active),
    ),
    Metric(
        "DrainModeUnusedUserSessionCapacity",
        "Count",
        "Places on draining instances that nobody may take; multi-session",
        _of_slots(lambda s: s.drain_mode_unused),
    ),
)
METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _METRICS})
"""Every metric by its name. InsufficientConcurrencyLimitError belongs to Elastic fleets, which do not exist here."""


def minute_of(moment: datetime) -> datetime:
    """Return the beginning of the minute."""
    return moment.replace(second=0, microsecond=0)
