"""What scaling policies make of the alarms that are in ALARM now. Pure: the same facts give the same decision.

Every policy proposes a capacity; `decide` takes the largest one that scales out, and scales in only if nobody scales
out and all target tracking policies agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fanlight.domain.alarms import Comparison
from fanlight.domain.scaling import (
    AdjustmentType,
    Cooldown,
    Direction,
    NotScaledCode,
    NotScaledReason,
    ScalableTarget,
    ScalingPolicy,
    StepScaling,
    TargetTracking,
    find_step,
)

# A target tracking policy scales in only when the metric is this far below its target, or it would swing.
SCALE_IN_MARGIN = 0.9
HIGH_COMPARISONS = (Comparison.GREATER_THAN, Comparison.GREATER_THAN_OR_EQUAL)


@dataclass(frozen=True, slots=True)
class Firing:
    """An alarm in ALARM that names a policy. `value` is the newest datum, None when it has none (missing data breach)."""

    policy: ScalingPolicy
    alarm_name: str
    comparison: Comparison
    threshold: float
    value: float | None


@dataclass(frozen=True, slots=True)
class Scale:
    """Set the capacity. The target's cooldown afterwards stands in `cooldown`."""

    capacity: int
    cause: str
    cooldown: Cooldown


@dataclass(frozen=True, slots=True)
class StayAsIs:
    """A policy fired, and the capacity is where it would put it already."""

    reason: NotScaledReason
    cause: str


@dataclass(frozen=True, slots=True)
class _Proposal:
    firing: Firing
    capacity: int  # before the target's bounds
    direction: Direction
    cooldown: timedelta
    is_blocked: bool = False


def decide(
    target: ScalableTarget, policies: Sequence[ScalingPolicy], firings: Sequence[Firing], *, current: int, now: datetime
) -> Scale | StayAsIs | None:
    """Return what to do with a fleet whose capacity is `current`, None for nothing at all.

    `policies` are all of the target, because a target tracking policy that does not want to scale in keeps the others
    of its kind from it.
    """
    cooldown = target.cooldown if target.cooldown and now < target.cooldown.until else None
    proposals = [p for firing in firings if (p := _propose(firing, current, cooldown)) is not None]
    out = [p for p in proposals if p.direction is Direction.OUT]
    if out:
        if target.suspension.scaling_out:
            return None
        best = max(out, key=lambda p: p.capacity)
    else:
        inward = [p for p in proposals if p.direction is Direction.IN]
        if not _all_trackers_agree(policies, inward):
            inward = [p for p in inward if isinstance(p.firing.policy.rule, StepScaling)]
        # A scale-in is never counted from before: the whole cooldown has to pass, whichever way the last activity went.
        if not inward or target.suspension.scaling_in or cooldown is not None:
            return None
        best = max(inward, key=lambda p: p.capacity)
    return _within_bounds(target, best, current, cooldown, now)


def _within_bounds(
    target: ScalableTarget, best: _Proposal, current: int, cooldown: Cooldown | None, now: datetime
) -> Scale | StayAsIs | None:
    cause = cause_of(best.firing)
    capacity = target.clamped(best.capacity)
    is_out = best.direction is Direction.OUT
    # Bounds never turn an activity round: a fleet that stands outside of them is moved in the right direction only.
    if (is_out and capacity <= current) or (not is_out and capacity >= current):
        return StayAsIs(_not_scaled(target, current, is_out=is_out), cause)
    base = cooldown.base if cooldown is not None and cooldown.direction is best.direction else current
    return Scale(capacity, cause, Cooldown(direction=best.direction, base=base, until=now + best.cooldown))


def _not_scaled(target: ScalableTarget, current: int, *, is_out: bool) -> NotScaledReason:
    if is_out:
        return NotScaledReason(
            code=NotScaledCode.ALREADY_AT_MAX, max_capacity=target.max_capacity, current_capacity=current
        )
    return NotScaledReason(
        code=NotScaledCode.ALREADY_AT_MIN, min_capacity=target.min_capacity, current_capacity=current
    )


def cause_of(firing: Firing) -> str:
    return f"monitor alarm {firing.alarm_name} in state ALARM triggered policy {firing.policy.name}"


def _propose(firing: Firing, current: int, cooldown: Cooldown | None) -> _Proposal | None:
    # While a scale-out cools down, what it added counts as part of the next one: out goes on, but not twice.
    base = cooldown.base if cooldown is not None and cooldown.direction is Direction.OUT else current
    rule = firing.policy.rule
    if isinstance(rule, TargetTracking):
        wanted = _tracked(rule, firing, base)
        if wanted is None:
            return None
        direction = Direction.OUT if is_high(firing.comparison) else Direction.IN
        length = rule.cooldown(direction)
    else:
        wanted = stepped(rule, firing, base)
        if wanted is None:
            return None
        direction = Direction.OUT if wanted > base else Direction.IN
        length = rule.cooldown
    if (direction is Direction.OUT and wanted <= current and cooldown is not None) or wanted == base == current:
        return None
    return _Proposal(firing, wanted, direction, length)


def is_high(comparison: Comparison) -> bool:
    return comparison in HIGH_COMPARISONS


def _tracked(rule: TargetTracking, firing: Firing, base: int) -> int | None:
    if firing.value is None:
        return None
    if is_high(firing.comparison):
        return tracked_capacity(base, firing.value, rule.target_value) if firing.value > rule.target_value else None
    if rule.disable_scale_in or firing.value >= rule.target_value * SCALE_IN_MARGIN:
        return None
    return tracked_capacity(base, firing.value, rule.target_value)


def tracked_capacity(capacity: int, value: float, target_value: float) -> int:
    """Return the smallest capacity at which the metric would be at its target or below it.

    A metric of zero asks for nothing; what is left is for the target's minimum to say.
    """
    # Rounded first: 4 · 75 / 75 must stay 4, whatever binary fractions make of it.
    return max(math.ceil(round(capacity * value / target_value, 9)), 0)


def stepped(rule: StepScaling, firing: Firing, base: int) -> int | None:
    """Return the capacity that a step scaling policy wants, None when no step covers the breach.

    Without a value (missing data count as breaching) it is the step at the threshold itself.
    """
    difference = 0.0 if firing.value is None else firing.value - firing.threshold
    step = find_step(rule.steps, difference, is_high=is_high(firing.comparison))
    if step is None:
        return None
    if rule.adjustment_type is AdjustmentType.EXACT:
        return step.adjustment
    change = step.adjustment
    if rule.adjustment_type is AdjustmentType.PERCENT:
        change = _percent(base, step.adjustment)
        least = rule.min_adjustment_magnitude or 0
        if abs(change) < least and step.adjustment:
            change = least if step.adjustment > 0 else -least
    return max(base + change, 0)


def _percent(base: int, percent: int) -> int:
    """Return the change: above one rounded down, between nought and one up to one, and the same below nought."""
    exact = base * percent / 100
    if 0 < abs(exact) < 1:
        return 1 if exact > 0 else -1
    return math.trunc(exact)


def _all_trackers_agree(policies: Sequence[ScalingPolicy], inward: Sequence[_Proposal]) -> bool:
    """Return whether every target tracking policy that may scale in wants to."""
    willing = {p.firing.policy.policy_id for p in inward}
    return all(
        policy.policy_id in willing
        for policy in policies
        if isinstance(policy.rule, TargetTracking) and not policy.rule.disable_scale_in
    )


def is_fulfilled(wanted: int, *, actual: int, in_use: int) -> bool:
    """Return whether the fleet arrived: it has what was asked for, or above it only what users still hold."""
    return actual == wanted or (actual > wanted and actual == in_use)
