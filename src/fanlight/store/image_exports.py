"""Exports of images in the database."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select

from fanlight.domain.image_exports import EXPORT, ExportState, ImageExport
from fanlight.domain.objects import ObjectPlace
from fanlight.domain.places import Scope
from fanlight.store.archive_tables import image_exports as table
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import Kind, Rows, Statements

_SAME = (
    "task_id",
    "version",
    "image_id",
    "image_arn",
    "ami_id",
    "ami_name",
    "ami_description",
    "tags",
    "error_code",
    "error_message",
    "created_at",
)


def _to_row(export: ImageExport) -> dict[str, Any]:
    return {
        **{name: getattr(export, name) for name in _SAME},
        "tags": dict(export.tags),
        "account_id": export.scope.account_id,
        "region": export.scope.region,
        "bucket": export.place.bucket,
        "object_key": export.place.key,
        "state": export.state,
    }


def _from_row(row: AnyRow) -> ImageExport:
    return ImageExport(
        **{name: getattr(row, name) for name in _SAME},
        scope=Scope(row.account_id, row.region),
        place=ObjectPlace(row.bucket, row.object_key),
        state=ExportState(row.state),
    )


KIND = Kind(
    noun="export task",
    table=table,
    key="task_id",
    to_row=_to_row,
    from_row=_from_row,
    name_of=lambda export: export.task_id,
    machine=EXPORT,
)
STATEMENTS = Statements.of(KIND)

_ONE = select(table).where(table.c.task_id == bindparam("task_id"))
_OF_SCOPE = (
    select(table)
    .where(table.c.account_id == bindparam("account_id"), table.c.region == bindparam("region"))
    .order_by(table.c.created_at.desc(), table.c.task_id)
)
_UNFINISHED = select(table).where(table.c.state == ExportState.EXPORTING.value).order_by(table.c.created_at)


class SqlImageExports(Rows[ImageExport]):
    """See `domain.image_exports.ImageExports`."""

    def __init__(self, door: Door) -> None:
        super().__init__(door, KIND, STATEMENTS)

    async def find(self, task_id: str) -> ImageExport | None:
        return await self._one(_ONE, {"task_id": task_id})

    async def of_scope(self, scope: Scope) -> Sequence[ImageExport]:
        return await self._all(_OF_SCOPE, {"account_id": scope.account_id, "region": scope.region})

    async def unfinished(self) -> Sequence[ImageExport]:
        return await self._all(_UNFINISHED)
