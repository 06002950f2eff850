"""What scaling and metrics need from the store. `save` and `remove` are compare-and-set, as in `domain.ports`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from fanlight.domain.alarms import MetricAlarm
from fanlight.domain.fleet_metrics import FleetObservation
from fanlight.domain.places import Scope
from fanlight.domain.scaling import ScalableTarget, ScalingActivity, ScalingPolicy, ScheduledAction


class Observations(Protocol):
    """What fleets measured, minute by minute."""

    async def add(self, seen: Sequence[FleetObservation]) -> None:
        """Write them; the first observation of a fleet and minute stays."""

    async def of_fleet(
        self, scope: Scope, fleet_name: str, start: datetime, end: datetime
    ) -> Sequence[FleetObservation]:
        """Return those from `start` to before `end`, the oldest first."""
        ...

    async def fleets_with_data(self, scope: Scope, *, since: datetime, after: str = "", limit: int) -> Sequence[str]:
        """Return the names of existing fleets that have an observation since then, in order."""
        ...

    async def refusals(self, start: datetime, end: datetime) -> Mapping[str, int]:
        """Count, by fleet id, the sessions that ended for lack of capacity from `start` to before `end`."""
        ...

    async def newest(self) -> datetime | None:
        """Return the newest minute of all."""
        ...

    async def prune(self, before: datetime, *, at_most: int) -> int:
        """Forget what is older, and the oldest of what is more than `at_most`; return how many."""
        ...


class Alarms(Protocol):
    async def add(self, alarm: MetricAlarm) -> MetricAlarm:
        """Raises AlreadyExists."""
        ...

    async def named(self, scope: Scope, names: Sequence[str]) -> Sequence[MetricAlarm]: ...

    async def tracking(self, policy_arns: Sequence[str]) -> Sequence[MetricAlarm]:
        """Return the alarms that these target tracking policies made."""
        ...

    async def page(self, scope: Scope, *, after: str = "", limit: int) -> Sequence[MetricAlarm]: ...

    async def everywhere(self) -> Sequence[MetricAlarm]: ...

    async def save(self, alarm: MetricAlarm) -> MetricAlarm: ...

    async def remove(self, alarm: MetricAlarm) -> None: ...


class ScalableTargets(Protocol):
    async def add(self, target: ScalableTarget) -> ScalableTarget: ...

    async def find(self, scope: Scope, fleet_name: str) -> ScalableTarget | None: ...

    async def identified(self, target_id: str) -> ScalableTarget | None:
        """Return the target of this id, whose account ever it is."""
        ...

    async def page(self, scope: Scope, *, after: str = "", limit: int) -> Sequence[ScalableTarget]:
        """Return them by the name of the fleet."""
        ...

    async def everywhere(self) -> Sequence[ScalableTarget]: ...

    async def save(self, target: ScalableTarget) -> ScalableTarget: ...

    async def remove(self, target: ScalableTarget) -> None: ...


class ScalingPolicies(Protocol):
    async def add(self, policy: ScalingPolicy) -> ScalingPolicy: ...

    async def find(self, scope: Scope, fleet_name: str, name: str) -> ScalingPolicy | None: ...

    async def page(
        self, scope: Scope, fleet_name: str | None = None, *, after: str = "", limit: int
    ) -> Sequence[ScalingPolicy]:
        """Return them by fleet and name; `after` is `fleet/name` of the last one before."""
        ...

    async def everywhere(self) -> Sequence[ScalingPolicy]: ...

    async def save(self, policy: ScalingPolicy) -> ScalingPolicy: ...

    async def remove(self, policy: ScalingPolicy) -> None: ...


class ScheduledActions(Protocol):
    async def add(self, action: ScheduledAction) -> ScheduledAction: ...

    async def find(self, scope: Scope, fleet_name: str, name: str) -> ScheduledAction | None: ...

    async def page(
        self, scope: Scope, fleet_name: str | None = None, *, after: str = "", limit: int
    ) -> Sequence[ScheduledAction]:
        """Return them by fleet and name; `after` is `fleet/name` of the last one before."""
        ...

    async def due(self, now: datetime) -> Sequence[ScheduledAction]: ...

    async def save(self, action: ScheduledAction) -> ScheduledAction: ...

    async def remove(self, action: ScheduledAction) -> None: ...


class ScalingActivities(Protocol):
    async def add(self, activity: ScalingActivity) -> ScalingActivity: ...

    async def page(
        self,
        scope: Scope,
        fleet_name: str | None = None,
        *,
        with_not_scaled: bool = False,
        before: tuple[datetime, str] | None = None,
        limit: int,
    ) -> Sequence[ScalingActivity]:
        """Return the newest first; `before` is start and id of the last one of the page before."""
        ...

    async def live(self, fleet_id: str | None = None) -> Sequence[ScalingActivity]:
        """Return what is pending or in progress, of one fleet or of all, the oldest first."""
        ...

    async def save(self, activity: ScalingActivity) -> ScalingActivity: ...

    async def prune(self, started_before: datetime) -> int: ...
