"""Snapshots as the compute process lends them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from fanlight.domain.instance_snapshots import InstanceSnapshots
from fanlight.drivers.incus import wire


def snapshot_routes(
    snapshots: InstanceSnapshots,
    check_prepared: Callable[[], None],
    read_json: Callable[[web.Request], Awaitable[Any]],
) -> Sequence[web.RouteDef]:
    """Return the routes; `check_prepared` raises DriverUnavailable while the engine is not prepared."""

    async def names(request: web.Request) -> web.StreamResponse:
        check_prepared()
        return web.json_response(list(await snapshots.names(wire.read_instance_id(await read_json(request)))))

    def doing(act: Callable[..., Awaitable[None]]) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            check_prepared()
            await act(**wire.read_snapshot(await read_json(request)))
            return web.json_response({})

        return handle

    return [
        web.post("/v1/snapshots/names", names),
        web.post("/v1/snapshots/create", doing(snapshots.create)),
        web.post("/v1/snapshots/restore", doing(snapshots.restore)),
        web.post("/v1/snapshots/delete", doing(snapshots.delete)),
    ]
