"""Scheduled actions: new bounds for a target at a time, or again and again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from fanlight.domain.errors import InvalidCombination, LimitExceeded
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions
from fanlight.domain.scaling import ScalingObjectMissing, ScheduledAction
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.scalable_targets import check_bounds
from fanlight.services.scaling_records import MANY, target_of, where
from fanlight.services.schedules import next_run

PAGE_SIZE = 50
MOST_ACTIONS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionWish:
    """What PutScheduledAction says. None leaves as it is, but takes start and end away, as the service does."""

    fleet_name: str
    name: str
    schedule: str | None = None
    timezone: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    has_bounds: bool = False
    min_capacity: int | None = None
    max_capacity: int | None = None


class ScheduledActionService:
    def __init__(self, transactions: Transactions, clock: Clock, tokens: PageTokens) -> None:
        self._transactions, self._clock, self._tokens = transactions, clock, tokens

    async def put(self, scope: Scope, wish: ActionWish) -> ScheduledAction:
        """Make or change a scheduled action. Raises ScalingObjectMissing (target), InvalidCombination, LimitExceeded."""
        now = self._clock.now()
        async with self._transactions.begin(write=True) as work:
            await target_of(work, scope, wish.fleet_name)
            known = await work.scheduled_actions.find(scope, wish.fleet_name, wish.name)
            if known is None:
                present = await work.scheduled_actions.page(scope, wish.fleet_name, limit=MANY)
                if len(present) >= MOST_ACTIONS:
                    raise LimitExceeded(f"A scalable target may have at most {MOST_ACTIONS} scheduled actions.")
            action = _wished(known or _new(scope, wish, now), wish, now)
            action = await (work.scheduled_actions.save(action) if known else work.scheduled_actions.add(action))
            await work.commit()
        return action

    async def describe(
        self,
        scope: Scope,
        *,
        names: Sequence[str] = (),
        fleet_name: str | None = None,
        limit: int = PAGE_SIZE,
        next_token: str | None = None,
    ) -> tuple[Sequence[ScheduledAction], str | None]:
        """Return one page by fleet and name, and the token of the next. Raises InvalidPageToken."""
        asked = ["scheduled actions", fleet_name or "", *names]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            found = await work.scheduled_actions.page(
                scope, fleet_name, after=after, limit=MANY if names else limit + 1
            )
        if names:
            found = [action for action in found if action.name in names]
        page, has_more = cut(found, limit)
        last = f"{page[-1].fleet_name}/{page[-1].name}" if has_more else ""
        return page, self._tokens.issue(scope, asked, last) if has_more else None

    async def delete(self, scope: Scope, fleet_name: str, name: str) -> None:
        """Raises ScalingObjectMissing."""
        async with self._transactions.begin(write=True) as work:
            action = await work.scheduled_actions.find(scope, fleet_name, name)
            if action is None:
                raise ScalingObjectMissing(
                    f"No scheduled action found for {where(fleet_name)}, scheduled action name: {name}"
                )
            await work.scheduled_actions.remove(action)
            await work.commit()


def _new(scope: Scope, wish: ActionWish, now: datetime) -> ScheduledAction:
    if wish.schedule is None:
        raise InvalidCombination("Schedule is required to create a scheduled action.")
    if not wish.has_bounds:
        raise InvalidCombination("ScalableTargetAction is required to create a scheduled action.")
    return ScheduledAction(
        action_id=str(uuid4()),
        scope=scope,
        fleet_name=wish.fleet_name,
        name=wish.name,
        schedule=wish.schedule,
        created_at=now,
    )


def _wished(action: ScheduledAction, wish: ActionWish, now: datetime) -> ScheduledAction:
    if wish.has_bounds:
        if wish.min_capacity is None and wish.max_capacity is None:
            raise InvalidCombination("ScalableTargetAction must have MinCapacity, MaxCapacity or both.")
        check_bounds(wish.min_capacity, wish.max_capacity)
        action = replace(action, min_capacity=wish.min_capacity, max_capacity=wish.max_capacity)
    action = replace(
        action,
        schedule=wish.schedule or action.schedule,
        timezone=wish.timezone or action.timezone,
        starts_at=wish.starts_at,
        ends_at=wish.ends_at,
    )
    due = run_after(action, now)
    if due is None:
        raise InvalidCombination(f"The schedule {action.schedule} never runs from now on within its start and end.")
    return replace(action, next_run_at=due)


def run_after(action: ScheduledAction, moment: datetime) -> datetime | None:
    """Return when the action runs next after `moment`. Raises InvalidCombination for what is no schedule."""
    return next_run(
        action.schedule,
        action.timezone,
        after=moment,
        created_at=action.created_at,
        starts_at=action.starts_at,
        ends_at=action.ends_at,
    )
