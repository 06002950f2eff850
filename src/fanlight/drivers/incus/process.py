"""The compute process: the one part of Fanlight that runs as root and holds the Incus socket.

It lends the driver to the api process over RUN_DIR/compute.sock. It takes nothing from instances, reads every request as
an enemy's (`wire`), and answers only to root and the api user, whom the kernel names. It keeps nothing that matters:
killed and started again, it goes on. Neighbour: `upkeep` makes the surroundings of instances ready and keeps them so.
"""

import asyncio
import grp
import json
import logging
import os
import pwd
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from fanlight.background import end
from fanlight.config import Settings
from fanlight.domain.errors import DriverError, DriverUnavailable
from fanlight.domain.image_archives import ImageArchives
from fanlight.domain.instance_snapshots import InstanceSnapshots
from fanlight.domain.ports import ImageStore, InstanceDriver
from fanlight.drivers.incus import wire
from fanlight.drivers.incus.archive_routes import archive_routes
from fanlight.drivers.incus.archives import IncusImageArchives
from fanlight.drivers.incus.engine_images import EngineImages
from fanlight.drivers.incus.engines import IncusEngines
from fanlight.drivers.incus.image_routes import image_routes
from fanlight.drivers.incus.snapshot_routes import snapshot_routes
from fanlight.drivers.incus.snapshots import IncusSnapshots
from fanlight.drivers.incus.upkeep import GUARD_CHECK_IN_SECONDS, keep_prepared
from fanlight.http_peers import admitting
from fanlight.unix_sockets import listen_in

log = logging.getLogger(__name__)

SHARED_GROUP = "fanlight"
HEARTBEAT_IN_SECONDS = 15.0  # An empty line this often tells the listener that the stream still stands.
ARCHIVE_DESK = "incoming"  # below DATA_DIR; archives on their way, readable for nobody else
_BACKLOG = 128
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def run_compute_process(settings: Settings, *, guard_check_in_seconds: float = GUARD_CHECK_IN_SECONDS) -> None:
    """Serve until SIGTERM or SIGINT. Raises DriverUnavailable when the socket cannot be made."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engines = IncusEngines.of(settings)
    try:
        # Should the upkeep ever end by a mistake of ours, the group ends the process, which is started again.
        images = EngineImages(engines)
        archives = IncusImageArchives(settings.data_dir / ARCHIVE_DESK, images.store_in)
        server = ComputeServer(settings, engines, images, archives, IncusSnapshots(engines.driver_of))
        async with server, asyncio.TaskGroup() as group:
            upkeep = group.create_task(keep_prepared(engines, guard_check_in_seconds))
            await stop.wait()
            upkeep.cancel()
    finally:
        await engines.close()


class ComputeServer:
    """Serves a driver on RUN_DIR/compute.sock while the `async with` block runs.

    Until the driver is prepared, every request but the one to prepare it is answered with DriverUnavailable.
    """

    def __init__(
        self,
        settings: Settings,
        driver: InstanceDriver,
        store: ImageStore,
        archives: ImageArchives | None = None,
        snapshots: InstanceSnapshots | None = None,
    ) -> None:
        self._settings, self._driver, self._store = settings, driver, store
        self._archives, self._snapshots = archives, snapshots
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        allowed = {0, os.geteuid(), _uid_of(self._settings.api_user)}
        application = web.Application(
            middlewares=[admitting(allowed, _turn_away), _answering_errors], client_max_size=wire.MAX_BODY_IN_BYTES
        )
        application.add_routes(
            [
                web.post("/v1/prepare", self._prepare),
                web.post("/v1/launch", self._launch),
                web.post("/v1/start", self._start),
                web.post("/v1/stop", self._stop),
                web.post("/v1/terminate", self._terminate),
                web.get("/v1/instances", self._observe),
                web.get("/v1/changes", self._changes),
                *image_routes(self._store, self._check_prepared, _json_of),
                *(archive_routes(self._archives, self._check_prepared) if self._archives else ()),
                *(snapshot_routes(self._snapshots, self._check_prepared, _json_of) if self._snapshots else ()),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        listener = _listener(self._settings.effective_run_dir / wire.SOCKET_NAME)
        await web.SockSite(self._runner, listener, backlog=_BACKLOG).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _prepare(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - it has no body
        await self._driver.prepare()
        return web.json_response(wire.write_capabilities(self._driver.capabilities))

    async def _launch(self, request: web.Request) -> web.StreamResponse:
        self._check_prepared()
        await self._driver.launch(wire.read_spec(await _json_of(request)))
        return web.json_response({})

    async def _start(self, request: web.Request) -> web.StreamResponse:
        self._check_prepared()
        instance_id, runtime_version = wire.read_start(await _json_of(request))
        await self._driver.start(instance_id, runtime_version)
        return web.json_response({})

    async def _stop(self, request: web.Request) -> web.StreamResponse:
        self._check_prepared()
        await self._driver.stop(wire.read_instance_id(await _json_of(request)))
        return web.json_response({})

    async def _terminate(self, request: web.Request) -> web.StreamResponse:
        self._check_prepared()
        await self._driver.terminate(wire.read_instance_id(await _json_of(request)))
        return web.json_response({})

    async def _observe(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - it has no body
        self._check_prepared()
        observed = await self._driver.observe()
        return web.json_response([wire.write_observed(one) for one in observed])

    async def _changes(self, request: web.Request) -> web.StreamResponse:
        """Stream one JSON object a line: `{"instance_id": ...}` for a change, `{}` for none in a while."""
        self._check_prepared()
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        lines: asyncio.Queue[str | None] = asyncio.Queue()
        reading = asyncio.create_task(self._read_changes(lines))
        try:
            while (line := await _next_line(lines)) is not None:
                await response.write(line.encode() + b"\n")
        except ConnectionError:
            pass  # the listener went away
        finally:
            await end(reading)
        return response

    def _check_prepared(self) -> None:
        """Raises DriverUnavailable: nothing is launched on a host that is not guarded yet."""
        _ = self._driver.capabilities

    async def _read_changes(self, lines: "asyncio.Queue[str | None]") -> None:
        try:
            async with aclosing(self._driver.changes()) as changes:  # type: ignore[type-var]
                async for instance_id in changes:
                    lines.put_nowait(json.dumps({"instance_id": instance_id}))
        except DriverError as error:
            log.debug("no changes from the engine", extra={"reason": str(error)})
        finally:
            lines.put_nowait(None)


async def _next_line(lines: "asyncio.Queue[str | None]") -> str | None:
    try:
        return await asyncio.wait_for(lines.get(), HEARTBEAT_IN_SECONDS)
    except TimeoutError:
        return "{}"


async def _json_of(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise wire.MalformedRequest("The body is not JSON.") from error


def _turn_away(uid: int | None) -> web.Response:
    log.warning("a user without leave asked the compute process", extra={"uid": uid})
    return web.json_response({"error": "DriverUnavailable", "text": "This user may not ask."}, status=403)


@web.middleware
async def _answering_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except wire.MalformedRequest as error:
        return web.json_response({"error": "LaunchRefused", "text": str(error)}, status=400)
    except DriverError as error:
        status = 503 if isinstance(error, DriverUnavailable) else 409
        return web.json_response(wire.write_error(error), status=status)
    except web.HTTPException as error:
        return web.json_response({"error": "DriverUnavailable", "text": error.reason}, status=error.status)
    except Exception:
        # A mistake of ours: the caller can only repeat, the log tells us.
        log.exception("request failed", extra={"path": request.path})
        body = {"error": "DriverUnavailable", "text": "The compute process failed; its log says why."}
        return web.json_response(body, status=500)


def _uid_of(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise DriverUnavailable(f"The user {user} does not exist on this host: scripts/host-setup makes it.") from None


def _listener(path: Path) -> socket.socket:
    """Return the bound socket, root:fanlight 0660 before anybody can connect. Raises DriverUnavailable."""
    try:
        group = grp.getgrnam(SHARED_GROUP).gr_gid
        path.parent.mkdir(parents=True, exist_ok=True)
        return listen_in(path.parent.resolve(), path.name, mode=0o660, backlog=_BACKLOG, group_id=group)
    except (OSError, KeyError) as error:
        raise DriverUnavailable(f"The socket {path} cannot be made: {error}.") from error
