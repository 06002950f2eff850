"""Images in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, or_, select

from fanlight.domain.image_tasks import read_task, write_task
from fanlight.domain.images import (
    IMAGE,
    Application,
    Image,
    ImageError,
    ImageFailure,
    ImageState,
    Visibility,
)
from fanlight.domain.places import Scope
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import Kind, Rows, Statements
from fanlight.store.tables import image_permissions
from fanlight.store.tables import images as table


def _to_row(image: Image) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "account_id": image.scope.account_id,
        "region": image.scope.region,
        "name": image.name,
        "store_ref": image.store_ref,
        "version": image.version,
        "state": image.state,
        "visibility": image.visibility,
        "platform": image.platform,
        "display_name": image.display_name,
        "description": image.description,
        "applications": [asdict(application) for application in image.applications],
        "base_image_arn": image.base_image_arn,
        "image_builder_name": image.image_builder_name,
        "agent_version": image.agent_version,
        "image_builder_supported": image.image_builder_supported,
        "is_imported": image.is_imported,
        "supported_instance_families": list(image.supported_instance_families),
        "created_at": image.created_at,
        "public_base_image_released_at": image.public_base_image_released_at,
        "failure": image.failure,
        "failure_message": image.failure_message,
        "errors": [{**asdict(error), "happened_at": error.happened_at.isoformat()} for error in image.errors],
        "size_in_bytes": image.size_in_bytes,
        "progress": image.progress,
        "task": write_task(image.task),
    }


def image_of(row: AnyRow) -> Image:
    return Image(
        image_id=row.image_id,
        scope=Scope(row.account_id, row.region),
        name=row.name,
        store_ref=row.store_ref,
        version=row.version,
        state=ImageState(row.state),
        visibility=Visibility(row.visibility),
        platform=row.platform,
        display_name=row.display_name,
        description=row.description,
        applications=tuple(Application(**application) for application in row.applications),
        base_image_arn=row.base_image_arn,
        image_builder_name=row.image_builder_name,
        agent_version=row.agent_version,
        image_builder_supported=row.image_builder_supported,
        is_imported=row.is_imported,
        supported_instance_families=tuple(row.supported_instance_families),
        created_at=row.created_at,
        public_base_image_released_at=row.public_base_image_released_at,
        failure=None if row.failure is None else ImageFailure(row.failure),
        failure_message=row.failure_message,
        errors=tuple(map(_error, row.errors)),
        size_in_bytes=row.size_in_bytes,
        progress=row.progress,
        task=read_task(row.task),
    )


def _error(stored: Mapping[str, str]) -> ImageError:
    return ImageError(stored["code"], stored["message"], datetime.fromisoformat(stored["happened_at"]))


KIND = Kind(
    noun="image",
    table=table,
    key="image_id",
    to_row=_to_row,
    from_row=image_of,
    name_of=lambda image: image.name,
    machine=IMAGE,
)
STATEMENTS = Statements.of(KIND)

_IS_OWN = and_(table.c.account_id == bindparam("account_id"), table.c.region == bindparam("region"))
_IS_PUBLIC = and_(table.c.account_id == "", table.c.region == "")
# The own account's id is never empty, so descending order puts an own image before the public one of its name.
_VISIBLE = select(table).where(or_(_IS_OWN, _IS_PUBLIC)).order_by(table.c.name, table.c.account_id.desc())
_NAMED = _VISIBLE.where(table.c.name == bindparam("name"))
_BY_ID = select(table).where(table.c.image_id == bindparam("image_id"))
_ALL = select(table).order_by(table.c.account_id, table.c.region, table.c.name)
SHARED = (
    select(table)
    .join(image_permissions, image_permissions.c.image_id == table.c.image_id)
    .where(
        image_permissions.c.shared_account_id == bindparam("account_id"),
        table.c.region == bindparam("region"),
    )
    .order_by(table.c.name, table.c.account_id)
)
_SHARED_NAMED = SHARED.where(table.c.name == bindparam("name"))


class SqlImages(Rows[Image]):
    def __init__(self, door: Door) -> None:
        super().__init__(door, KIND, STATEMENTS)

    async def find(self, scope: Scope, *, name: str = "", arn: str = "") -> Image | None:
        place = {"account_id": scope.account_id, "region": scope.region}
        wanted = name or arn.rpartition(":image/")[2]
        for image in await self._many(_NAMED, {**place, "name": wanted}):
            if not arn or image.arn_in(scope.region) == arn:
                return image
        for row in await self._door.rows(_SHARED_NAMED, {**place, "name": wanted}) if arn else ():
            image = image_of(row)
            if image.arn_in(scope.region) == arn:
                return image
        return None

    async def find_by_id(self, image_id: str) -> Image | None:
        return await self._one(_BY_ID, {"image_id": image_id})

    async def everywhere(self) -> Sequence[Image]:
        return await self._all(_ALL)

    async def visible(self, scope: Scope) -> Sequence[Image]:
        return await self._many(_VISIBLE, {"account_id": scope.account_id, "region": scope.region})
