"""What reconcilers do besides with an instance that belongs to one thing all its life: start it, stop it, end its sessions."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fanlight.agentwire.messages import EndSession
from fanlight.domain.errors import AgentUnreachable
from fanlight.domain.ports import InstanceSpec, Power, Transactions
from fanlight.reconcilers.engine_instances import EngineInstances

log = logging.getLogger(__name__)

_AT_A_TIME = 4  # starts and stops of instances; each keeps the engine busy for a moment


@dataclass(slots=True, kw_only=True)
class OwnInstances(EngineInstances):
    transactions: Transactions
    _power: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_A_TIME))

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

    async def power_off(self, instance_id: str) -> bool:
        """Stop it; return whether the engine shows it standing still. Raises DriverUnavailable."""
        await self.hang_up(instance_id)
        if instance_id not in self.sightings.foreign_ids:
            async with self._power:
                await self.driver.stop(instance_id)
        await self.look()
        observed = self.sightings.of(instance_id)
        return observed is None or observed.power in (Power.STOPPED, Power.FAILED)

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
