"""What fleets show now: the counts behind their metrics, as DescribeFleets would count them."""

from collections.abc import Sequence
from datetime import datetime

from fanlight.domain.fleet_capacity import Capacity, SlotCounts, StateCounts, capacity_of
from fanlight.domain.fleet_metrics import FleetObservation, SessionSlots
from fanlight.domain.fleets import Fleet, FleetType
from fanlight.domain.instances import InstanceState
from fanlight.domain.ports import UnitOfWork


async def observe_fleets(
    work: UnitOfWork, fleets: Sequence[Fleet], at: datetime, *, since: datetime, until: datetime
) -> list[FleetObservation]:
    """Return one observation of each fleet, with what was refused from `since` to before `until`."""
    counts = await work.instances.count_by_state([fleet.fleet_id for fleet in fleets])
    refusals = await work.observations.refusals(since, until)
    seen = []
    for fleet in fleets:
        states = counts.get(fleet.fleet_id, StateCounts({}, SlotCounts()))
        capacity = capacity_of(fleet, states)
        is_always_on = fleet.fleet_type is FleetType.ALWAYS_ON
        # An instance on demand is launched for the session that holds it: it is in use, not pending.
        pending = states.get(InstanceState.LAUNCHING, 0) if is_always_on else 0
        seen.append(
            FleetObservation(
                scope=fleet.scope,
                fleet_name=fleet.name,
                at=at,
                is_always_on=is_always_on,
                available=capacity.available,
                in_use=capacity.in_use,
                pending=pending,
                insufficient_capacity_errors=refusals.get(fleet.fleet_id, 0),
                slots=_slots(fleet, capacity, pending),
            )
        )
    return seen


def _slots(fleet: Fleet, capacity: Capacity, pending_instances: int) -> SessionSlots | None:
    sessions = capacity.sessions
    if sessions is None:
        return None
    return SessionSlots(
        available=sessions.available,
        active=sessions.active,
        pending=pending_instances * (fleet.max_sessions_per_instance or 1),
        draining=sessions.draining,
        drain_mode_active=sessions.draining_active,
        drain_mode_unused=sessions.draining_unused,
    )
