"""What the drivers of one host have in common, each for its own project: ids, addresses, the guard of each Incus.

Two launches must not be given the same ids or the same address, whichever drivers make them. What Incus shows is added by
each driver when it chooses; here is what Incus does not show yet. Drivers run in one event loop, so that nothing comes
between choosing and remembering.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from fanlight.config import Settings
from fanlight.drivers.incus import instances
from fanlight.drivers.incus.guard import Guard, Way
from fanlight.drivers.incus.id_blocks import blocks_of_host


@dataclass(slots=True)
class Shares:
    """`sockets` are those of every Incus of this host that is used, in an order that does not change."""

    sockets: Sequence[Path]
    # By instance, for launches under way and those that this process began.
    seats: dict[str, instances.Seat] = field(default_factory=dict)
    ways: dict[str, Way] = field(default_factory=dict)
    first_uids: dict[str, int] = field(default_factory=dict)
    locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    preparing: asyncio.Lock = field(
        default_factory=asyncio.Lock
    )  # two at once would find each other's half-made networks
    _guards: dict[str, Guard] = field(default_factory=dict)

    def guard_of(self, settings: Settings) -> Guard:
        """Return the guard of an engine's bridges: one for all engines that have these bridges."""
        return self._guards.setdefault(settings.incus_network, Guard(settings.incus_network))

    def blocks_for(self, socket: Path) -> list[int]:
        """Return the blocks of ids that the engines of one Incus may give. Raises DriverUnavailable.

        No Incus knows what another one gave, and it may be away when somebody must know: so each has its part.
        """
        blocks = blocks_of_host()
        number, count = self.sockets.index(socket), len(self.sockets)
        return blocks[len(blocks) * number // count : len(blocks) * (number + 1) // count]

    def lock(self, instance_id: str) -> asyncio.Lock:
        """Return the lock of one instance: its calls happen one after another."""
        return self.locks.setdefault(instance_id, asyncio.Lock())
