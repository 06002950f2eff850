"""Scaling activities in the database."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, bindparam, delete, or_, select

from fanlight.domain.places import Scope
from fanlight.domain.scaling import LIVE_STATUSES, ActivityStatus, NotScaledCode, NotScaledReason, ScalingActivity
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import Kind, Rows, Statements
from fanlight.store.scaling_tables import scaling_activities as table

_SAME = (
    "activity_id",
    "fleet_id",
    "fleet_name",
    "version",
    "description",
    "cause",
    "status_message",
    "from_capacity",
    "to_capacity",
    "started_at",
    "ended_at",
)


def _to_row(activity: ScalingActivity) -> dict[str, Any]:
    return {
        **{name: getattr(activity, name) for name in _SAME},
        "account_id": activity.scope.account_id,
        "region": activity.scope.region,
        "status": activity.status,
        # JSON cannot be asked for NULL in the same way on every database.
        "is_scaled": activity.not_scaled is None,
        "not_scaled": asdict(activity.not_scaled) if activity.not_scaled else None,
    }


def _from_row(row: AnyRow) -> ScalingActivity:
    reason = row.not_scaled
    return ScalingActivity(
        **{name: getattr(row, name) for name in _SAME},
        scope=Scope(row.account_id, row.region),
        status=ActivityStatus(row.status),
        not_scaled=NotScaledReason(**{**reason, "code": NotScaledCode(reason["code"])}) if reason else None,
    )


KIND = Kind(
    noun="scaling activity",
    table=table,
    key="activity_id",
    to_row=_to_row,
    from_row=_from_row,
    name_of=lambda activity: activity.activity_id,
)
STATEMENTS = Statements.of(KIND)

_IN_SCOPE = (
    select(table)
    .where(table.c.account_id == bindparam("account_id"), table.c.region == bindparam("region"))
    .order_by(table.c.started_at.desc(), table.c.activity_id.desc())
    .limit(bindparam("page_size"))
)
_BEFORE = or_(
    table.c.started_at < bindparam("before_time"),
    and_(table.c.started_at == bindparam("before_time"), table.c.activity_id < bindparam("before_id")),
)
_LIVE = (
    select(table)
    .where(table.c.status.in_([status.value for status in LIVE_STATUSES]))
    .order_by(table.c.started_at, table.c.activity_id)
)
_LIVE_OF_FLEET = _LIVE.where(table.c.fleet_id == bindparam("fleet_id"))
_PRUNE = delete(table).where(table.c.started_at < bindparam("before"))


class SqlScalingActivities(Rows[ScalingActivity]):
    """See `domain.scaling_ports.ScalingActivities`."""

    def __init__(self, door: Door) -> None:
        super().__init__(door, KIND, STATEMENTS)

    async def page(
        self,
        scope: Scope,
        fleet_name: str | None = None,
        *,
        with_not_scaled: bool = False,
        before: tuple[datetime, str] | None = None,
        limit: int,
    ) -> Sequence[ScalingActivity]:
        statement: Select[Any] = _IN_SCOPE
        asked: dict[str, Any] = {"account_id": scope.account_id, "region": scope.region, "page_size": limit}
        if fleet_name is not None:
            statement = statement.where(table.c.fleet_name == bindparam("fleet_name"))
            asked["fleet_name"] = fleet_name
        if not with_not_scaled:
            statement = statement.where(table.c.is_scaled)
        if before is not None:
            statement = statement.where(_BEFORE)
            asked |= {"before_time": before[0], "before_id": before[1]}
        return await self._many(statement, asked)

    async def live(self, fleet_id: str | None = None) -> Sequence[ScalingActivity]:
        if fleet_id is None:
            return await self._many(_LIVE)
        return await self._many(_LIVE_OF_FLEET, {"fleet_id": fleet_id})

    async def prune(self, started_before: datetime) -> int:
        return await self._door.change(_PRUNE, {"before": started_before})
