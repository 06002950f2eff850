"""What the services of scaling share with the autoscaler: capacity in a fleet's own unit, activities, taking targets away."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from fanlight.domain.errors import InvalidCombination
from fanlight.domain.fleets import Fleet
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.scaling import (
    DIMENSION,
    SERVICE_NAMESPACE,
    ActivityStatus,
    NotScaledReason,
    ScalableTarget,
    ScalingActivity,
    ScalingObjectMissing,
    ScalingPolicy,
    resource_id,
    setting_capacity,
)
from fanlight.services.fleet_wishes import FleetChange

MANY = 10_000
"""More than an account may have of anything here; for reading all of something at once."""


def wished_capacity(fleet: Fleet) -> int:
    """Return what was asked for: sessions of a multi-session fleet, instances of any other."""
    return fleet.desired_instances if fleet.desired_sessions is None else fleet.desired_sessions


def change_to(fleet: Fleet, capacity: int) -> FleetChange:
    if fleet.desired_sessions is None:
        return FleetChange(desired_instances=capacity)
    return FleetChange(desired_sessions=capacity)


def fleet_name_of(namespace: str, resource: str, dimension: str | None) -> str:
    """Return the fleet that a request means. Raises InvalidCombination for everything that is no fleet's capacity."""
    kind, _, name = resource.partition("/")
    if namespace != SERVICE_NAMESPACE or kind != "fleet" or not name or dimension not in (None, DIMENSION):
        raise InvalidCombination(
            "Unsupported service namespace, resource type or scalable dimension. Fleets are scaled with service "
            f"namespace {SERVICE_NAMESPACE}, resource ID fleet/<name> and scalable dimension {DIMENSION}."
        )
    return name


def where(fleet_name: str) -> str:
    """Return how the service's messages name a target."""
    return (
        f"service namespace: {SERVICE_NAMESPACE}, resource ID: {resource_id(fleet_name)}, "
        f"scalable dimension: {DIMENSION}"
    )


async def target_of(work: UnitOfWork, scope: Scope, fleet_name: str) -> ScalableTarget:
    """Raises ScalingObjectMissing."""
    target = await work.scalable_targets.find(scope, fleet_name)
    if target is None:
        raise ScalingObjectMissing(f"No scalable target registered for {where(fleet_name)}")
    return target


async def begin_activity(
    work: UnitOfWork, target: ScalableTarget, *, cause: str, before: int, after: int, now: datetime
) -> ScalingActivity:
    """Record that the capacity is to be set. What was under way for the fleet is overridden by it."""
    await override_live(work, target.fleet_id, now)
    return await work.scaling_activities.add(
        ScalingActivity(
            activity_id=str(uuid4()),
            scope=target.scope,
            fleet_id=target.fleet_id,
            fleet_name=target.fleet_name,
            description=setting_capacity(after),
            cause=cause,
            status=ActivityStatus.PENDING,
            status_message="Waiting for the fleet to take the change.",
            from_capacity=before,
            to_capacity=after,
            started_at=now,
        )
    )


async def override_live(work: UnitOfWork, fleet_id: str, now: datetime) -> None:
    for activity in await work.scaling_activities.live(fleet_id):
        await work.scaling_activities.save(
            replace(
                activity,
                status=ActivityStatus.OVERRIDDEN,
                status_message="A newer scaling activity took the place of this one.",
                ended_at=now,
            )
        )


async def note_not_scaled(
    work: UnitOfWork, target: ScalableTarget, *, cause: str, reason: NotScaledReason, now: datetime
) -> None:
    """Record that nothing was done, once for as long as nothing else happens."""
    newest = await work.scaling_activities.page(target.scope, target.fleet_name, with_not_scaled=True, limit=1)
    if newest and newest[0].not_scaled == reason and newest[0].cause == cause:
        return
    await work.scaling_activities.add(
        ScalingActivity(
            activity_id=str(uuid4()),
            scope=target.scope,
            fleet_id=target.fleet_id,
            fleet_name=target.fleet_name,
            description="Attempting to scale due to alarm triggered",
            cause=cause,
            status=ActivityStatus.UNFULFILLED,
            status_message="The capacity was left as it is.",
            started_at=now,
            ended_at=now,
            not_scaled=reason,
        )
    )


async def remove_tracking_alarms(work: UnitOfWork, policy_arns: Sequence[str]) -> None:
    """Take away the alarms that belong to target tracking policies."""
    for alarm in await work.alarms.tracking(policy_arns):
        await work.alarms.remove(alarm)
        await work.tags.drop(alarm.arn)


async def policies_of(work: UnitOfWork, scope: Scope, fleet_name: str) -> Sequence[ScalingPolicy]:
    return await work.scaling_policies.page(scope, fleet_name, limit=MANY)


async def forget_target(work: UnitOfWork, target: ScalableTarget, now: datetime) -> None:
    """Remove a target with its policies, their alarms, its scheduled actions and tags. Its activities stay to be read."""
    policies = await policies_of(work, target.scope, target.fleet_name)
    await remove_tracking_alarms(work, [policy.arn for policy in policies])
    for policy in policies:
        await work.scaling_policies.remove(policy)
    for action in await work.scheduled_actions.page(target.scope, target.fleet_name, limit=MANY):
        await work.scheduled_actions.remove(action)
    await override_live(work, target.fleet_id, now)
    await work.tags.drop(target.arn)
    await work.scalable_targets.remove(target)
