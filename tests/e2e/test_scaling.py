"""Scaling on the real engine: the bounds of a scalable target change how many instances run."""

from collections.abc import Iterator

import pytest

from e2e.administrators import Administrator
from e2e.installation import Installation, wait_for

pytestmark = pytest.mark.incus

NAME = "e2e-scaled"
TARGET = {
    "ServiceNamespace": "appstream",
    "ResourceId": f"fleet/{NAME}",
    "ScalableDimension": "appstream:fleet:DesiredCapacity",
}


@pytest.fixture
def scaled(administrator: Administrator) -> Iterator[str]:
    administrator.make(NAME)
    yield NAME
    administrator.remove(NAME)


def test_instances_come_and_go_with_the_bounds_of_their_target(
    scaled: str, installation: Installation, administrator: Administrator
) -> None:
    scaling = installation.client("application-autoscaling")

    def outcomes() -> list[tuple[str, str]]:
        answer = scaling.describe_scaling_activities(ServiceNamespace="appstream", ResourceId=f"fleet/{NAME}")
        return [(one["Description"], one["StatusCode"]) for one in answer["ScalingActivities"]]

    two = ("Setting desired capacity to 2.", "Successful")
    one = ("Setting desired capacity to 1.", "Successful")
    scaling.register_scalable_target(**TARGET, MinCapacity=2, MaxCapacity=3)
    wait_for(lambda: outcomes() == [two], timeout=60, what="a second instance")
    assert administrator.fleet(scaled)["ComputeCapacityStatus"]["Available"] == 2
    scaling.register_scalable_target(**TARGET, MinCapacity=0, MaxCapacity=1)
    wait_for(lambda: outcomes() == [one, two], timeout=60, what="one instance again")
    assert administrator.fleet(scaled)["ComputeCapacityStatus"]["Desired"] == 1
    scaling.deregister_scalable_target(**TARGET)
