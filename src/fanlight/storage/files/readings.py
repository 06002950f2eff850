"""When a door's rclone read which folder: it remembers a listing until somebody has it look again."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fanlight.storage.files.paths import Steps

# How old a listing may be that tells whether a name is taken, and how large a file is.
_FRESH_IN_SECONDS = 5.0
_MOST_REMEMBERED = 1_000


@dataclass(slots=True)
class Readings:
    """Of one door. `begun` counts them all, `under_way` those that are not over."""

    begun: int = 0
    under_way: int = 0
    _read_at: dict[Steps, float] = field(default_factory=dict)

    @contextmanager
    def reading(self, steps: Steps) -> Iterator[None]:
        began_at = time.monotonic()
        self.begun += 1
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
        if len(self._read_at) >= _MOST_REMEMBERED:
            self._read_at.clear()
        self._read_at[steps] = began_at

    def is_fresh(self, steps: Steps) -> bool:
        read_at = self._read_at.get(steps)
        return read_at is not None and time.monotonic() - read_at < _FRESH_IN_SECONDS
