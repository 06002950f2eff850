"""What must hold for every state machine: no state out of reach, and no way in without a way out."""

import pytest

from fanlight.domain.fleets import FLEET
from fanlight.domain.instances import INSTANCE, InstanceState
from fanlight.domain.machine import Machine
from fanlight.domain.streaming_sessions import SESSION, SessionState

MACHINES = pytest.mark.parametrize("machine", [FLEET, INSTANCE, SESSION], ids=lambda machine: machine.kind)
# The rows of these go away: retired instances are destroyed, expired sessions are pruned.
FINAL = {InstanceState.RETIRING, SessionState.EXPIRED}


@MACHINES
def test_every_state_can_be_reached(machine: Machine) -> None:
    reached, ahead = {machine.initial}, [machine.initial]
    while ahead:
        state = ahead.pop()
        following = {to for (source, _), to in machine.table.items() if source is state} - reached
        reached |= following
        ahead += following
    assert reached == set(type(machine.initial))


@MACHINES
def test_every_state_that_is_not_final_has_a_way_out(machine: Machine) -> None:
    assert set(type(machine.initial)) - {source for source, _ in machine.table} == FINAL & set(type(machine.initial))
