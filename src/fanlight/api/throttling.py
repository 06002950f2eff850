"""How many requests a key may make: a bucket of tokens for what it reads, another for what it changes.

Only verified keys have buckets, so that nobody can use up another's. A refused request costs nothing more than the
check of its signature, and its SDK repeats it by itself, later each time.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from fanlight.api.protocol.errors import WireError

READS = re.compile(r"(Describe|Get|List)[A-Z]")
BURST_IN_SECONDS = 2.0
"""A full bucket holds what is allowed in so many seconds; tools begin with a burst."""
MOST_BUCKETS = 1024


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class Throttle:
    """`reads_per_second` and `writes_per_second` for each key; 0 means without limit."""

    def __init__(
        self,
        *,
        reads_per_second: float = 0.0,
        writes_per_second: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reads, self._writes, self._now = reads_per_second, writes_per_second, now
        self._buckets: dict[tuple[str, bool], _Bucket] = {}

    def admit(self, access_key_id: str, operation: str) -> None:
        """Take a token. Raises WireError (ThrottlingException) when there is none."""
        is_read = READS.match(operation) is not None
        rate = self._reads if is_read else self._writes
        if not rate:
            return
        capacity = max(rate * BURST_IN_SECONDS, 1.0)
        now = self._now()
        bucket = self._buckets.get((access_key_id, is_read))
        if bucket is None:
            self._forget_full(now)
            bucket = self._buckets[access_key_id, is_read] = _Bucket(capacity, now)
        bucket.tokens = min(capacity, bucket.tokens + (now - bucket.filled_at) * rate)
        bucket.filled_at = now
        if bucket.tokens < 1.0:
            raise WireError("ThrottlingException", "Rate exceeded")
        bucket.tokens -= 1.0

    def _forget_full(self, now: float) -> None:
        """A bucket that nobody has touched for a burst is full, and so is a new one."""
        if len(self._buckets) >= MOST_BUCKETS:
            self._buckets = {
                key: bucket for key, bucket in self._buckets.items() if now - bucket.filled_at < BURST_IN_SECONDS
            }
