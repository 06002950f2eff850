"""The state table of streaming sessions, cell by cell. The matrix is the specification, written apart from the table."""

import pytest

from fanlight.domain.errors import TransitionRefused
from fanlight.domain.streaming_sessions import SESSION, SessionEvent, SessionState

MATRIX = """
         STARTED  ENDED
PENDING  ACTIVE   EXPIRED
ACTIVE   -        EXPIRED
EXPIRED  -        -
"""
EVENTS, *ROWS = [line.split() for line in MATRIX.strip().splitlines()]
CELLS = [(state, event, after) for state, *cells in ROWS for event, after in zip(EVENTS, cells, strict=True)]


def test_the_matrix_has_every_state_and_event() -> None:
    assert {row[0] for row in ROWS} == set(SessionState)
    assert set(EVENTS) == set(SessionEvent)
    assert SESSION.initial is SessionState.PENDING


@pytest.mark.parametrize(("state", "event", "after"), CELLS)
def test_each_cell(state: str, event: str, after: str) -> None:
    if after == "-":
        assert not SESSION.allows(SessionState(state), SessionEvent(event))
        with pytest.raises(TransitionRefused, match=f"^A streaming session that is {state} does not accept {event}"):
            SESSION.after(SessionState(state), SessionEvent(event))
    else:
        assert SESSION.after(SessionState(state), SessionEvent(event)) is SessionState(after)
