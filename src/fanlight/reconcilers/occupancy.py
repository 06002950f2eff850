"""Who is on an instance: sessions that are over are ended in it and give up their place, and it may take no more.

Every step reads again before it writes: a session may have come while the step was planned.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from fanlight.agentwire.messages import EndSession
from fanlight.domain.errors import AgentUnreachable
from fanlight.domain.instance_plan import Drain, Release, TellEnd
from fanlight.domain.instances import Instance
from fanlight.domain.ports import AgentChannel, Transactions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """`changed` is called with an instance after its row was written."""

    transactions: Transactions
    agents: AgentChannel
    changed: Callable[[Instance], None]

    async def apply(self, instance: Instance, step: TellEnd | Release | Drain) -> None:
        """Raises ChangedMeanwhile, StoreUnavailable."""
        match step:
            case TellEnd(session_id):
                await self._tell_end(instance, session_id)
            case Release(session_id):
                await self._release(instance, session_id)
            case Drain(why):
                await self._drain(instance, why)

    async def _tell_end(self, instance: Instance, session_id: str) -> None:
        async with self.transactions.begin() as work:
            session = await work.sessions.find(session_id)
        if session is not None and session.is_live:
            return
        try:
            await self.agents.send(instance.instance_id, {"type": EndSession.TYPE, "session_id": session_id})
        except AgentUnreachable:
            log.debug("agent away at the end of its session", extra={"instance_id": instance.instance_id})

    async def _release(self, instance: Instance, session_id: str) -> None:
        async with self.transactions.begin(write=True) as work:
            found = await work.instances.find(instance.instance_id)
            if found is None or found.is_leaving or session_id not in found.session_ids:
                return
            left = found.without(session_id)
            if not left.session_ids:
                return  # it was the last one after all, and the next plan retires the instance
            await work.instances.save(left)
            await work.commit()
        log.info("place released", extra={"instance_id": instance.instance_id, "streaming_session_id": session_id})
        self.changed(left)

    async def _drain(self, instance: Instance, why: str) -> None:
        async with self.transactions.begin(write=True) as work:
            found = await work.instances.find(instance.instance_id)
            if found is None or found.is_leaving or found.is_draining:
                return
            drained = await work.instances.save(replace(found, is_draining=True))
            await work.commit()
        log.warning("instance drains", extra={"instance_id": instance.instance_id, "why": why})
        self.changed(drained)
