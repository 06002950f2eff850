"""Statistics over the data of a metric: what CloudWatch calls periods, statistics and data points. Pure."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fanlight.domain.errors import InvalidCombination

STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100)")


@dataclass(frozen=True, slots=True)
class Datum:
    at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Datapoint:
    """One period. `at` is where it begins."""

    at: datetime
    values: tuple[float, ...]


def check_statistic(name: str) -> None:
    """Raise InvalidCombination unless `name` is a statistic that can be computed here."""
    if name not in STATISTICS and not _PERCENTILE.fullmatch(name):
        raise InvalidCombination(
            f"The statistic {name} is not available. Use one of {', '.join(STATISTICS)}, or a percentile such as p90."
        )


def statistic(name: str, values: Sequence[float]) -> float:
    """Return a statistic of the values of one period, of which there is at least one. Raises InvalidCombination."""
    check_statistic(name)
    match name:
        case "SampleCount":
            return float(len(values))
        case "Average":
            return math.fsum(values) / len(values)
        case "Sum":
            return math.fsum(values)
        case "Minimum":
            return min(values)
        case "Maximum":
            return max(values)
        case _:
            return _percentile(float(name.removeprefix("p")), sorted(values))


def _percentile(percent: float, ordered: Sequence[float]) -> float:
    """Return the value below which `percent` of the values lie, between two of them by proportion."""
    position = (len(ordered) - 1) * percent / 100
    lower = math.floor(position)
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (ordered[upper] - ordered[lower]) * (position - lower)


def in_periods(data: Sequence[Datum], start: datetime, end: datetime, period: timedelta) -> list[Datapoint]:
    """Return the periods between `start` and `end`, counted from `start`, that hold data; the oldest first."""
    values: dict[int, list[float]] = {}
    for datum in data:
        if start <= datum.at < end:
            values.setdefault((datum.at - start) // period, []).append(datum.value)
    return [Datapoint(start + number * period, tuple(held)) for number, held in sorted(values.items())]
