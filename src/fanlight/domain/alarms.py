"""Metric alarms: when a metric of a fleet counts as too high or too low. Pure."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from operator import ge, gt, le, lt
from types import MappingProxyType

from fanlight.domain.metric_statistics import Datum, in_periods, statistic
from fanlight.domain.places import Scope

# An evaluation looks at so many periods more than it needs, so that late or missing data do not decide by themselves.
EXTRA_PERIODS = 2
UNCHECKED = "Unchecked: Initial alarm creation"


class AlarmState(StrEnum):
    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class Comparison(StrEnum):
    GREATER_THAN_OR_EQUAL = "GreaterThanOrEqualToThreshold"
    GREATER_THAN = "GreaterThanThreshold"
    LESS_THAN = "LessThanThreshold"
    LESS_THAN_OR_EQUAL = "LessThanOrEqualToThreshold"


class MissingData(StrEnum):
    BREACHING = "breaching"
    NOT_BREACHING = "notBreaching"
    IGNORE = "ignore"
    MISSING = "missing"


_BREACHES: Mapping[Comparison, Callable[[float, float], bool]] = MappingProxyType(
    {
        Comparison.GREATER_THAN_OR_EQUAL: ge,
        Comparison.GREATER_THAN: gt,
        Comparison.LESS_THAN: lt,
        Comparison.LESS_THAN_OR_EQUAL: le,
    }
)
_WORDS: Mapping[Comparison, str] = MappingProxyType(
    {
        Comparison.GREATER_THAN_OR_EQUAL: "greater than or equal to",
        Comparison.GREATER_THAN: "greater than",
        Comparison.LESS_THAN: "less than",
        Comparison.LESS_THAN_OR_EQUAL: "less than or equal to",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAlarm:
    """`datapoints_to_alarm` of the last `evaluation_periods` must breach. `actions` are ARNs of scaling policies.

    `tracked_policy` is the ARN of the target tracking policy that made the alarm and takes it away again, "" for others.
    """

    arn: str
    scope: Scope
    name: str
    version: int = 0
    description: str | None = None
    metric_name: str
    namespace: str
    fleet_name: str | None  # None: dimensions that no fleet's metric has; such an alarm never has data
    dimensions: Mapping[str, str]
    statistic: str
    is_percentile: bool = False
    period: timedelta
    evaluation_periods: int
    datapoints_to_alarm: int
    says_datapoints_to_alarm: bool = False
    threshold: float
    comparison: Comparison
    missing_data: MissingData = MissingData.MISSING
    says_missing_data: bool = False
    unit: str | None = None
    actions_enabled: bool = True
    actions: tuple[str, ...] = ()
    tracked_policy: str = ""
    state: AlarmState = AlarmState.INSUFFICIENT_DATA
    state_reason: str = UNCHECKED
    state_reason_data: str = ""
    state_updated_at: datetime
    state_changed_at: datetime
    configured_at: datetime

    @property
    def window(self) -> timedelta:
        """How far back an evaluation looks."""
        return self.period * (self.evaluation_periods + EXTRA_PERIODS)

    def breaches(self, value: float) -> bool:
        return _BREACHES[self.comparison](value, self.threshold)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`newest` is the statistic of the newest period that has data: what a scaling policy is told."""

    state: AlarmState
    reason: str
    reason_data: str
    newest: float | None


def evaluate(alarm: MetricAlarm, data: Sequence[Datum], now: datetime) -> Verdict:
    """Return the state that the data put the alarm into, and why. `now` is the end of the newest period."""
    start = now - alarm.window
    points = {
        point.at: statistic(alarm.statistic, point.values) for point in in_periods(data, start, now, alarm.period)
    }
    count = alarm.evaluation_periods + EXTRA_PERIODS
    values = [points.get(start + number * alarm.period) for number in range(count)]
    state = next_state(
        alarm.state,
        [None if value is None else alarm.breaches(value) for value in values],
        evaluation_periods=alarm.evaluation_periods,
        datapoints_to_alarm=alarm.datapoints_to_alarm,
        missing_data=alarm.missing_data,
    )
    considered = sorted(points.items())[-alarm.evaluation_periods :]
    newest = considered[-1][1] if considered else None
    return Verdict(state, _reason(alarm, state, considered), _reason_data(alarm, considered, now), newest)


def next_state(
    before: AlarmState,
    breaches: Sequence[bool | None],
    *,
    evaluation_periods: int,
    datapoints_to_alarm: int,
    missing_data: MissingData,
) -> AlarmState:
    """Decide from the periods of the evaluation range, the oldest first; None has no data.

    The newest data count, as many as there are periods to evaluate. Only what is still wanting is filled in as the
    alarm treats missing data; an alarm that does not fill in fires early only if its oldest breach is old enough.
    """
    known = [breach for breach in breaches if breach is not None][-evaluation_periods:]
    wanting = evaluation_periods - len(known)
    breaching = known.count(True)
    if breaching >= datapoints_to_alarm:
        return AlarmState.ALARM
    if missing_data is MissingData.BREACHING:
        return AlarmState.ALARM if breaching + wanting >= datapoints_to_alarm else AlarmState.OK
    if missing_data is MissingData.NOT_BREACHING or False in known:
        return AlarmState.OK
    if missing_data is MissingData.IGNORE:
        return before
    if not known:
        return AlarmState.INSUFFICIENT_DATA
    is_old_enough = len(breaches) - breaches.index(True) >= datapoints_to_alarm
    return AlarmState.ALARM if is_old_enough else before


def _reason(alarm: MetricAlarm, state: AlarmState, considered: Sequence[tuple[datetime, float]]) -> str:
    periods = alarm.evaluation_periods
    missing = periods - len(considered)
    if state is AlarmState.INSUFFICIENT_DATA or not considered:
        were = "datapoint was" if missing == 1 else "datapoints were"
        return f"Insufficient Data: {missing} {were} unknown."
    of_interest = [(at, v) for at, v in considered if alarm.breaches(v) == (state is AlarmState.ALARM)] or considered
    shown = ", ".join(f"{value} ({at:%d/%m/%y %H:%M:%S})" for at, value in reversed(of_interest))
    was = "was" if len(of_interest) == 1 else "were"
    negation = "" if state is AlarmState.ALARM else "not "
    noun = "datapoint" if periods == 1 else "datapoints"
    if state is AlarmState.ALARM:
        least, transition = alarm.datapoints_to_alarm, "OK -> ALARM"
    else:
        least, transition = periods - alarm.datapoints_to_alarm + 1, "ALARM -> OK"
    least_noun = "datapoint" if least == 1 else "datapoints"
    return (
        f"Threshold Crossed: {len(of_interest)} out of the last {periods} {noun} [{shown}] {was} {negation}"
        f"{_WORDS[alarm.comparison]} the threshold ({alarm.threshold}) "
        f"(minimum {least} {least_noun} for {transition} transition)."
    )[:1023]


def _reason_data(alarm: MetricAlarm, considered: Sequence[tuple[datetime, float]], now: datetime) -> str:
    data = {
        "version": "1.0",
        "queryDate": _wire_time(now),
        "statistic": alarm.statistic,
        "period": int(alarm.period.total_seconds()),
        "recentDatapoints": [value for _, value in considered if math.isfinite(value)][-20:],
        "threshold": alarm.threshold,
        "evaluatedDatapoints": [
            {"timestamp": _wire_time(at), "value": value} for at, value in reversed(considered[-20:])
        ],
    }
    if considered:
        data["startDate"] = _wire_time(considered[0][0])
    return json.dumps(data, separators=(",", ":"))


def _wire_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.000+0000"
