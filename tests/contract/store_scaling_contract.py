"""What every store promises of scaling and metrics."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from store_samples import HERE, NOW, OTHER_ACCOUNT, OTHER_REGION, fleet, put, session

from fanlight.domain.alarms import AlarmState, Comparison, MetricAlarm, MissingData
from fanlight.domain.errors import AlreadyExists, ChangedMeanwhile
from fanlight.domain.fleet_metrics import FleetObservation, SessionSlots
from fanlight.domain.scaling import (
    ActivityStatus,
    AdjustmentType,
    Cooldown,
    Direction,
    NotScaledCode,
    NotScaledReason,
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    StepAdjustment,
    StepScaling,
    Suspension,
    TargetTracking,
)
from fanlight.domain.streaming_sessions import EndReason, SessionState
from fanlight.store import Store

MINUTE = timedelta(minutes=1)
STEPS = StepScaling(
    adjustment_type=AdjustmentType.PERCENT,
    steps=(StepAdjustment(lower=0.5, upper=1e9, adjustment=1), StepAdjustment(lower=1e9, adjustment=-3)),
    min_adjustment_magnitude=2,
    cooldown_in_seconds=0,
)


def observation(minute: int = 0, **overrides: Any) -> FleetObservation:
    members: dict[str, Any] = {
        "scope": HERE,
        "fleet_name": "cad",
        "at": NOW + minute * MINUTE,
        "is_always_on": True,
        "available": minute,
        "in_use": 2,
        "pending": 3,
        "insufficient_capacity_errors": 4,
    }
    return FleetObservation(**members | overrides)


def alarm(name: str = "high", **overrides: Any) -> MetricAlarm:
    members: dict[str, Any] = {
        "arn": f"arn:{name}",
        "scope": HERE,
        "name": name,
        "description": "é",
        "metric_name": "CapacityUtilization",
        "namespace": "AWS/AppStream",
        "fleet_name": "cad",
        "dimensions": {"Fleet": "cad"},
        "statistic": "Average",
        "period": MINUTE,
        "evaluation_periods": 3,
        "datapoints_to_alarm": 2,
        "threshold": 67.5,
        "comparison": Comparison.LESS_THAN,
        "missing_data": MissingData.IGNORE,
        "actions": ("arn:1", "arn:2"),
        "state_updated_at": NOW,
        "state_changed_at": NOW,
        "configured_at": NOW,
    }
    return MetricAlarm(**members | overrides)


def target(fleet_name: str = "cad", **overrides: Any) -> ScalableTarget:
    members: dict[str, Any] = {
        "target_id": f"t-{fleet_name}",
        "scope": HERE,
        "fleet_id": "fleet-1",
        "fleet_name": fleet_name,
        "min_capacity": 0,
        "max_capacity": 9,
        "role_arn": "arn:role",
        "created_at": NOW,
    }
    return ScalableTarget(**members | overrides)


def policy(name: str = "p", fleet_name: str = "cad", **overrides: Any) -> ScalingPolicy:
    members: dict[str, Any] = {
        "policy_id": f"{fleet_name}-{name}",
        "scope": HERE,
        "fleet_name": fleet_name,
        "name": name,
        "rule": STEPS,
        "created_at": NOW,
    }
    return ScalingPolicy(**members | overrides)


def activity(number: int = 1, **overrides: Any) -> ScalingActivity:
    members: dict[str, Any] = {
        "activity_id": f"a-{number}",
        "scope": HERE,
        "fleet_id": "fleet-1",
        "fleet_name": "cad",
        "description": "Setting desired capacity to 4.",
        "cause": "a test",
        "status": ActivityStatus.SUCCESSFUL,
        "started_at": NOW + number * MINUTE,
    }
    return ScalingActivity(**members | overrides)


class StoreScalingContract:
    async def test_observations_are_kept_once_and_found_by_time(self, store: Store) -> None:
        slots = SessionSlots(available=1, active=2, pending=3, draining=4, drain_mode_active=5, drain_mode_unused=6)
        wanted = [observation(0), observation(1, slots=slots), observation(2)]
        async with store.transactions.begin(write=True) as work:
            await work.observations.add([])
            await work.observations.add([*wanted, observation(1, scope=OTHER_REGION), observation(1, fleet_name="b")])
            await work.observations.add([observation(0, available=99)])
            await work.commit()
        async with store.transactions.begin() as work:
            assert await work.observations.of_fleet(HERE, "cad", NOW, NOW + 2 * MINUTE) == wanted[:2]
            assert await work.observations.newest() == NOW + 2 * MINUTE

    async def test_observations_are_pruned_by_age_and_by_number(self, store: Store) -> None:
        async with store.transactions.begin(write=True) as work:
            await work.observations.add([observation(minute) for minute in range(10)])
            assert await work.observations.prune(NOW + 3 * MINUTE, at_most=100) == 3
            assert await work.observations.prune(NOW, at_most=2) == 5
            left = await work.observations.of_fleet(HERE, "cad", NOW, NOW + 100 * MINUTE)
        assert [seen.at for seen in left] == [NOW + 8 * MINUTE, NOW + 9 * MINUTE]

    async def test_fleets_with_data_are_those_that_exist(self, store: Store) -> None:
        await put(store.transactions, fleet("a"), fleet("b"), fleet("c"), fleet("a", scope=OTHER_ACCOUNT))
        async with store.transactions.begin(write=True) as work:
            await work.observations.add([observation(5, fleet_name=name) for name in ("a", "b", "gone")])
            await work.observations.add([observation(0, fleet_name="c")])
            assert await work.observations.fleets_with_data(HERE, since=NOW, limit=10) == ["a", "b", "c"]
            assert await work.observations.fleets_with_data(HERE, since=NOW + MINUTE, after="a", limit=10) == ["b"]
            assert await work.observations.fleets_with_data(OTHER_ACCOUNT, since=NOW, limit=10) == []

    async def test_refusals_are_counted_by_fleet(self, store: Store) -> None:
        over = {"state": SessionState.EXPIRED, "end_reason": EndReason.NO_CAPACITY}
        await put(
            store.transactions,
            session("s-1", user_id="a", ended_at=NOW, **over),
            session("s-2", user_id="b", ended_at=NOW + 59 * timedelta(seconds=1), **over),
            session("s-3", user_id="c", ended_at=NOW + MINUTE, **over),
            session("s-4", user_id="d", ended_at=NOW, **over | {"end_reason": EndReason.USER}),
        )
        async with store.transactions.begin() as work:
            assert await work.observations.refusals(NOW, NOW + MINUTE) == {"fleet-1": 2}

    async def test_an_alarm_comes_back_as_it_was_and_changes_by_compare_and_set(self, store: Store) -> None:
        percentile = alarm("p", statistic="p90", is_percentile=True, fleet_name=None, description=None, unit="Count")
        async with store.transactions.begin(write=True) as work:
            for one in (percentile, alarm(), alarm("high", arn="arn:elsewhere", scope=OTHER_REGION)):
                await work.alarms.add(one)
            with pytest.raises(AlreadyExists):
                await work.alarms.add(alarm(arn="arn:other"))
            assert await work.alarms.page(HERE, limit=10) == [alarm(), percentile]
            assert await work.alarms.page(HERE, after="high", limit=10) == [percentile]
            assert await work.alarms.named(HERE, ["high", "gone"]) == [alarm()]
            assert len(await work.alarms.everywhere()) == 3
            tracking = await work.alarms.add(alarm("t", tracked_policy="arn:policy"))
            assert await work.alarms.tracking(["arn:policy", "arn:other"]) == [tracking]
            assert await work.alarms.tracking([]) == []
            changed = await work.alarms.save(replace(alarm(), state=AlarmState.ALARM))
            with pytest.raises(ChangedMeanwhile):
                await work.alarms.save(alarm())
            with pytest.raises(ChangedMeanwhile):
                await work.alarms.remove(alarm())
            await work.alarms.remove(changed)
            assert await work.alarms.named(HERE, ["high"]) == []

    async def test_a_target_comes_back_as_it_was(self, store: Store) -> None:
        busy = target(
            suspension=Suspension(scaling_in=True, scheduled=True),
            cooldown=Cooldown(direction=Direction.OUT, base=3, until=NOW),
            decided_at=NOW,
        )
        async with store.transactions.begin(write=True) as work:
            await work.scalable_targets.add(busy)
            await work.scalable_targets.add(target("b"))
            with pytest.raises(AlreadyExists):
                await work.scalable_targets.add(target(target_id="another"))
            assert await work.scalable_targets.find(HERE, "cad") == busy
            assert await work.scalable_targets.find(OTHER_ACCOUNT, "cad") is None
            assert await work.scalable_targets.identified(busy.target_id) == busy
            assert await work.scalable_targets.identified("another") is None
            assert await work.scalable_targets.page(HERE, limit=1) == [target("b")]
            assert await work.scalable_targets.page(HERE, after="b", limit=10) == [busy]
            saved = await work.scalable_targets.save(replace(busy, cooldown=None))
            assert await work.scalable_targets.find(HERE, "cad") == saved
            with pytest.raises(ChangedMeanwhile):
                await work.scalable_targets.save(busy)

    async def test_policies_are_paged_by_fleet_and_name(self, store: Store) -> None:
        tracking = TargetTracking(
            target_value=75.5, metric_name="CapacityUtilization", statistic="Average", disable_scale_in=True
        )
        wanted = [policy("z/1", "a"), policy("a"), policy("b", rule=tracking), policy("a", "d")]
        async with store.transactions.begin(write=True) as work:
            for one in reversed(wanted):
                await work.scaling_policies.add(one)
            with pytest.raises(AlreadyExists):
                await work.scaling_policies.add(policy("a", policy_id="another"))
            assert await work.scaling_policies.page(HERE, limit=10) == wanted
            assert await work.scaling_policies.page(HERE, after="a/z/1", limit=2) == wanted[1:3]
            assert await work.scaling_policies.page(HERE, "cad", limit=10) == wanted[1:3]
            assert await work.scaling_policies.page(HERE, "cad", after="cad/a", limit=10) == [wanted[2]]
            assert await work.scaling_policies.find(HERE, "cad", "b") == wanted[2]
            assert len(await work.scaling_policies.everywhere()) == 4

    async def test_scheduled_actions_are_found_when_they_are_due(self, store: Store) -> None:
        action = ScheduledAction(
            action_id="1",
            scope=HERE,
            fleet_name="cad",
            name="morning",
            schedule="rate(1 day)",
            timezone="Europe/Berlin",
            starts_at=NOW,
            ends_at=NOW + MINUTE,
            min_capacity=0,
            next_run_at=NOW,
            created_at=NOW,
        )
        never = replace(action, action_id="2", name="never", next_run_at=None, min_capacity=None, max_capacity=3)
        async with store.transactions.begin(write=True) as work:
            await work.scheduled_actions.add(action)
            await work.scheduled_actions.add(never)
            assert await work.scheduled_actions.due(NOW - timedelta(microseconds=1)) == []
            assert await work.scheduled_actions.due(NOW) == [action]
            assert await work.scheduled_actions.page(HERE, limit=10) == [action, never]
            await work.scheduled_actions.save(replace(action, next_run_at=NOW + MINUTE))
            assert await work.scheduled_actions.due(NOW) == []
            with pytest.raises(ChangedMeanwhile):
                await work.scheduled_actions.save(action)

    async def test_activities_are_paged_the_newest_first(self, store: Store) -> None:
        noted = activity(
            5,
            not_scaled=NotScaledReason(code=NotScaledCode.ALREADY_AT_MAX, max_capacity=4, current_capacity=4),
        )
        pending = activity(3, status=ActivityStatus.PENDING, from_capacity=0, to_capacity=4)
        wanted = [activity(4, started_at=pending.started_at), pending, activity(2, ended_at=NOW), activity(1)]
        async with store.transactions.begin(write=True) as work:
            for one in (*wanted, noted, activity(9, fleet_name="b"), activity(8, scope=OTHER_ACCOUNT)):
                await work.scaling_activities.add(one)
            activities = work.scaling_activities
            assert await activities.page(HERE, "cad", limit=10) == wanted
            assert (await activities.page(HERE, with_not_scaled=True, limit=2))[1] == noted
            last = (wanted[0].started_at, wanted[0].activity_id)
            assert await activities.page(HERE, "cad", before=last, limit=2) == wanted[1:3]
            assert await activities.live() == await activities.live("fleet-1") == [pending]
            assert await activities.live("fleet-2") == []
            assert await activities.prune(NOW + 2 * MINUTE) == 1
            assert await activities.page(HERE, "cad", limit=10) == wanted[:3]
