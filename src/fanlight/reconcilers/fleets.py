"""Keep every fleet at its desired capacity.

Never retires an instance that a user holds: a session may claim it while a plan is applied, therefore each step reads
again before it writes. Neighbours: `domain.fleet_plan` plans; `reconcilers.instances` carries out what the rows say.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from fanlight.domain.errors import ChangedMeanwhile
from fanlight.domain.fleet_errors import FleetError, FleetErrorCause, Problem
from fanlight.domain.fleet_plan import (
    BecomeRunning,
    BecomeStopped,
    Drain,
    EndSession,
    FleetStep,
    Launch,
    Report,
    Retire,
    Settle,
    Wait,
    plan_fleet,
)
from fanlight.domain.fleets import Fleet, FleetEvent, FleetState
from fanlight.domain.images import Image, ImageState
from fanlight.domain.instances import Instance, InstanceEvent, new_instance_id
from fanlight.domain.network_problems import network_problems
from fanlight.domain.networks import Networks
from fanlight.domain.ports import Clock, Transactions, UnitOfWork, Wake
from fanlight.services.usable_images import ImageUse, may_use

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FleetReconciler:
    transactions: Transactions
    clock: Clock
    wake: Wake
    networks: Networks
    make_id: Callable[[], str] = new_instance_id

    async def reconcile(self, fleet_id: str) -> datetime | None:
        """Move the fleet; return when to look again. Raises ChangedMeanwhile, StoreUnavailable."""
        async with self.transactions.begin() as work:
            fleet = await work.fleets.find(fleet_id)
            if fleet is None:
                return None
            image = await work.images.find(fleet.scope, arn=fleet.image_arn)
            is_allowed = image is None or await may_use(work, fleet.scope, image, ImageUse.FLEET)
            problems = [*_problems_of(fleet, image if is_allowed else None), *network_problems(fleet, self.networks)]
            steps = plan_fleet(
                fleet,
                await work.instances.of_fleet(fleet_id),
                () if fleet.is_provisioned else await work.sessions.live(fleet_id),
                image_ref=None if problems or image is None else image.store_ref,
                now=self.clock.now(),
                problems=problems,
            )
        until = None
        for step in steps:
            if isinstance(step, Wait):
                until = step.until
            else:
                await self._apply(fleet, step)
        return until

    async def _apply(self, fleet: Fleet, step: FleetStep) -> None:
        match step:
            case Launch(count, image_ref):
                await self._launch(fleet, count, image_ref)
            case Retire(instance_id, why):
                await self._retire(instance_id, why)
            case Drain(instance_id, why):
                await self._drain(instance_id, why)
            case EndSession(session_id):
                await self._end_session(step)
                self.wake("session", session_id)
            case BecomeRunning() | BecomeStopped():
                await self._become(fleet, step)
            case Report(problem):
                await self._report(fleet, problem)
            case Settle(causes):
                await self._settle(fleet, causes)

    async def _launch(self, planned: Fleet, count: int, image_ref: str) -> None:
        now = self.clock.now()
        async with self.transactions.begin(write=True) as work:
            fleet = await _unchanged(work, planned)
            wished = [
                await work.instances.add(
                    Instance(
                        instance_id=self.make_id(),
                        scope=fleet.scope,
                        fleet_id=fleet.fleet_id,
                        image_ref=image_ref,
                        places=fleet.places_per_instance,
                        launched_at=now,
                    )
                )
                for _ in range(count)
            ]
            await work.commit()
        log.info("launching instances", extra={"fleet": fleet.name, "count": count, "image": image_ref})
        for instance in wished:
            self.wake("instance", instance.instance_id)

    async def _retire(self, instance_id: str, why: str) -> None:
        async with self.transactions.begin(write=True) as work:
            instance = await work.instances.find(instance_id)
            if instance is None or instance.is_leaving or instance.is_in_use:
                return
            await work.instances.save(replace(instance.after(InstanceEvent.RETIRED), retire_reason=why))
            await work.commit()
        log.info("instance retired", extra={"instance_id": instance_id, "why": why})
        self.wake("instance", instance_id)

    async def _drain(self, instance_id: str, why: str) -> None:
        async with self.transactions.begin(write=True) as work:
            instance = await work.instances.find(instance_id)
            if instance is None or not instance.is_in_use or instance.is_draining:
                return
            await work.instances.save(replace(instance, is_draining=True))
            await work.commit()
        log.info("instance drains", extra={"instance_id": instance_id, "why": why})

    async def _end_session(self, step: EndSession) -> None:
        async with self.transactions.begin(write=True) as work:
            session = await work.sessions.find(step.session_id)
            if session is None or not session.is_live or session.end_requested is not None:
                return
            await work.sessions.save(replace(session, end_requested=step.reason))
            await work.commit()

    async def _become(self, planned: Fleet, step: BecomeRunning | BecomeStopped) -> None:
        is_running = isinstance(step, BecomeRunning)
        event = FleetEvent.CAPACITY_REACHED if is_running else FleetEvent.LAST_INSTANCE_GONE
        async with self.transactions.begin(write=True) as work:
            before = await work.fleets.find(planned.fleet_id)
            if before is None or before.version != planned.version:
                raise ChangedMeanwhile("fleet", planned.name)
            # Whoever got this far has nothing to tell.
            after = before.after(event).without_errors(tuple(FleetErrorCause))
            await work.fleets.save(after)
            await work.commit()
        log.info("fleet state changed", extra={"fleet": after.name, "before": before.state, "after": after.state})

    async def _report(self, planned: Fleet, problem: Problem) -> None:
        if any((e.cause, e.message) == (problem.cause, problem.message) for e in planned.errors):
            return
        async with self.transactions.begin(write=True) as work:
            fleet = await work.fleets.find(planned.fleet_id)
            if fleet is None or not fleet.is_provisioned:
                return
            error = FleetError(problem.cause, problem.message, self.clock.now())
            await work.fleets.save(fleet.with_error(error))
            await work.commit()
        log.warning("fleet cannot run", extra={"fleet": planned.name, "code": error.code, "why": problem.message})

    async def _settle(self, planned: Fleet, causes: frozenset[FleetErrorCause]) -> None:
        async with self.transactions.begin(write=True) as work:
            fleet = await _unchanged(work, planned)
            await work.fleets.save(fleet.without_errors(causes))
            await work.commit()
        log.info("fleet errors are over", extra={"fleet": planned.name, "causes": sorted(causes)})


def _problems_of(fleet: Fleet, image: Image | None) -> list[Problem]:
    """Return what about its image stands in the way of every launch."""
    if image is None:
        first = "Stop the fleet and update it" if fleet.state is FleetState.STARTING else "Update the fleet"
        text = f"The image {fleet.image_name} does not exist any more, or is not shared for fleets any more. {first} to an image that does."
        return [Problem(FleetErrorCause.IMAGE_UNKNOWN, text)]
    if image.state is not ImageState.AVAILABLE:
        text = f"The image {image.name} is {image.state}. Wait until it is AVAILABLE, or update the fleet to another."
        return [Problem(FleetErrorCause.IMAGE_NOT_AVAILABLE, text)]
    return []


async def _unchanged(work: UnitOfWork, planned: Fleet) -> Fleet:
    """Return the fleet as planned for. Raises ChangedMeanwhile: then the plan is void."""
    fleet = await work.fleets.find(planned.fleet_id)
    if fleet is None or fleet.version != planned.version:
        raise ChangedMeanwhile("fleet", planned.name)
    return fleet
