"""The image store as the compute process lends it. The api process may make, copy and delete what is made here, no more."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from fanlight.domain.ports import ImageStore
from fanlight.drivers.incus import wire


def image_routes(
    store: ImageStore, check_prepared: Callable[[], None], read_json: Callable[[web.Request], Awaitable[Any]]
) -> Sequence[web.RouteDef]:
    """Return the routes; `check_prepared` raises DriverUnavailable while the engine is not prepared.

    A handler goes on when its caller is gone: what it does may be asked for again, and is then found done.
    """

    async def observe(request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - it has no body
        check_prepared()
        return web.json_response([wire.write_stored(image) for image in await store.observe()])

    def doing(read: Callable[[Any], Any], act: Callable[..., Awaitable[None]]) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            check_prepared()
            read_body = read(await read_json(request))
            await (act(**read_body) if isinstance(read_body, dict) else act(read_body))
            return web.json_response({})

        return handle

    return [
        web.get("/v1/images", observe),
        web.post("/v1/images/delete", doing(wire.read_made_ref, store.delete)),
        web.post("/v1/images/warm", doing(wire.read_ref, store.warm)),
        web.post("/v1/images/publish", doing(wire.read_publish, store.publish)),
        web.post("/v1/images/copy", doing(wire.read_copy, store.copy)),
    ]
