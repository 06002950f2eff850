"""Who is told what of a session, and until when a stream counts as being cut."""

from datetime import UTC, datetime

import pytest

from fanlight.control import changes
from fanlight.control.changes import CutListener, SessionChanges
from fanlight.domain.places import Scope
from fanlight.domain.streaming_sessions import SessionEvent, StreamingSession

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACTIVE = StreamingSession(
    session_id="s", scope=Scope("0", "r"), stack_name="x", fleet_name="cad", fleet_id="f", user_id="u",
    created_at=NOW, max_expires_at=NOW,
).after(SessionEvent.STARTED)  # fmt: skip
CUT = {"disconnect": "s"}


async def heard(listener: CutListener) -> list[object]:
    lines: list[object] = []
    while line := await listener.next(0.01):
        lines.append(line)
    return lines


async def test_a_stream_is_being_cut_until_the_gateway_confirms_and_each_report_until_then_says_so_again() -> None:
    tested = SessionChanges()
    with tested.listening() as listener:
        assert not tested.is_being_cut("s")
        assert not tested.confirm_cut("s")
        tested.disconnect(ACTIVE)
        assert tested.is_being_cut("s")
        assert await heard(listener) == [CUT, CUT]
        assert [tested.confirm_cut("s"), tested.confirm_cut("s"), tested.is_being_cut("s")] == [True, False, False]
        assert await heard(listener) == []


async def test_a_gateway_that_does_not_confirm_is_believed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = SessionChanges()
    tested.disconnect(ACTIVE)
    assert tested.is_being_cut("s")
    monkeypatch.setattr(changes, "CUT_GRACE_IN_SECONDS", -1.0)
    assert [tested.is_being_cut("s"), tested.confirm_cut("s")] == [False, False]


async def test_an_end_is_told_and_nothing_is_kept_of_the_session() -> None:
    tested = SessionChanges()
    with tested.listening() as listener:
        tested.disconnect(ACTIVE)
        tested.notify(ACTIVE)
        assert tested.is_being_cut("s")
        tested.notify(ACTIVE.after(SessionEvent.ENDED))
        assert await heard(listener) == [CUT, CUT, {"session_id": "s"}]
        assert not tested.is_being_cut("s")


async def test_a_listener_that_missed_a_line_is_behind() -> None:
    tested = SessionChanges()
    with tested.listening() as listener:
        for _ in range(changes.MAX_UNREAD):
            tested.disconnect(ACTIVE)
        assert not listener.is_behind
        tested.disconnect(ACTIVE)
        assert listener.is_behind
