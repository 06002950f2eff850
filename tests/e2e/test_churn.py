"""kill -9 at random moments: whatever was going on is finished, nothing is orphaned, nothing is doubled."""

import random
import time
from collections.abc import Iterator

import pytest

from e2e.administrators import Administrator
from e2e.installation import Installation, wait_for
from e2e.instances import Instances

pytestmark = [pytest.mark.incus]

NAME = "e2e-churn"
KILLS = 6
SEED = 20_261_121  # The moments differ anyway; the seed only makes the order of the victims the same.


@pytest.fixture
def churned(administrator: Administrator) -> Iterator[str]:
    administrator.make(NAME, capacity=3, start=False)
    yield NAME
    administrator.remove(NAME)


def assert_nothing_is_orphaned(administrator: Administrator, instances: Instances) -> None:
    """The engine has exactly the instances that the fleets have, all fleets of this installation together."""

    def counts() -> tuple[int, int]:
        fleets = administrator.client.describe_fleets()["Fleets"]
        return sum(f["ComputeCapacityStatus"].get("Running", 0) for f in fleets), len(instances.names())

    def agree() -> bool:
        described, there = counts()
        return described == there

    wait_for(agree, timeout=30, what=f"DescribeFleets agrees with the engine: {counts()}")


def test_a_fleet_converges_while_its_processes_are_killed(
    churned: str, installation: Installation, administrator: Administrator, instances: Instances
) -> None:
    chance = random.Random(SEED)
    administrator.client.start_fleet(Name=churned)
    for number in range(KILLS):
        time.sleep(chance.uniform(0.05, 1.2))
        victim = ("api", "compute", "everything")[number % 3]
        if victim == "everything":
            installation.kill_everything()
            installation.start()
        else:
            wait_for(lambda victim=victim: victim in installation.pids(), timeout=10, what=f"{victim} runs again")
            installation.kill(victim)

    installation.wait_until_it_answers()
    administrator.wait_for_capacity(churned, available=3, timeout=60)
    status = administrator.fleet(churned)["ComputeCapacityStatus"]
    assert status == {"Desired": 3, "Running": 3, "InUse": 0, "Available": 3}
    assert_nothing_is_orphaned(administrator, instances)

    administrator.client.stop_fleet(Name=churned)
    time.sleep(0.3)
    installation.kill("api")
    installation.wait_until_it_answers()
    wait_for(lambda: administrator.fleet(churned)["State"] == "STOPPED", timeout=60, what="STOPPED")
    assert_nothing_is_orphaned(administrator, instances)
