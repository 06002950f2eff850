"""What a fleet has: instances always, and session slots where several users share an instance."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fanlight.domain.fleets import Fleet, FleetState, FleetType
from fanlight.domain.instances import InstanceState


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCounts:
    """Session slots of running instances and who holds them, apart for the instances that are being drained."""

    slots: int = 0
    active: int = 0
    draining_instances: int = 0
    draining_slots: int = 0
    draining_active: int = 0

    def plus(self, instances: int, slots: int, active: int, *, is_draining: bool) -> "SlotCounts":
        """Return the counts with so many more instances that run."""
        if is_draining:
            return replace(
                self,
                draining_instances=self.draining_instances + instances,
                draining_slots=self.draining_slots + slots,
                draining_active=self.draining_active + active,
            )
        return replace(self, slots=self.slots + slots, active=self.active + active)


class StateCounts(dict[InstanceState, int]):
    """How many instances a fleet has in each state, and their session slots."""

    def __init__(self, counts: Mapping[InstanceState, int], slots: SlotCounts) -> None:
        super().__init__(counts)
        self.slots = slots


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCapacity:
    """Slots of a multi-session fleet.

    `actual` = `available` + `active`: slots of running instances that take sessions. `desired` is what was asked for.
    Instances in drain mode are counted apart.
    """

    desired: int
    available: int = 0
    active: int = 0
    actual: int = 0
    draining: int = 0
    draining_active: int = 0
    draining_unused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Instances of a fleet: asked for, powered on, held by users, and free for the next user.

    `sessions` is None for single-session fleets: clients tell them from multi-session ones by its absence.
    """

    desired: int
    running: int
    in_use: int
    available: int
    sessions: SessionCapacity | None = None


def capacity_of(fleet: Fleet, counts: Mapping[InstanceState, int], slots: SlotCounts | None = None) -> Capacity:
    """Return what a fleet has, from how many instances it has in each state and, for multi-session, from its slots.

    `slots` may come with `counts`. An ON_DEMAND fleet offers its unassigned instances although none is powered on. A
    fleet that stops offers nothing, whatever is still on.
    """
    if slots is None:
        slots = counts.slots if isinstance(counts, StateCounts) else SlotCounts()
    ready, in_use = counts.get(InstanceState.READY, 0), counts.get(InstanceState.IN_USE, 0)
    available = ready if fleet.is_provisioned else 0
    if fleet.fleet_type is FleetType.ON_DEMAND:
        available = max(fleet.desired_instances - in_use, 0) if fleet.state is FleetState.RUNNING else 0
        slots = replace(slots, slots=slots.slots + available * fleet.places_per_instance)
    return Capacity(
        desired=fleet.desired_instances,
        running=ready + in_use,
        in_use=in_use,
        available=available,
        sessions=_sessions(fleet, slots) if fleet.is_multi_session else None,
    )


def _sessions(fleet: Fleet, slots: SlotCounts) -> SessionCapacity:
    offered = slots.slots if fleet.is_provisioned else 0
    return SessionCapacity(
        desired=fleet.desired_sessions or 0,
        # Slots may shrink below the users that hold them: those stay, and nothing is free.
        available=max(offered - slots.active, 0),
        active=slots.active,
        actual=max(offered, slots.active),
        draining=slots.draining_instances,
        draining_active=slots.draining_active,
        draining_unused=max(slots.draining_slots - slots.draining_active, 0),
    )
