"""Carry every streaming session from its wish to its end.

The store says what is wanted, the agent says what is; nothing here waits for either. A claim is one transaction on the
instance and the session, so that two sessions never hold one instance, and a crash leaves both or neither.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from fanlight.agentwire.messages import BeginSession, MalformedMessage
from fanlight.domain.errors import AgentUnreachable, NotFound
from fanlight.domain.fleets import Fleet, FleetState, FleetType
from fanlight.domain.flush_plan import unsent_at_end
from fanlight.domain.images import Image
from fanlight.domain.instances import Instance, new_instance_id
from fanlight.domain.networks import NetworkInterface
from fanlight.domain.placement import may_launch, place
from fanlight.domain.ports import AgentChannel, AgentStatus, Clock, Transactions, UnitOfWork, Wake
from fanlight.domain.session_plan import (
    PREPARING,
    STARTING,
    WAITING,
    Activate,
    Begin,
    Claim,
    CorrectTimes,
    DisconnectIdle,
    End,
    LookAgain,
    MarkDisconnected,
    NoteIdle,
    NoteUnsent,
    SessionFacts,
    SessionStep,
    ShowProgress,
    is_heard,
    is_held,
    plan_session,
)
from fanlight.domain.streaming_sessions import EndReason, SessionEvent, StreamingSession
from fanlight.reconcilers.begin_messages import begin_in_builder, begin_in_studio_session, begin_message
from fanlight.reconcilers.doors import DoorReconciler
from fanlight.reconcilers.losses import FilesLost, report_loss, take_losses
from fanlight.reconcilers.settings import ReconcilerSettings
from fanlight.services.own_desktops import find_desktop

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class SessionReconciler:
    """`changed` is called with each session after its state or progress was written, `idled` after its user was
    disconnected for being idle, `files_lost` when files that a user saved were given up. `listening_since` has the instances whose agents this process listens for; `started_at`
    is of this process. `interface_of` tells the network interface of an instance, as the engine shows it.
    """

    transactions: Transactions
    agents: AgentChannel
    clock: Clock
    settings: ReconcilerSettings
    wake: Wake
    changed: Callable[[StreamingSession], None]
    idled: Callable[[StreamingSession], None]
    files_lost: FilesLost
    sessions_of: dict[str, set[str]]
    listening_since: Mapping[str, datetime]
    started_at: datetime
    interface_of: Callable[[str], NetworkInterface | None]
    doors: DoorReconciler
    make_id: Callable[[], str] = new_instance_id
    _heard_at: dict[str, datetime] = field(default_factory=dict)
    _silent_since: dict[str, datetime] = field(default_factory=dict)
    _folders_told: dict[str, tuple[object, ...]] = field(default_factory=dict)
    _refused_for_capacity: Counter[str] = field(default_factory=Counter)  # by fleet, since this process began
    _waiting: dict[str, dict[str, datetime]] = field(default_factory=dict)  # by fleet; who came first goes first

    def heard(self, session_id: str) -> None:
        """Take note that the gateway has an open stream of this live session."""
        self._heard_at[session_id] = self.clock.now()

    def forget_all_but(self, live: Collection[str]) -> None:
        """Drop what is remembered of sessions that are over; one may be heard at the very moment it ends."""
        for session_id in {*self._heard_at, *self._silent_since, *self._folders_told} - set(live):
            self._forget(session_id, None)

    def wake_waiting(self, fleet_id: str) -> None:
        for session_id in self._waiting.get(fleet_id, {}):
            self.wake("session", session_id)

    async def reconcile(self, session_id: str) -> datetime | None:
        """Move one session; return when to look again. Raises ChangedMeanwhile, StoreUnavailable."""
        async with self.transactions.begin() as work:
            session = await work.sessions.find(session_id)
            if session is None or not session.is_live:
                self._forget(session_id, session)
                return None
            fleet = await work.fleets.find(session.fleet_id)
            desktop = await find_desktop(work, session, self.clock) if session.is_on_own_desktop else None
            instance = await work.instances.find(session.instance_id) if session.instance_id else None
        place = instance or desktop
        if place is not None:
            self.sessions_of.setdefault(place.instance_id, set()).add(session_id)
        now = self.clock.now()
        agent = self.agents.status(place.instance_id) if place else None
        facts = SessionFacts(
            session=session,
            fleet=fleet,
            instance=instance,
            agent=agent,
            heard_at=self._last_heard(session_id, now),
            capacity_wait=self.settings.capacity_wait,
            silent_since=self._note_silence(session, agent, now),
            desktop=desktop,
        )
        self._tell_folders(session, agent)
        for step in plan_session(facts, now):
            if isinstance(step, LookAgain):
                return step.until
            if await self._apply(facts, step):
                return self.clock.now()
        return None

    def _last_heard(self, session_id: str, now: datetime) -> datetime:
        """Return when the gateway was heard; never later than now, or a clock that went back kept a dead one alive."""
        heard_at = min(self._heard_at.get(session_id, self.started_at), now)
        self._heard_at[session_id] = heard_at
        return heard_at

    def _tell_folders(self, session: StreamingSession, agent: AgentStatus | None) -> None:
        """Let who shows the session look again when its folders are not what they were."""
        report = agent.session(session.session_id) if agent else None
        folders = tuple(
            (one.kind, one.state, one.is_full, one.unsent_files > 0) for one in (report.storage if report else ())
        )
        if self._folders_told.get(session.session_id, ()) != folders:
            self._folders_told[session.session_id] = folders
            self.changed(session)

    def _note_silence(self, session: StreamingSession, agent: AgentStatus | None, now: datetime) -> datetime | None:
        """Return since when the agent's silence is known.

        Counted from when we noticed, not from the last report: a host that slept for an hour finds every report old.
        """
        if session.instance_id not in self.listening_since or is_heard(agent, now):
            self._silent_since.pop(session.session_id, None)
            return None
        noticed_at = min(self._silent_since.get(session.session_id, now), now)
        self._silent_since[session.session_id] = noticed_at
        return noticed_at

    async def _apply(self, facts: SessionFacts, step: SessionStep) -> bool:
        """Carry out one step; return whether it changed so much that the rest of the plan is void."""
        if isinstance(step, Claim):
            return await self._claim(facts.session)
        if isinstance(step, Begin):
            return await self._begin(facts)
        if isinstance(step, End):
            await self._end(facts, step.reason)
            return True
        after = self._after(facts.session, step)
        if after != facts.session:
            await self._save(after, is_begun=isinstance(step, Activate))
            log.info("session changed", extra={**_about(after), "step": type(step).__name__, "state": after.state})
        if isinstance(step, DisconnectIdle):
            self.idled(after)
        if isinstance(step, Activate) and after.studio_session_id is not None:
            self.wake("studio_session", after.studio_session_id)  # its user's scripts run now
        return after != facts.session

    def _after(self, session: StreamingSession, step: SessionStep) -> StreamingSession:
        """Return the session with a step that changes nothing but its row."""
        now, after = self.clock.now(), session
        match step:
            case ShowProgress(text):
                after = replace(session, progress=text)
            case Activate():
                # Nobody is connected before the socket is there, so the disconnect time-out counts from here.
                active = session.after(SessionEvent.STARTED)
                after = replace(
                    active,
                    progress="",
                    disconnected_at=None if session.connected_since else now,
                    network_interface=self.interface_of(session.instance_id or ""),
                )
            case MarkDisconnected():
                after = replace(session, connected_since=None, disconnected_at=now)
            case DisconnectIdle(since):
                cut = replace(session, connected_since=None, disconnected_at=now)
                after = replace(cut, idle_since=since, is_idle_disconnected=True)
            case NoteIdle(since):
                after = replace(session, idle_since=since)
            case NoteUnsent(unsent):
                after = replace(session, unsent=unsent)
            case CorrectTimes(corrected):
                after = corrected
        return after

    async def _save(self, session: StreamingSession, *, is_begun: bool = False) -> None:
        async with self.transactions.begin(write=True) as work:
            if is_begun:
                session = replace(session, lost_before=await take_losses(work, session))
            saved = await work.sessions.save(session)
            await work.commit()
        self.changed(saved)

    async def _claim(self, planned: StreamingSession) -> bool:
        """Give the session an instance, if its turn has come and there is one; return whether anything was written."""
        async with self.transactions.begin(write=True) as work:
            session = await work.sessions.find(planned.session_id)
            fleet = await work.fleets.find(planned.fleet_id)
            if session is None or session.version != planned.version or fleet is None:
                return True
            claimed = await self._take_instance(work, fleet, session)
            if claimed is None:
                waiting = replace(session, progress=WAITING)
                self._waiting.setdefault(session.fleet_id, {})[session.session_id] = session.created_at
                if session.progress == WAITING:
                    return False
            else:
                progress = PREPARING if claimed.ready_at else STARTING
                waiting = replace(
                    session, instance_id=claimed.instance_id, started_at=self.clock.now(), progress=progress
                )
            saved = await work.sessions.save(waiting)
            await work.commit()
        self.changed(saved)
        if claimed is not None:
            self._stop_waiting(saved)
            self.sessions_of.setdefault(claimed.instance_id, set()).add(saved.session_id)
            if saved.storage_kinds:
                self.wake("door", saved.session_id)
            self.wake("instance", claimed.instance_id)
            self.wake("fleet", saved.fleet_id)
            log.info("instance claimed", extra={**_about(saved), "instance_id": claimed.instance_id})
        return claimed is not None

    async def _take_instance(self, work: UnitOfWork, fleet: Fleet, session: StreamingSession) -> Instance | None:
        if fleet.state is not FleetState.RUNNING:
            return None
        instances = await work.instances.of_fleet(fleet.fleet_id)
        image = await work.images.find(fleet.scope, arn=fleet.image_arn)
        ahead = self._ahead_of(session)
        if (chosen := place(instances, ahead=ahead, image_ref=image.store_ref if image else None)) is not None:
            return await work.instances.save(chosen.claimed_by(session.session_id))
        if fleet.fleet_type is FleetType.ALWAYS_ON or not may_launch(fleet, instances, ahead=ahead):
            return None
        if image is None:
            return None
        born = Instance(
            instance_id=self.make_id(),
            scope=fleet.scope,
            fleet_id=fleet.fleet_id,
            image_ref=image.store_ref,
            places=fleet.places_per_instance,
            launched_at=self.clock.now(),
        )
        added = await work.instances.add(born)
        return await work.instances.save(added.claimed_by(session.session_id))

    def _ahead_of(self, session: StreamingSession) -> int:
        mine = (session.created_at, session.session_id)
        others = self._waiting.get(session.fleet_id, {}).items()
        return sum(1 for session_id, created_at in others if (created_at, session_id) < mine)

    async def _begin(self, facts: SessionFacts) -> bool:
        session = facts.session
        try:
            message = await (self._message_on_desktop(facts) if session.is_on_own_desktop else self._message_of(facts))
            if message is None:
                return True
            await self.agents.send(session.instance_id or "", {"type": BeginSession.TYPE, **asdict(message)})
        except AgentUnreachable:
            return False
        except (NotFound, MalformedMessage) as error:
            log.warning("cannot begin", extra={**_about(session), "why": str(error)})
            await self._end(facts, EndReason.START_FAILED)
            return True
        return False

    async def _message_on_desktop(self, facts: SessionFacts) -> BeginSession | None:
        async with self.transactions.begin() as work:
            if facts.session.studio_session_id is not None:
                owner = await work.studio_sessions.find(facts.session.fleet_id)
                return begin_in_studio_session(facts.session, owner) if owner else None
            builder = await work.image_builders.find(facts.session.fleet_id)
        return begin_in_builder(facts.session, builder) if builder else None

    async def _message_of(self, facts: SessionFacts) -> BeginSession | None:
        """Raises NotFound."""
        session, fleet, instance = facts.session, facts.fleet, facts.instance
        if fleet is None or instance is None:
            return None
        async with self.transactions.begin() as work:
            await work.stacks.get(session.scope, session.stack_name)  # one that is gone starts nothing
            image = await _image_of(work, fleet, instance)
        return replace(begin_message(session, fleet, image), storage=self.doors.mounts_of(session, facts.agent))

    async def _end(self, facts: SessionFacts, reason: EndReason) -> None:
        """Write the end. Its instance is given back by `reconcilers.instances`, which sees a session that is over."""
        now, planned = self.clock.now(), facts.session
        report = facts.agent.session(planned.session_id) if facts.agent else None
        unsent = unsent_at_end(planned, report, is_held=is_held(planned, facts.instance))
        ended = replace(
            planned.after(SessionEvent.ENDED),
            end_reason=reason,
            ended_at=now,
            connected_since=None,
            disconnected_at=now if planned.connected_since else planned.disconnected_at,
            progress="",
            unsent=unsent,
        )
        await self._save(ended)
        if unsent is not None and unsent.are_lost:
            report_loss(ended, unsent, "the instance is gone", self.files_lost)
        self._forget(planned.session_id, planned)
        log.info("session ended", extra={**_about(planned), "reason": reason})
        if reason is EndReason.NO_CAPACITY:
            self._refused_for_capacity[planned.fleet_id] += 1
            count = self._refused_for_capacity[planned.fleet_id]
            log.warning("insufficient capacity", extra={**_about(planned), "count_since_start": count})
        if planned.instance_id is not None:
            self.wake("instance", planned.instance_id)
        if planned.storage_kinds:
            self.wake("door", planned.session_id)
        if not planned.is_on_own_desktop:
            self.wake("fleet", planned.fleet_id)
            self.wake_waiting(planned.fleet_id)

    def _forget(self, session_id: str, session: StreamingSession | None) -> None:
        self._heard_at.pop(session_id, None)
        self._silent_since.pop(session_id, None)
        self._folders_told.pop(session_id, None)
        if session is not None:
            self._stop_waiting(session)

    def _stop_waiting(self, session: StreamingSession) -> None:
        waiting = self._waiting.get(session.fleet_id, {})
        waiting.pop(session.session_id, None)
        if not waiting:
            self._waiting.pop(session.fleet_id, None)


async def _image_of(work: UnitOfWork, fleet: Fleet, instance: Instance) -> Image | None:
    """Return the image that the instance has, which need not be the fleet's any more; that one where it is unknown."""
    visible = await work.images.visible(fleet.scope)
    own = next((image for image in visible if image.store_ref == instance.image_ref), None)
    return own or await work.images.find(fleet.scope, arn=fleet.image_arn)


def _about(session: StreamingSession) -> dict[str, str]:
    return {"streaming_session_id": session.session_id, "fleet": session.fleet_name}
