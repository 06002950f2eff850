"""The image builder's state table, cell by cell. The matrix is the specification, written apart from the table.

Events as columns: S START_REQUESTED, O OTHER_AGENT_REQUESTED, R AGENT_READY, F START_FAILED, H STOP_REQUESTED,
I INSTANCE_STOPPED, B REBOOTED, b REBOOT_FAILED, N SNAPSHOT_REQUESTED, n SNAPSHOT_OVER, L INSTANCE_LOST, D DELETE_REQUESTED,
U PACKAGES_UPDATED.
"""

import pytest

from fanlight.domain.errors import TransitionRefused
from fanlight.domain.image_builders import IMAGE_BUILDER, ImageBuilderEvent, ImageBuilderState

COLUMNS = {
    "S": "START_REQUESTED",
    "O": "OTHER_AGENT_REQUESTED",
    "R": "AGENT_READY",
    "F": "START_FAILED",
    "H": "STOP_REQUESTED",
    "I": "INSTANCE_STOPPED",
    "B": "REBOOTED",
    "b": "REBOOT_FAILED",
    "N": "SNAPSHOT_REQUESTED",
    "n": "SNAPSHOT_OVER",
    "L": "INSTANCE_LOST",
    "D": "DELETE_REQUESTED",
    "U": "PACKAGES_UPDATED",
}
MATRIX = """
                S       O              R       F      H        I       B         b        N            n       L      D        U
PENDING         -       -              RUNNING FAILED -        STOPPED -         -        -            -       FAILED -  -
UPDATING_AGENT  -       -              RUNNING -      -        STOPPED -         -        -            -       FAILED -  -
RUNNING         -       -              -       -      STOPPING -       REBOOTING -        SNAPSHOTTING -       FAILED DELETING  -
STOPPING        -       -              -       -      -        STOPPED -         -        -            -       -      -  -
STOPPED         PENDING UPDATING_AGENT -       -      -        -       -         -        -            -       -      DELETING  -
REBOOTING       -       -              RUNNING -      -        STOPPED -         STOPPING -            -       FAILED -  -
SNAPSHOTTING    -       -              -       -      -        -       -         -        -            STOPPED -      -  -
DELETING        -       -              -       -      -        -       -         -        -            -       -      -  -
FAILED          -       -              -       -      -        -       -         -        -            -       -      DELETING  -
UPDATING        -       -              -       -      -        -       -         -        -            -       -      -        PENDING_QUALIFICATION
PENDING_QUALIFICATION -       -              -       -      -        -       -         -        -            -       -      -  -
"""
LETTERS, *ROWS = [line.split() for line in MATRIX.strip().splitlines()]
CELLS = [
    (state, COLUMNS[letter], after) for state, *cells in ROWS for letter, after in zip(LETTERS, cells, strict=True)
]
# States of the service for what has no image builder here.
NEVER = {"PENDING_SYNCING_APPS", "SYNCING_APPS", "PENDING_IMAGE_IMPORT"}


def test_the_matrix_has_every_state_and_event() -> None:
    assert {row[0] for row in ROWS} | NEVER == set(ImageBuilderState)
    assert {COLUMNS[letter] for letter in LETTERS} == set(ImageBuilderEvent)
    assert IMAGE_BUILDER.initial is ImageBuilderState.PENDING
    assert NEVER.isdisjoint(IMAGE_BUILDER.table.values())


@pytest.mark.parametrize(("state", "event", "after"), CELLS)
def test_each_cell(state: str, event: str, after: str) -> None:
    if after == "-":
        assert not IMAGE_BUILDER.allows(ImageBuilderState(state), ImageBuilderEvent(event))
        with pytest.raises(TransitionRefused):
            IMAGE_BUILDER.after(ImageBuilderState(state), ImageBuilderEvent(event))
    else:
        assert IMAGE_BUILDER.after(ImageBuilderState(state), ImageBuilderEvent(event)) is ImageBuilderState(after)
