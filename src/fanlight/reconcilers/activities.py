"""Carry out scaling activities: set the capacity of the fleet, then follow it until the fleet has it."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from fanlight.domain.errors import ChangedMeanwhile, DomainError, StoreUnavailable
from fanlight.domain.fleet_capacity import capacity_of
from fanlight.domain.fleets import Fleet, FleetState
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork
from fanlight.domain.scaling import ActivityStatus, ScalingActivity
from fanlight.domain.scaling_plan import is_fulfilled
from fanlight.services.fleet_wishes import FleetChange
from fanlight.services.scaling_records import change_to, wished_capacity

log = logging.getLogger(__name__)

ChangeFleet = Callable[[Scope, str, FleetChange], Awaitable[Any]]
# Instances need minutes at most; what is not there by then will not come by waiting.
FEW = 10
PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: ActivityStatus
    message: str


@dataclass(frozen=True, slots=True)
class Activities:
    """`change_fleet` is `FleetService.update`: what it refuses to an administrator, it refuses to a policy."""

    transactions: Transactions
    clock: Clock
    change_fleet: ChangeFleet

    async def carry_on(self) -> None:
        """Move every activity that is pending or in progress one step. Raises StoreUnavailable."""
        async with self.transactions.begin() as work:
            live = await work.scaling_activities.live()
            fleets = await _fleets_of(work, live)
            found = [(activity, fleets.get(activity.fleet_id)) for activity in live]
            counts = await work.instances.count_by_state([fleet.fleet_id for _, fleet in found if fleet is not None])
        for activity, fleet in found:
            if fleet is None:
                outcome: _Outcome | None = _Outcome(ActivityStatus.FAILED, "The fleet does not exist any more.")
            elif activity.status is ActivityStatus.PENDING:
                outcome = await self._begin(activity, fleet)
            else:
                capacity = capacity_of(fleet, counts.get(fleet.fleet_id, {}))
                outcome = self._follow(
                    activity, fleet, actual=capacity.available + capacity.in_use, in_use=capacity.in_use
                )
            if outcome is not None:
                await self._record(activity, outcome)

    async def _begin(self, activity: ScalingActivity, fleet: Fleet) -> _Outcome | None:
        wanted = activity.to_capacity or 0
        wished = wished_capacity(fleet)
        if wished != wanted:
            if wished != activity.from_capacity:
                return _overridden(wished)
            if fleet.state is FleetState.STARTING:
                return None
            if fleet.state is not FleetState.RUNNING:
                return _failed(wanted, f"The fleet {fleet.name} is {fleet.state}.")
            try:
                await self.change_fleet(fleet.scope, fleet.name, change_to(fleet, wanted))
            except (ChangedMeanwhile, StoreUnavailable):
                return None
            except DomainError as error:
                return _failed(wanted, str(error))
        return _Outcome(
            ActivityStatus.IN_PROGRESS,
            f"Successfully set desired capacity to {wanted}. Waiting for change to be fulfilled by appstream.",
        )

    def _follow(self, activity: ScalingActivity, fleet: Fleet, *, actual: int, in_use: int) -> _Outcome | None:
        wanted = activity.to_capacity or 0
        if wished_capacity(fleet) != wanted:
            return _overridden(wished_capacity(fleet))
        if is_fulfilled(fleet.desired_instances, actual=actual, in_use=in_use):
            return _Outcome(
                ActivityStatus.SUCCESSFUL,
                f"Successfully set desired capacity to {wanted}. Change successfully fulfilled by appstream.",
            )
        if not fleet.is_provisioned:
            return _unfulfilled(wanted, f"the fleet is {fleet.state}.")
        if self.clock.now() - activity.started_at > PATIENCE:
            why = fleet.errors[-1].message if fleet.errors else f"the fleet has {actual} instances so far."
            return _unfulfilled(wanted, why)
        return None

    async def _record(self, activity: ScalingActivity, outcome: _Outcome) -> None:
        is_over = outcome.status is not ActivityStatus.IN_PROGRESS
        async with self.transactions.begin(write=True) as work:
            try:
                await work.scaling_activities.save(
                    replace(
                        activity,
                        status=outcome.status,
                        status_message=outcome.message,
                        ended_at=self.clock.now() if is_over else None,
                    )
                )
            except ChangedMeanwhile:
                return  # a newer activity took its place; its own end is written already
            await work.commit()
        log.info(
            "scaling activity",
            extra={"fleet": activity.fleet_name, "status": outcome.status, "why": outcome.message},
        )


async def _fleets_of(work: UnitOfWork, activities: Sequence[ScalingActivity]) -> dict[str, Fleet]:
    """Return the fleets by id, in one query if there are many; those that are gone are missing."""
    if len(activities) > FEW:
        return {fleet.fleet_id: fleet for fleet in await work.fleets.everywhere()}
    found = [await work.fleets.find(activity.fleet_id) for activity in activities]
    return {fleet.fleet_id: fleet for fleet in found if fleet is not None}


def _overridden(wished: int) -> _Outcome:
    return _Outcome(
        ActivityStatus.OVERRIDDEN, f"The desired capacity was set to {wished} by another request in the meantime."
    )


def _failed(wanted: int, why: str) -> _Outcome:
    return _Outcome(ActivityStatus.FAILED, f"Failed to set desired capacity to {wanted}. Reason: {why}")


def _unfulfilled(wanted: int, why: str) -> _Outcome:
    return _Outcome(
        ActivityStatus.UNFULFILLED,
        f"Successfully set desired capacity to {wanted}. The change was not fulfilled by appstream: {why}",
    )
