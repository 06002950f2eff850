"""When an alarm is in which state: the table of the service's guide, and the words that go with it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fanlight.domain.alarms import AlarmState, Comparison, MetricAlarm, MissingData, evaluate, next_state
from fanlight.domain.metric_statistics import Datum
from fanlight.domain.places import Scope

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
OK, ALARM, INSUFFICIENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA
RETAIN = None
TREATMENTS = (MissingData.MISSING, MissingData.IGNORE, MissingData.BREACHING, MissingData.NOT_BREACHING)

# Five periods, the oldest first: 0 within the threshold, X beyond it, - without data. Three of three must breach.
THREE_OF_THREE = """
0 - X - X | OK           OK     OK    OK
0 - - - - | OK           OK     OK    OK
- - - - - | INSUFFICIENT RETAIN ALARM OK
0 X X - X | ALARM        ALARM  ALARM ALARM
- - X - - | ALARM        RETAIN ALARM OK
- - - - X | RETAIN       RETAIN ALARM OK
"""
TWO_OF_THREE = """
0 - X - X | ALARM        ALARM  ALARM ALARM
0 0 X 0 X | ALARM        ALARM  ALARM ALARM
0 - X - - | OK           OK     ALARM OK
- - - - 0 | OK           OK     ALARM OK
- - - X - | ALARM        RETAIN ALARM OK
X X 0 0 0 | OK           OK     OK    OK
"""
STATES = {"OK": OK, "ALARM": ALARM, "INSUFFICIENT": INSUFFICIENT, "RETAIN": RETAIN}


def cells(table: str, needed: int) -> list[Any]:
    found = []
    for line in table.strip().splitlines():
        periods, expected = line.split("|")
        breaches = [{"0": False, "X": True, "-": None}[mark] for mark in periods.split()]
        found += [
            pytest.param(breaches, needed, treatment, STATES[name], id=f"{periods.strip()} {needed}/3 {treatment}")
            for treatment, name in zip(TREATMENTS, expected.split(), strict=True)
        ]
    return found


@pytest.mark.parametrize("before", [OK, ALARM])
@pytest.mark.parametrize(
    ("breaches", "needed", "treatment", "expected"), [*cells(THREE_OF_THREE, 3), *cells(TWO_OF_THREE, 2)]
)
def test_the_state_is_the_table_s(
    breaches: list[bool | None], needed: int, treatment: MissingData, expected: AlarmState | None, before: AlarmState
) -> None:
    found = next_state(before, breaches, evaluation_periods=3, datapoints_to_alarm=needed, missing_data=treatment)
    assert found is (before if expected is RETAIN else expected)


def alarm(**overrides: Any) -> MetricAlarm:
    defaults: dict[str, Any] = {
        "arn": "arn:aws:cloudwatch:us-east-1:000000000000:alarm:high",
        "scope": Scope("000000000000", "us-east-1"),
        "name": "high",
        "metric_name": "CapacityUtilization",
        "namespace": "AWS/AppStream",
        "fleet_name": "cad",
        "dimensions": {"Fleet": "cad"},
        "statistic": "Average",
        "period": timedelta(minutes=1),
        "evaluation_periods": 3,
        "datapoints_to_alarm": 3,
        "threshold": 75.0,
        "comparison": Comparison.GREATER_THAN,
        "state": OK,
        "state_updated_at": NOW,
        "state_changed_at": NOW,
        "configured_at": NOW,
    }
    return MetricAlarm(**{**defaults, **overrides})


def minutes(*values: float | None) -> list[Datum]:
    """Return data of the last minutes, the newest last."""
    count = len(values)
    return [
        Datum(NOW - timedelta(minutes=count - number), value)
        for number, value in enumerate(values)
        if value is not None
    ]


def test_an_alarm_says_which_data_crossed_its_threshold() -> None:
    verdict = evaluate(alarm(), minutes(10.0, 80.0, 90.0, 100.0), NOW)
    assert verdict.state is ALARM
    assert verdict.newest == 100
    assert verdict.reason == (
        "Threshold Crossed: 3 out of the last 3 datapoints [100.0 (29/03/26 01:29:00), 90.0 (29/03/26 01:28:00), "
        "80.0 (29/03/26 01:27:00)] were greater than the threshold (75.0) (minimum 3 datapoints for OK -> ALARM transition)."
    )
    data = json.loads(verdict.reason_data)
    assert data["recentDatapoints"] == [80, 90, 100]
    assert (data["threshold"], data["period"], data["statistic"]) == (75.0, 60, "Average")


def test_an_alarm_that_calms_down_says_what_was_within_its_threshold() -> None:
    verdict = evaluate(alarm(state=ALARM), minutes(80.0, 90.0, 75.0), NOW)
    assert verdict.state is OK
    assert verdict.reason == (
        "Threshold Crossed: 1 out of the last 3 datapoints [75.0 (29/03/26 01:29:00)] was not greater than the threshold "
        "(75.0) (minimum 1 datapoint for ALARM -> OK transition)."
    )


def test_an_alarm_without_data_says_so() -> None:
    verdict = evaluate(alarm(), [], NOW)
    assert (verdict.state, verdict.newest) == (INSUFFICIENT, None)
    assert verdict.reason == "Insufficient Data: 3 datapoints were unknown."


def test_a_longer_period_sums_up_its_minutes() -> None:
    summed = alarm(
        statistic="Sum",
        period=timedelta(minutes=5),
        evaluation_periods=1,
        datapoints_to_alarm=1,
        threshold=3.0,
        comparison=Comparison.GREATER_THAN_OR_EQUAL,
    )
    assert evaluate(summed, minutes(1, 0, 1, 0, 1), NOW).state is ALARM
    assert evaluate(summed, minutes(1, 0, 1, 0, 0), NOW).state is OK
    # The sixth minute belongs to the period before, which is no longer evaluated.
    assert evaluate(summed, minutes(9, 1, 0, 0, 0, 0), NOW).newest == 1


@pytest.mark.parametrize(
    ("comparison", "breaching"),
    [
        (Comparison.GREATER_THAN, {76}),
        (Comparison.GREATER_THAN_OR_EQUAL, {75, 76}),
        (Comparison.LESS_THAN, {74}),
        (Comparison.LESS_THAN_OR_EQUAL, {74, 75}),
    ],
)
def test_each_comparison_is_what_its_name_says(comparison: Comparison, breaching: set[int]) -> None:
    watching = alarm(comparison=comparison)
    assert {value for value in (74, 75, 76) if watching.breaches(value)} == breaching
