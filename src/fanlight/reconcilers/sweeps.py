"""The safety net: from time to time compare everything in the store with everything seen, and wake what does not fit."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from fanlight.domain.errors import DriverError
from fanlight.domain.fleets import FleetState
from fanlight.domain.instance_plan import LookAgain, plan_instance
from fanlight.domain.instances import Instance
from fanlight.domain.ports import Transactions
from fanlight.domain.streaming_sessions import SessionState, StreamingSession
from fanlight.reconcilers.buckets import BucketReconciler
from fanlight.reconcilers.doors import DoorReconciler
from fanlight.reconcilers.instances import InstanceReconciler
from fanlight.reconcilers.queues import KeyedQueue
from fanlight.reconcilers.sessions import SessionReconciler
from fanlight.reconcilers.settings import ReconcilerSettings
from fanlight.reconcilers.sightings import Sightings

log = logging.getLogger(__name__)

_IF_FOREIGN = "if the data directory of that installation is gone: `fanlight uninstall` for it, or `incus delete`"


class Sweep:
    """`run_if_due` does what its three intervals ask for; the first call does all of it."""

    def __init__(
        self,
        *,
        transactions: Transactions,
        settings: ReconcilerSettings,
        instances: InstanceReconciler,
        sessions: SessionReconciler,
        sightings: Sightings,
        doors: DoorReconciler,
        buckets: BucketReconciler,
        queues: Mapping[str, KeyedQueue],
    ) -> None:
        self._transactions, self._settings = transactions, settings
        self._instances, self._sessions = instances, sessions
        self._doors, self._buckets = doors, buckets
        self._sightings, self._queues = sightings, queues
        self._hinted: set[str] = set()
        self._has_told_of_foreign = False
        self.start_anew()

    def start_anew(self) -> None:
        """Let everything be due, as in the beginning."""
        self._look_at: datetime | None = None
        self._sweep_at: datetime | None = None
        self._prune_at: datetime | None = None

    def look_soon(self, instance_id: str) -> None:
        """Look at the engine at the next opportunity, because it hinted at this instance."""
        self._hinted.add(instance_id)

    async def run_if_due(self, now: datetime) -> None:
        """Raises StoreUnavailable. An engine that is away is logged; sessions go on without it."""
        if self._hinted or self._look_at is None or self._look_at <= now:
            self._look_at = now + self._settings.look_interval
            await self._look()
        if self._sweep_at is None or self._sweep_at <= now:
            await self._compare(now)
            await self._buckets.wake_all()
            self._sweep_at = now + self._settings.sweep_interval
        if self._prune_at is None or self._prune_at <= now:
            async with self._transactions.begin(write=True) as work:
                kept_unsent = self._settings.unsent_files_kept + self._settings.losses_kept
                pruned = await work.sessions.prune(now - self._settings.expired_sessions_kept, now - kept_unsent)
                pruned += await work.studio_sessions.prune(now - self._settings.nimble_deleted_kept)
                if pruned:
                    await work.commit()
                    log.debug("sessions pruned", extra={"count": pruned})
            self._prune_at = now + self._settings.prune_interval

    async def _look(self) -> None:
        hinted, self._hinted = self._hinted, set()
        try:
            changed = await self._sightings.look()
        except DriverError as error:
            log.warning("cannot look at the engine", extra={"why": str(error)})
            return
        for instance_id in changed | hinted:
            self._queues["instance"].wake(instance_id)
        if self._sightings.foreign_ids and not self._has_told_of_foreign:
            self._has_told_of_foreign = True
            log.warning(
                "instances of another installation are left alone",
                extra={"count": len(self._sightings.foreign_ids), "remedy": _IF_FOREIGN},
            )

    async def _compare(self, now: datetime) -> None:
        async with self._transactions.begin() as work:
            fleets = await work.fleets.everywhere()
            builders = await work.image_builders.everywhere()
            studio_sessions = await work.studio_sessions.everywhere()
            instances = await work.instances.everywhere()
            sessions = await work.sessions.live()
        self._sessions.forget_all_but({s.session_id for s in sessions})
        self._compare_doors(instances, {s.session_id: s for s in sessions})
        self._compare_instances(instances, {s.session_id: s for s in sessions}, now)
        for session in sessions:
            is_wish = session.state is SessionState.PENDING or session.end_requested is not None
            if is_wish or not self._queues["session"].knows(session.session_id):
                self._queues["session"].wake(session.session_id)
        occupied = Counter(i.fleet_id for i in instances) + Counter(s.fleet_id for s in sessions)
        for builder in builders:
            self._queues["image_builder"].wake(builder.builder_id)
        for studio_session in studio_sessions:
            self._queues["studio_session"].wake(studio_session.session_id)
        for fleet in fleets:
            if fleet.state is not FleetState.STOPPED or occupied[fleet.fleet_id]:
                self._queues["fleet"].wake(fleet.fleet_id)

    def _compare_doors(self, instances: Sequence[Instance], live: Mapping[str, StreamingSession]) -> None:
        for instance in instances:
            for session_id in instance.session_ids:
                if self._doors.needs_look(session_id, live.get(session_id)):
                    self._queues["door"].wake(session_id)

    def _compare_instances(
        self, instances: Sequence[Instance], sessions: Mapping[str, StreamingSession], now: datetime
    ) -> None:
        queue = self._queues["instance"]
        for instance in instances:
            held = {session_id: sessions[session_id] for session_id in instance.session_ids if session_id in sessions}
            sight = self._instances.sight(instance)
            kept = self._settings.unsent_files_kept
            for step in plan_instance(instance, held, sight, retry_at=None, now=now, unsent_kept=kept):
                if not isinstance(step, LookAgain):
                    queue.wake(instance.instance_id)
                elif not queue.knows(instance.instance_id):
                    queue.wake_at(instance.instance_id, max(step.until, now + timedelta(milliseconds=1)))
        for stranger in set(self._sightings.instance_ids) - {i.instance_id for i in instances}:
            queue.wake(stranger)  # an orphan, or an image builder's
