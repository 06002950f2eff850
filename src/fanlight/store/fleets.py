"""Fleets in the database."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, select

from fanlight.domain.errors import NotFound
from fanlight.domain.fleet_errors import FleetError, FleetErrorCause
from fanlight.domain.fleets import FLEET, Fleet, FleetState, FleetType, StreamView, VpcConfig
from fanlight.domain.places import Scope
from fanlight.store.door import AnyRow, Door
from fanlight.store.rows import Kind, Rows, Statements
from fanlight.store.tables import fleets as table


def _to_row(fleet: Fleet) -> dict[str, Any]:
    return {
        "fleet_id": fleet.fleet_id,
        "account_id": fleet.scope.account_id,
        "region": fleet.scope.region,
        "name": fleet.name,
        "state": fleet.state,
        "version": fleet.version,
        "fleet_type": fleet.fleet_type,
        "stream_view": fleet.stream_view,
        "image_name": fleet.image_name,
        "image_arn": fleet.image_arn,
        "instance_type": fleet.instance_type,
        "platform": fleet.platform,
        "desired_instances": fleet.desired_instances,
        "max_user_duration_in_seconds": _seconds(fleet.max_user_duration),
        "disconnect_timeout_in_seconds": _seconds(fleet.disconnect_timeout),
        "idle_disconnect_timeout_in_seconds": _seconds(fleet.idle_disconnect_timeout),
        "display_name": fleet.display_name,
        "description": fleet.description,
        "enable_default_internet_access": fleet.enable_default_internet_access,
        "created_at": fleet.created_at,
        "errors": [
            {"cause": error.cause, "message": error.message, "happened_at": error.happened_at.isoformat()}
            for error in fleet.errors
        ],
        "launch_failures": fleet.launch_failures,
        "retry_at": fleet.retry_at,
        "vpc_config": _vpc_members(fleet.vpc_config),
        "max_sessions_per_instance": fleet.max_sessions_per_instance,
        "desired_sessions": fleet.desired_sessions,
        "root_volume_in_gib": fleet.root_volume_in_gib,
        "disable_imdsv1": fleet.disable_imdsv1,
    }


# A page of a hundred fleets is made by every DescribeFleets, so rows are read by position and enums by table.
_STATES = {state.value: state for state in FleetState}
_TYPES = {kind.value: kind for kind in FleetType}
_VIEWS = {view.value: view for view in StreamView}


def _from_row(row: AnyRow) -> Fleet:
    """Return the fleet of a row whose columns are in the order of the table."""
    return Fleet(
        fleet_id=row[0],
        scope=Scope(row[1], row[2]),
        name=row[3],
        state=_STATES[row[4]],
        version=row[5],
        fleet_type=_TYPES[row[6]],
        stream_view=_VIEWS[row[7]],
        image_name=row[8],
        image_arn=row[9],
        instance_type=row[10],
        platform=row[11],
        desired_instances=row[12],
        max_user_duration=timedelta(seconds=row[13]),
        disconnect_timeout=timedelta(seconds=row[14]),
        idle_disconnect_timeout=timedelta(seconds=row[15]),
        display_name=row[16],
        description=row[17],
        enable_default_internet_access=row[18],
        created_at=row[19],
        errors=tuple(map(_error, row[20])),
        launch_failures=row[21],
        retry_at=row[22],
        vpc_config=None if row[23] is None else _vpc_config(row[23]),
        max_sessions_per_instance=row[24],
        desired_sessions=row[25],
        root_volume_in_gib=row[26],
        disable_imdsv1=row[27],
    )


def _vpc_members(config: VpcConfig | None) -> dict[str, list[str]] | None:
    if config is None:
        return None
    return {"subnet_ids": list(config.subnet_ids), "security_group_ids": list(config.security_group_ids)}


def _vpc_config(stored: Mapping[str, Sequence[str]]) -> VpcConfig:
    return VpcConfig(tuple(stored["subnet_ids"]), tuple(stored["security_group_ids"]))


# Rows of the first version have codes. Whatever caused them, the next plan or launch settles it.
_CAUSE_OF_CODE = {
    "IMAGE_NOT_FOUND": FleetErrorCause.IMAGE_UNKNOWN,
    "FLEET_INSTANCE_PROVISIONING_FAILURE": FleetErrorCause.BOOT_FAILED,
    "INTERNAL_SERVICE_ERROR": FleetErrorCause.ENGINE_AWAY,
}


def _error(stored: Mapping[str, str]) -> FleetError:
    happened_at = datetime.fromisoformat(stored["happened_at"])
    cause = stored.get("cause") or _CAUSE_OF_CODE[stored["code"]]
    return FleetError(FleetErrorCause(cause), stored["message"], happened_at)


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


KIND = Kind(
    noun="fleet",
    table=table,
    key="fleet_id",
    to_row=_to_row,
    from_row=_from_row,
    name_of=lambda fleet: fleet.name,
    machine=FLEET,
)
STATEMENTS = Statements.of(KIND)

_IN_SCOPE = select(table).where(table.c.account_id == bindparam("account_id"), table.c.region == bindparam("region"))
_BY_NAME = _IN_SCOPE.where(table.c.name == bindparam("name"))
_BY_ID = select(table).where(table.c.fleet_id == bindparam("fleet_id"))
_NAMED = _IN_SCOPE.where(table.c.name.in_(bindparam("names", expanding=True))).order_by(table.c.name)
_PAGE = _IN_SCOPE.where(table.c.name > bindparam("after")).order_by(table.c.name).limit(bindparam("page_size"))
_ALL = select(table).order_by(table.c.account_id, table.c.region, table.c.name)


class SqlFleets(Rows[Fleet]):
    def __init__(self, door: Door) -> None:
        super().__init__(door, KIND, STATEMENTS)

    async def get(self, scope: Scope, name: str) -> Fleet:
        found = await self._one(_BY_NAME, {"account_id": scope.account_id, "region": scope.region, "name": name})
        if found is None:
            raise NotFound("fleet", name)
        return found

    async def find(self, fleet_id: str) -> Fleet | None:
        return await self._one(_BY_ID, {"fleet_id": fleet_id})

    async def page(self, scope: Scope, *, names: Sequence[str] = (), after: str = "", limit: int) -> Sequence[Fleet]:
        place = {"account_id": scope.account_id, "region": scope.region}
        if names:
            return await self._many(_NAMED, {**place, "names": list(names)})
        return await self._many(_PAGE, {**place, "after": after, "page_size": limit})

    async def everywhere(self) -> Sequence[Fleet]:
        return await self._all(_ALL)
