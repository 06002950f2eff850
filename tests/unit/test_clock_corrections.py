"""What becomes of a session's times when the clock goes back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fanlight.domain.clock_corrections import LONGEST_WAIT, TOLERANCE, is_due, past_or, with_past_times
from fanlight.domain.places import Scope
from fanlight.domain.streaming_sessions import StreamingSession

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
SESSION = StreamingSession(
    session_id="s", scope=Scope("000000000000", "us-east-1"), stack_name="x", fleet_name="cad", fleet_id="f",
    user_id="u", created_at=NOW, started_at=NOW + SECOND, max_expires_at=NOW + 16 * HOUR,
    connected_since=NOW + HOUR, idle_since=NOW + 2 * HOUR,
)  # fmt: skip


def test_a_clock_that_goes_on_changes_nothing() -> None:
    assert with_past_times(SESSION, NOW + 2 * HOUR) is SESSION
    assert with_past_times(SESSION, NOW + 2 * HOUR - TOLERANCE) is SESSION


def test_what_would_be_in_the_future_is_taken_to_have_happened_now() -> None:
    then = NOW + HOUR / 2
    assert with_past_times(SESSION, then) == replace(SESSION, connected_since=then, idle_since=then)
    left = replace(SESSION, connected_since=None, disconnected_at=NOW + 3 * HOUR)
    assert with_past_times(left, then) == replace(left, disconnected_at=then, idle_since=then)


def test_a_session_that_was_made_in_the_future_lasts_as_long_as_any_other() -> None:
    year_before = NOW - timedelta(days=365)
    corrected = with_past_times(SESSION, year_before)
    assert corrected == replace(
        SESSION,
        created_at=year_before,
        started_at=year_before,
        connected_since=year_before,
        idle_since=year_before,
        max_expires_at=year_before + 16 * HOUR,
    )
    assert with_past_times(corrected, year_before) is corrected


def test_what_was_put_off_for_longer_than_anything_is_tried_at_once() -> None:
    assert is_due(None, NOW)
    assert is_due(NOW, NOW)
    assert not is_due(NOW + SECOND, NOW)
    assert not is_due(NOW + LONGEST_WAIT, NOW)
    assert is_due(NOW + LONGEST_WAIT + SECOND, NOW)


def test_what_seems_to_happen_in_the_future_did_not_happen_then() -> None:
    assert past_or(None, NOW, NOW) == past_or(NOW + HOUR, NOW, NOW) == NOW
    assert past_or(NOW - HOUR, NOW, NOW) == NOW - HOUR
    assert past_or(NOW + TOLERANCE, NOW, NOW) == NOW + TOLERANCE
