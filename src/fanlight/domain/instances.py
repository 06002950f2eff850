"""Instances: running machines of a fleet.

An instance has so many places as its fleet had sessions per instance when it was launched. It takes sessions until it
is drained, and goes when its last session has ended: nobody comes to an instance that others have left. While files
that its users saved are still being sent it stays, beside the instances that its fleet counts.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from fanlight.domain.machine import Machine
from fanlight.domain.places import Scope


class InstanceState(StrEnum):
    LAUNCHING = "LAUNCHING"  # wished; the driver may or may not know of it yet
    READY = "READY"  # its agent reported that display and sound are up
    IN_USE = "IN_USE"  # has sessions, or had one; goes when the last of them is over
    FLUSHING = "FLUSHING"  # its sessions are over, and files that were saved in them are still to be sent
    RETIRING = "RETIRING"  # to be destroyed; the row goes when the driver no longer reports it


class InstanceEvent(StrEnum):
    AGENT_READY = "AGENT_READY"
    CLAIMED = "CLAIMED"
    SET_ASIDE = "SET_ASIDE"
    RETIRED = "RETIRED"


def new_instance_id() -> str:
    """Return an id as the service's instances have it."""
    return f"i-{secrets.token_hex(9)[:17]}"


INSTANCE: Machine[InstanceState, InstanceEvent] = Machine(
    kind="instance",
    initial=InstanceState.LAUNCHING,
    table={
        (InstanceState.LAUNCHING, InstanceEvent.AGENT_READY): InstanceState.READY,
        # ON_DEMAND: launched for one session, so it is claimed from birth and boots while IN_USE.
        (InstanceState.LAUNCHING, InstanceEvent.CLAIMED): InstanceState.IN_USE,
        (InstanceState.READY, InstanceEvent.CLAIMED): InstanceState.IN_USE,
        (InstanceState.IN_USE, InstanceEvent.CLAIMED): InstanceState.IN_USE,
        (InstanceState.LAUNCHING, InstanceEvent.RETIRED): InstanceState.RETIRING,
        (InstanceState.READY, InstanceEvent.RETIRED): InstanceState.RETIRING,
        # From here on it is no capacity of its fleet: another takes its place.
        (InstanceState.IN_USE, InstanceEvent.SET_ASIDE): InstanceState.FLUSHING,
        (InstanceState.IN_USE, InstanceEvent.RETIRED): InstanceState.RETIRING,
        (InstanceState.FLUSHING, InstanceEvent.RETIRED): InstanceState.RETIRING,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """`launched_at` is when the row was made; `accepted_at` when the driver took the launch.

    `session_ids` are the sessions that hold a place, until nothing of them is left on the instance. `is_draining`: no
    session comes any more.
    """

    instance_id: str
    scope: Scope
    fleet_id: str
    image_ref: str
    state: InstanceState = InstanceState.LAUNCHING
    version: int = 0
    places: int = 1
    session_ids: tuple[str, ...] = ()
    is_draining: bool = False
    launched_at: datetime
    accepted_at: datetime | None = None
    ready_at: datetime | None = None
    retire_reason: str | None = None

    @property
    def is_leaving(self) -> bool:
        """Whether it is no capacity of its fleet any more, and never will be again."""
        return self.state in (InstanceState.FLUSHING, InstanceState.RETIRING)

    @property
    def is_in_use(self) -> bool:
        return self.state is InstanceState.IN_USE

    @property
    def free_places(self) -> int:
        """How many sessions may come now."""
        takes_sessions = self.state in (InstanceState.READY, InstanceState.IN_USE) and not self.is_draining
        return max(self.places - len(self.session_ids), 0) if takes_sessions else 0

    def claimed_by(self, session_id: str) -> "Instance":
        """Return the instance with one more session. Raises TransitionRefused."""
        return replace(self.after(InstanceEvent.CLAIMED), session_ids=(*self.session_ids, session_id))

    def without(self, session_id: str) -> "Instance":
        return replace(self, session_ids=tuple(held for held in self.session_ids if held != session_id))

    def after(self, event: InstanceEvent) -> "Instance":
        """Return the instance after the event. Raises TransitionRefused."""
        return replace(self, state=INSTANCE.after(self.state, event))
