"""Scaling and metrics of a real server process on the simulated engine: boto3 asks, a fleet changes, Prometheus reads."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from installation import Installation

from e2e.installation import PATIENCE_IN_SECONDS

TARGET = {
    "ServiceNamespace": "appstream",
    "ResourceId": "fleet/scaled",
    "ScalableDimension": "appstream:fleet:DesiredCapacity",
}


def until(probe: Callable[[], Any], what: str, within: float = 20.0) -> Any:
    deadline = time.monotonic() + max(within, PATIENCE_IN_SECONDS)
    while True:
        if answer := probe():
            return answer
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def fleet(simulated: Installation) -> Iterator[str]:
    """A RUNNING fleet of one instance."""
    appstream = simulated.client()
    image = appstream.describe_images()["Images"][0]["Name"]
    appstream.create_fleet(
        Name="scaled",
        ImageName=image,
        InstanceType="stream.standard.small",
        ComputeCapacity={"DesiredInstances": 1},
    )
    appstream.start_fleet(Name="scaled")
    until(lambda: state(simulated)["State"] == "RUNNING", "the fleet runs")
    yield "scaled"
    appstream.stop_fleet(Name="scaled")
    until(lambda: state(simulated)["State"] == "STOPPED", "the fleet is stopped")
    appstream.delete_fleet(Name="scaled")


def state(simulated: Installation) -> Any:
    return simulated.client().describe_fleets(Names=["scaled"])["Fleets"][0]


def test_registering_a_running_fleet_moves_its_capacity_and_the_activity_says_so(
    simulated: Installation, fleet: str
) -> None:
    scaling = simulated.client(service="application-autoscaling")
    scaling.register_scalable_target(**TARGET, MinCapacity=3, MaxCapacity=5)
    until(lambda: state(simulated)["ComputeCapacityStatus"].get("Available") == 3, "three instances")

    def fulfilled() -> Any:
        (activity,) = scaling.describe_scaling_activities(ServiceNamespace="appstream")["ScalingActivities"]
        return activity if activity["StatusCode"] == "Successful" else None

    activity = until(fulfilled, "the activity is successful")
    assert (activity["Description"], activity["Cause"]) == (
        "Setting desired capacity to 3.",
        "minimum capacity was set to 3",
    )
    scaling.put_scheduled_action(
        ScheduledActionName="now",
        Schedule=f"at({time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(time.time() + 2))})",
        ScalableTargetAction={"MinCapacity": 1, "MaxCapacity": 2},
        **TARGET,
    )
    until(lambda: state(simulated)["ComputeCapacityStatus"].get("Available") == 2, "two instances")
    scaling.deregister_scalable_target(**TARGET)


def test_prometheus_reads_the_fleets_with_the_token_and_not_without(simulated: Installation, fleet: str) -> None:
    page = f"{simulated.api_url}/metrics"
    with pytest.raises(HTTPError) as refused:
        urlopen(page, timeout=10)
    refused.value.close()
    assert refused.value.code == 401
    path = simulated.data_dir / "metrics.token"
    assert path.stat().st_mode & 0o777 == 0o600
    headers = {"Authorization": f"Bearer {path.read_text().strip()}"}
    with urlopen(Request(page, headers=headers), timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    assert 'fanlight_fleet_actual_capacity{account_id="000000000000",fleet="scaled",region="us-east-1"} 1.0' in lines
