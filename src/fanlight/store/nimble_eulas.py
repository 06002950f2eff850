"""Which studio accepted which EULA, in the database."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select

from fanlight.domain.nimble.eulas import EulaAcceptance
from fanlight.domain.places import Scope
from fanlight.store.door import AnyRow, Door
from fanlight.store.nimble_tables import nimble_eula_acceptances as table
from fanlight.store.rows import insert_unless_there

_INSERTS = {dialect: insert_unless_there(table, dialect) for dialect in ("sqlite", "postgresql")}
_OF_STUDIO = (
    select(table)
    .where(
        table.c.studio_id == bindparam("of_studio"),
        table.c.account_id == bindparam("in_account"),
        table.c.region == bindparam("in_region"),
    )
    .order_by(table.c.eula_id)
)
_ONE = select(table).where(table.c.studio_id == bindparam("of_studio"), table.c.eula_id == bindparam("of_eula"))
_DROP = delete(table).where(table.c.studio_id == bindparam("of_studio"))


class SqlEulaAcceptances:
    """See `domain.nimble.ports.EulaAcceptances`."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def add(self, acceptance: EulaAcceptance) -> EulaAcceptance:
        row = {
            "studio_id": acceptance.studio_id,
            "eula_id": acceptance.eula_id,
            "acceptance_id": acceptance.acceptance_id,
            "account_id": acceptance.scope.account_id,
            "region": acceptance.scope.region,
            "accepted_at": acceptance.accepted_at,
            "accepted_by": acceptance.accepted_by,
        }
        await self._door.change(_INSERTS[self._door.dialect], row)
        found = await self._door.row(_ONE, {"of_studio": acceptance.studio_id, "of_eula": acceptance.eula_id})
        return acceptance if found is None else _from_row(found)

    async def of_studio(self, scope: Scope, studio_id: str) -> Sequence[EulaAcceptance]:
        asked = {"of_studio": studio_id, "in_account": scope.account_id, "in_region": scope.region}
        return [_from_row(row) for row in await self._door.rows(_OF_STUDIO, asked)]

    async def drop(self, studio_id: str) -> None:
        await self._door.change(_DROP, {"of_studio": studio_id})


def _from_row(row: AnyRow) -> EulaAcceptance:
    return EulaAcceptance(
        acceptance_id=row.acceptance_id,
        scope=Scope(row.account_id, row.region),
        studio_id=row.studio_id,
        eula_id=row.eula_id,
        accepted_at=row.accepted_at,
        accepted_by=row.accepted_by,
    )
