"""What was computed from the store, kept until anything in the store changes.

The store can say in microseconds whether anybody has committed anything since (`revision`). So a key and the answer to
a describe call are computed once for each change of the store, not once for each request, and are never stale: the
revision is read before the computation, and the first commit after that makes everything kept worthless.
"""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")
Revision = Callable[[], int | None]

MOST_KEPT = 256


def unknown_revision() -> int | None:
    """For a store that cannot tell: nothing is ever kept."""
    return None


class UntilChanged(Generic[KeyT, ValueT]):
    """A bounded memory whose contents live as long as one revision of the store."""

    def __init__(self, revision: Revision) -> None:
        self._revision, self._seen = revision, revision()
        self._kept: dict[KeyT, ValueT] = {}

    async def get(self, key: KeyT, compute: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """Return what `compute` gives, or gave at this revision. What it raises is not kept, nor is None."""
        before = self._revision()
        if before is None or before != self._seen:
            self._kept.clear()
            self._seen = before
        elif key in self._kept:
            return self._kept[key]
        value = await compute()
        if before is not None and self._seen == before and value is not None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = value
        return value
