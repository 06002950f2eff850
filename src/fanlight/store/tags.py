"""Tags in the database, by the ARN of what they are tied to."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Insert, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from fanlight.store.door import Door
from fanlight.store.tables import tags as table

_PRIMARY_KEY = [table.c.arn, table.c.key]
_SQLITE_PUT = sqlite.insert(table)
_POSTGRES_PUT = postgresql.insert(table)
_PUTS: Mapping[str, Insert] = {
    "sqlite": _SQLITE_PUT.on_conflict_do_update(
        index_elements=_PRIMARY_KEY, set_={"value": _SQLITE_PUT.excluded.value}
    ),
    "postgresql": _POSTGRES_PUT.on_conflict_do_update(
        index_elements=_PRIMARY_KEY, set_={"value": _POSTGRES_PUT.excluded.value}
    ),
}
_OF = select(table.c.key, table.c.value).where(table.c.arn == bindparam("arn")).order_by(table.c.key)
_UNDER = select(table).where(table.c.arn.startswith(bindparam("prefix"), autoescape=False))
_DROP_ALL = delete(table).where(table.c.arn == bindparam("arn"))
_DROP_SOME = _DROP_ALL.where(table.c.key.in_(bindparam("keys", expanding=True)))


class SqlTags:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def of(self, arn: str) -> Mapping[str, str]:
        return {row[0]: row[1] for row in await self._door.rows(_OF, {"arn": arn})}

    async def under(self, prefix: str) -> Mapping[str, Mapping[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for arn, key, value in await self._door.rows(_UNDER, {"prefix": prefix}):
            # SQLite's LIKE knows no case, and takes _ and % of the prefix for wildcards.
            if arn.startswith(prefix):
                found.setdefault(arn, {})[key] = value
        return found

    async def put(self, arn: str, tags: Mapping[str, str]) -> None:
        if tags:
            rows: list[dict[str, Any]] = [{"arn": arn, "key": key, "value": value} for key, value in tags.items()]
            await self._door.change(_PUTS[self._door.dialect], rows)

    async def drop(self, arn: str, keys: Sequence[str] | None = None) -> None:
        if keys is None:
            await self._door.change(_DROP_ALL, {"arn": arn})
        else:
            await self._door.change(_DROP_SOME, {"arn": arn, "keys": list(keys)})
