"""Which fleet stands behind which stack, in the database."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select

from fanlight.domain.places import Scope
from fanlight.store.door import Door
from fanlight.store.rows import insert_unless_there
from fanlight.store.tables import associations as table

_INSERTS = {dialect: insert_unless_there(table, dialect) for dialect in ("sqlite", "postgresql")}
_IN_SCOPE = (table.c.account_id == bindparam("account_id"), table.c.region == bindparam("region"))
_DELETE = delete(table).where(
    *_IN_SCOPE,
    table.c.stack_name == bindparam("stack_name"),
    table.c.fleet_name == bindparam("fleet_name"),
)
_FLEETS = (
    select(table.c.fleet_name)
    .where(*_IN_SCOPE, table.c.stack_name == bindparam("name"), table.c.fleet_name > bindparam("after"))
    .order_by(table.c.fleet_name)
    .limit(bindparam("page_size"))
)
_STACKS = (
    select(table.c.stack_name)
    .where(*_IN_SCOPE, table.c.fleet_name == bindparam("name"), table.c.stack_name > bindparam("after"))
    .order_by(table.c.stack_name)
    .limit(bindparam("page_size"))
)


class SqlAssociations:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def add(self, scope: Scope, stack_name: str, fleet_name: str) -> None:
        await self._door.change(_INSERTS[self._door.dialect], _pair(scope, stack_name, fleet_name))

    async def remove(self, scope: Scope, stack_name: str, fleet_name: str) -> bool:
        return await self._door.change(_DELETE, _pair(scope, stack_name, fleet_name)) > 0

    async def fleets_of(self, scope: Scope, stack_name: str, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        return [row[0] for row in await self._door.rows(_FLEETS, _page(scope, stack_name, after, limit))]

    async def stacks_of(self, scope: Scope, fleet_name: str, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        return [row[0] for row in await self._door.rows(_STACKS, _page(scope, fleet_name, after, limit))]


def _pair(scope: Scope, stack_name: str, fleet_name: str) -> dict[str, str]:
    return {
        "account_id": scope.account_id,
        "region": scope.region,
        "stack_name": stack_name,
        "fleet_name": fleet_name,
    }


def _page(scope: Scope, name: str, after: str, limit: int) -> dict[str, str | int]:
    return {
        "account_id": scope.account_id,
        "region": scope.region,
        "name": name,
        "after": after,
        "page_size": limit,
    }
