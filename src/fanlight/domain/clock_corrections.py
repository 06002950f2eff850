"""What becomes of stored times, a session's above all, when the host's clock goes back. Pure.

They were written by a clock that is now known to have been ahead. Left as they are, a session would live for as long as
that clock was wrong, in addition to what its fleet allows; so what lies in the future is taken to have happened now.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from fanlight.domain.streaming_sessions import StreamingSession

# Hosts that share a database differ by so much, and an adjustment of the clock by so much ends nothing too late.
TOLERANCE = timedelta(minutes=1)
# No back-off is as long: one that seems to be was written by a clock that was ahead.
LONGEST_WAIT = timedelta(minutes=10)


def is_due(moment: datetime | None, now: datetime) -> bool:
    """Return whether what was put off until `moment` is to be tried: also if that is further away than it can be."""
    return moment is None or moment <= now or moment > now + LONGEST_WAIT


def past_or(moment: datetime | None, other: datetime, now: datetime) -> datetime:
    """Return a moment that happened, `other` if it did not or seems to be in the future."""
    return other if moment is None or moment > now + TOLERANCE else moment


def with_past_times(session: StreamingSession, now: datetime) -> StreamingSession:
    """Return the session with none of its past in the future: the same object unless the clock went back past it.

    The longest duration of a session that was made in the future begins anew.
    """
    limit = now + TOLERANCE
    past = (
        session.created_at, session.started_at, session.connected_since, session.disconnected_at, session.idle_since,
    )  # fmt: skip
    if not any(moment is not None and moment > limit for moment in past):
        return session

    def moved(moment: datetime | None) -> datetime | None:
        return None if moment is None else min(moment, now)

    created_at = min(session.created_at, now)
    return replace(
        session,
        created_at=created_at,
        started_at=moved(session.started_at),
        max_expires_at=session.max_expires_at - (session.created_at - created_at),
        connected_since=moved(session.connected_since),
        disconnected_at=moved(session.disconnected_at),
        idle_since=moved(session.idle_since),
    )
