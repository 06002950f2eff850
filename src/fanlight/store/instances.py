"""Instances in the database."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, func, select

from fanlight.domain.fleet_capacity import SlotCounts, StateCounts
from fanlight.domain.instances import INSTANCE, Instance, InstanceState
from fanlight.domain.places import Scope
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import Kind, Rows, Statements
from fanlight.store.tables import instances as table


def _to_row(instance: Instance) -> dict[str, Any]:
    return {
        "instance_id": instance.instance_id,
        "account_id": instance.scope.account_id,
        "region": instance.scope.region,
        "fleet_id": instance.fleet_id,
        "image_ref": instance.image_ref,
        "state": instance.state,
        "version": instance.version,
        "places": instance.places,
        "session_ids": list(instance.session_ids),
        "session_count": len(instance.session_ids),
        "is_draining": instance.is_draining,
        "launched_at": instance.launched_at,
        "accepted_at": instance.accepted_at,
        "ready_at": instance.ready_at,
        "retire_reason": instance.retire_reason,
    }


def _from_row(row: AnyRow) -> Instance:
    return Instance(
        instance_id=row.instance_id,
        scope=Scope(row.account_id, row.region),
        fleet_id=row.fleet_id,
        image_ref=row.image_ref,
        state=InstanceState(row.state),
        version=row.version,
        places=row.places,
        session_ids=tuple(row.session_ids),
        is_draining=row.is_draining,
        launched_at=row.launched_at,
        accepted_at=row.accepted_at,
        ready_at=row.ready_at,
        retire_reason=row.retire_reason,
    )


KIND = Kind(
    noun="instance",
    table=table,
    key="instance_id",
    to_row=_to_row,
    from_row=_from_row,
    name_of=lambda instance: instance.instance_id,
    machine=INSTANCE,
)
STATEMENTS = Statements.of(KIND)

_BY_ID = select(table).where(table.c.instance_id == bindparam("instance_id"))
_OLDEST_FIRST = select(table).order_by(table.c.launched_at, table.c.instance_id)
_OF_FLEET = _OLDEST_FIRST.where(table.c.fleet_id == bindparam("fleet_id"))
_COUNTS = (
    select(
        table.c.fleet_id,
        table.c.state,
        table.c.is_draining,
        func.count(),
        func.sum(table.c.places),
        func.sum(table.c.session_count),
    )
    .where(table.c.fleet_id.in_(bindparam("fleet_ids", expanding=True)))
    .group_by(table.c.fleet_id, table.c.state, table.c.is_draining)
)


class SqlInstances(Rows[Instance]):
    def __init__(self, door: Door) -> None:
        super().__init__(door, KIND, STATEMENTS)

    async def find(self, instance_id: str) -> Instance | None:
        return await self._one(_BY_ID, {"instance_id": instance_id})

    async def of_fleet(self, fleet_id: str) -> Sequence[Instance]:
        return await self._all(_OF_FLEET, {"fleet_id": fleet_id})

    async def count_by_state(self, fleet_ids: Sequence[str]) -> Mapping[str, StateCounts]:
        if not fleet_ids:
            return {}
        found: dict[str, StateCounts] = {}
        for fleet_id, name, is_draining, number, places, held in await self._door.rows(
            _COUNTS, {"fleet_ids": list(fleet_ids)}
        ):
            state = InstanceState(name)
            counts = found.setdefault(fleet_id, StateCounts({}, SlotCounts()))
            counts[state] = counts.get(state, 0) + number
            if state in (InstanceState.READY, InstanceState.IN_USE):
                counts.slots = counts.slots.plus(number, int(places), int(held), is_draining=bool(is_draining))
        return found

    async def everywhere(self) -> Sequence[Instance]:
        return await self._all(_OLDEST_FIRST)
