"""Calls that may be repeated: a client token makes the second one do nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fanlight.domain.errors import InvalidCombination
from fanlight.domain.places import Scope

TOKENS_KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One mutating request. `fingerprint` is of everything that it says beside its token; `caller` is who makes it."""

    scope: Scope
    operation: str
    caller: str
    fingerprint: str
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedCall:
    """A call that was done: `resource_id` is what it made or changed."""

    scope: Scope
    operation: str
    token: str
    fingerprint: str
    resource_id: str
    called_at: datetime


class TokenReused(InvalidCombination):
    """A client token came again with another request."""

    def __init__(self, token: str) -> None:
        super().__init__(
            f"The client token '{token}' was used for a request with other parameters. Use a new token for a new request."
        )
