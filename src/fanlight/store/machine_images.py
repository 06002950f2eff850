"""Machine images in the database."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select

from fanlight.domain.errors import AlreadyExists
from fanlight.domain.machine_images import MachineImage
from fanlight.domain.objects import ObjectPlace
from fanlight.domain.places import Scope
from fanlight.store.archive_tables import machine_images as table
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import insert_unless_there

_INSERTS = {dialect: insert_unless_there(table, dialect) for dialect in ("sqlite", "postgresql")}
_IN_SCOPE = (table.c.account_id == bindparam("account_id"), table.c.region == bindparam("region"))
_OF_SCOPE = select(table).where(*_IN_SCOPE).order_by(table.c.name)
_ONE = select(table).where(*_IN_SCOPE, table.c.ami_id == bindparam("ami_id"))
_DELETE = delete(table).where(table.c.ami_id == bindparam("ami_id"))


class SqlMachineImages:
    """See `domain.machine_images.MachineImages`."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def add(self, machine_image: MachineImage) -> MachineImage:
        row = {
            "ami_id": machine_image.ami_id,
            **_scope(machine_image.scope),
            "name": machine_image.name,
            "bucket": machine_image.place.bucket,
            "object_key": machine_image.place.key,
            "description": machine_image.description,
            "image_name": machine_image.image_name,
            "created_at": machine_image.created_at,
        }
        if await self._door.change(_INSERTS[self._door.dialect], row) == 0:
            raise AlreadyExists("machine image", machine_image.name)
        return machine_image

    async def find(self, scope: Scope, ami_id: str) -> MachineImage | None:
        row = await self._door.row(_ONE, {**_scope(scope), "ami_id": ami_id})
        return None if row is None else _from_row(row)

    async def of_scope(self, scope: Scope) -> Sequence[MachineImage]:
        return [_from_row(row) for row in await self._door.rows(_OF_SCOPE, _scope(scope))]

    async def remove(self, machine_image: MachineImage) -> None:
        await self._door.change(_DELETE, {"ami_id": machine_image.ami_id})


def _scope(scope: Scope) -> dict[str, str]:
    return {"account_id": scope.account_id, "region": scope.region}


def _from_row(row: AnyRow) -> MachineImage:
    return MachineImage(
        ami_id=row.ami_id,
        scope=Scope(row.account_id, row.region),
        name=row.name,
        place=ObjectPlace(row.bucket, row.object_key),
        description=row.description,
        image_name=row.image_name,
        created_at=row.created_at,
    )
