"""Members of studios and launch profiles in the database."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select

from fanlight.domain.nimble.memberships import Membership, Persona
from fanlight.domain.places import Scope
from fanlight.store.door import AnyRow, Door
from fanlight.store.nimble_tables import nimble_memberships as table

_INSERT = table.insert()
_IN_SCOPE = (table.c.account_id == bindparam("in_account"), table.c.region == bindparam("in_region"))
_OF_OWNER = (*_IN_SCOPE, table.c.owner_id == bindparam("of_owner"))
_ONE = (*_OF_OWNER, table.c.principal_id == bindparam("of_principal"))
_FIND = select(table).where(*_ONE)
_DELETE = delete(table).where(*_ONE)
_PAGE = (
    select(table)
    .where(*_OF_OWNER, table.c.principal_id > bindparam("after"))
    .order_by(table.c.principal_id)
    .limit(bindparam("page_size"))
)
_OWNERS = select(table.c.owner_id).where(*_IN_SCOPE, table.c.principal_id == bindparam("of_principal"))
_DROP = delete(table).where(table.c.owner_id == bindparam("of_owner"))


class SqlMemberships:
    """See `domain.nimble.ports.Memberships`."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def put(self, membership: Membership) -> None:
        await self.remove(membership)
        await self._door.change(
            _INSERT,
            {
                "account_id": membership.scope.account_id,
                "region": membership.scope.region,
                "owner_id": membership.owner_id,
                "principal_id": membership.principal_id,
                "identity_store_id": membership.identity_store_id,
                "persona": membership.persona,
                "sid": membership.sid,
                "joined_at": membership.joined_at,
            },
        )

    async def find(self, scope: Scope, owner_id: str, principal_id: str) -> Membership | None:
        row = await self._door.row(_FIND, {**_place(scope), "of_owner": owner_id, "of_principal": principal_id})
        return None if row is None else _from_row(row)

    async def page(self, scope: Scope, owner_id: str, *, after: str = "", limit: int) -> Sequence[Membership]:
        asked = {**_place(scope), "of_owner": owner_id, "after": after, "page_size": limit}
        return [_from_row(row) for row in await self._door.rows(_PAGE, asked)]

    async def owners_of(self, scope: Scope, principal_id: str) -> frozenset[str]:
        rows = await self._door.rows(_OWNERS, {**_place(scope), "of_principal": principal_id})
        return frozenset(row[0] for row in rows)

    async def remove(self, membership: Membership) -> None:
        place = _place(membership.scope)
        of = {"of_owner": membership.owner_id, "of_principal": membership.principal_id}
        await self._door.change(_DELETE, {**place, **of})

    async def drop(self, owner_id: str) -> None:
        await self._door.change(_DROP, {"of_owner": owner_id})


def _place(scope: Scope) -> dict[str, str]:
    return {"in_account": scope.account_id, "in_region": scope.region}


def _from_row(row: AnyRow) -> Membership:
    return Membership(
        scope=Scope(row.account_id, row.region),
        owner_id=row.owner_id,
        principal_id=row.principal_id,
        identity_store_id=row.identity_store_id,
        persona=Persona(row.persona),
        sid=row.sid,
        joined_at=row.joined_at,
    )
