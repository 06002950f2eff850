"""Quotas: what counts, what is let through, and that two requests never take the last place."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from service_rig import HERE, OTHER_ACCOUNT, OTHER_REGION, SAMPLE, Rig, new_fleet

from fanlight.domain.errors import AlreadyExists, LimitExceeded
from fanlight.domain.fleets import FleetEvent
from fanlight.domain.instance_types import INSTANCE_TYPES
from fanlight.domain.quotas import (
    ACTIVE_FLEETS,
    AWS_DEFAULTS,
    IMAGE_COPIES,
    NO_QUOTAS,
    PRIVATE_IMAGES,
    UnknownQuota,
    builder_instances,
    fleet_instances,
    read_quotas,
)
from fanlight.services import AppStreamServices
from fanlight.services.fleet_wishes import FleetChange
from fanlight.services.image_files import ImageFiles
from fanlight.services.quotas import QuotaKeeper
from fanlight.services.stacks import NewStack
from fanlight.store import Store

SMALL, LARGE = "stream.standard.small", "stream.standard.large"


@pytest.fixture
async def limited(store: Store, rig: Rig, tmp_path: Path) -> Callable[[str], Rig]:
    """Return an installation with the quotas that a setting spells."""

    def build(text: str) -> Rig:
        services = AppStreamServices.build(
            transactions=store.transactions,
            clock=rig.clock,
            wake=lambda *_: None,
            image_files=ImageFiles(tmp_path),
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
    assert read_quotas("aws, Fleets=50,Standard large streaming instances for fleets = 4").of("Fleets") == 50
    assert dict(read_quotas("stacks=0,ACTIVE fleets=3").limits) == {"Stacks": 0, "Active fleets": 3}


def test_quotas_have_the_names_and_defaults_of_the_service() -> None:
    """As Service Quotas lists them for AppStream; some of each kind."""
    defaults = read_quotas("aws").of
    listed = [name for name in AWS_DEFAULTS if " streaming instances for " not in name and "Nimble" not in name]
    assert {name: defaults(name) for name in listed} == {
        "Stacks": 10,
        "Fleets": 10,
        "Active fleets": 10,
        "Fleet instances with default internet access": 100,
        "Image builders": 10,
        "Private images": 10,
        "Image sharing limit": 100,
        "Concurrent image copies per destination Region": 2,
        "Concurrent image updates": 5,
    }
    assert defaults("Standard small streaming instances for fleets") == 50
    assert defaults("Standard 2xlarge streaming instances for fleets") == 10
    assert defaults("Compute-optimized xlarge streaming instances for fleets") == 10
    assert defaults("Memory-optimized 8xlarge streaming instances for fleets") == 0
    assert defaults("Standard xlarge streaming instances for image builders") == 5
    assert defaults("Memory-optimized large streaming instances for image builders") == 3
    assert defaults("Compute-optimized 2xlarge streaming instances for image builders") == 0
    for name in INSTANCE_TYPES:
        assert {fleet_instances(name), builder_instances(name)} <= AWS_DEFAULTS.keys()


@pytest.mark.parametrize(
    "text", ["", "all", "Fleets", "Fleets=", "Fleets=-1", "Fleets=many", "Stacks=1,aws", "x=1", "active-fleets=1"]
)
def test_what_is_no_quota_is_refused_with_the_names_that_are_meant(text: str) -> None:
    with pytest.raises(UnknownQuota, match="Active fleets"):
        read_quotas(text)


def test_a_slip_of_the_pen_is_answered_with_the_name_that_was_meant() -> None:
    with pytest.raises(UnknownQuota, match=r"Is it Standard small streaming instances for fleets,"):
        read_quotas("standard small streaming instance for fleets=2")


def test_whatever_is_counted_is_held_to_its_quota() -> None:
    keeper = QuotaKeeper(read_quotas("Private images=2"))
    keeper.admit(PRIVATE_IMAGES, 2)
    keeper.admit(IMAGE_COPIES, 99)
    with pytest.raises(LimitExceeded) as raised:
        keeper.admit(PRIVATE_IMAGES, 3)
    assert str(raised.value) == "The quota 'Private images' of this account was exceeded. Requested: 3, Limit: 2"
    assert (keeper.limit(PRIVATE_IMAGES), keeper.limit(IMAGE_COPIES), keeper.limit(ACTIVE_FLEETS)) == (2, None, None)


async def test_stacks_and_fleets_are_counted_in_one_account_and_region(limited: Any) -> None:
    rig = limited("Stacks=1,Fleets=1")
    for scope in (HERE, OTHER_ACCOUNT, OTHER_REGION):
        await rig.services.stacks.create(scope, NewStack(name="one"))
        await rig.services.fleets.create(scope, new_fleet("one"))
    assert await exceeded(rig.services.stacks.create(HERE, NewStack(name="two"))) == (
        "The quota 'Stacks' of this account was exceeded. Requested: 2, Limit: 1"
    )
    assert await exceeded(rig.services.fleets.create(HERE, new_fleet("two"))) == (
        "The quota 'Fleets' of this account was exceeded. Requested: 2, Limit: 1"
    )
    with pytest.raises(AlreadyExists):
        await rig.services.fleets.create(HERE, new_fleet("one"))
    await rig.services.fleets.delete(HERE, "one")
    await rig.services.fleets.create(HERE, new_fleet("two"))
    assert len((await rig.services.fleets.describe(HERE))[0]) == 1


async def test_only_fleets_that_are_not_stopped_are_active(limited: Any) -> None:
    rig = limited("Active fleets=1")
    for name in ("one", "two"):
        await rig.services.fleets.create(HERE, new_fleet(name))
    await rig.services.fleets.start(HERE, "one")
    assert "Active fleets" in await exceeded(rig.services.fleets.start(HERE, "two"))
    assert (await rig.fleet("two")).state == "STOPPED"
    await rig.services.fleets.start(HERE, "one")
    await rig.services.fleets.stop(HERE, "one")
    assert "Active fleets" in await exceeded(rig.services.fleets.start(HERE, "two"))
    await rig.apply("one", FleetEvent.LAST_INSTANCE_GONE)
    await rig.services.fleets.start(HERE, "two")


async def test_instances_of_a_type_are_counted_over_all_fleets_stopped_ones_too(limited: Any) -> None:
    rig = limited(f"{fleet_instances(SMALL)}=4")
    for name in ("one", "two"):
        await rig.services.fleets.create(HERE, new_fleet(name, instance_type=SMALL, desired_instances=2))
    await rig.services.fleets.create(HERE, new_fleet("large", instance_type=LARGE, desired_instances=9))
    await rig.services.fleets.create(OTHER_REGION, new_fleet("far", instance_type=SMALL, desired_instances=4))
    await rig.services.fleets.create(OTHER_ACCOUNT, new_fleet("theirs", instance_type=SMALL, desired_instances=4))
    assert await exceeded(
        rig.services.fleets.create(HERE, new_fleet("big", instance_type=SMALL, desired_instances=1))
    ) == (
        f"The Instance type '{SMALL}' capacity limit for fleet big' was exceeded. Requested: 5, Limit: 4 "
        "(quota 'Standard small streaming instances for fleets')"
    )
    change = FleetChange(desired_instances=3)
    assert "Requested: 5, Limit: 4" in await exceeded(rig.services.fleets.update(HERE, "one", change))
    change = FleetChange(instance_type=SMALL)
    assert "Requested: 13, Limit: 4" in await exceeded(rig.services.fleets.update(HERE, "large", change))
    await rig.run_fleet("one")
    await rig.services.fleets.update(HERE, "two", FleetChange(desired_instances=1))
    await rig.services.fleets.update(HERE, "one", FleetChange(desired_instances=3))
    assert (await rig.fleet("one")).desired_instances == 3


async def test_a_multi_session_fleet_counts_its_instances(limited: Any) -> None:
    rig = limited(f"{fleet_instances(SMALL)}=2")
    crowd = new_fleet(
        "crowd", instance_type=SMALL, desired_instances=None, desired_sessions=9, max_sessions_per_instance=4
    )
    assert "Requested: 3, Limit: 2" in await exceeded(rig.services.fleets.create(HERE, crowd))


async def test_a_change_that_asks_for_no_more_passes_a_quota_that_was_lowered(rig: Rig, limited: Any) -> None:
    await rig.services.fleets.create(HERE, new_fleet("cad", instance_type=SMALL, desired_instances=9))
    strict = limited(f"{fleet_instances(SMALL)}=2")
    await strict.services.fleets.update(HERE, "cad", FleetChange(desired_instances=5))
    await strict.services.fleets.update(HERE, "cad", FleetChange(display_name="CAD"))
    await exceeded(strict.services.fleets.update(HERE, "cad", FleetChange(desired_instances=6)))
    await exceeded(strict.services.fleets.start(HERE, "cad"))


async def test_a_fleet_on_the_internet_has_a_size_of_its_own(limited: Any) -> None:
    rig = limited("Fleet instances with default internet access=2")
    await rig.services.fleets.create(HERE, new_fleet("inside", desired_instances=5))
    outside = new_fleet("outside", desired_instances=3, enable_default_internet_access=True)
    assert "default internet access" in await exceeded(rig.services.fleets.create(HERE, outside))
    change = FleetChange(enable_default_internet_access=True)
    assert "default internet access" in await exceeded(rig.services.fleets.update(HERE, "inside", change))


async def test_many_at_once_never_pass_the_last_place(limited: Any) -> None:
    rig = limited("Stacks=3,Fleets=3,Active fleets=2")

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
