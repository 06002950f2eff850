"""What reconcilers do with an instance that belongs to one thing all its life: see it, listen to it, stop it, end it."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fanlight.agentwire.messages import EndSession
from fanlight.domain.errors import AgentUnreachable
from fanlight.domain.instance_plan import Sight
from fanlight.domain.places import Scope
from fanlight.domain.ports import AgentChannel, Clock, InstanceDriver, InstanceSpec, Power, Transactions, Wake
from fanlight.reconcilers.sightings import Sightings

log = logging.getLogger(__name__)

SOON = timedelta(milliseconds=250)
_AT_A_TIME = 4  # starts and stops of instances; each keeps the engine busy for a moment


@dataclass(slots=True, kw_only=True)
class OwnInstances:
    """`listening_since` is shared with those who ask whether an agent's silence means something."""

    transactions: Transactions
    driver: InstanceDriver
    agents: AgentChannel
    sightings: Sightings
    clock: Clock
    wake: Wake
    listening_since: dict[str, datetime]
    _power: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_A_TIME))

    def sight(self, scope: Scope, instance_id: str) -> Sight:
        return Sight(
            looked_at=self.sightings.looked_at(scope.region),
            observed=self.sightings.of(instance_id),
            agent=self.agents.status(instance_id),
            listening_since=self.listening_since.get(instance_id),
        )

    async def launch(self, spec: InstanceSpec) -> None:
        """Raises as the driver's `launch`."""
        await self.hang_up(spec.instance_id)
        async with self._power:
            await self.driver.launch(spec)

    async def start(self, instance_id: str, runtime_version: str) -> None:
        """Raises as the driver's `start`."""
        await self.hang_up(instance_id)
        async with self._power:
            await self.driver.start(instance_id, runtime_version)

    async def listen(self, instance_id: str, first_uid: int, *, is_builder: bool = False) -> datetime:
        """Listen for its agent; return when to look again."""
        try:
            await self.agents.open(instance_id, first_uid, is_builder=is_builder)
        except AgentUnreachable:
            return self.clock.now() + SOON
        self.listening_since[instance_id] = self.clock.now()
        return self.clock.now()

    async def hang_up(self, instance_id: str) -> None:
        self.listening_since.pop(instance_id, None)
        await self.agents.close(instance_id)

    async def power_off(self, instance_id: str) -> bool:
        """Stop it; return whether the engine shows it standing still. Raises DriverUnavailable."""
        await self.hang_up(instance_id)
        if instance_id not in self.sightings.foreign_ids:
            async with self._power:
                await self.driver.stop(instance_id)
        await self.sightings.look()
        observed = self.sightings.of(instance_id)
        return observed is None or observed.power in (Power.STOPPED, Power.FAILED)

    async def terminate(self, scope: Scope, instance_id: str) -> bool:
        """Destroy it with its disk; return whether the engine shows it no more. Raises DriverUnavailable."""
        await self.hang_up(instance_id)
        if self.sightings.looked_at(scope.region) is None:
            await self.sightings.look()
        if instance_id not in self.sightings.foreign_ids:
            await self.driver.terminate(instance_id)
        await self.sightings.look()
        return self.sightings.of(instance_id) is None

    async def end_session(self, instance_id: str, session_id: str) -> datetime:
        """Let the agent end a session that is over, or that nobody knows; return when to look again."""
        async with self.transactions.begin() as work:
            session = await work.sessions.find(session_id)
        if session is not None and session.is_live:
            # It began since this plan was made, or its own reconciler has still to write its end.
            self.wake("session", session_id)
        else:
            await self.tell(instance_id, {"type": EndSession.TYPE, "session_id": session_id})
        return self.clock.now() + timedelta(seconds=1)

    async def tell(self, instance_id: str, message: Mapping[str, object]) -> None:
        """Send a message that is repeated until the status shows its effect: an agent that is away hears the next one."""
        try:
            await self.agents.send(instance_id, message)
        except AgentUnreachable:
            log.debug("agent away", extra={"instance_id": instance_id})
