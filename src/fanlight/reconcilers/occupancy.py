"""Who is on an instance: sessions that are over are ended in it and give up their place, and it may take no more.

What they saved and did not send is written down, until it has arrived or is given up.

Every step reads again before it writes: a session may have come while the step was planned.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from fanlight.agentwire.messages import EndSession
from fanlight.domain.errors import AgentUnreachable
from fanlight.domain.instance_plan import Drain, EndLost, Lose, NoteUnsent, Release, SetAside, TellEnd
from fanlight.domain.instances import Instance, InstanceEvent, InstanceState
from fanlight.domain.ports import AgentChannel, Transactions, Wake
from fanlight.domain.streaming_sessions import EndReason, StreamingSession
from fanlight.domain.unsent_files import SettingsLoss, UnsentFiles
from fanlight.reconcilers.losses import FilesLost, report_loss, report_settings_loss

log = logging.getLogger(__name__)

OccupancyStep: TypeAlias = TellEnd | Release | Drain | NoteUnsent | Lose | EndLost | SetAside


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """`changed` is called with an instance after its row was written."""

    transactions: Transactions
    agents: AgentChannel
    changed: Callable[[Instance], None]
    wake: Wake
    files_lost: FilesLost

    async def apply(self, instance: Instance, step: OccupancyStep) -> None:
        """Raises ChangedMeanwhile, StoreUnavailable."""
        match step:
            case TellEnd(session_id):
                await self._tell_end(instance, session_id)
            case Release(session_id):
                await self._release(instance, session_id)
            case Drain(why):
                await self._drain(instance, why)
            case NoteUnsent(session_id, unsent, loss):
                noted = await self._note(session_id, unsent, loss)
                if noted is not None and loss is not None:
                    report_settings_loss(noted, loss, self.files_lost)
            case Lose(session_id, unsent, why):
                await self._lose(session_id, unsent, why)
            case EndLost(session_id):
                await self._end_lost(session_id)
            case SetAside():
                await self._set_aside(instance)

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
            if found is None or found.state is InstanceState.RETIRING or session_id not in found.session_ids:
                return
            left = found.without(session_id)
            if not left.session_ids:
                return  # it was the last one after all, and the next plan retires the instance
            await work.instances.save(left)
            await work.commit()
        log.info("place released", extra={"instance_id": instance.instance_id, "streaming_session_id": session_id})
        self.wake("door", session_id)
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

    async def _note(
        self, session_id: str, unsent: UnsentFiles | None, settings_loss: SettingsLoss | None = None
    ) -> StreamingSession | None:
        """Return the session, None when it does not wait for its files any more."""
        async with self.transactions.begin(write=True) as work:
            session = await work.sessions.find(session_id)
            if session is None or session.is_live or session.unsent == unsent:
                return None
            noted = await work.sessions.save(replace(session, unsent=unsent, settings_loss=settings_loss))
            await work.commit()
        if unsent is None:
            log.info("files of a session are saved", extra={"streaming_session_id": session_id})
        return noted

    async def _lose(self, session_id: str, unsent: UnsentFiles, why: str) -> None:
        lost = unsent.as_lost()
        session = await self._note(session_id, lost)
        if session is not None and lost is not None:
            report_loss(session, lost, why, self.files_lost)

    async def _end_lost(self, session_id: str) -> None:
        async with self.transactions.begin(write=True) as work:
            session = await work.sessions.find(session_id)
            if session is None or not session.is_live or session.end_requested is not None:
                return
            await work.sessions.save(replace(session, end_requested=EndReason.INSTANCE_LOST))
            await work.commit()
        self.wake("session", session_id)

    async def _set_aside(self, instance: Instance) -> None:
        async with self.transactions.begin(write=True) as work:
            found = await work.instances.find(instance.instance_id)
            if found is None or not found.is_in_use or found.session_ids != instance.session_ids:
                return  # somebody came meanwhile
            aside = await work.instances.save(found.after(InstanceEvent.SET_ASIDE))
            await work.commit()
        log.info("instance sends what is left", extra={"instance_id": instance.instance_id})
        self.changed(aside)
