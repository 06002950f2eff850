"""The state table of instances, cell by cell. The matrix is the specification, written apart from the table."""

import pytest

from fanlight.domain.errors import TransitionRefused
from fanlight.domain.instances import INSTANCE, InstanceEvent, InstanceState

MATRIX = """
           AGENT_READY  CLAIMED  SET_ASIDE  RETIRED
LAUNCHING  READY        IN_USE   -          RETIRING
READY      -            IN_USE   -          RETIRING
IN_USE     -            IN_USE   FLUSHING   RETIRING
FLUSHING   -            -        -          RETIRING
RETIRING   -            -        -          -
"""
EVENTS, *ROWS = [line.split() for line in MATRIX.strip().splitlines()]
CELLS = [(state, event, after) for state, *cells in ROWS for event, after in zip(EVENTS, cells, strict=True)]


def test_the_matrix_has_every_state_and_event() -> None:
    assert {row[0] for row in ROWS} == set(InstanceState)
    assert set(EVENTS) == set(InstanceEvent)
    assert INSTANCE.initial is InstanceState.LAUNCHING


@pytest.mark.parametrize(("state", "event", "after"), CELLS)
def test_each_cell(state: str, event: str, after: str) -> None:
    if after == "-":
        assert not INSTANCE.allows(InstanceState(state), InstanceEvent(event))
        with pytest.raises(TransitionRefused, match=f"^A instance that is {state} does not accept {event}"):
            INSTANCE.after(InstanceState(state), InstanceEvent(event))
    else:
        assert INSTANCE.after(InstanceState(state), InstanceEvent(event)) is InstanceState(after)
