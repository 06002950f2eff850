"""How many requests of one user the gateway holds open at the same time."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Crowded(Exception):
    """So many are held already that no more are."""


class Places:
    """At most `limit` for each key at a time. What is let go of leaves nothing behind."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, key: str) -> Iterator[None]:
        """Hold one. Raises Crowded."""
        if self._taken[key] >= self._limit:
            raise Crowded
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
