"""Scalable targets, scaling policies and scheduled actions in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, and_, bindparam, or_, select

from fanlight.domain.places import Scope
from fanlight.domain.scaling import (
    AdjustmentType,
    Cooldown,
    Direction,
    PolicyRule,
    ScalableTarget,
    ScalingPolicy,
    ScheduledAction,
    StepAdjustment,
    StepScaling,
    Suspension,
    TargetTracking,
)
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import Kind, Rows, Statements
from fanlight.store.scaling_tables import scalable_targets, scaling_policies, scheduled_actions


def _target_to_row(target: ScalableTarget) -> dict[str, Any]:
    cooldown = target.cooldown
    return {
        "target_id": target.target_id,
        "account_id": target.scope.account_id,
        "region": target.scope.region,
        "fleet_id": target.fleet_id,
        "fleet_name": target.fleet_name,
        "version": target.version,
        "min_capacity": target.min_capacity,
        "max_capacity": target.max_capacity,
        "role_arn": target.role_arn,
        "scaling_in_suspended": target.suspension.scaling_in,
        "scaling_out_suspended": target.suspension.scaling_out,
        "scheduled_suspended": target.suspension.scheduled,
        "cooldown_direction": cooldown.direction if cooldown else None,
        "cooldown_base": cooldown.base if cooldown else None,
        "cooldown_until": cooldown.until if cooldown else None,
        "decided_at": target.decided_at,
        "created_at": target.created_at,
    }


def _target_from_row(row: AnyRow) -> ScalableTarget:
    cooldown = None
    if row.cooldown_direction is not None:
        cooldown = Cooldown(
            direction=Direction(row.cooldown_direction), base=row.cooldown_base, until=row.cooldown_until
        )
    return ScalableTarget(
        target_id=row.target_id,
        scope=Scope(row.account_id, row.region),
        fleet_id=row.fleet_id,
        fleet_name=row.fleet_name,
        version=row.version,
        min_capacity=row.min_capacity,
        max_capacity=row.max_capacity,
        role_arn=row.role_arn,
        suspension=Suspension(
            scaling_in=row.scaling_in_suspended,
            scaling_out=row.scaling_out_suspended,
            scheduled=row.scheduled_suspended,
        ),
        cooldown=cooldown,
        decided_at=row.decided_at,
        created_at=row.created_at,
    )


def _rule_to_json(rule: PolicyRule) -> dict[str, Any]:
    return {"kind": type(rule).__name__, **asdict(rule)}


def _rule_from_json(stored: Mapping[str, Any]) -> PolicyRule:
    fields = {name: value for name, value in stored.items() if name != "kind"}
    if stored["kind"] == TargetTracking.__name__:
        return TargetTracking(**fields)
    fields["adjustment_type"] = AdjustmentType(fields["adjustment_type"])
    fields["steps"] = tuple(StepAdjustment(**step) for step in fields["steps"])
    return StepScaling(**fields)


def _policy_to_row(policy: ScalingPolicy) -> dict[str, Any]:
    return {
        "policy_id": policy.policy_id,
        "account_id": policy.scope.account_id,
        "region": policy.scope.region,
        "fleet_name": policy.fleet_name,
        "name": policy.name,
        "version": policy.version,
        "rule": _rule_to_json(policy.rule),
        "created_at": policy.created_at,
    }


def _policy_from_row(row: AnyRow) -> ScalingPolicy:
    return ScalingPolicy(
        policy_id=row.policy_id,
        scope=Scope(row.account_id, row.region),
        fleet_name=row.fleet_name,
        name=row.name,
        version=row.version,
        rule=_rule_from_json(row.rule),
        created_at=row.created_at,
    )


_ACTION_SAME = (
    "action_id",
    "fleet_name",
    "name",
    "version",
    "schedule",
    "timezone",
    "starts_at",
    "ends_at",
    "min_capacity",
    "max_capacity",
    "next_run_at",
    "created_at",
)


def _action_to_row(action: ScheduledAction) -> dict[str, Any]:
    return {
        **{name: getattr(action, name) for name in _ACTION_SAME},
        "account_id": action.scope.account_id,
        "region": action.scope.region,
    }


def _action_from_row(row: AnyRow) -> ScheduledAction:
    return ScheduledAction(
        **{name: getattr(row, name) for name in _ACTION_SAME}, scope=Scope(row.account_id, row.region)
    )


TARGETS = Kind(
    noun="scalable target",
    table=scalable_targets,
    key="target_id",
    to_row=_target_to_row,
    from_row=_target_from_row,
    name_of=lambda target: target.fleet_name,
)
POLICIES = Kind(
    noun="scaling policy",
    table=scaling_policies,
    key="policy_id",
    to_row=_policy_to_row,
    from_row=_policy_from_row,
    name_of=lambda policy: policy.name,
)
ACTIONS = Kind(
    noun="scheduled action",
    table=scheduled_actions,
    key="action_id",
    to_row=_action_to_row,
    from_row=_action_from_row,
    name_of=lambda action: action.name,
)


class _Places:
    """The selects of a table whose rows belong to fleets."""

    def __init__(self, table: Table) -> None:
        columns = table.c
        in_scope = select(table).where(
            columns.account_id == bindparam("account_id"), columns.region == bindparam("region")
        )
        of_fleet = in_scope.where(columns.fleet_name == bindparam("fleet_name"))
        self.everywhere: Select[Any] = select(table)
        self.of_fleet = of_fleet
        self.targets = (
            in_scope.where(columns.fleet_name > bindparam("after"))
            .order_by(columns.fleet_name)
            .limit(bindparam("page_size"))
        )
        if "name" not in columns:
            return
        self.named = of_fleet.where(columns.name == bindparam("name"))
        later = or_(
            columns.fleet_name > bindparam("after_fleet"),
            and_(columns.fleet_name == bindparam("after_fleet"), columns.name > bindparam("after_name")),
        )
        ordered = in_scope.where(later).order_by(columns.fleet_name, columns.name).limit(bindparam("page_size"))
        self.page = ordered
        self.page_of_fleet = ordered.where(columns.fleet_name == bindparam("fleet_name"))


_TARGETS, _POLICIES, _ACTIONS = (
    _Places(scalable_targets),
    _Places(scaling_policies),
    _Places(scheduled_actions),
)
_TARGET_STATEMENTS = Statements.of(TARGETS)
_POLICY_STATEMENTS = Statements.of(POLICIES)
_ACTION_STATEMENTS = Statements.of(ACTIONS)
_TARGET_BY_ID = select(scalable_targets).where(scalable_targets.c.target_id == bindparam("target_id"))
_DUE = select(scheduled_actions).where(scheduled_actions.c.next_run_at <= bindparam("now"))


def _at(scope: Scope, **more: Any) -> dict[str, Any]:
    return {"account_id": scope.account_id, "region": scope.region, **more}


def _asked(scope: Scope, fleet_name: str | None, after: str, limit: int) -> dict[str, Any]:
    after_fleet, _, after_name = after.partition("/")
    asked = _at(scope, after_fleet=after_fleet, after_name=after_name, page_size=limit)
    return asked if fleet_name is None else {**asked, "fleet_name": fleet_name}


class SqlScalableTargets(Rows[ScalableTarget]):
    """See `domain.scaling_ports.ScalableTargets`."""

    def __init__(self, door: Door) -> None:
        super().__init__(door, TARGETS, _TARGET_STATEMENTS)

    async def find(self, scope: Scope, fleet_name: str) -> ScalableTarget | None:
        return await self._one(_TARGETS.of_fleet, _at(scope, fleet_name=fleet_name))

    async def identified(self, target_id: str) -> ScalableTarget | None:
        return await self._one(_TARGET_BY_ID, {"target_id": target_id})

    async def page(self, scope: Scope, *, after: str = "", limit: int) -> Sequence[ScalableTarget]:
        return await self._many(_TARGETS.targets, _at(scope, after=after, page_size=limit))

    async def everywhere(self) -> Sequence[ScalableTarget]:
        return await self._all(_TARGETS.everywhere)


class SqlScalingPolicies(Rows[ScalingPolicy]):
    """See `domain.scaling_ports.ScalingPolicies`."""

    def __init__(self, door: Door) -> None:
        super().__init__(door, POLICIES, _POLICY_STATEMENTS)

    async def find(self, scope: Scope, fleet_name: str, name: str) -> ScalingPolicy | None:
        return await self._one(_POLICIES.named, _at(scope, fleet_name=fleet_name, name=name))

    async def page(
        self, scope: Scope, fleet_name: str | None = None, *, after: str = "", limit: int
    ) -> Sequence[ScalingPolicy]:
        statement = _POLICIES.page if fleet_name is None else _POLICIES.page_of_fleet
        return await self._many(statement, _asked(scope, fleet_name, after, limit))

    async def everywhere(self) -> Sequence[ScalingPolicy]:
        return await self._all(_POLICIES.everywhere)


class SqlScheduledActions(Rows[ScheduledAction]):
    """See `domain.scaling_ports.ScheduledActions`."""

    def __init__(self, door: Door) -> None:
        super().__init__(door, ACTIONS, _ACTION_STATEMENTS)

    async def find(self, scope: Scope, fleet_name: str, name: str) -> ScheduledAction | None:
        return await self._one(_ACTIONS.named, _at(scope, fleet_name=fleet_name, name=name))

    async def page(
        self, scope: Scope, fleet_name: str | None = None, *, after: str = "", limit: int
    ) -> Sequence[ScheduledAction]:
        statement = _ACTIONS.page if fleet_name is None else _ACTIONS.page_of_fleet
        return await self._many(statement, _asked(scope, fleet_name, after, limit))

    async def due(self, now: datetime) -> Sequence[ScheduledAction]:
        return await self._many(_DUE, {"now": now})
