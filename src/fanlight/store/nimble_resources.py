"""Studios, studio components, launch profiles and streaming images in the database: one table for all kinds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from sqlalchemy import bindparam, func, select

from fanlight.domain.errors import NotFound
from fanlight.domain.nimble.identifiers import ResourceKind
from fanlight.domain.nimble.launch_profiles import LaunchProfile
from fanlight.domain.nimble.resources import LIFE, Resource, ResourceState, ResourceT, Status, noun_of
from fanlight.domain.nimble.streaming_images import StreamingImage
from fanlight.domain.nimble.studio_components import StudioComponent
from fanlight.domain.nimble.studios import Studio
from fanlight.domain.places import Scope
from fanlight.store.door import AnyRow, Door
from fanlight.store.nimble_tables import nimble_resources as table
from fanlight.store.rows import Kind, Rows, Statements
from fanlight.store.structures import from_json, to_json

_CLASSES: Mapping[ResourceKind, type[Resource]] = {
    kind.KIND: kind for kind in (Studio, StudioComponent, LaunchProfile, StreamingImage)
}
_COMMON = frozenset(field.name for field in fields(Resource))


def _to_row(resource: Resource) -> dict[str, Any]:
    return {
        "resource_id": resource.resource_id,
        "kind": resource.KIND,
        "account_id": resource.scope.account_id,
        "region": resource.scope.region,
        "studio_id": resource.studio_id,
        "version": resource.version,
        "state": resource.state,
        "status_code": resource.status.code,
        "status_message": resource.status.message,
        "created_at": resource.created_at,
        "created_by": resource.created_by,
        "updated_at": resource.updated_at,
        "updated_by": resource.updated_by,
        "state_since": resource.state_since,
        "content": {name: value for name, value in to_json(resource).items() if name not in _COMMON},
    }


def _from_row(row: AnyRow) -> Resource:
    return from_json(
        _CLASSES[ResourceKind(row.kind)],
        row.content,
        resource_id=row.resource_id,
        scope=Scope(row.account_id, row.region),
        studio_id=row.studio_id,
        version=row.version,
        state=ResourceState(row.state),
        status=Status(code=row.status_code, message=row.status_message),
        created_at=row.created_at,
        created_by=row.created_by,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
        state_since=row.state_since,
    )


KIND = Kind(
    noun="resource",
    table=table,
    key="resource_id",
    to_row=_to_row,
    from_row=_from_row,
    name_of=lambda resource: resource.resource_id,
    machine=LIFE,
)
STATEMENTS = Statements.of(KIND)

_BY_ID = select(table).where(table.c.resource_id == bindparam("resource_id"))
_PAGE = (
    select(table)
    .where(
        table.c.account_id == bindparam("account_id"),
        table.c.region == bindparam("region"),
        table.c.kind == bindparam("kind"),
        table.c.state.in_(bindparam("states", expanding=True)),
        table.c.resource_id > bindparam("after"),
    )
    .order_by(table.c.resource_id)
    .limit(bindparam("page_size"))
)
_PAGE_OF_STUDIO = _PAGE.where(table.c.studio_id == bindparam("studio_id"))
_COUNT = (
    select(table.c.kind, func.count())
    .where(
        table.c.account_id == bindparam("account_id"),
        table.c.region == bindparam("region"),
        table.c.studio_id == bindparam("studio_id"),
        table.c.state.not_in([ResourceState.DELETED, ResourceState.CREATE_FAILED]),
    )
    .group_by(table.c.kind)
)
_UNSETTLED = select(table.c.resource_id).where(table.c.state != ResourceState.READY)


class SqlNimbleResources(Rows[Resource]):
    """See `domain.nimble.ports.NimbleResources`."""

    def __init__(self, door: Door) -> None:
        super().__init__(door, KIND, STATEMENTS)

    async def add(self, entity: ResourceT) -> ResourceT:
        return cast("ResourceT", await super().add(entity))

    async def save(self, entity: ResourceT) -> ResourceT:
        return cast("ResourceT", await super().save(entity))

    async def get(
        self, kind: type[ResourceT], scope: Scope, resource_id: str, studio_id: str | None = None
    ) -> ResourceT:
        found = await self.find(resource_id)
        if not isinstance(found, kind) or found.scope != scope or studio_id not in (None, found.studio_id):
            raise NotFound(noun_of(kind.KIND), resource_id)
        return found

    async def find(self, resource_id: str) -> Resource | None:
        return await self._one(_BY_ID, {"resource_id": resource_id})

    async def page(
        self,
        kind: type[ResourceT],
        scope: Scope,
        studio_id: str | None = None,
        *,
        states: Collection[ResourceState],
        after: str = "",
        limit: int,
    ) -> Sequence[ResourceT]:
        asked = {
            "account_id": scope.account_id,
            "region": scope.region,
            "kind": kind.KIND,
            "states": sorted(states),
            "after": after,
            "page_size": limit,
        }
        if studio_id is None:
            return cast("Sequence[ResourceT]", await self._many(_PAGE, asked))
        return cast("Sequence[ResourceT]", await self._many(_PAGE_OF_STUDIO, {**asked, "studio_id": studio_id}))

    async def count(self, scope: Scope, studio_id: str) -> Mapping[ResourceKind, int]:
        asked = {"account_id": scope.account_id, "region": scope.region, "studio_id": studio_id}
        return {ResourceKind(row[0]): row[1] for row in await self._door.rows(_COUNT, asked)}

    async def unsettled(self) -> Sequence[str]:
        return [row[0] for row in await self._door.rows(_UNSETTLED)]
