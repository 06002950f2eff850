"""The fleet's state table, cell by cell. The matrix is the specification, written apart from the table."""

import pytest

from fanlight.domain.errors import TransitionRefused
from fanlight.domain.fleets import FLEET, FleetEvent, FleetState

MATRIX = """
          START_REQUESTED  CAPACITY_REACHED  STOP_REQUESTED  LAST_INSTANCE_GONE
STOPPED   STARTING         -                 -               -
STARTING  -                RUNNING           STOPPING        -
RUNNING   -                -                 STOPPING        -
STOPPING  -                -                 -               STOPPED
"""
EVENTS, *ROWS = [line.split() for line in MATRIX.strip().splitlines()]
CELLS = [(state, event, after) for state, *cells in ROWS for event, after in zip(EVENTS, cells, strict=True)]


def test_the_matrix_has_every_state_and_event() -> None:
    assert {row[0] for row in ROWS} == set(FleetState)
    assert set(EVENTS) == set(FleetEvent)
    assert FLEET.initial is FleetState.STOPPED


@pytest.mark.parametrize(("state", "event", "after"), CELLS)
def test_each_cell(state: str, event: str, after: str) -> None:
    if after == "-":
        assert not FLEET.allows(FleetState(state), FleetEvent(event))
        with pytest.raises(TransitionRefused, match=f"^A fleet that is {state} does not accept {event}"):
            FLEET.after(FleetState(state), FleetEvent(event))
    else:
        assert FLEET.after(FleetState(state), FleetEvent(event)) is FleetState(after)
