"""Instances: running machines of a fleet, each for at most one streaming session in its life."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from fanlight.domain.machine import Machine
from fanlight.domain.places import Scope


class InstanceState(StrEnum):
    LAUNCHING = "LAUNCHING"  # wished; the driver may or may not know of it yet
    READY = "READY"  # its agent reported that display and sound are up
    IN_USE = "IN_USE"  # belongs to `session_id` for the rest of its life
    RETIRING = "RETIRING"  # to be destroyed; the row goes when the driver no longer reports it


class InstanceEvent(StrEnum):
    AGENT_READY = "AGENT_READY"
    CLAIMED = "CLAIMED"
    RETIRED = "RETIRED"


INSTANCE: Machine[InstanceState, InstanceEvent] = Machine(
    kind="instance",
    initial=InstanceState.LAUNCHING,
    table={
        (InstanceState.LAUNCHING, InstanceEvent.AGENT_READY): InstanceState.READY,
        # ON_DEMAND: launched for one session, so it is claimed from birth and boots while IN_USE.
        (InstanceState.LAUNCHING, InstanceEvent.CLAIMED): InstanceState.IN_USE,
        (InstanceState.READY, InstanceEvent.CLAIMED): InstanceState.IN_USE,
        (InstanceState.LAUNCHING, InstanceEvent.RETIRED): InstanceState.RETIRING,
        (InstanceState.READY, InstanceEvent.RETIRED): InstanceState.RETIRING,
        (InstanceState.IN_USE, InstanceEvent.RETIRED): InstanceState.RETIRING,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """`launched_at` is when the row was made; `accepted_at` when the driver took the launch."""

    instance_id: str
    scope: Scope
    fleet_id: str
    image_ref: str
    state: InstanceState = InstanceState.LAUNCHING
    version: int = 0
    session_id: str | None = None
    launched_at: datetime
    accepted_at: datetime | None = None
    ready_at: datetime | None = None
    retire_reason: str | None = None

    @property
    def is_leaving(self) -> bool:
        return self.state is InstanceState.RETIRING

    @property
    def is_in_use(self) -> bool:
        return self.state is InstanceState.IN_USE

    def after(self, event: InstanceEvent) -> "Instance":
        """Return the instance after the event. Raises TransitionRefused."""
        return replace(self, state=INSTANCE.after(self.state, event))
