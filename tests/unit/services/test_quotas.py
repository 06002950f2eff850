"""Quotas: what counts, what is let through, and that two requests never take the last place."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from service_rig import HERE, OTHER_ACCOUNT, OTHER_REGION, SAMPLE, Rig, new_fleet

from fanlight.domain.errors import AlreadyExists, LimitExceeded
from fanlight.domain.fleets import FleetEvent
from fanlight.domain.quotas import AWS_DEFAULTS, NO_QUOTAS, UnknownQuota, read_quotas
from fanlight.services import AppStreamServices
from fanlight.services.fleet_wishes import FleetChange
from fanlight.services.stacks import NewStack
from fanlight.store import Store

SMALL, LARGE = "stream.standard.small", "stream.standard.large"


@pytest.fixture
async def limited(store: Store, rig: Rig) -> Callable[[str], Rig]:
    """Return an installation with the quotas that a setting spells."""

    def build(text: str) -> Rig:
        services = AppStreamServices.build(
            transactions=store.transactions,
            clock=rig.clock,
            wake=lambda *_: None,
            signing_key=b"k" * 32,
            portal_url="https://apps.example.org",
            quotas=read_quotas(text),
        )
        return Rig(services=services, transactions=store.transactions, clock=rig.clock, woken=[])

    await rig.services.images.sync_public_images([SAMPLE])
    return build


async def exceeded(attempt: Any) -> str:
    with pytest.raises(LimitExceeded) as raised:
        await attempt
    return str(raised.value)


def test_a_setting_spells_quotas() -> None:
    assert read_quotas("off") == NO_QUOTAS
    assert dict(read_quotas("aws").limits) == dict(AWS_DEFAULTS)
    assert read_quotas("aws, fleets=50,stream.standard.large=4").of("fleets") == 50
    assert dict(read_quotas("stacks=0").limits) == {"stacks": 0}
    assert read_quotas("aws").of("stream.compute.8xlarge") == 0


@pytest.mark.parametrize("text", ["", "all", "fleets", "fleets=", "fleets=-1", "fleets=many", "stacks=1,aws", "x=1"])
def test_what_is_no_quota_is_refused_with_the_names_there_are(text: str) -> None:
    with pytest.raises(UnknownQuota, match="active-fleets"):
        read_quotas(text)


async def test_stacks_and_fleets_are_counted_in_one_account_and_region(limited: Any) -> None:
    rig = limited("stacks=1,fleets=1")
    for scope in (HERE, OTHER_ACCOUNT, OTHER_REGION):
        await rig.services.stacks.create(scope, NewStack(name="one"))
        await rig.services.fleets.create(scope, new_fleet("one"))
    assert await exceeded(rig.services.stacks.create(HERE, NewStack(name="two"))) == (
        "The limit for stacks in this account was exceeded. Requested: 2, Limit: 1"
    )
    assert await exceeded(rig.services.fleets.create(HERE, new_fleet("two"))) == (
        "The limit for fleets in this account was exceeded. Requested: 2, Limit: 1"
    )
    with pytest.raises(AlreadyExists):
        await rig.services.fleets.create(HERE, new_fleet("one"))
    await rig.services.fleets.delete(HERE, "one")
    await rig.services.fleets.create(HERE, new_fleet("two"))
    assert len((await rig.services.fleets.describe(HERE))[0]) == 1


async def test_only_fleets_that_are_not_stopped_are_active(limited: Any) -> None:
    rig = limited("active-fleets=1")
    for name in ("one", "two"):
        await rig.services.fleets.create(HERE, new_fleet(name))
    await rig.services.fleets.start(HERE, "one")
    assert "active fleets" in await exceeded(rig.services.fleets.start(HERE, "two"))
    assert (await rig.fleet("two")).state == "STOPPED"
    await rig.services.fleets.start(HERE, "one")
    await rig.services.fleets.stop(HERE, "one")
    assert "active fleets" in await exceeded(rig.services.fleets.start(HERE, "two"))
    await rig.apply("one", FleetEvent.LAST_INSTANCE_GONE)
    await rig.services.fleets.start(HERE, "two")


async def test_instances_of_a_type_are_counted_over_all_active_fleets(limited: Any) -> None:
    rig = limited(f"{SMALL}=3")
    message = f"The Instance type '{SMALL}' capacity limit for fleet big was exceeded. Requested: 4, Limit: 3"
    big = new_fleet("big", instance_type=SMALL, desired_instances=4)
    assert await exceeded(rig.services.fleets.create(HERE, big)) == message
    for name in ("one", "two"):
        await rig.services.fleets.create(HERE, new_fleet(name, instance_type=SMALL, desired_instances=2))
    await rig.services.fleets.create(HERE, new_fleet("large", instance_type=LARGE, desired_instances=9))
    await rig.services.fleets.start(HERE, "large")
    await rig.run_fleet("one")
    assert "Requested: 4, Limit: 3" in await exceeded(rig.services.fleets.start(HERE, "two"))
    await rig.services.fleets.update(HERE, "two", FleetChange(desired_instances=1))
    await rig.services.fleets.start(HERE, "two")
    assert "Requested: 4" in await exceeded(rig.services.fleets.update(HERE, "one", FleetChange(desired_instances=3)))
    await rig.services.fleets.update(HERE, "one", FleetChange(desired_instances=1))
    assert (await rig.fleet("one")).desired_instances == 1


async def test_a_change_that_asks_for_no_more_passes_a_quota_that_was_lowered(rig: Rig, limited: Any) -> None:
    await rig.services.fleets.create(HERE, new_fleet("cad", instance_type=SMALL, desired_instances=9))
    strict = limited(f"{SMALL}=2")
    await strict.services.fleets.update(HERE, "cad", FleetChange(desired_instances=5))
    await strict.services.fleets.update(HERE, "cad", FleetChange(display_name="CAD"))
    await exceeded(strict.services.fleets.update(HERE, "cad", FleetChange(desired_instances=6)))
    await exceeded(strict.services.fleets.start(HERE, "cad"))


async def test_a_fleet_on_the_internet_has_a_size_of_its_own(limited: Any) -> None:
    rig = limited("internet-access-instances=2")
    await rig.services.fleets.create(HERE, new_fleet("inside", desired_instances=5))
    outside = new_fleet("outside", desired_instances=3, enable_default_internet_access=True)
    assert "default internet access" in await exceeded(rig.services.fleets.create(HERE, outside))
    change = FleetChange(enable_default_internet_access=True)
    assert "default internet access" in await exceeded(rig.services.fleets.update(HERE, "inside", change))


async def test_many_at_once_never_pass_the_last_place(limited: Any) -> None:
    rig = limited("stacks=3,fleets=3,active-fleets=2")

    async def attempts(make: Callable[[int], Any]) -> int:
        results = await asyncio.gather(*(make(number) for number in range(12)), return_exceptions=True)
        assert all(
            result is None or not isinstance(result, Exception) or type(result) is LimitExceeded for result in results
        )
        return sum(not isinstance(result, Exception) for result in results)

    assert await attempts(lambda n: rig.services.stacks.create(HERE, NewStack(name=f"s{n}"))) == 3
    assert await attempts(lambda n: rig.services.fleets.create(HERE, new_fleet(f"f{n}"))) == 3
    names = [found.fleet.name for found in (await rig.services.fleets.describe(HERE))[0]]
    assert await attempts(lambda n: rig.services.fleets.start(HERE, names[n % 3])) == 8
    states = [found.fleet.state for found in (await rig.services.fleets.describe(HERE))[0]]
    assert sorted(states) == ["STARTING", "STARTING", "STOPPED"]
