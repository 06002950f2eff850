"""Client tokens of Nimble Studio's calls in the database."""

from datetime import datetime

from sqlalchemy import bindparam, delete, select

from fanlight.domain.nimble.calls import RememberedCall
from fanlight.domain.places import Scope
from fanlight.store.door import Door
from fanlight.store.nimble_tables import nimble_calls as table

_INSERT = table.insert()
_KEY = (
    table.c.account_id == bindparam("in_account"),
    table.c.region == bindparam("in_region"),
    table.c.operation == bindparam("of_operation"),
    table.c.token == bindparam("with_token"),
)
_ONE = select(table).where(*_KEY)
_DELETE = delete(table).where(*_KEY)
_PRUNE = delete(table).where(table.c.called_at < bindparam("called_before"))


class SqlRememberedCalls:
    """See `domain.nimble.ports.RememberedCalls`."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def find(self, scope: Scope, operation: str, token: str) -> RememberedCall | None:
        row = await self._door.row(_ONE, _key(scope, operation, token))
        if row is None:
            return None
        return RememberedCall(
            scope=scope,
            operation=operation,
            token=token,
            fingerprint=row.fingerprint,
            resource_id=row.resource_id,
            called_at=row.called_at,
        )

    async def put(self, call: RememberedCall) -> None:
        await self._door.change(_DELETE, _key(call.scope, call.operation, call.token))
        await self._door.change(
            _INSERT,
            {
                "account_id": call.scope.account_id,
                "region": call.scope.region,
                "operation": call.operation,
                "token": call.token,
                "fingerprint": call.fingerprint,
                "resource_id": call.resource_id,
                "called_at": call.called_at,
            },
        )

    async def prune(self, called_before: datetime) -> int:
        return await self._door.change(_PRUNE, {"called_before": called_before})


def _key(scope: Scope, operation: str, token: str) -> dict[str, str]:
    return {
        "in_account": scope.account_id,
        "in_region": scope.region,
        "of_operation": operation,
        "with_token": token,
    }
