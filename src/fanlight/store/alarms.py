"""Metric alarms in the database."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, select

from fanlight.domain.alarms import AlarmState, Comparison, MetricAlarm, MissingData
from fanlight.domain.places import Scope
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import Kind, Rows, Statements
from fanlight.store.scaling_tables import metric_alarms as table

_SAME = (
    "arn",
    "name",
    "version",
    "description",
    "metric_name",
    "namespace",
    "fleet_name",
    "statistic",
    "is_percentile",
    "evaluation_periods",
    "datapoints_to_alarm",
    "says_datapoints_to_alarm",
    "threshold",
    "says_missing_data",
    "unit",
    "actions_enabled",
    "tracked_policy",
    "state_reason",
    "state_reason_data",
    "state_updated_at",
    "state_changed_at",
    "configured_at",
)


def _to_row(alarm: MetricAlarm) -> dict[str, Any]:
    return {
        **{name: getattr(alarm, name) for name in _SAME},
        "account_id": alarm.scope.account_id,
        "region": alarm.scope.region,
        "dimensions": dict(alarm.dimensions),
        "period_in_seconds": int(alarm.period.total_seconds()),
        "comparison": alarm.comparison,
        "missing_data": alarm.missing_data,
        "actions": list(alarm.actions),
        "state": alarm.state,
    }


def _from_row(row: AnyRow) -> MetricAlarm:
    return MetricAlarm(
        **{name: getattr(row, name) for name in _SAME},
        scope=Scope(row.account_id, row.region),
        dimensions=row.dimensions,
        period=timedelta(seconds=row.period_in_seconds),
        comparison=Comparison(row.comparison),
        missing_data=MissingData(row.missing_data),
        actions=tuple(row.actions),
        state=AlarmState(row.state),
    )


KIND = Kind(
    noun="alarm",
    table=table,
    key="arn",
    to_row=_to_row,
    from_row=_from_row,
    name_of=lambda alarm: alarm.name,
)
STATEMENTS = Statements.of(KIND)

_IN_SCOPE = select(table).where(table.c.account_id == bindparam("account_id"), table.c.region == bindparam("region"))
_NAMED = _IN_SCOPE.where(table.c.name.in_(bindparam("names", expanding=True))).order_by(table.c.name)
_TRACKING = (
    select(table)
    .where(table.c.tracked_policy.in_(bindparam("policies", expanding=True)))
    .order_by(table.c.account_id, table.c.region, table.c.name)
)
_PAGE = _IN_SCOPE.where(table.c.name > bindparam("after")).order_by(table.c.name).limit(bindparam("page_size"))
_ALL = select(table).order_by(table.c.account_id, table.c.region, table.c.name)


class SqlAlarms(Rows[MetricAlarm]):
    """See `domain.scaling_ports.Alarms`."""

    def __init__(self, door: Door) -> None:
        super().__init__(door, KIND, STATEMENTS)

    async def named(self, scope: Scope, names: Sequence[str]) -> Sequence[MetricAlarm]:
        return await self._many(_NAMED, {"account_id": scope.account_id, "region": scope.region, "names": list(names)})

    async def tracking(self, policy_arns: Sequence[str]) -> Sequence[MetricAlarm]:
        return await self._many(_TRACKING, {"policies": list(policy_arns)})

    async def page(self, scope: Scope, *, after: str = "", limit: int) -> Sequence[MetricAlarm]:
        return await self._many(
            _PAGE, {"account_id": scope.account_id, "region": scope.region, "after": after, "page_size": limit}
        )

    async def everywhere(self) -> Sequence[MetricAlarm]:
        return await self._all(_ALL)
