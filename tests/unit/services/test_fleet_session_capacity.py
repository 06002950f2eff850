"""Capacity in sessions: what an update makes of it, and when it may."""

from dataclasses import replace

import pytest
from service_rig import HERE, Rig, new_fleet

from fanlight.domain.errors import InUse, InvalidCombination
from fanlight.domain.fleets import Fleet
from fanlight.services.fleet_changes import changed, check_state
from fanlight.services.fleet_wishes import FleetChange

REMOVED = frozenset({"max_sessions_per_instance"})
# Five users an instance, twelve users: three instances.
SHARED = {"max_sessions_per_instance": 5, "desired_sessions": 12, "desired_instances": 3}
SINGLE = {"max_sessions_per_instance": None, "desired_sessions": None, "desired_instances": 2}


async def made(rig: Rig, members: dict[str, int | None]) -> Fleet:
    await rig.services.fleets.create(HERE, new_fleet())
    return await rig.apply("cad", **members)


async def changed_by(rig: Rig, fleet: Fleet, change: FleetChange) -> Fleet:
    async with rig.transactions.begin() as work:
        return await changed(work, fleet, change)


@pytest.mark.parametrize(
    ("before", "change", "capacity"),
    [
        (SHARED, FleetChange(), (5, 12, 3)),
        (SHARED, FleetChange(desired_sessions=20), (5, 20, 4)),
        (SHARED, FleetChange(desired_sessions=0), (5, 0, 0)),
        (SHARED, FleetChange(max_sessions_per_instance=10), (10, 12, 2)),
        (SHARED, FleetChange(max_sessions_per_instance=2, desired_sessions=3), (2, 3, 2)),
        (SHARED, FleetChange(removed=REMOVED), (None, None, 3)),
        (SHARED, FleetChange(removed=REMOVED, desired_instances=1), (None, None, 1)),
        (SINGLE, FleetChange(max_sessions_per_instance=5, desired_sessions=7), (5, 7, 2)),
        (SINGLE, FleetChange(removed=REMOVED), (None, None, 2)),
    ],
)
async def test_instances_follow_from_sessions(
    rig: Rig,
    before: dict[str, int | None],
    change: FleetChange,
    capacity: tuple[int | None, int | None, int],
) -> None:
    after = await changed_by(rig, await made(rig, before), change)
    assert (after.max_sessions_per_instance, after.desired_sessions, after.desired_instances) == capacity


@pytest.mark.parametrize(
    ("before", "change", "text"),
    [
        (SHARED, FleetChange(desired_instances=1), "The capacity of a multi-session fleet is given in sessions."),
        (SHARED, FleetChange(desired_instances=1, desired_sessions=1), "DesiredInstances and DesiredSessions exclude"),
        (SHARED, FleetChange(removed=REMOVED, desired_sessions=1), "DesiredSessions belongs to multi-session fleets."),
        (
            SHARED,
            FleetChange(removed=REMOVED, max_sessions_per_instance=5),
            "MaxSessionsPerInstance is given and to be",
        ),
        (SINGLE, FleetChange(max_sessions_per_instance=5), "The fleet cad becomes a multi-session fleet. Give"),
        (
            SINGLE,
            FleetChange(max_sessions_per_instance=5, desired_instances=1),
            "The capacity of a multi-session fleet",
        ),
        (SINGLE, FleetChange(desired_sessions=1), "DesiredSessions belongs to multi-session fleets."),
    ],
)
async def test_the_other_unit_is_refused(
    rig: Rig, before: dict[str, int | None], change: FleetChange, text: str
) -> None:
    fleet = await made(rig, before)
    with pytest.raises(InvalidCombination) as refused:
        await changed_by(rig, fleet, change)
    assert str(refused.value).startswith(text)


async def test_a_running_fleet_may_change_how_many_share_but_not_whether_they_do(rig: Rig) -> None:
    await made(rig, SHARED)
    running = await rig.run_fleet()
    check_state(running, replace(running, max_sessions_per_instance=10, desired_instances=2))
    single = replace(running, max_sessions_per_instance=None, desired_sessions=None)
    for before, after in ((running, single), (single, running)):
        with pytest.raises(InUse, match=r"RUNNING\. Stop it before changing MaxSessionsPerInstance\."):
            check_state(before, after)
