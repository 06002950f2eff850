"""What scaling policies decide, from alarms and cooldowns."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.domain.alarms import Comparison
from fanlight.domain.places import Scope
from fanlight.domain.scaling import (
    AdjustmentType,
    Cooldown,
    Direction,
    NotScaledCode,
    ScalableTarget,
    ScalingPolicy,
    StepAdjustment,
    StepScaling,
    Suspension,
    TargetTracking,
)
from fanlight.domain.scaling_plan import (
    Firing,
    Scale,
    StayAsIs,
    decide,
    is_fulfilled,
    stepped,
    tracked_capacity,
)

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
SCOPE = Scope("000000000000", "us-east-1")
HIGH, LOW = Comparison.GREATER_THAN, Comparison.LESS_THAN
OUT_BY_TWO = StepScaling(
    adjustment_type=AdjustmentType.CHANGE, steps=(StepAdjustment(lower=0, adjustment=2),), cooldown_in_seconds=120
)
IN_BY_ONE = StepScaling(adjustment_type=AdjustmentType.CHANGE, steps=(StepAdjustment(upper=0, adjustment=-1),))


def target(**overrides: Any) -> ScalableTarget:
    defaults: dict[str, Any] = {
        "target_id": "t",
        "scope": SCOPE,
        "fleet_id": "f",
        "fleet_name": "cad",
        "min_capacity": 1,
        "max_capacity": 10,
        "role_arn": "arn",
        "created_at": NOW,
    }
    return ScalableTarget(**{**defaults, **overrides})


def policy(rule: Any, name: str = "p") -> ScalingPolicy:
    return ScalingPolicy(policy_id=name, scope=SCOPE, fleet_name="cad", name=name, rule=rule, created_at=NOW)


def tracking(target_value: float = 50, **more: Any) -> TargetTracking:
    return TargetTracking(target_value=target_value, metric_name="CapacityUtilization", statistic="Average", **more)


def firing(of: ScalingPolicy, value: float | None, comparison: Comparison = HIGH, threshold: float = 75.0) -> Firing:
    return Firing(of, f"alarm-of-{of.name}", comparison, threshold, value)


def decided(
    *firings: Firing, current: int, policies: tuple[ScalingPolicy, ...] = (), **of_target: Any
) -> Scale | StayAsIs | None:
    every = policies or tuple({one.policy.name: one.policy for one in firings}.values())
    return decide(target(**of_target), every, firings, current=current, now=NOW)


class TestTargetTracking:
    @pytest.mark.parametrize(
        ("capacity", "value", "target_value", "expected"),
        [
            (4, 75, 75, 4),
            (4, 100, 50, 8),
            (3, 100, 75, 4),
            (10, 20, 50, 4),
            (10, 21, 50, 5),
            (5, 0, 50, 0),
            (0, 90, 50, 0),
        ],
    )
    def test_the_capacity_is_the_smallest_that_meets_the_target(
        self, capacity: int, value: float, target_value: float, expected: int
    ) -> None:
        assert tracked_capacity(capacity, value, target_value) == expected

    @given(st.integers(1, 1000), st.floats(0, 100), st.floats(1, 100))
    def test_the_metric_would_be_at_its_target_and_no_instance_more_is_taken(
        self, capacity: int, value: float, target_value: float
    ) -> None:
        wanted = tracked_capacity(capacity, value, target_value)
        load = capacity * value
        assert load <= wanted * target_value + 1e-4
        assert wanted == 0 or load >= (wanted - 1) * target_value - 1e-4

    def test_a_high_alarm_scales_out_and_cools_down(self) -> None:
        tracker = policy(tracking(scale_out_cooldown_in_seconds=60))
        assert decided(firing(tracker, 100), current=2) == Scale(
            4,
            "monitor alarm alarm-of-p in state ALARM triggered policy p",
            Cooldown(direction=Direction.OUT, base=2, until=NOW + timedelta(seconds=60)),
        )

    def test_without_a_cooldown_of_its_own_it_is_five_minutes(self) -> None:
        scale = decided(firing(policy(tracking()), 100), current=2)
        assert isinstance(scale, Scale)
        assert scale.cooldown.until == NOW + timedelta(minutes=5)

    def test_a_low_alarm_scales_in_by_proportion(self) -> None:
        scale = decided(firing(policy(tracking()), 20, LOW), current=10)
        assert isinstance(scale, Scale)
        assert (scale.capacity, scale.cooldown.direction) == (4, Direction.IN)

    def test_a_metric_close_below_its_target_scales_nothing(self) -> None:
        assert decided(firing(policy(tracking()), 46, LOW), current=10) is None

    def test_disabled_scale_in_only_grows(self) -> None:
        assert decided(firing(policy(tracking(disable_scale_in=True)), 0, LOW), current=10) is None

    def test_nothing_in_use_goes_to_the_minimum(self) -> None:
        scale = decided(firing(policy(tracking()), 0, LOW), current=10, min_capacity=3)
        assert isinstance(scale, Scale)
        assert scale.capacity == 3

    def test_all_trackers_must_agree_to_scale_in(self) -> None:
        first, second = policy(tracking(), "first"), policy(tracking(80), "second")
        assert decided(firing(first, 20, LOW), current=10, policies=(first, second)) is None
        both = decided(firing(first, 20, LOW), firing(second, 20, LOW), current=10, policies=(first, second))
        assert isinstance(both, Scale)
        assert both.capacity == 4

    def test_a_tracker_that_never_scales_in_has_no_say_in_it(self) -> None:
        first, second = policy(tracking(), "first"), policy(tracking(80, disable_scale_in=True), "second")
        assert isinstance(decided(firing(first, 20, LOW), current=10, policies=(first, second)), Scale)


class TestCooldowns:
    OUT = Cooldown(direction=Direction.OUT, base=2, until=NOW + timedelta(seconds=1))

    def test_what_a_scale_out_added_counts_while_it_cools_down(self) -> None:
        tracker = policy(tracking())
        assert decided(firing(tracker, 100), current=4, cooldown=self.OUT) is None

    def test_a_larger_breach_scales_out_further_from_the_same_base(self) -> None:
        steps = policy(
            StepScaling(
                adjustment_type=AdjustmentType.CHANGE,
                steps=(StepAdjustment(lower=0, upper=10, adjustment=2), StepAdjustment(lower=10, adjustment=5)),
            )
        )
        assert decided(firing(steps, 80), current=4, cooldown=self.OUT) is None
        scale = decided(firing(steps, 90), current=4, cooldown=self.OUT)
        assert isinstance(scale, Scale)
        assert (scale.capacity, scale.cooldown.base) == (7, 2)

    def test_a_scale_in_waits_for_every_cooldown(self) -> None:
        assert decided(firing(policy(tracking()), 0, LOW), current=4, cooldown=self.OUT) is None

    def test_a_scale_out_ends_the_cooldown_of_a_scale_in(self) -> None:
        inward = Cooldown(direction=Direction.IN, base=8, until=NOW + timedelta(minutes=5))
        scale = decided(firing(policy(tracking()), 100), current=4, cooldown=inward)
        assert isinstance(scale, Scale)
        assert (scale.capacity, scale.cooldown.base) == (8, 4)

    def test_a_cooldown_is_over_at_its_end(self) -> None:
        over = Cooldown(direction=Direction.OUT, base=2, until=NOW)
        scale = decided(firing(policy(tracking()), 100), current=4, cooldown=over)
        assert isinstance(scale, Scale)
        assert scale.capacity == 8


class TestSteps:
    PERCENT = StepScaling(
        adjustment_type=AdjustmentType.PERCENT,
        steps=(StepAdjustment(lower=0, upper=20, adjustment=25), StepAdjustment(lower=20, adjustment=100)),
        min_adjustment_magnitude=2,
    )

    @pytest.mark.parametrize(("value", "expected"), [(75, 6), (94.9, 6), (95, 8), (None, 6), (1000, 8)], ids=str)
    def test_above_the_threshold_lower_bounds_belong_to_a_step(self, value: float | None, expected: int) -> None:
        assert stepped(self.PERCENT, firing(policy(self.PERCENT), value), 4) == expected

    @pytest.mark.parametrize(("value", "expected"), [(25, 3), (15.1, 3), (15, 1), (0, 1)])
    def test_below_the_threshold_upper_bounds_do(self, value: float, expected: int) -> None:
        rule = StepScaling(
            adjustment_type=AdjustmentType.CHANGE,
            steps=(StepAdjustment(lower=-10, upper=0, adjustment=-1), StepAdjustment(upper=-10, adjustment=-3)),
        )
        assert stepped(rule, firing(policy(rule), value, LOW, 25.0), 4) == expected

    def test_a_value_that_no_step_covers_changes_nothing(self) -> None:
        assert stepped(OUT_BY_TWO, firing(policy(OUT_BY_TWO), 50), 4) is None

    @pytest.mark.parametrize(
        ("percent", "base", "expected"), [(50, 3, 4), (10, 3, 4), (-10, 3, 2), (-50, 3, 2), (200, 10, 30), (0, 5, 5)]
    )
    def test_percentages_are_rounded_down_but_never_to_nothing(self, percent: int, base: int, expected: int) -> None:
        rule = StepScaling(adjustment_type=AdjustmentType.PERCENT, steps=(StepAdjustment(lower=0, adjustment=percent),))
        assert stepped(rule, firing(policy(rule), 80), base) == expected

    def test_an_exact_capacity_is_that(self) -> None:
        rule = StepScaling(adjustment_type=AdjustmentType.EXACT, steps=(StepAdjustment(lower=0, adjustment=7),))
        scale = decided(firing(policy(rule), 80), current=2)
        assert isinstance(scale, Scale)
        assert scale.capacity == 7

    def test_capacity_never_falls_below_nothing(self) -> None:
        rule = StepScaling(adjustment_type=AdjustmentType.CHANGE, steps=(StepAdjustment(upper=0, adjustment=-9),))
        assert stepped(rule, firing(policy(rule), 1, LOW), 4) == 0


class TestSeveralPolicies:
    def test_the_largest_capacity_wins(self) -> None:
        by_three = StepScaling(adjustment_type=AdjustmentType.CHANGE, steps=(StepAdjustment(lower=0, adjustment=3),))
        double = StepScaling(adjustment_type=AdjustmentType.PERCENT, steps=(StepAdjustment(lower=0, adjustment=200),))
        first, second = policy(by_three, "three"), policy(double, "triple")
        scale = decided(firing(first, 80), firing(second, 80), current=10, max_capacity=100)
        assert isinstance(scale, Scale)
        assert scale.capacity == 30
        assert scale.cause.endswith("policy triple")

    def test_whoever_scales_out_prevails_over_whoever_scales_in(self) -> None:
        outward, inward = policy(OUT_BY_TWO, "out"), policy(IN_BY_ONE, "in")
        scale = decided(firing(outward, 80), firing(inward, 10, LOW), current=4)
        assert isinstance(scale, Scale)
        assert scale.capacity == 6


class TestBounds:
    def test_a_capacity_is_kept_within_the_bounds(self) -> None:
        scale = decided(firing(policy(OUT_BY_TWO), 80), current=9)
        assert isinstance(scale, Scale)
        assert scale.capacity == 10

    def test_at_the_maximum_nothing_happens_and_the_reason_is_told(self) -> None:
        stay = decided(firing(policy(OUT_BY_TWO), 80), current=10)
        assert isinstance(stay, StayAsIs)
        assert (stay.reason.code, stay.reason.max_capacity, stay.reason.current_capacity) == (
            NotScaledCode.ALREADY_AT_MAX,
            10,
            10,
        )

    def test_at_the_minimum_too(self) -> None:
        stay = decided(firing(policy(IN_BY_ONE), 10, LOW), current=1)
        assert isinstance(stay, StayAsIs)
        assert stay.reason.code is NotScaledCode.ALREADY_AT_MIN

    def test_a_capacity_outside_the_bounds_is_moved_in_the_right_direction_only(self) -> None:
        assert isinstance(decided(firing(policy(OUT_BY_TWO), 80), current=12), StayAsIs)
        scale = decided(firing(policy(IN_BY_ONE), 10, LOW), current=12)
        assert isinstance(scale, Scale)
        assert scale.capacity == 10

    @pytest.mark.parametrize(
        ("suspension", "rule", "value", "comparison"),
        [
            (Suspension(scaling_out=True), OUT_BY_TWO, 80, HIGH),
            (Suspension(scaling_in=True), IN_BY_ONE, 10, LOW),
        ],
    )
    def test_what_is_suspended_does_not_happen(
        self, suspension: Suspension, rule: StepScaling, value: float, comparison: Comparison
    ) -> None:
        shot = firing(policy(rule), value, comparison)
        assert decided(shot, current=4, suspension=suspension) is None
        assert decided(shot, current=4, suspension=Suspension(scheduled=True)) is not None

    @given(st.integers(0, 200), st.floats(0, 100), st.integers(0, 50), st.integers(0, 50), st.sampled_from([HIGH, LOW]))
    def test_no_decision_ever_leaves_the_bounds_or_goes_the_wrong_way(
        self, current: int, value: float, lowest: int, more: int, comparison: Comparison
    ) -> None:
        scale = decided(
            firing(policy(tracking()), value, comparison),
            current=current,
            min_capacity=lowest,
            max_capacity=lowest + more,
        )
        if isinstance(scale, Scale):
            assert lowest <= scale.capacity <= lowest + more
            assert (scale.capacity > current) == (comparison is HIGH)


@pytest.mark.parametrize(
    ("wanted", "actual", "in_use", "expected"),
    [(3, 3, 0, True), (3, 2, 0, False), (3, 5, 5, True), (3, 5, 4, False), (0, 0, 0, True)],
)
def test_a_change_is_fulfilled_when_only_users_hold_more(
    wanted: int,
    actual: int,
    in_use: int,
    expected: bool,  # noqa: FBT001
) -> None:
    assert is_fulfilled(wanted, actual=actual, in_use=in_use) is expected
