"""Access keys in the database."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select

from fanlight.domain.access_keys import AccessKey
from fanlight.domain.errors import AlreadyExists
from fanlight.domain.policies import parse_policy
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import insert_unless_there
from fanlight.store.tables import access_keys as table

_INSERTS = {dialect: insert_unless_there(table, dialect) for dialect in ("sqlite", "postgresql")}
_ALL = select(table).order_by(table.c.access_key_id)
_BY_ID = select(table).where(table.c.access_key_id == bindparam("access_key_id"))
_DELETE = delete(table).where(table.c.access_key_id == bindparam("access_key_id"))


class SqlAccessKeys:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def add(self, key: AccessKey) -> None:
        row = {
            "access_key_id": key.access_key_id,
            "secret_access_key": key.secret_access_key,
            "account_id": key.account_id,
            "session_token": key.session_token,
            "expires_at": key.expires_at,
            "created_at": key.created_at,
            "policy": None if key.policy is None else key.policy.document,
            "person": key.person,
        }
        if await self._door.change(_INSERTS[self._door.dialect], row) == 0:
            raise AlreadyExists("access key", key.access_key_id)

    async def find(self, access_key_id: str) -> AccessKey | None:
        row = await self._door.row(_BY_ID, {"access_key_id": access_key_id})
        return None if row is None else _from_row(row)

    async def all(self) -> Sequence[AccessKey]:
        return [_from_row(row) for row in await self._door.rows(_ALL)]

    async def remove(self, access_key_id: str) -> bool:
        return await self._door.change(_DELETE, {"access_key_id": access_key_id}) > 0


def _from_row(row: AnyRow) -> AccessKey:
    return AccessKey(
        access_key_id=row.access_key_id,
        secret_access_key=row.secret_access_key,
        account_id=row.account_id,
        session_token=row.session_token,
        expires_at=row.expires_at,
        created_at=row.created_at,
        # What cannot be read must not become a key that may do everything: the error ends the request.
        policy=None if row.policy is None else parse_policy(row.policy),
        person=row.person,
    )
