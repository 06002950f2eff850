"""Scalable targets: which fleets may be scaled, and between which bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from fanlight.domain.errors import InvalidCombination, NotFound
from fanlight.domain.fleets import Fleet, FleetState
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork
from fanlight.domain.scaling import (
    ScalableTarget,
    ScalingActivity,
    ScalingObjectMissing,
    Suspension,
    resource_id,
    service_role_arn,
)
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.resource_tags import ResourceTags
from fanlight.services.scaling_records import begin_activity, forget_target, where, wished_capacity

PAGE_SIZE = 50
LARGEST_CAPACITY = 10_000  # of fleets, in sessions or instances; a larger number is a slip of the hand


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetWish:
    """What RegisterScalableTarget says; None leaves as it is, and is an error for bounds of a new target."""

    fleet_name: str
    min_capacity: int | None = None
    max_capacity: int | None = None
    scaling_in_suspended: bool | None = None
    scaling_out_suspended: bool | None = None
    scheduled_suspended: bool | None = None
    tags: Mapping[str, str] | None = None


class ScalableTargetService:
    def __init__(self, transactions: Transactions, clock: Clock, tokens: PageTokens) -> None:
        self._transactions, self._clock, self._tokens = transactions, clock, tokens
        self.tags = ResourceTags(transactions, _check_arn)

    async def register(self, scope: Scope, wish: TargetWish) -> ScalableTarget:
        """Make or change a target, and move a running fleet's capacity into its bounds.

        Raises InvalidCombination (no such fleet, wrong bounds), LimitExceeded (tags).
        """
        now = self._clock.now()
        async with self._transactions.begin(write=True) as work:
            fleet = await _fleet(work, scope, wish.fleet_name)
            known = await work.scalable_targets.find(scope, wish.fleet_name)
            if known is not None and known.fleet_id != fleet.fleet_id:
                await forget_target(work, known, now)
                known = None
            target = _wished(known or _new(fleet, wish, now), wish)
            target = await (work.scalable_targets.save(target) if known else work.scalable_targets.add(target))
            await self.tags.put(work, target.arn, wish.tags or {})
            await move_into_bounds(work, target, fleet, now)
            await work.commit()
        return target

    async def describe(
        self, scope: Scope, *, fleet_names: Sequence[str] = (), limit: int = PAGE_SIZE, next_token: str | None = None
    ) -> tuple[Sequence[ScalableTarget], str | None]:
        """Return one page by fleet and the token of the next; names without a target are left out. Raises InvalidPageToken."""
        asked = ["scalable targets", *fleet_names]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            if fleet_names:
                names = sorted({name for name in fleet_names if name > after})
                found = [t for name in names if (t := await work.scalable_targets.find(scope, name)) is not None]
            else:
                found = list(await work.scalable_targets.page(scope, after=after, limit=limit + 1))
        page, has_more = cut(found, limit)
        return page, self._tokens.issue(scope, asked, page[-1].fleet_name) if has_more else None

    async def deregister(self, scope: Scope, fleet_name: str) -> None:
        """Remove a target with its policies and scheduled actions; the capacity stays. Raises ScalingObjectMissing."""
        async with self._transactions.begin(write=True) as work:
            target = await work.scalable_targets.find(scope, fleet_name)
            if target is None:
                raise ScalingObjectMissing(f"No scalable target found for {where(fleet_name)}")
            await forget_target(work, target, self._clock.now())
            await work.commit()

    async def activities(
        self,
        scope: Scope,
        *,
        fleet_name: str | None = None,
        with_not_scaled: bool = False,
        limit: int = PAGE_SIZE,
        next_token: str | None = None,
    ) -> tuple[Sequence[ScalingActivity], str | None]:
        """Return one page of activities, the newest first, and the token of the next. Raises InvalidPageToken."""
        asked = ["scaling activities", fleet_name or "", str(with_not_scaled)]
        last = self._tokens.read(scope, asked, next_token)
        before = None
        if last:
            started_at, _, activity_id = last.partition("/")
            before = (datetime.fromisoformat(started_at), activity_id)
        async with self._transactions.begin() as work:
            found = await work.scaling_activities.page(
                scope, fleet_name, with_not_scaled=with_not_scaled, before=before, limit=limit + 1
            )
        page, has_more = cut(found, limit)
        if not has_more:
            return page, None
        return page, self._tokens.issue(scope, asked, f"{page[-1].started_at.isoformat()}/{page[-1].activity_id}")


async def move_into_bounds(
    work: UnitOfWork, target: ScalableTarget, fleet: Fleet, now: datetime
) -> ScalingActivity | None:
    """Begin an activity that brings the capacity between the bounds; None when it is, or when the fleet is not active."""
    current = wished_capacity(fleet)
    wanted = target.clamped(current)
    if wanted == current or fleet.state not in (FleetState.STARTING, FleetState.RUNNING):
        return None
    bound = "minimum" if wanted > current else "maximum"
    return await begin_activity(
        work, target, cause=f"{bound} capacity was set to {wanted}", before=current, after=wanted, now=now
    )


def check_bounds(min_capacity: int | None, max_capacity: int | None) -> None:
    """Raises InvalidCombination."""
    for member, value in (("MinCapacity", min_capacity), ("MaxCapacity", max_capacity)):
        if value is not None and not 0 <= value <= LARGEST_CAPACITY:
            raise InvalidCombination(f"{member} is {value}; it must be between 0 and {LARGEST_CAPACITY}.")
    if min_capacity is not None and max_capacity is not None and min_capacity > max_capacity:
        raise InvalidCombination(
            f"Maximum capacity cannot be less than minimum capacity: {max_capacity} is less than {min_capacity}."
        )


async def _fleet(work: UnitOfWork, scope: Scope, name: str) -> Fleet:
    found = await work.fleets.page(scope, names=[name], limit=1)
    if not found:
        raise InvalidCombination(f"AppStream fleet doesn't exist: {resource_id(name)}. Create it first.")
    return found[0]


def _new(fleet: Fleet, wish: TargetWish, now: datetime) -> ScalableTarget:
    if wish.min_capacity is None or wish.max_capacity is None:
        raise InvalidCombination("MinCapacity and MaxCapacity are required to register a new scalable target.")
    return ScalableTarget(
        target_id=uuid4().hex,
        scope=fleet.scope,
        fleet_id=fleet.fleet_id,
        fleet_name=fleet.name,
        min_capacity=wish.min_capacity,
        max_capacity=wish.max_capacity,
        role_arn=service_role_arn(fleet.scope),
        created_at=now,
    )


def _wished(target: ScalableTarget, wish: TargetWish) -> ScalableTarget:
    suspension = target.suspension
    changed = replace(
        target,
        min_capacity=target.min_capacity if wish.min_capacity is None else wish.min_capacity,
        max_capacity=target.max_capacity if wish.max_capacity is None else wish.max_capacity,
        suspension=Suspension(
            scaling_in=_or(wish.scaling_in_suspended, suspension.scaling_in),
            scaling_out=_or(wish.scaling_out_suspended, suspension.scaling_out),
            scheduled=_or(wish.scheduled_suspended, suspension.scheduled),
        ),
    )
    check_bounds(changed.min_capacity, changed.max_capacity)
    return changed


def _or(value: bool | None, present: bool) -> bool:  # noqa: FBT001 - two values of one kind, not options
    return present if value is None else value


async def _check_arn(work: UnitOfWork, scope: Scope, arn: str) -> None:
    target = await work.scalable_targets.identified(arn.rpartition("/")[2])
    if target is None or target.scope != scope or target.arn != arn:
        raise NotFound("scalable target", arn)
