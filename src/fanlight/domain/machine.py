"""State machines as data: one table per kind, one way to ask what follows.

A machine knows states and events and nothing else. Who may cause an event, and what must be true of other
resources, is decided by the service or reconciler that applies it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from fanlight.domain.errors import TransitionRefused

StateT = TypeVar("StateT", bound=StrEnum)
EventT = TypeVar("EventT", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Machine(Generic[StateT, EventT]):
    """The legal transitions of one kind of resource.

    `initial` is the state of a new resource; `table` maps (state, event) to the next state. Pairs that are not in
    the table are refused.
    """

    kind: str
    initial: StateT
    table: Mapping[tuple[StateT, EventT], StateT]

    def after(self, state: StateT, event: EventT) -> StateT:
        """Return the state that follows. Raises TransitionRefused when the table has no such pair."""
        try:
            return self.table[state, event]
        except KeyError:
            raise TransitionRefused(self.kind, state, event) from None

    def allows(self, state: StateT, event: EventT) -> bool:
        return (state, event) in self.table
