"""What all versioned rows have in common: add, compare-and-set, remove.

`Kind` says how one entity maps to one table; `Rows` does the work. There is no other UPDATE of a versioned row in
this package, so no change can overtake another unseen, and no row can leave its state table.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from sqlalchemy import Delete, Insert, Table, Update, bindparam, delete, update
from sqlalchemy.dialects import postgresql, sqlite

from fanlight.domain.errors import AlreadyExists, ChangedMeanwhile
from fanlight.domain.machine import Machine
from fanlight.store.door import AnyRow, Door


class Versioned(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def version(self) -> int: ...


EntityT = TypeVar("EntityT", bound=Versioned)
AnyMachine = Machine[Any, Any]


def insert_unless_there(table: Table, dialect: str) -> Insert:
    """Return an INSERT that touches no row when a unique index objects; unlike an error it leaves the unit usable."""
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


@dataclass(frozen=True)
class Kind(Generic[EntityT]):
    """How one kind of entity is kept. `noun` and `name_of` are for error texts."""

    noun: str
    table: Table
    key: str
    to_row: Callable[[EntityT], dict[str, Any]]
    from_row: Callable[[AnyRow], EntityT]
    name_of: Callable[[EntityT], str]
    machine: AnyMachine | None = None

    def updates(self) -> Mapping[StrEnum | None, Update]:
        """Return the compare-and-set statement for each state that a row may be saved in (None: has no state)."""
        if self.machine is None:
            return {None: self._update(None)}
        states = {self.machine.initial, *self.machine.table.values(), *(source for source, _ in self.machine.table)}
        return {state: self._update({state, *self._sources(state)}) for state in states}

    def deletion(self) -> Delete:
        return delete(self.table).where(
            self.table.c[self.key] == bindparam("row_key"), self.table.c.version == bindparam("row_version")
        )

    def _sources(self, target: StrEnum) -> Iterable[StrEnum]:
        if self.machine is None:
            return ()
        return (source for (source, _), to in self.machine.table.items() if to == target)

    def _update(self, sources: set[StrEnum] | None) -> Update:
        columns = self.table.c
        # SET has no list here: it is made of the parameters of the call, all columns but the key.
        statement = update(self.table).where(
            columns[self.key] == bindparam("row_key"), columns.version == bindparam("row_version")
        )
        if sources is not None:
            statement = statement.where(columns.state.in_(sorted(sources)))
        return statement


class Rows(Generic[EntityT]):
    """Base of the repositories of versioned entities."""

    def __init__(self, door: Door, kind: Kind[EntityT], statements: "Statements") -> None:
        self._door, self._kind, self._statements = door, kind, statements

    async def add(self, entity: EntityT) -> EntityT:
        """Raises AlreadyExists, also for the loser of a race."""
        touched = await self._door.change(self._statements.inserts[self._door.dialect], self._kind.to_row(entity))
        if touched == 0:
            raise AlreadyExists(self._kind.noun, self._kind.name_of(entity))
        return entity

    async def save(self, entity: EntityT) -> EntityT:
        """Raises ChangedMeanwhile when the row is newer, gone, or not in a state that leads to the entity's."""
        values = self._kind.to_row(entity)
        key = values.pop(self._kind.key)
        values.update(version=entity.version + 1, row_key=key, row_version=entity.version)
        statement = self._statements.updates[getattr(entity, "state", None) if self._kind.machine else None]
        if await self._door.change(statement, values) == 0:
            raise ChangedMeanwhile(self._kind.noun, self._kind.name_of(entity))
        return replace(entity, version=entity.version + 1)

    async def remove(self, entity: EntityT) -> None:
        """Raises ChangedMeanwhile when the row is newer or gone."""
        key = getattr(entity, self._kind.key)
        parameters = {"row_key": key, "row_version": entity.version}
        if await self._door.change(self._statements.deletion, parameters) == 0:
            raise ChangedMeanwhile(self._kind.noun, self._kind.name_of(entity))

    async def _many(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Sequence[EntityT]:
        from_row = self._kind.from_row
        return [from_row(row) for row in await self._door.rows(statement, parameters)]

    async def _all(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Sequence[EntityT]:
        """The same for answers that may have thousands of rows."""
        from_row = self._kind.from_row
        return [from_row(row) async for part in self._door.parts(statement, parameters) for row in part]

    async def _one(self, statement: Any, parameters: Mapping[str, Any]) -> EntityT | None:
        row = await self._door.row(statement, parameters)
        return None if row is None else self._kind.from_row(row)


@dataclass(frozen=True)
class Statements:
    """The writing statements of a kind, built once at import so that their compiled form is found in the cache."""

    inserts: Mapping[str, Insert]
    updates: Mapping[StrEnum | None, Update]
    deletion: Delete

    @classmethod
    def of(cls, kind: Kind[Any]) -> "Statements":
        return cls(
            inserts={dialect: insert_unless_there(kind.table, dialect) for dialect in ("sqlite", "postgresql")},
            updates=kind.updates(),
            deletion=kind.deletion(),
        )
