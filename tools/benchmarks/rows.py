"""What a benchmark says: a row of the table, with the numbers behind it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`is_met` is None where there is no bar; `details` are the numbers, for the JSON result."""

    name: str
    figure: str
    bar: str = ""
    alternative: str = ""
    ratio: str = ""
    is_met: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# Tells what is going on, for the progress line.
Report = Callable[[str], None]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of all values do not exceed: one that was measured, never between two."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.2f} ms"  # noqa: PLR2004
