"""Image builders in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select

from fanlight.domain.errors import NotFound
from fanlight.domain.fleet_errors import FleetError, FleetErrorCause
from fanlight.domain.fleets import VpcConfig
from fanlight.domain.image_builders import (
    IMAGE_BUILDER,
    ImageBuilder,
    ImageBuilderState,
    StateChangeCode,
    StateChangeReason,
)
from fanlight.domain.networks import NetworkInterface
from fanlight.domain.places import Scope
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import Kind, Rows, Statements
from fanlight.store.tables import image_builders as table


def _to_row(builder: ImageBuilder) -> dict[str, Any]:
    vpc, reason, interface = builder.vpc_config, builder.reason, builder.network_interface
    return {
        "builder_id": builder.builder_id,
        "account_id": builder.scope.account_id,
        "region": builder.scope.region,
        "name": builder.name,
        "state": builder.state,
        "version": builder.version,
        "image_name": builder.image_name,
        "image_arn": builder.image_arn,
        "image_ref": builder.image_ref,
        "instance_id": builder.instance_id,
        "instance_type": builder.instance_type,
        "platform": builder.platform,
        "agent_version": builder.agent_version,
        "display_name": builder.display_name,
        "description": builder.description,
        "vpc_config": {name: list(ids) for name, ids in asdict(vpc).items()} if vpc else None,
        "enable_default_internet_access": builder.enable_default_internet_access,
        "access_endpoints": list(builder.access_endpoints),
        "root_volume_in_gib": builder.root_volume_in_gib,
        "disable_imdsv1": builder.disable_imdsv1,
        "created_at": builder.created_at,
        "begun_at": builder.begun_at,
        "accepted_at": builder.accepted_at,
        "has_run": builder.has_run,
        "launch_failures": builder.launch_failures,
        "retry_at": builder.retry_at,
        "reason": {"code": reason.code, "message": reason.message} if reason else None,
        "errors": [
            {"cause": error.cause, "message": error.message, "happened_at": error.happened_at.isoformat()}
            for error in builder.errors
        ],
        "network_interface": asdict(interface) if interface else None,
        "snapshot_image_id": builder.snapshot_image_id,
        "is_prepared": builder.is_prepared,
    }


def _from_row(row: AnyRow) -> ImageBuilder:
    vpc: Mapping[str, Sequence[str]] | None = row.vpc_config
    return ImageBuilder(
        builder_id=row.builder_id,
        scope=Scope(row.account_id, row.region),
        name=row.name,
        state=ImageBuilderState(row.state),
        version=row.version,
        image_name=row.image_name,
        image_arn=row.image_arn,
        image_ref=row.image_ref,
        instance_id=row.instance_id,
        instance_type=row.instance_type,
        platform=row.platform,
        agent_version=row.agent_version,
        display_name=row.display_name,
        description=row.description,
        vpc_config=VpcConfig(tuple(vpc["subnet_ids"]), tuple(vpc["security_group_ids"])) if vpc else None,
        enable_default_internet_access=row.enable_default_internet_access,
        access_endpoints=tuple(row.access_endpoints),
        root_volume_in_gib=row.root_volume_in_gib,
        disable_imdsv1=row.disable_imdsv1,
        created_at=row.created_at,
        begun_at=row.begun_at,
        accepted_at=row.accepted_at,
        has_run=row.has_run,
        launch_failures=row.launch_failures,
        retry_at=row.retry_at,
        reason=StateChangeReason(StateChangeCode(row.reason["code"]), row.reason["message"]) if row.reason else None,
        errors=tuple(map(_error, row.errors)),
        network_interface=NetworkInterface(**row.network_interface) if row.network_interface else None,
        snapshot_image_id=row.snapshot_image_id,
        is_prepared=row.is_prepared,
    )


def _error(stored: Mapping[str, str]) -> FleetError:
    happened_at = datetime.fromisoformat(stored["happened_at"])
    return FleetError(FleetErrorCause(stored["cause"]), stored["message"], happened_at)


KIND = Kind(
    noun="image builder",
    table=table,
    key="builder_id",
    to_row=_to_row,
    from_row=_from_row,
    name_of=lambda builder: builder.name,
    machine=IMAGE_BUILDER,
)
STATEMENTS = Statements.of(KIND)

_IN_SCOPE = select(table).where(table.c.account_id == bindparam("account_id"), table.c.region == bindparam("region"))
_BY_NAME = _IN_SCOPE.where(table.c.name == bindparam("name"))
_BY_ID = select(table).where(table.c.builder_id == bindparam("builder_id"))
_OF_INSTANCE = select(table).where(table.c.instance_id == bindparam("instance_id"))
_NAMED = _IN_SCOPE.where(table.c.name.in_(bindparam("names", expanding=True))).order_by(table.c.name)
_PAGE = _IN_SCOPE.where(table.c.name > bindparam("after")).order_by(table.c.name).limit(bindparam("page_size"))
_ALL = select(table).order_by(table.c.account_id, table.c.region, table.c.name)


class SqlImageBuilders(Rows[ImageBuilder]):
    def __init__(self, door: Door) -> None:
        super().__init__(door, KIND, STATEMENTS)

    async def get(self, scope: Scope, name: str) -> ImageBuilder:
        found = await self._one(_BY_NAME, {"account_id": scope.account_id, "region": scope.region, "name": name})
        if found is None:
            raise NotFound("image builder", name)
        return found

    async def find(self, builder_id: str) -> ImageBuilder | None:
        return await self._one(_BY_ID, {"builder_id": builder_id})

    async def of_instance(self, instance_id: str) -> ImageBuilder | None:
        return await self._one(_OF_INSTANCE, {"instance_id": instance_id})

    async def page(
        self, scope: Scope, *, names: Sequence[str] = (), after: str = "", limit: int
    ) -> Sequence[ImageBuilder]:
        place = {"account_id": scope.account_id, "region": scope.region}
        if names:
            return await self._many(_NAMED, {**place, "names": list(names)})
        return await self._many(_PAGE, {**place, "after": after, "page_size": limit})

    async def everywhere(self) -> Sequence[ImageBuilder]:
        return await self._all(_ALL)
