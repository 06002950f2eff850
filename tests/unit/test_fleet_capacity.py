"""The arithmetic of ComputeCapacityStatus, by hand."""

from datetime import UTC, datetime
from typing import Any

import pytest

from fanlight.domain.fleet_capacity import Capacity, SessionCapacity, SlotCounts, capacity_of
from fanlight.domain.fleets import Fleet, FleetState, FleetType, instances_for
from fanlight.domain.instances import InstanceState
from fanlight.domain.places import Scope

L, R, U, G = InstanceState.LAUNCHING, InstanceState.READY, InstanceState.IN_USE, InstanceState.RETIRING


def fleet(**changes: Any) -> Fleet:
    members: dict[str, Any] = {
        "fleet_id": "f",
        "scope": Scope("000000000000", "us-east-1"),
        "name": "cad",
        "state": FleetState.RUNNING,
        "image_name": "Sample",
        "image_arn": "arn",
        "instance_type": "stream.standard.medium",
        "platform": "UBUNTU_PRO_2404",
        "desired_instances": 4,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Fleet(**{**members, **changes})


@pytest.mark.parametrize(
    ("state", "fleet_type", "counts", "running_in_use_available"),
    [
        (FleetState.STOPPED, FleetType.ALWAYS_ON, {}, (0, 0, 0)),
        (FleetState.STARTING, FleetType.ALWAYS_ON, {L: 4}, (0, 0, 0)),
        (FleetState.STARTING, FleetType.ALWAYS_ON, {L: 1, R: 3}, (3, 0, 3)),
        (FleetState.RUNNING, FleetType.ALWAYS_ON, {R: 4}, (4, 0, 4)),
        (FleetState.RUNNING, FleetType.ALWAYS_ON, {R: 2, U: 1, G: 1, L: 1}, (3, 1, 2)),
        (FleetState.STOPPING, FleetType.ALWAYS_ON, {G: 4}, (0, 0, 0)),
        (FleetState.STOPPING, FleetType.ALWAYS_ON, {R: 2, U: 1}, (3, 1, 0)),
        (FleetState.STOPPED, FleetType.ON_DEMAND, {}, (0, 0, 0)),
        (FleetState.RUNNING, FleetType.ON_DEMAND, {}, (0, 0, 4)),
        (FleetState.RUNNING, FleetType.ON_DEMAND, {U: 3}, (3, 3, 1)),
        (FleetState.RUNNING, FleetType.ON_DEMAND, {U: 5}, (5, 5, 0)),
        (FleetState.STOPPING, FleetType.ON_DEMAND, {U: 1}, (1, 1, 0)),
    ],
)
def test_instances_are_counted_in_every_state(
    state: FleetState,
    fleet_type: FleetType,
    counts: dict[InstanceState, int],
    running_in_use_available: tuple[int, int, int],
) -> None:
    running, in_use, available = running_in_use_available
    expected = Capacity(desired=4, running=running, in_use=in_use, available=available)
    assert capacity_of(fleet(state=state, fleet_type=fleet_type), counts) == expected


def test_a_multi_session_fleet_counts_slots_too() -> None:
    """12 sessions at 5 each want 3 instances; two run with 7 users, a third one drains with 2."""
    shared = fleet(max_sessions_per_instance=5, desired_sessions=12, desired_instances=3)
    slots = SlotCounts(slots=10, active=7, draining_instances=1, draining_slots=5, draining_active=2)
    assert capacity_of(shared, {U: 3}, slots).sessions == SessionCapacity(
        desired=12, available=3, active=7, actual=10, draining=1, draining_active=2, draining_unused=3
    )


def test_desired_sessions_stay_as_configured_when_nothing_runs() -> None:
    stopped = fleet(state=FleetState.STOPPED, max_sessions_per_instance=5, desired_sessions=12, desired_instances=3)
    assert capacity_of(stopped, {}).sessions == SessionCapacity(desired=12)
    assert capacity_of(stopped, {}).desired == 3


def test_a_multi_session_fleet_that_stops_offers_no_slots() -> None:
    stopping = fleet(state=FleetState.STOPPING, max_sessions_per_instance=5, desired_sessions=12, desired_instances=3)
    found = capacity_of(stopping, {U: 1, R: 1}, SlotCounts(slots=10, active=2)).sessions
    assert found == SessionCapacity(desired=12, available=0, active=2, actual=2)


def test_slots_below_the_users_that_hold_them_leave_nothing_free() -> None:
    shared = fleet(max_sessions_per_instance=2, desired_sessions=2, desired_instances=1)
    found = capacity_of(shared, {U: 1}, SlotCounts(slots=2, active=5)).sessions
    assert found == SessionCapacity(desired=2, available=0, active=5, actual=5)


@pytest.mark.parametrize(
    ("sessions", "each", "instances"), [(12, 5, 3), (52, 5, 11), (0, 5, 0), (1, 50, 1), (50, 50, 1)]
)
def test_sessions_need_so_many_instances(sessions: int, each: int, instances: int) -> None:
    assert instances_for(sessions, each) == instances
