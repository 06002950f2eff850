"""Measure every fleet each minute, let alarms judge, and let scaling policies and schedules set the capacity.

Whatever is decided is written first, as an activity, in the same unit of work that remembers the decision; only then is
the fleet changed, to a capacity and never by one. A process that dies in between finds the activity and goes on with
it: nothing is done twice. Neighbours: `domain.alarms` judges, `domain.scaling_plan` decides, `reconcilers.activities`
carries out.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from fanlight.domain.alarms import AlarmState, MetricAlarm, Verdict, evaluate
from fanlight.domain.errors import ChangedMeanwhile, DomainError, InvalidCombination
from fanlight.domain.fleet_metrics import METRICS, RESOLUTION, FleetObservation, minute_of
from fanlight.domain.fleets import Fleet, FleetState
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork
from fanlight.domain.scaling import (
    ActivityStatus,
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    StepScaling,
)
from fanlight.domain.scaling_plan import Firing, Scale, StayAsIs, decide
from fanlight.reconcilers.activities import Activities
from fanlight.services.fleet_sights import observe_fleets
from fanlight.services.metrics import data_of
from fanlight.services.scalable_targets import move_into_bounds
from fanlight.services.scaling_records import begin_activity, forget_target, note_not_scaled, wished_capacity
from fanlight.services.scheduled_actions import run_after

log = logging.getLogger(__name__)

_TICK_IN_SECONDS = 1.0
DATA_PER_EVALUATION = 240
_PRUNE_INTERVAL = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerSettings:
    """`observations_at_most` bounds the table whatever the retention says. Activities are kept as long as the service's."""

    metrics_kept: timedelta = timedelta(days=15)
    observations_at_most: int = 2_000_000
    activities_kept: timedelta = timedelta(weeks=6)


@dataclass(frozen=True, slots=True)
class _Judged:
    alarm: MetricAlarm
    verdict: Verdict
    values: tuple[float, ...]  # the data of the newest period that has any


class Autoscaler:
    """Run `run` as a task for the life of the process."""

    def __init__(
        self,
        *,
        transactions: Transactions,
        clock: Clock,
        activities: Activities,
        settings: AutoscalerSettings | None = None,
    ) -> None:
        self._transactions, self._clock, self._activities = transactions, clock, activities
        self._settings = settings or AutoscalerSettings()
        # The minute that runs when the process starts is measured at its end, like any other.
        self._measured_until = minute_of(clock.now())
        self._prune_at = clock.now()
        self._refused: Counter[tuple[Scope, str]] = Counter()

    @property
    def refused(self) -> Mapping[tuple[Scope, str], int]:
        """How many sessions each fleet had to refuse since this process began."""
        return self._refused

    async def run(self) -> None:
        """Tick until cancelled. Trouble with the store is logged; the next tick tries again."""
        while True:
            try:
                await self.tick()
            except DomainError as error:
                log.warning("cannot scale now", extra={"why": str(error)})
            except Exception:
                log.exception("cannot scale")
            await asyncio.sleep(_TICK_IN_SECONDS)

    async def tick(self) -> None:
        """Do what is due now: schedules, what is under way, and once a minute everything else."""
        now = self._clock.now()
        # First of all, so that what has arrived counts as arrived before something newer takes its place.
        await self._activities.carry_on()
        async with self._transactions.begin() as work:
            due = await work.scheduled_actions.due(now)
        for action in due:
            await self._run_scheduled(action, now)
        minute = minute_of(now)
        self._measured_until = min(self._measured_until, minute)  # the clock may have been set back
        is_new_minute = minute > self._measured_until
        if is_new_minute:
            await self._measure(minute)
            self._measured_until = minute
            await self._judge_and_decide(minute)
        if due or is_new_minute:
            await self._activities.carry_on()
        if now >= self._prune_at:
            await self._prune(now)
            self._prune_at = now + _PRUNE_INTERVAL

    async def _measure(self, minute: datetime) -> None:
        """Write what the minute that has just ended looked like, for every fleet that is not STOPPED."""
        at = minute - RESOLUTION
        async with self._transactions.begin() as work:
            fleets = await work.fleets.everywhere()
            active = [fleet for fleet in fleets if fleet.state is not FleetState.STOPPED]
            seen = await observe_fleets(work, active, at, since=at, until=minute)
            targets = await work.scalable_targets.everywhere()
        orphans = _orphans(targets, fleets)
        if not seen and not orphans:
            return
        async with self._transactions.begin(write=True) as work:
            await work.observations.add(seen)
            for target in orphans:
                await forget_target(work, target, self._clock.now())
                log.info("scalable target removed", extra={"fleet": target.fleet_name, "why": "its fleet is gone"})
            await work.commit()
        for one in seen:
            if one.insufficient_capacity_errors:
                self._refused[one.scope, one.fleet_name] += one.insufficient_capacity_errors

    async def _judge_and_decide(self, minute: datetime) -> None:
        async with self._transactions.begin() as work:
            alarms = await work.alarms.everywhere()
            policies = await work.scaling_policies.everywhere()
            targets = await work.scalable_targets.everywhere()
            fleets = {fleet.fleet_id: fleet for fleet in await work.fleets.everywhere()}
            judged = await _judge(work, alarms, minute)
        await self._save_verdicts(judged)
        firings = _firings(judged, policies)
        policies_of: dict[tuple[Scope, str], list[ScalingPolicy]] = {}
        for policy in policies:
            policies_of.setdefault((policy.scope, policy.fleet_name), []).append(policy)
        for target in targets:
            own = policies_of.get((target.scope, target.fleet_name), [])
            fleet = fleets.get(target.fleet_id)
            fired = [firing for policy in own for firing in firings.get(policy.arn, ())]
            if fired and fleet is not None and fleet.state is FleetState.RUNNING and target.decided_at != minute:
                decision = decide(target, own, fired, current=wished_capacity(fleet), now=self._clock.now())
                await self._apply(target, fleet, decision, minute)

    async def _save_verdicts(self, judged: Sequence[_Judged]) -> None:
        changed = [one for one in judged if one.verdict.state is not one.alarm.state or _is_unchecked(one)]
        if not changed:
            return
        now = self._clock.now()
        async with self._transactions.begin(write=True) as work:
            for one in changed:
                alarm, verdict = one.alarm, one.verdict
                after = replace(
                    alarm,
                    state=verdict.state,
                    state_reason=verdict.reason,
                    state_reason_data=verdict.reason_data,
                    state_updated_at=now,
                    state_changed_at=now if verdict.state is not alarm.state else alarm.state_changed_at,
                )
                try:
                    await work.alarms.save(after)
                except ChangedMeanwhile:
                    continue  # changed or removed by a request; the next minute judges what it is then
                log.info(
                    "alarm state changed", extra={"alarm": alarm.name, "before": alarm.state, "after": verdict.state}
                )
            await work.commit()

    async def _apply(
        self, planned: ScalableTarget, fleet: Fleet, decision: Scale | StayAsIs | None, minute: datetime
    ) -> None:
        if decision is None:
            return
        now = self._clock.now()
        async with self._transactions.begin(write=True) as work:
            target = await work.scalable_targets.find(planned.scope, planned.fleet_name)
            if target is None or target.version != planned.version:
                return
            if isinstance(decision, StayAsIs):
                await note_not_scaled(work, target, cause=decision.cause, reason=decision.reason, now=now)
            else:
                before = wished_capacity(fleet)
                await begin_activity(
                    work, target, cause=decision.cause, before=before, after=decision.capacity, now=now
                )
                await work.scalable_targets.save(replace(target, cooldown=decision.cooldown, decided_at=minute))
                log.info(
                    "scaling",
                    extra={"fleet": fleet.name, "before": before, "after": decision.capacity, "why": decision.cause},
                )
            await work.commit()

    async def _run_scheduled(self, planned: ScheduledAction, now: datetime) -> None:
        """Set new bounds, and remember in the same breath when the action runs next."""
        async with self._transactions.begin(write=True) as work:
            action = await work.scheduled_actions.find(planned.scope, planned.fleet_name, planned.name)
            if action is None or action.version != planned.version:
                return
            target = await work.scalable_targets.find(action.scope, action.fleet_name)
            if target is None:
                await work.scheduled_actions.remove(action)
            else:
                await work.scheduled_actions.save(replace(action, next_run_at=_next(action, now)))
                if not target.suspension.scheduled:
                    await self._set_bounds(work, target, action, now)
            await work.commit()
        log.info("scheduled action ran", extra={"fleet": planned.fleet_name, "action": planned.name})

    async def _set_bounds(
        self, work: UnitOfWork, target: ScalableTarget, action: ScheduledAction, now: datetime
    ) -> None:
        lowest = target.min_capacity if action.min_capacity is None else action.min_capacity
        highest = target.max_capacity if action.max_capacity is None else action.max_capacity
        given = (("min", action.min_capacity), ("max", action.max_capacity))
        bounds = " and ".join(f"{which} capacity to {value}" for which, value in given if value is not None)
        is_possible = lowest <= highest
        await work.scaling_activities.add(
            ScalingActivity(
                activity_id=str(uuid4()),
                scope=target.scope,
                fleet_id=target.fleet_id,
                fleet_name=target.fleet_name,
                description=f"Setting {bounds}",
                cause=f"scheduled action name {action.name} was triggered",
                status=ActivityStatus.SUCCESSFUL if is_possible else ActivityStatus.FAILED,
                status_message=(
                    f"Successfully set {bounds}"
                    if is_possible
                    else f"Failed to set {bounds}. Reason: the minimum {lowest} would be above the maximum {highest}."
                ),
                started_at=now,
                ended_at=now,
            )
        )
        if not is_possible:
            return
        changed = await work.scalable_targets.save(replace(target, min_capacity=lowest, max_capacity=highest))
        fleet = await work.fleets.find(target.fleet_id)
        if fleet is not None:
            # Later than the activity above, so that lists show them in their order.
            await move_into_bounds(work, changed, fleet, now + timedelta(microseconds=1))

    async def _prune(self, now: datetime) -> None:
        async with self._transactions.begin(write=True) as work:
            pruned = await work.observations.prune(
                now - self._settings.metrics_kept, at_most=self._settings.observations_at_most
            )
            pruned += await work.scaling_activities.prune(now - self._settings.activities_kept)
            if pruned:
                await work.commit()


def _next(action: ScheduledAction, now: datetime) -> datetime | None:
    try:
        return run_after(action, now)
    except InvalidCombination as error:  # a time zone that this host has lost, for one
        log.warning("a scheduled action cannot run any more", extra={"action": action.name, "why": str(error)})
        return None


def _orphans(targets: Sequence[ScalableTarget], fleets: Sequence[Fleet]) -> list[ScalableTarget]:
    present = {fleet.fleet_id for fleet in fleets}
    return [target for target in targets if target.fleet_id not in present]


def _is_unchecked(one: _Judged) -> bool:
    return one.alarm.state is AlarmState.INSUFFICIENT_DATA and not one.alarm.state_reason_data


def is_due(alarm: MetricAlarm, minute: datetime) -> bool:
    """Return whether an alarm is evaluated in this minute.

    One that looks far back reads many data, and one more of them changes little: it has its turn every 240th part of
    its window, so that the work of a minute is bounded by the number of alarms. A new one is evaluated at once.
    """
    turns = max(alarm.window // (RESOLUTION * DATA_PER_EVALUATION), 1)
    return not alarm.state_reason_data or int(minute.timestamp()) // 60 % turns == 0


async def _judge(work: UnitOfWork, alarms: Sequence[MetricAlarm], minute: datetime) -> list[_Judged]:
    """Evaluate all alarms, reading the data of a fleet once for all its alarms."""
    windows: dict[tuple[Scope, str], timedelta] = {}
    alarms = [alarm for alarm in alarms if is_due(alarm, minute)]
    for alarm in alarms:
        if alarm.fleet_name is not None:
            place = (alarm.scope, alarm.fleet_name)
            windows[place] = max(windows.get(place, timedelta(0)), alarm.window)
    seen = {
        place: await work.observations.of_fleet(*place, minute - window, minute) for place, window in windows.items()
    }
    judged = []
    for alarm in alarms:
        judged.append(
            _judged(alarm, seen[alarm.scope, alarm.fleet_name] if alarm.fleet_name is not None else (), minute)
        )
        # A long window takes a millisecond and there may be thousands of alarms: requests go in between.
        await asyncio.sleep(0)
    return judged


def _judged(alarm: MetricAlarm, seen: Sequence[FleetObservation], minute: datetime) -> _Judged:
    metric = METRICS.get(alarm.metric_name)
    data = data_of(metric, seen) if metric is not None and alarm.unit in (None, metric.unit) else []
    data = [datum for datum in data if datum.at >= minute - alarm.window]
    newest = [datum.value for datum in data if data and datum.at > data[-1].at - alarm.period]
    return _Judged(alarm, evaluate(alarm, data, minute), tuple(newest))


def _firings(judged: Sequence[_Judged], policies: Sequence[ScalingPolicy]) -> Mapping[str, list[Firing]]:
    """Return, by the ARN of the policy, the alarms in ALARM that trigger it."""
    by_arn = {policy.arn: policy for policy in policies}
    firings: dict[str, list[Firing]] = {}
    for one in judged:
        if one.verdict.state is not AlarmState.ALARM or not one.alarm.actions_enabled:
            continue
        for arn in one.alarm.actions:
            if (policy := by_arn.get(arn)) is not None:
                firings.setdefault(arn, []).append(
                    Firing(policy, one.alarm.name, one.alarm.comparison, one.alarm.threshold, _value(one, policy))
                )
    return firings


def _value(one: _Judged, policy: ScalingPolicy) -> float | None:
    """Return what the policy is told: its own aggregation of the newest period, or the alarm's statistic."""
    if not isinstance(policy.rule, StepScaling) or policy.rule.metric_aggregation_type is None or not one.values:
        return one.verdict.newest
    match policy.rule.metric_aggregation_type:
        case "Minimum":
            return min(one.values)
        case "Maximum":
            return max(one.values)
        case _:
            return sum(one.values) / len(one.values)
