"""Subnets, groups and the way out as the rules of fleets and sessions see them: on the simulated engine."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulated_system import SCOPE, System, running_system, until

from fanlight.domain.fleet_errors import FleetErrorCause
from fanlight.domain.fleets import Fleet, FleetState, FleetType, VpcConfig
from fanlight.domain.networks import NetworkInterface, Networks
from fanlight.domain.ports import InstanceSpec
from fanlight.domain.streaming_sessions import SessionState
from fanlight.networks_file import networks_of

pytestmark = pytest.mark.timeout(60)

NETWORKS = networks_of(
    {
        "subnets": {
            "subnet-a": {"cidr": "10.140.0.1/24"},
            "subnet-b": {"cidr": "10.141.0.1/24"},
            "subnet-small": {"cidr": "10.142.0.1/29"},
            "subnet-theirs": {"cidr": "10.143.0.1/24", "accounts": ["111111111111"]},
        },
        "security_groups": {"sg-a": {}, "sg-b": {}},
    },
    "10.124.0.1/16",
)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


def vpc(*subnet_ids: str, groups: tuple[str, ...] = ()) -> VpcConfig:
    return VpcConfig(subnet_ids=subnet_ids, security_group_ids=groups)


async def fleet_with(system: System, *causes: FleetErrorCause) -> Fleet:
    async def probe() -> Fleet | None:
        fleet = await system.fleet()
        return fleet if {error.cause for error in fleet.errors} == set(causes) else None

    found: Fleet = await until(probe, within=10, what=f"errors {causes}")
    return found


async def specs(system: System) -> list[InstanceSpec]:
    return [system.driver._known[one.instance_id].spec for one in await system.instances()]


async def test_instances_are_launched_as_their_fleet_says_and_spread_over_its_subnets(data_dir: Path) -> None:
    async with running_system(data_dir, networks=NETWORKS) as system:
        config = vpc("subnet-a", "subnet-b", groups=("sg-a", "sg-b"))
        await system.make_fleet(desired_instances=4, vpc_config=config, enable_default_internet_access=True)
        await system.start()
        assert {(s.subnet_ids, s.security_group_ids, s.has_internet_access) for s in await specs(system)} == {
            (("subnet-a", "subnet-b"), ("sg-a", "sg-b"), True)
        }
        interfaces = [one.interface for one in await system.driver.observe()]
        addresses = sorted(one.address for one in interfaces if one)
        assert addresses == ["10.140.0.2", "10.140.0.3", "10.141.0.2", "10.141.0.3"]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"vpc_config": vpc("subnet-a")}, ("eni-0000002fa0a8c0002", "10.140.0.2", "subnet-a")),
        ({"enable_default_internet_access": True}, ("eni-0000002fa0a7c0002", "10.124.0.2", "")),
        ({}, None),
    ],
)
async def test_a_session_tells_the_interface_of_its_instance_if_it_has_one(
    data_dir: Path, members: dict[str, Any], expected: tuple[str, str, str] | None
) -> None:
    async with running_system(data_dir, networks=NETWORKS) as system:
        await system.make_fleet(desired_instances=1, **members)
        await system.start()
        opened = await system.open("ada")
        assert opened.network_interface is None
        active = await system.session_becomes(opened.session_id, lambda s: s.state is SessionState.ACTIVE)
        wanted = expected and NetworkInterface(interface_id=expected[0], address=expected[1], subnet_id=expected[2])
        assert active.network_interface == wanted


@pytest.mark.parametrize("fleet_type", FleetType)
async def test_unknown_subnets_and_groups_are_told_until_the_fleet_names_others(
    data_dir: Path, fleet_type: FleetType
) -> None:
    async with running_system(data_dir, networks=NETWORKS) as system:
        config = vpc("subnet-a", "subnet-x", "subnet-theirs", groups=("sg-x", "sg-a"))
        await system.make_fleet(desired_instances=1, vpc_config=config, fleet_type=fleet_type)
        await system.services.fleets.start(SCOPE, "cad")
        fleet = await fleet_with(system, FleetErrorCause.SUBNET_MISSING, FleetErrorCause.SECURITY_GROUP_MISSING)
        assert {error.code: error.message.split(". ")[0] for error in fleet.errors} == {
            "SUBNET_NOT_FOUND": "The subnets subnet-x, subnet-theirs do not exist",
            "SECURITY_GROUPS_NOT_FOUND": "The security group sg-x does not exist",
        }
        await system.settle()
        assert (await system.fleet()).state is FleetState.STARTING
        assert await system.instances() == []
        await system.change_fleet(vpc_config=vpc("subnet-a", groups=("sg-x",)))
        await fleet_with(system, FleetErrorCause.SECURITY_GROUP_MISSING)
        await system.change_fleet(vpc_config=vpc("subnet-a"))
        fleet = await system.fleet_becomes(FleetState.RUNNING)
        assert fleet.errors == ()


async def test_the_operator_adds_the_missing_subnet_and_the_fleet_comes_up(data_dir: Path) -> None:
    async with running_system(data_dir, networks=Networks()) as system:
        await system.make_fleet(desired_instances=1, vpc_config=vpc("subnet-a"))
        await system.services.fleets.start(SCOPE, "cad")
        await fleet_with(system, FleetErrorCause.SUBNET_MISSING)
    async with running_system(data_dir, networks=NETWORKS) as system:
        fleet = await system.fleet_becomes(FleetState.RUNNING)
        assert fleet.errors == ()


async def test_a_full_subnet_is_told_and_a_second_one_helps(data_dir: Path) -> None:
    async with running_system(data_dir, networks=NETWORKS) as system:
        await system.make_fleet(desired_instances=6, vpc_config=vpc("subnet-small"))
        await system.services.fleets.start(SCOPE, "cad")
        fleet = await fleet_with(system, FleetErrorCause.SUBNET_EXHAUSTED)
        assert [error.code for error in fleet.errors] == ["SUBNET_HAS_INSUFFICIENT_IP_ADDRESSES"]
        await system.change_fleet(vpc_config=vpc("subnet-small", "subnet-b"))
        fleet = await system.fleet_becomes(FleetState.RUNNING)
        assert fleet.errors == ()
