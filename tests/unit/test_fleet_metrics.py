"""The metrics of namespace AWS/AppStream, from their definitions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.domain.errors import InvalidCombination
from fanlight.domain.fleet_metrics import METRICS, FleetObservation, SessionSlots, minute_of
from fanlight.domain.metric_statistics import Datum, check_statistic, in_periods, statistic
from fanlight.domain.places import Scope

AT = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def observation(**overrides: Any) -> FleetObservation:
    defaults: dict[str, Any] = {
        "scope": Scope("000000000000", "us-east-1"),
        "fleet_name": "cad",
        "at": AT,
        "is_always_on": True,
        "available": 1,
        "in_use": 3,
        "pending": 2,
    }
    return FleetObservation(**{**defaults, **overrides})


def published(seen: FleetObservation) -> dict[str, float]:
    return {name: value for name, metric in METRICS.items() if (value := metric.value_of(seen)) is not None}


def test_a_single_session_fleet_publishes_its_instances() -> None:
    assert published(observation(insufficient_capacity_errors=4)) == {
        "ActualCapacity": 4,
        "AvailableCapacity": 1,
        "CapacityUtilization": 75,
        "DesiredCapacity": 6,
        "InUseCapacity": 3,
        "PendingCapacity": 2,
        "RunningCapacity": 4,
        "InsufficientCapacityError": 4,
    }


def test_a_multi_session_fleet_publishes_its_places_too_and_is_utilized_by_sessions() -> None:
    slots = SessionSlots(available=6, active=4, pending=5, draining=1, drain_mode_active=2, drain_mode_unused=3)
    values = published(observation(slots=slots))
    assert values["CapacityUtilization"] == 40
    assert {name: value for name, value in values.items() if "Session" in name or "Drain" in name} == {
        "ActualUserSessionCapacity": 10,
        "AvailableUserSessionCapacity": 6,
        "ActiveUserSessionCapacity": 4,
        "PendingUserSessionCapacity": 5,
        "RunningUserSessionCapacity": 10,
        "DesiredUserSessionCapacity": 15,
        "DrainingCapacity": 1,
        "DrainModeActiveUserSessionCapacity": 2,
        "DrainModeUnusedUserSessionCapacity": 3,
    }


def test_a_fleet_on_demand_has_no_running_capacity() -> None:
    values = published(observation(is_always_on=False, slots=SessionSlots(available=1)))
    assert "RunningCapacity" not in values
    assert "RunningUserSessionCapacity" not in values


def test_without_capacity_there_is_no_utilization() -> None:
    assert "CapacityUtilization" not in published(observation(available=0, in_use=0))
    assert "CapacityUtilization" not in published(observation(slots=SessionSlots()))


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_the_identities_hold_whatever_is_counted(available: int, in_use: int, pending: int) -> None:
    values = published(observation(available=available, in_use=in_use, pending=pending))
    assert values["ActualCapacity"] == values["AvailableCapacity"] + values["InUseCapacity"]
    assert values["DesiredCapacity"] == values["ActualCapacity"] + values["PendingCapacity"]
    assert 0 <= values.get("CapacityUtilization", 0) <= 100


def test_a_minute_begins_at_its_first_second() -> None:
    assert minute_of(AT + timedelta(seconds=59, microseconds=999_999)) == AT


class TestStatistics:
    VALUES = (4.0, 1.0, 3.0, 2.0)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("SampleCount", 4),
            ("Average", 2.5),
            ("Sum", 10),
            ("Minimum", 1),
            ("Maximum", 4),
            ("p0", 1),
            ("p50", 2.5),
            ("p100", 4),
            ("p90", 3.7),
        ],
    )
    def test_each_is_what_its_name_says(self, name: str, expected: float) -> None:
        assert statistic(name, self.VALUES) == pytest.approx(expected)

    @pytest.mark.parametrize("name", ["tm90", "p101", "p-1", "average", "IQM", "TS(80%:)", ""])
    def test_others_are_refused(self, name: str) -> None:
        with pytest.raises(InvalidCombination, match="not available"):
            check_statistic(name)

    @given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.integers(0, 100))
    def test_a_percentile_lies_between_the_extremes(self, values: list[float], percent: int) -> None:
        found = statistic(f"p{percent}", values)
        assert min(values) - 1e-6 <= found <= max(values) + 1e-6


def test_periods_count_from_the_start_and_hold_what_begins_within_them() -> None:
    data = [Datum(AT + timedelta(minutes=minute), float(minute)) for minute in range(7)]
    points = in_periods(data, AT + timedelta(minutes=1), AT + timedelta(minutes=6), timedelta(minutes=3))
    assert [(point.at, point.values) for point in points] == [
        (AT + timedelta(minutes=1), (1.0, 2.0, 3.0)),
        (AT + timedelta(minutes=4), (4.0, 5.0)),
    ]
