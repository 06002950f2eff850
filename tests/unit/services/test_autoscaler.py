"""The autoscaler on a real store with a clock of its own: it measures, judges, decides, and never does a thing twice."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from service_rig import HERE, NOW, OTHER_REGION, Rig, new_fleet

from fanlight.domain.alarms import AlarmState, Comparison, MetricAlarm
from fanlight.domain.errors import InvalidCombination, LimitExceeded
from fanlight.domain.fleets import FleetEvent
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.scaling import (
    ActivityStatus,
    AdjustmentType,
    NotScaledCode,
    ScalingActivity,
    StepAdjustment,
    StepScaling,
    TargetTracking,
)
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingSession
from fanlight.reconcilers.activities import Activities
from fanlight.reconcilers.autoscaler import Autoscaler, AutoscalerSettings, is_due
from fanlight.services.alarms import AlarmFilter, AlarmWish
from fanlight.services.scalable_targets import TargetWish
from fanlight.services.scheduled_actions import ActionWish

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
READY, IN_USE, LAUNCHING = InstanceState.READY, InstanceState.IN_USE, InstanceState.LAUNCHING
TRACKING = TargetTracking(target_value=50, metric_name="CapacityUtilization", statistic="Average")
OUT_BY_ONE = StepScaling(
    adjustment_type=AdjustmentType.CHANGE, steps=(StepAdjustment(lower=0, adjustment=1),), cooldown_in_seconds=0
)


class Scaled:
    """A RUNNING fleet `cad` that is a scalable target, and the autoscaler that looks after it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.autoscaler = self.restarted()

    def restarted(self, **settings: Any) -> Autoscaler:
        """Return an autoscaler as a new process has it."""
        return Autoscaler(
            transactions=self.rig.transactions,
            clock=self.rig.clock,
            activities=Activities(self.rig.transactions, self.rig.clock, self.rig.services.fleets.update),
            settings=AutoscalerSettings(**settings),
        )

    async def register(self, lowest: int = 1, highest: int = 10, **wish: Any) -> None:
        await self.rig.services.scalable_targets.register(
            HERE, TargetWish(fleet_name="cad", min_capacity=lowest, max_capacity=highest, **wish)
        )

    async def has(self, *states: InstanceState) -> None:
        """Let the fleet have exactly these instances."""
        fleet = await self.rig.fleet()
        async with self.rig.transactions.begin(write=True) as work:
            for instance in await work.instances.of_fleet(fleet.fleet_id):
                await work.instances.remove(instance)
            for number, state in enumerate(states):
                await work.instances.add(
                    Instance(
                        instance_id=f"i-{self.rig.clock.now().timestamp()}-{number}",
                        scope=HERE,
                        fleet_id=fleet.fleet_id,
                        image_ref="sample",
                        state=state,
                        launched_at=NOW,
                    )
                )
            await work.commit()

    async def pass_minutes(self, count: int) -> None:
        for _ in range(count):
            self.rig.clock.advance(MINUTE)
            await self.autoscaler.tick()

    async def capacity(self) -> int:
        return (await self.rig.fleet()).desired_instances

    async def activities(self, **wish: Any) -> Sequence[ScalingActivity]:
        return (await self.rig.services.scalable_targets.activities(HERE, **wish))[0]

    async def alarms(self) -> dict[str, MetricAlarm]:
        page, _ = await self.rig.services.alarms.describe(HERE, AlarmFilter())
        return {alarm.name.split("-")[2] if alarm.tracked_policy else alarm.name: alarm for alarm in page}


@pytest.fixture
async def scaled(rig: Rig) -> Scaled:
    await rig.services.fleets.create(HERE, new_fleet(desired_instances=2))
    await rig.run_fleet("cad")
    return Scaled(rig)


async def observed(scaled: Scaled) -> list[tuple[datetime, int, int, int, int]]:
    async with scaled.rig.transactions.begin() as work:
        seen = await work.observations.of_fleet(HERE, "cad", NOW - timedelta(days=1), NOW + timedelta(days=30))
    return [(o.at, o.available, o.in_use, o.pending, o.insufficient_capacity_errors) for o in seen]


class TestMeasuring:
    async def test_a_fleet_is_measured_at_the_end_of_each_minute(self, scaled: Scaled) -> None:
        await scaled.has(READY, IN_USE, IN_USE, LAUNCHING)
        scaled.rig.clock.advance(59 * SECOND)
        await scaled.autoscaler.tick()
        assert await observed(scaled) == []
        scaled.rig.clock.advance(SECOND)
        await scaled.autoscaler.tick()
        await scaled.autoscaler.tick()
        assert await observed(scaled) == [(NOW, 1, 2, 1, 0)]

    async def test_a_new_process_measures_no_minute_twice(self, scaled: Scaled) -> None:
        await scaled.has(READY)
        await scaled.pass_minutes(1)
        again = scaled.restarted()
        await scaled.has(IN_USE, IN_USE)
        again._measured_until -= MINUTE
        await again.tick()
        assert await observed(scaled) == [(NOW, 1, 0, 0, 0)]

    async def test_a_stopped_fleet_is_not_measured(self, scaled: Scaled) -> None:
        await scaled.rig.apply("cad", FleetEvent.STOP_REQUESTED, FleetEvent.LAST_INSTANCE_GONE)
        await scaled.pass_minutes(2)
        assert await observed(scaled) == []

    async def test_refusals_count_in_their_minute(self, scaled: Scaled) -> None:
        await scaled.has(IN_USE)
        fleet = await scaled.rig.fleet()
        session = StreamingSession(
            session_id="s",
            scope=HERE,
            stack_name="design",
            fleet_name="cad",
            fleet_id=fleet.fleet_id,
            user_id="ada",
            state=SessionState.EXPIRED,
            created_at=NOW,
            max_expires_at=NOW,
            end_reason=EndReason.NO_CAPACITY,
            ended_at=NOW + 30 * SECOND,
        )
        async with scaled.rig.transactions.begin(write=True) as work:
            await work.sessions.add(session)
            await work.sessions.add(replace(session, session_id="s2", ended_at=NOW + MINUTE))
            await work.sessions.add(replace(session, session_id="s3", end_reason=EndReason.USER))
            await work.commit()
        await scaled.pass_minutes(3)
        assert [seen[-1] for seen in await observed(scaled)] == [1, 1, 0]
        assert scaled.autoscaler.refused == {(HERE, "cad"): 2}

    async def test_old_observations_are_forgotten_and_many_are_bounded(self, scaled: Scaled) -> None:
        await scaled.has(READY)
        await scaled.pass_minutes(5)
        bounded = scaled.restarted(observations_at_most=2)
        await bounded.tick()
        assert [seen[0] for seen in await observed(scaled)] == [NOW + 3 * MINUTE, NOW + 4 * MINUTE]
        scaled.rig.clock.advance(timedelta(days=15, minutes=3))
        await scaled.restarted().tick()
        assert await observed(scaled) == []


class TestTargetTracking:
    async def test_load_raises_the_capacity_and_its_end_lowers_it_slowly(self, scaled: Scaled) -> None:
        await scaled.register()
        await scaled.rig.services.scaling_policies.put(HERE, "cad", "half", TRACKING)
        await scaled.has(IN_USE, IN_USE)
        await scaled.pass_minutes(2)
        assert await scaled.capacity() == 2
        await scaled.pass_minutes(1)
        assert await scaled.capacity() == 4
        alarms = await scaled.alarms()
        assert (alarms["AlarmHigh"].state, alarms["AlarmLow"].state) == (AlarmState.ALARM, AlarmState.OK)
        newest = (await scaled.activities())[0]
        assert newest.description == "Setting desired capacity to 4."
        assert newest.cause == f"monitor alarm {alarms['AlarmHigh'].name} in state ALARM triggered policy half"
        assert newest.status is ActivityStatus.IN_PROGRESS
        await scaled.has(IN_USE, IN_USE, READY, READY)
        await scaled.autoscaler.tick()
        assert (await scaled.activities())[0].status is ActivityStatus.SUCCESSFUL
        await scaled.pass_minutes(5)
        assert await scaled.capacity() == 4
        await scaled.has(READY, READY, READY, READY)
        await scaled.pass_minutes(14)
        assert await scaled.capacity() == 4
        await scaled.pass_minutes(1)
        assert await scaled.capacity() == 1
        await scaled.has(READY)
        await scaled.autoscaler.tick()
        assert [a.status for a in await scaled.activities()] == [ActivityStatus.SUCCESSFUL] * 2

    async def test_without_data_nothing_happens(self, scaled: Scaled) -> None:
        await scaled.register()
        await scaled.rig.services.scaling_policies.put(HERE, "cad", "half", TRACKING)
        await scaled.pass_minutes(20)
        assert await scaled.capacity() == 2
        assert {alarm.state for alarm in (await scaled.alarms()).values()} == {AlarmState.INSUFFICIENT_DATA}

    async def test_a_policy_s_alarms_go_with_it(self, scaled: Scaled) -> None:
        await scaled.register()
        service = scaled.rig.services.scaling_policies
        first = await service.put(HERE, "cad", "half", TRACKING)
        assert len(first.alarms) == 2
        second = await service.put(HERE, "cad", "half", replace(TRACKING, disable_scale_in=True))
        assert second.policy.arn == first.policy.arn
        assert [alarm.threshold for alarm in second.alarms] == [50]
        await service.delete(HERE, "cad", "half")
        assert await scaled.alarms() == {}


async def watch(scaled: Scaled, *arns: str, **wish: Any) -> None:
    defaults: dict[str, Any] = {
        "name": "refused",
        "metric_name": "InsufficientCapacityError",
        "namespace": "AWS/AppStream",
        "dimensions": {"Fleet": "cad"},
        "statistic": "Sum",
        "period_in_seconds": 60,
        "evaluation_periods": 1,
        "threshold": 0.0,
        "comparison": Comparison.GREATER_THAN_OR_EQUAL,
        "actions": arns,
    }
    await scaled.rig.services.alarms.put(HERE, AlarmWish(**{**defaults, **wish}))


async def test_a_multi_session_fleet_is_scaled_in_sessions(rig: Rig) -> None:
    await rig.services.fleets.create(
        HERE, new_fleet(desired_instances=None, desired_sessions=3, max_sessions_per_instance=2)
    )
    fleet = await rig.run_fleet("cad")
    scaled = Scaled(rig)
    async with rig.transactions.begin(write=True) as work:
        for number, held in enumerate([("a", "b"), ("c",)]):
            await work.instances.add(
                Instance(
                    instance_id=f"i-{number}",
                    scope=HERE,
                    fleet_id=fleet.fleet_id,
                    image_ref="sample",
                    state=IN_USE,
                    places=2,
                    session_ids=held,
                    launched_at=NOW,
                )
            )
        await work.commit()
    await scaled.register(highest=20)
    await rig.services.scaling_policies.put(HERE, "cad", "half", TRACKING)
    await scaled.pass_minutes(3)
    # Three of four places are taken: 75 % of the places where half of them is wished.
    fleet = await rig.fleet()
    assert (fleet.desired_sessions, fleet.desired_instances) == (5, 3)
    points = await rig.services.metrics.series(
        HERE, "cad", "ActiveUserSessionCapacity", start=NOW, end=NOW + MINUTE, period=MINUTE
    )
    assert [point.values for point in points] == [(3.0,)]


class TestSteps:
    async def test_an_alarm_that_stays_acts_every_minute_without_a_cooldown(self, scaled: Scaled) -> None:
        await scaled.register(highest=4)
        policy = (await scaled.rig.services.scaling_policies.put(HERE, "cad", "more", OUT_BY_ONE)).policy
        await watch(scaled, policy.arn)
        await scaled.has(READY, READY)
        await scaled.pass_minutes(1)
        assert await scaled.capacity() == 3
        await scaled.pass_minutes(1)
        assert await scaled.capacity() == 4

    async def test_at_the_maximum_the_reason_is_noted_once(self, scaled: Scaled) -> None:
        await scaled.register(highest=2)
        policy = (await scaled.rig.services.scaling_policies.put(HERE, "cad", "more", OUT_BY_ONE)).policy
        await watch(scaled, policy.arn)
        await scaled.has(READY, READY)
        await scaled.pass_minutes(3)
        assert await scaled.capacity() == 2
        assert await scaled.activities() == []
        (noted,) = await scaled.activities(with_not_scaled=True)
        assert noted.not_scaled is not None
        assert noted.not_scaled.code is NotScaledCode.ALREADY_AT_MAX

    async def test_an_alarm_whose_actions_are_disabled_does_nothing(self, scaled: Scaled) -> None:
        await scaled.register()
        policy = (await scaled.rig.services.scaling_policies.put(HERE, "cad", "more", OUT_BY_ONE)).policy
        await watch(scaled, policy.arn, actions_enabled=False)
        await scaled.has(READY, READY)
        await scaled.pass_minutes(2)
        assert (await scaled.alarms())["refused"].state is AlarmState.ALARM
        assert await scaled.capacity() == 2
        await scaled.rig.services.alarms.enable_actions(HERE, ["refused"], are_enabled=True)
        await scaled.pass_minutes(1)
        assert await scaled.capacity() == 3

    async def test_an_alarm_that_looks_far_back_has_its_turn_less_often(self, scaled: Scaled) -> None:
        await watch(scaled, name="minute")
        await watch(scaled, name="week", period_in_seconds=3600, evaluation_periods=168)
        minutes = [NOW + number * MINUTE for number in range(24 * 60)]
        turns: dict[str, int] = {}
        for name, alarm in (await scaled.alarms()).items():
            assert all(is_due(alarm, minute) for minute in minutes[:5])  # nobody judged it yet
            judged = replace(alarm, state_reason_data="{}")
            turns[name] = sum(is_due(judged, minute) for minute in minutes)
        assert turns["minute"] == 24 * 60
        assert 30 <= turns["week"] <= 35

    async def test_alarms_act_on_policies_of_their_own_account_and_region_only(self, scaled: Scaled) -> None:
        await scaled.register()
        policy = (await scaled.rig.services.scaling_policies.put(HERE, "cad", "more", OUT_BY_ONE)).policy
        for arn in (policy.arn.replace("us-east-1", "eu-west-1"), "arn:aws:sns:us-east-1:000000000000:topic"):
            with pytest.raises(InvalidCombination, match="not available"):
                await watch(scaled, arn)


class TestCrashes:
    """A process may die between any two transactions; what it decided is carried out once."""

    async def decided(self, scaled: Scaled, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the process die right after it wrote the decision."""
        await scaled.register()
        policy = (await scaled.rig.services.scaling_policies.put(HERE, "cad", "more", OUT_BY_ONE)).policy
        await watch(scaled, policy.arn)
        await scaled.has(READY, READY)

        async def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Activities, "_begin", die)
            scaled.rig.clock.advance(MINUTE)
            with pytest.raises(KeyboardInterrupt):
                await scaled.autoscaler.tick()
        assert (await scaled.activities())[0].status is ActivityStatus.PENDING

    async def test_a_decision_is_carried_out_by_the_next_process_once(
        self, scaled: Scaled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.decided(scaled, monkeypatch)
        again = scaled.restarted()
        again._measured_until -= MINUTE  # as if the minute had not been worked on at all
        await again.tick()
        await again.tick()
        assert await scaled.capacity() == 3
        assert len(await scaled.activities()) == 1

    async def test_a_change_that_was_made_is_not_made_again(
        self, scaled: Scaled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.decided(scaled, monkeypatch)
        await scaled.rig.apply("cad", desired_instances=3)  # made, but the activity does not know it yet
        await scaled.has(READY, READY, READY)
        again = scaled.restarted()
        await again.tick()
        await again.tick()
        assert await scaled.capacity() == 3
        assert (await scaled.activities())[0].status is ActivityStatus.SUCCESSFUL

    async def test_an_administrator_s_change_meanwhile_is_respected(
        self, scaled: Scaled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.decided(scaled, monkeypatch)
        await scaled.rig.apply("cad", desired_instances=7)
        await scaled.restarted().tick()
        assert await scaled.capacity() == 7
        newest = (await scaled.activities())[0]
        assert newest.status is ActivityStatus.OVERRIDDEN
        assert "was set to 7" in str(newest.status_message)


class TestActivities:
    async def test_what_the_fleet_service_refuses_fails_with_its_words(self, scaled: Scaled) -> None:
        async def refuse(*_: object) -> None:
            raise LimitExceeded("The Instance type capacity limit was exceeded. Requested: 5, Limit: 2")

        scaled.autoscaler._activities = Activities(scaled.rig.transactions, scaled.rig.clock, refuse)
        await scaled.register(lowest=5)
        await scaled.autoscaler.tick()
        (failed,) = await scaled.activities()
        assert failed.status is ActivityStatus.FAILED
        assert failed.cause == "minimum capacity was set to 5"
        assert failed.status_message == (
            "Failed to set desired capacity to 5. Reason: The Instance type capacity limit was exceeded. "
            "Requested: 5, Limit: 2"
        )
        assert failed.ended_at is not None

    async def test_what_does_not_come_is_unfulfilled_with_the_fleet_s_own_error(self, scaled: Scaled) -> None:
        await scaled.has(READY, READY)
        await scaled.register(lowest=5)
        await scaled.autoscaler.tick()
        scaled.rig.clock.advance(31 * MINUTE)
        await scaled.autoscaler.tick()
        (late,) = await scaled.activities()
        assert late.status is ActivityStatus.UNFULFILLED
        assert "2 instances" in str(late.status_message)

    async def test_a_newer_activity_overrides_the_one_before(self, scaled: Scaled) -> None:
        await scaled.has(READY, READY)
        await scaled.register(lowest=5)
        await scaled.autoscaler.tick()
        scaled.rig.clock.advance(SECOND)
        await scaled.register(lowest=6)
        await scaled.autoscaler.tick()
        assert [(a.to_capacity, a.status) for a in await scaled.activities()] == [
            (6, ActivityStatus.IN_PROGRESS),
            (5, ActivityStatus.OVERRIDDEN),
        ]

    async def test_a_stopped_fleet_is_not_scaled(self, scaled: Scaled) -> None:
        await scaled.rig.apply("cad", FleetEvent.STOP_REQUESTED)
        await scaled.register(lowest=5)
        await scaled.autoscaler.tick()
        assert await scaled.capacity() == 2
        assert await scaled.activities() == []

    async def test_a_starting_fleet_is_scaled_once_it_runs(self, scaled: Scaled) -> None:
        await scaled.rig.apply(
            "cad", FleetEvent.STOP_REQUESTED, FleetEvent.LAST_INSTANCE_GONE, FleetEvent.START_REQUESTED
        )
        await scaled.register(lowest=5)
        await scaled.autoscaler.tick()
        assert await scaled.capacity() == 2
        await scaled.rig.apply("cad", FleetEvent.CAPACITY_REACHED)
        await scaled.autoscaler.tick()
        assert await scaled.capacity() == 5

    async def test_a_maximum_below_the_capacity_lowers_it(self, scaled: Scaled) -> None:
        await scaled.register(lowest=0, highest=1)
        await scaled.autoscaler.tick()
        assert await scaled.capacity() == 1
        assert (await scaled.activities())[0].cause == "maximum capacity was set to 1"

    async def test_the_target_of_a_deleted_fleet_goes_with_all_it_has(self, scaled: Scaled) -> None:
        await scaled.register()
        await scaled.rig.services.scaling_policies.put(HERE, "cad", "half", TRACKING)
        await scaled.rig.services.scheduled_actions.put(
            HERE, ActionWish(fleet_name="cad", name="night", schedule="rate(1 day)", has_bounds=True, min_capacity=0)
        )
        await scaled.rig.apply("cad", FleetEvent.STOP_REQUESTED, FleetEvent.LAST_INSTANCE_GONE)
        await scaled.rig.services.fleets.delete(HERE, "cad")
        await scaled.pass_minutes(1)
        services = scaled.rig.services
        assert await services.scalable_targets.describe(HERE) == ([], None)
        assert await services.scaling_policies.describe(HERE) == ([], None)
        assert await services.scheduled_actions.describe(HERE) == ([], None)
        assert await scaled.alarms() == {}

    async def test_a_fleet_made_anew_under_its_name_begins_without_a_past(self, scaled: Scaled) -> None:
        await scaled.register()
        await scaled.rig.services.scaling_policies.put(HERE, "cad", "half", TRACKING)
        await scaled.rig.apply("cad", FleetEvent.STOP_REQUESTED, FleetEvent.LAST_INSTANCE_GONE)
        await scaled.rig.services.fleets.delete(HERE, "cad")
        await scaled.rig.services.fleets.create(HERE, new_fleet())
        with pytest.raises(InvalidCombination, match="required"):
            await scaled.rig.services.scalable_targets.register(HERE, TargetWish(fleet_name="cad", min_capacity=1))
        await scaled.register()
        assert await scaled.rig.services.scaling_policies.describe(HERE) == ([], None)

    async def test_scopes_do_not_see_each_other(self, scaled: Scaled) -> None:
        await scaled.register()
        assert await scaled.rig.services.scalable_targets.describe(OTHER_REGION) == ([], None)
        with pytest.raises(InvalidCombination, match="doesn't exist"):
            await scaled.rig.services.scalable_targets.register(
                OTHER_REGION, TargetWish(fleet_name="cad", min_capacity=1, max_capacity=2)
            )


class TestSchedules:
    async def put(self, scaled: Scaled, **wish: Any) -> None:
        defaults: dict[str, Any] = {"fleet_name": "cad", "name": "morning", "has_bounds": True}
        await scaled.rig.services.scheduled_actions.put(HERE, ActionWish(**{**defaults, **wish}))

    async def test_at_its_time_the_bounds_change_and_the_capacity_follows(self, scaled: Scaled) -> None:
        await scaled.register()
        await self.put(scaled, schedule="at(2026-03-29T02:00:00)", min_capacity=4, max_capacity=6)
        scaled.rig.clock.advance(29 * MINUTE)
        await scaled.autoscaler.tick()
        assert await scaled.capacity() == 2
        scaled.rig.clock.advance(MINUTE)
        await scaled.autoscaler.tick()
        await scaled.restarted().tick()
        assert await scaled.capacity() == 4
        moved, bounds = await scaled.activities()
        assert (bounds.description, bounds.cause, bounds.status) == (
            "Setting min capacity to 4 and max capacity to 6",
            "scheduled action name morning was triggered",
            ActivityStatus.SUCCESSFUL,
        )
        assert (moved.description, moved.cause) == (
            "Setting desired capacity to 4.",
            "minimum capacity was set to 4",
        )
        (target,), _ = await scaled.rig.services.scalable_targets.describe(HERE)
        assert (target.min_capacity, target.max_capacity) == (4, 6)

    async def test_what_came_due_while_nobody_looked_runs_once(self, scaled: Scaled) -> None:
        await scaled.register()
        await self.put(scaled, schedule="rate(1 hour)", min_capacity=3)
        scaled.rig.clock.advance(timedelta(hours=5, minutes=30))
        again = scaled.restarted()
        await again.tick()
        await again.tick()
        assert len([a for a in await scaled.activities() if a.cause.startswith("scheduled")]) == 1
        (action,), _ = await scaled.rig.services.scheduled_actions.describe(HERE)
        assert action.next_run_at == NOW + timedelta(hours=6)

    async def test_suspended_schedules_pass_by(self, scaled: Scaled) -> None:
        await scaled.register(scheduled_suspended=True)
        await self.put(scaled, schedule="rate(1 hour)", min_capacity=4)
        scaled.rig.clock.advance(timedelta(hours=1))
        await scaled.autoscaler.tick()
        assert await scaled.capacity() == 2
        assert await scaled.activities() == []

    async def test_bounds_that_contradict_the_target_s_fail_in_words(self, scaled: Scaled) -> None:
        await scaled.register(highest=3)
        await self.put(scaled, schedule="rate(1 hour)", min_capacity=5)
        scaled.rig.clock.advance(timedelta(hours=1))
        await scaled.autoscaler.tick()
        (failed,) = await scaled.activities()
        assert failed.status is ActivityStatus.FAILED
        assert "minimum 5 would be above the maximum 3" in str(failed.status_message)

    async def test_a_schedule_that_never_runs_is_refused(self, scaled: Scaled) -> None:
        await scaled.register()
        with pytest.raises(InvalidCombination, match="never runs"):
            await self.put(scaled, schedule="at(2026-03-29T01:00:00)", min_capacity=4)
        with pytest.raises(InvalidCombination, match="MinCapacity"):
            await self.put(scaled, schedule="rate(1 hour)")
