"""What the engine shows, for all reconcilers together: one look serves everyone who asked before it began."""

import asyncio
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from datetime import datetime

from fanlight.domain.networks import NetworkInterface
from fanlight.domain.ports import Clock, InstanceDriver, ObservedInstance


class Sightings:
    """What carries our `installation` label. `looked_at` is when the newest look began.

    `foreign_ids` are the instances of other installations: known, so that nobody touches them.
    """

    looked_at: datetime | None
    foreign_ids: AbstractSet[str]

    def __init__(self, driver: InstanceDriver, clock: Clock, installation: str) -> None:
        self._driver, self._clock, self._installation = driver, clock, installation
        self.foreign_ids = frozenset()
        self._seen: dict[str, ObservedInstance] = {}
        self._looking = asyncio.Lock()
        self._asked = self._answered = 0
        self.looked_at = None

    def of(self, instance_id: str) -> ObservedInstance | None:
        return self._seen.get(instance_id)

    def interface_of(self, instance_id: str) -> NetworkInterface | None:
        """Return the network interface that the engine showed, if it has one."""
        observed = self._seen.get(instance_id)
        return observed.interface if observed else None

    @property
    def instance_ids(self) -> Collection[str]:
        return self._seen.keys()

    async def look(self) -> set[str]:
        """Look at the engine, with a look that begins after this call; return what changed. Raises DriverUnavailable."""
        self._asked += 1
        ticket = self._asked
        async with self._looking:
            if self._answered >= ticket:
                return set()
            covered, began_at = self._asked, self._clock.now()
            shown = {observed.instance_id: observed for observed in await self._driver.observe()}
            seen = {key: one for key, one in shown.items() if one.labels.get("installation") == self._installation}
            changed = {i for i in seen.keys() | self._seen.keys() if seen.get(i) != self._seen.get(i)}
            self._seen, self.looked_at, self._answered = seen, began_at, covered
            self.foreign_ids = shown.keys() - seen.keys()
        return changed
