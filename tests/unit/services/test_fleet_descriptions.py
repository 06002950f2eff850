"""Describing fleets: capacity, names and pages."""

import pytest
from service_rig import ELSEWHERE, HERE, Rig, new_fleet

from fanlight.domain.errors import (
    InvalidPageToken,
    NotFound,
)
from fanlight.domain.fleet_capacity import Capacity
from fanlight.domain.fleets import FleetType
from fanlight.domain.instances import InstanceState
from fanlight.services.fleets import PAGE_SIZE

STATES = (
    InstanceState.LAUNCHING,
    InstanceState.READY,
    InstanceState.READY,
    InstanceState.IN_USE,
    InstanceState.RETIRING,
)


@pytest.mark.parametrize(
    ("fleet_type", "capacity"),
    [
        (FleetType.ALWAYS_ON, Capacity(desired=4, running=3, in_use=1, available=2)),
        (FleetType.ON_DEMAND, Capacity(desired=4, running=3, in_use=1, available=3)),
    ],
)
async def test_capacity_counts_instances(rig: Rig, fleet_type: FleetType, capacity: Capacity) -> None:
    await rig.services.fleets.create(HERE, new_fleet(fleet_type=fleet_type, desired_instances=4))
    await rig.add_instances(await rig.run_fleet(), *STATES)
    (described,), _ = await rig.services.fleets.describe(HERE, names=["cad"])
    assert described.capacity == capacity


async def test_an_on_demand_fleet_that_does_not_run_offers_nothing(rig: Rig) -> None:
    made = await rig.services.fleets.create(HERE, new_fleet(fleet_type=FleetType.ON_DEMAND))
    assert made.capacity == Capacity(desired=2, running=0, in_use=0, available=0)


async def test_a_missing_name_is_not_found_whatever_else_is_there(rig: Rig) -> None:
    await rig.services.fleets.create(HERE, new_fleet())
    with pytest.raises(NotFound, match=r"^The fleet lost does not exist\.$"):
        await rig.services.fleets.describe(HERE, names=["cad", "lost"])
    described, token = await rig.services.fleets.describe(HERE, names=["cad", "cad"])
    assert ([one.fleet.name for one in described], token) == (["cad"], None)


async def test_a_request_may_name_more_than_a_statement_takes(rig: Rig) -> None:
    names = [f"fleet-{number}" for number in range(502)]
    for name in names[:-1]:
        await rig.services.fleets.create(HERE, new_fleet(name))
    described, token = await rig.services.fleets.describe(HERE, names=names[-2::-1])
    assert ([one.fleet.name for one in described], token) == (sorted(names[:-1]), None)
    with pytest.raises(NotFound, match=r"^The fleet fleet-501 does not exist\.$"):
        await rig.services.fleets.describe(HERE, names=names * 100)
    with pytest.raises(NotFound, match=r"^The stack x-0 does not exist\.$"):
        await rig.services.stacks.describe(HERE, names=[f"x-{number}" for number in range(100_000)])


async def test_pages_follow_each_other_and_tokens_fit_one_question_only(rig: Rig) -> None:
    names = [f"fleet-{number:03}" for number in range(PAGE_SIZE + 1)]
    for name in names:
        await rig.services.fleets.create(HERE, new_fleet(name))
    first, token = await rig.services.fleets.describe(HERE)
    assert token is not None
    second, end = await rig.services.fleets.describe(HERE, next_token=token)
    assert [one.fleet.name for one in (*first, *second)] == names
    assert (len(first), end) == (PAGE_SIZE, None)
    for wrong in ("", "x", token + "A", token[:-4] + "AAAA", "ü", "A" * 5000):
        with pytest.raises(InvalidPageToken, match="NextToken was not given out for this request"):
            await rig.services.fleets.describe(HERE, next_token=wrong)
    for scope in ELSEWHERE:
        with pytest.raises(InvalidPageToken):
            await rig.services.fleets.describe(scope, next_token=token)
    with pytest.raises(InvalidPageToken):
        await rig.services.stacks.describe(HERE, next_token=token)
