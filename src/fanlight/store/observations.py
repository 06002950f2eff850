"""What fleets measured, in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, select

from fanlight.domain.fleet_metrics import FleetObservation, SessionSlots
from fanlight.domain.places import Scope
from fanlight.domain.streaming_sessions import EndReason
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import insert_unless_there
from fanlight.store.scaling_tables import fleet_observations as table
from fanlight.store.tables import fleets, streaming_sessions

_INSERTS = {dialect: insert_unless_there(table, dialect) for dialect in ("sqlite", "postgresql")}
_OF_FLEET = (
    select(table)
    .where(
        table.c.account_id == bindparam("account_id"),
        table.c.region == bindparam("region"),
        table.c.fleet_name == bindparam("fleet_name"),
        table.c.at >= bindparam("start"),
        table.c.at < bindparam("end"),
    )
    .order_by(table.c.at)
)
_WITH_DATA = (
    select(fleets.c.name)
    .where(
        fleets.c.account_id == bindparam("account_id"),
        fleets.c.region == bindparam("region"),
        fleets.c.name > bindparam("after"),
        exists().where(
            table.c.account_id == fleets.c.account_id,
            table.c.region == fleets.c.region,
            table.c.fleet_name == fleets.c.name,
            table.c.at >= bindparam("since"),
        ),
    )
    .order_by(fleets.c.name)
    .limit(bindparam("page_size"))
)
_REFUSALS = (
    select(streaming_sessions.c.fleet_id, func.count())
    .where(
        streaming_sessions.c.ended_at >= bindparam("start"),
        streaming_sessions.c.ended_at < bindparam("end"),
        streaming_sessions.c.end_reason == EndReason.NO_CAPACITY.value,
    )
    .group_by(streaming_sessions.c.fleet_id)
)
_NEWEST = select(func.max(table.c.at))
_COUNT = select(func.count()).select_from(table)
_NTH = select(table.c.at).order_by(table.c.at.desc()).offset(bindparam("nth")).limit(1)
_PRUNE = delete(table).where(table.c.at < bindparam("before"))


class SqlObservations:
    """See `domain.scaling_ports.Observations`."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def add(self, seen: Sequence[FleetObservation]) -> None:
        if seen:
            await self._door.change(_INSERTS[self._door.dialect], [_to_row(one) for one in seen])

    async def of_fleet(
        self, scope: Scope, fleet_name: str, start: datetime, end: datetime
    ) -> Sequence[FleetObservation]:
        asked = {
            "account_id": scope.account_id,
            "region": scope.region,
            "fleet_name": fleet_name,
            "start": start,
            "end": end,
        }
        return [_from_row(row) async for part in self._door.parts(_OF_FLEET, asked) for row in part]

    async def fleets_with_data(self, scope: Scope, *, since: datetime, after: str = "", limit: int) -> Sequence[str]:
        asked = {
            "account_id": scope.account_id,
            "region": scope.region,
            "since": since,
            "after": after,
            "page_size": limit,
        }
        return [row[0] for row in await self._door.rows(_WITH_DATA, asked)]

    async def refusals(self, start: datetime, end: datetime) -> Mapping[str, int]:
        rows = await self._door.rows(_REFUSALS, {"start": start, "end": end})
        return {row[0]: row[1] for row in rows}

    async def newest(self) -> datetime | None:
        row = await self._door.row(_NEWEST)
        return None if row is None else row[0]

    async def prune(self, before: datetime, *, at_most: int) -> int:
        pruned = await self._door.change(_PRUNE, {"before": before})
        count = await self._door.row(_COUNT)
        if count is not None and count[0] > at_most:
            nth = await self._door.row(_NTH, {"nth": at_most - 1})
            if nth is not None:
                pruned += await self._door.change(_PRUNE, {"before": nth[0]})
        return pruned


def _to_row(seen: FleetObservation) -> dict[str, Any]:
    return {
        "account_id": seen.scope.account_id,
        "region": seen.scope.region,
        "fleet_name": seen.fleet_name,
        "at": seen.at,
        "is_always_on": seen.is_always_on,
        "available": seen.available,
        "in_use": seen.in_use,
        "pending": seen.pending,
        "insufficient_capacity_errors": seen.insufficient_capacity_errors,
        "slots": None if seen.slots is None else list(astuple(seen.slots)),
    }


def _from_row(row: AnyRow) -> FleetObservation:
    """Return the observation of a row whose columns are in the order of the table; thousands are read at once."""
    return FleetObservation(
        scope=Scope(row[0], row[1]),
        fleet_name=row[2],
        at=row[3],
        is_always_on=row[4],
        available=row[5],
        in_use=row[6],
        pending=row[7],
        insufficient_capacity_errors=row[8],
        slots=None if row[9] is None else _slots(row[9]),
    )


def _slots(counts: Sequence[int]) -> SessionSlots:
    available, active, pending, draining, drain_mode_active, drain_mode_unused = counts
    return SessionSlots(
        available=available,
        active=active,
        pending=pending,
        draining=draining,
        drain_mode_active=drain_mode_active,
        drain_mode_unused=drain_mode_unused,
    )
