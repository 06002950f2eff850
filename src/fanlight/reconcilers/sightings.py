"""What the engine shows, for all reconcilers together: one look serves everyone who asked before it began."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from fanlight.domain.networks import NetworkInterface
from fanlight.domain.partial_sights import PartlyUnavailable
from fanlight.domain.ports import Clock, InstanceDriver, ObservedInstance

log = logging.getLogger(__name__)


class Sightings:
    """What carries our `installation` label. What could not be looked at stays as it was seen last.

    `foreign_ids` are the instances of other installations: known, so that nobody touches them.
    """

    foreign_ids: AbstractSet[str]

    def __init__(self, driver: InstanceDriver, clock: Clock, installation: str) -> None:
        self._driver, self._clock, self._installation = driver, clock, installation
        self.foreign_ids = frozenset()
        self._seen: dict[str, ObservedInstance] = {}
        self._looking = asyncio.Lock()
        self._asked = self._answered = 0
        self._looked_at: datetime | None = None
        self._looked_at_in: dict[str, datetime] = {}  # by region, later than that: by looks that showed a part only
        self._trouble = ""

    def looked_at(self, region: str) -> datetime | None:
        """Return when the newest look began that showed what is in a region, None when there was none."""
        return self._looked_at_in.get(region, self._looked_at)

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
            shown = {observed.instance_id: observed for observed in await self._observe(began_at)}
            seen = {key: one for key, one in shown.items() if one.labels.get("installation") == self._installation}
            changed = {i for i in seen.keys() | self._seen.keys() if seen.get(i) != self._seen.get(i)}
            self._seen, self._answered = seen, covered
            self.foreign_ids = shown.keys() - seen.keys()
        return changed

    async def _observe(self, began_at: datetime) -> Sequence[ObservedInstance]:
        """Return what there is; of engines that are away, what they had when they were seen last."""
        try:
            shown = await self._driver.observe()
        except PartlyUnavailable as error:
            if str(error) != self._trouble:
                log.warning("cannot look at every engine", extra={"why": str(error)})
            self._trouble = str(error)
            self._looked_at_in |= dict.fromkeys(error.regions, began_at)
            unseen = [one for one in self._seen.values() if one.labels.get("region") not in error.regions]
            return [*unseen, *error.seen]
        self._looked_at, self._looked_at_in, self._trouble = began_at, {}, ""
        return shown
