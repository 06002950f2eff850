"""With whom images are shared, in the database."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Insert, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from fanlight.domain.images import Image, ImagePermission
from fanlight.domain.places import Scope
from fanlight.store.door import AnyRow, Door
from fanlight.store.images import SHARED, image_of
from fanlight.store.tables import image_permissions as table
from fanlight.store.tables import images

_PRIMARY_KEY = [table.c.image_id, table.c.shared_account_id]
_VALUES = ("allow_fleet", "allow_image_builder")
_SQLITE_PUT, _POSTGRES_PUT = sqlite.insert(table), postgresql.insert(table)
_PUTS: Mapping[str, Insert] = {
    "sqlite": _SQLITE_PUT.on_conflict_do_update(
        index_elements=_PRIMARY_KEY, set_={name: _SQLITE_PUT.excluded[name] for name in _VALUES}
    ),
    "postgresql": _POSTGRES_PUT.on_conflict_do_update(
        index_elements=_PRIMARY_KEY, set_={name: _POSTGRES_PUT.excluded[name] for name in _VALUES}
    ),
}
_DROP = delete(table).where(
    table.c.image_id == bindparam("of_image"), table.c.shared_account_id == bindparam("with_account")
)
_OF_IMAGE = select(table).where(table.c.image_id == bindparam("image_id")).order_by(table.c.shared_account_id)
_SHARED_WITH = SHARED.add_columns(table.c.shared_account_id, table.c.allow_fleet, table.c.allow_image_builder)
_SHARED_IDS = (
    select(table.c.image_id)
    .distinct()
    .join(images, images.c.image_id == table.c.image_id)
    .where(images.c.account_id == bindparam("account_id"), images.c.region == bindparam("region"))
)


class SqlImagePermissions:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def put(self, permission: ImagePermission) -> None:
        row = {
            "image_id": permission.image_id,
            "shared_account_id": permission.shared_account_id,
            "allow_fleet": permission.allow_fleet,
            "allow_image_builder": permission.allow_image_builder,
        }
        await self._door.change(_PUTS[self._door.dialect], row)

    async def drop(self, image_id: str, shared_account_id: str) -> bool:
        return await self._door.change(_DROP, {"of_image": image_id, "with_account": shared_account_id}) > 0

    async def of_image(self, image_id: str) -> Sequence[ImagePermission]:
        return [_from_row(row) for row in await self._door.rows(_OF_IMAGE, {"image_id": image_id})]

    async def shared_with(self, scope: Scope) -> Sequence[tuple[Image, ImagePermission]]:
        place = {"account_id": scope.account_id, "region": scope.region}
        return [(image_of(row), _from_row(row)) for row in await self._door.rows(_SHARED_WITH, place)]

    async def shared_ids(self, scope: Scope) -> frozenset[str]:
        place = {"account_id": scope.account_id, "region": scope.region}
        return frozenset(row[0] for row in await self._door.rows(_SHARED_IDS, place))


def _from_row(row: AnyRow) -> ImagePermission:
    return ImagePermission(
        image_id=row.image_id,
        shared_account_id=row.shared_account_id,
        allow_fleet=row.allow_fleet,
        allow_image_builder=row.allow_image_builder,
    )
