"""What reconcilers do with any instance, whomever it serves: see it, listen to it, end it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fanlight.domain.errors import AgentUnreachable
from fanlight.domain.instance_plan import Sight
from fanlight.domain.places import Scope
from fanlight.domain.ports import AgentChannel, Clock, InstanceDriver, Wake
from fanlight.reconcilers.sightings import Sightings

SOON = timedelta(milliseconds=250)


@dataclass(slots=True, kw_only=True)
class EngineInstances:
    """`listening_since` is shared with those who ask whether an agent's silence means something."""

    driver: InstanceDriver
    agents: AgentChannel
    sightings: Sightings
    clock: Clock
    wake: Wake
    listening_since: dict[str, datetime]  # by instance id; for whose agents we listen

    def sight(self, scope: Scope, instance_id: str) -> Sight:
        return Sight(
            looked_at=self.sightings.looked_at(scope.region),
            observed=self.sightings.of(instance_id),
            agent=self.agents.status(instance_id),
            listening_since=self.listening_since.get(instance_id),
        )

    async def look(self) -> None:
        """Look at the engine, and let what changed be planned anew. Raises DriverUnavailable."""
        for changed in await self.sightings.look():
            self.wake("instance", changed)

    async def listen(
        self, instance_id: str, first_uid: int, *, is_builder: bool = False, heard: Callable[[], None] = lambda: None
    ) -> datetime:
        """Listen for its agent; return when to look again. `heard` is called when that is possible."""
        try:
            await self.agents.open(instance_id, first_uid, is_builder=is_builder)
        except AgentUnreachable:
            return self.clock.now() + SOON
        self.listening_since[instance_id] = self.clock.now()
        heard()
        return self.clock.now()

    async def hang_up(self, instance_id: str) -> None:
        self.listening_since.pop(instance_id, None)
        await self.agents.close(instance_id)

    async def terminate(self, scope: Scope, instance_id: str) -> bool:
        """Destroy it with its disk; return whether the engine shows it no more. Raises DriverUnavailable."""
        await self.hang_up(instance_id)
        if self.sightings.looked_at(scope.region) is None:
            await self.look()
        if instance_id not in self.sightings.foreign_ids:
            await self.driver.terminate(instance_id)
            await self.look()
        return self.sightings.of(instance_id) is None
