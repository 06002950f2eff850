"""What the storage process does for the api process, over RUN_DIR/storage/storage.sock.

The kernel says who asks. What is asked is read as strictly as if it were an enemy's: names become paths here.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from fanlight.domain.errors import StorageUnusable
from fanlight.domain.user_storage import RPC_SOCKET_NAME, StorageDoor, StorageKind
from fanlight.http_peers import admitting
from fanlight.storage.drives.doors import DRIVES, DriveDoors
from fanlight.storage.sessions import Remote, SessionDoors
from fanlight.unix_sockets import listen_in

log = logging.getLogger(__name__)

_BACKLOG = 64
_MAX_BODY_BYTES = 16 * 1024
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]{1,253}")
_LONGEST_PREFIX = 900  # of the 1,024 bytes that a key has


class MalformedRequest(Exception):
    """The text says which member is wrong."""


def make_rpc(doors: SessionDoors, drives: DriveDoors, remote: Remote, allowed_uids: Collection[int]) -> web.Application:
    """Return the application."""
    rpc = _Rpc(doors, drives, remote)
    app = web.Application(
        middlewares=[admitting(frozenset(allowed_uids), _turn_away), _answering_errors], client_max_size=_MAX_BODY_BYTES
    )
    app.router.add_get("/v1/doors", rpc.list)
    app.router.add_put("/v1/doors", rpc.open)
    app.router.add_post("/v1/doors/close", rpc.close)
    app.router.add_put("/v1/buckets", rpc.ensure_bucket)
    app.router.add_get("/v1/usage", rpc.usage)
    return app


async def serve_rpc(app: web.Application, run_dir: Path) -> web.AppRunner:
    """Listen; the caller cleans the runner up. Raises OSError."""
    listener = listen_in(run_dir / "storage", RPC_SOCKET_NAME, mode=0o660, backlog=_BACKLOG)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=_BACKLOG).start()
    return runner


class _Rpc:
    def __init__(self, doors: SessionDoors, drives: DriveDoors, remote: Remote) -> None:
        self._doors, self._drives, self._remote = doors, drives, remote

    async def list(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - it has no body
        return web.json_response(
            [[door.session_id, door.kind] for door in (*self._doors.doors(), *self._drives.doors())]
        )

    async def open(self, request: web.Request) -> web.StreamResponse:
        """Open first, then look at the bucket: the door works as soon as the bucket does. A drive waits for its user."""
        door = read_door(await _json_of(request))
        if door.kind in DRIVES:
            await self._drives.open(door)
            return web.json_response({})
        await self._doors.open(door)
        await self._remote.ensure(door.bucket)
        return web.json_response({})

    async def close(self, request: web.Request) -> web.StreamResponse:
        body = _members(await _json_of(request), {"session_id", "but"})
        if not isinstance(body["but"], list):
            raise MalformedRequest("but")
        kept = [_kind(one) for one in body["but"]]
        session_id = _matching(_ID, body, "session_id")
        await self._doors.close(session_id, but=kept)
        await self._drives.close(session_id, but=kept)
        return web.json_response({})

    async def ensure_bucket(self, request: web.Request) -> web.StreamResponse:
        body = _members(await _json_of(request), {"bucket"})
        await self._remote.ensure(_matching(_BUCKET, body, "bucket"))
        return web.json_response({})

    async def usage(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - it has no body
        return web.json_response([asdict(one) for one in await self._remote.usage()])


def read_door(body: object) -> StorageDoor:
    """Raises MalformedRequest."""
    members = _members(
        body,
        {"session_id", "kind", "instance_id", "first_uid", "token", "bucket", "prefix", "quota_in_bytes", "domains"},
    )
    quota = members["quota_in_bytes"]
    if type(members["first_uid"]) is not int or members["first_uid"] < 0:
        raise MalformedRequest("first_uid")
    if quota is not None and (type(quota) is not int or quota < 0):
        raise MalformedRequest("quota_in_bytes")
    return StorageDoor(
        session_id=_matching(_ID, members, "session_id"),
        kind=_kind(members["kind"]),
        instance_id=_matching(_ID, members, "instance_id"),
        first_uid=members["first_uid"],
        token=_matching(_TOKEN, members, "token"),
        bucket=_matching(_BUCKET, members, "bucket"),
        prefix=_prefix(members["prefix"]),
        quota_in_bytes=quota,
        domains=_domains(members["domains"]),
    )


def _members(body: object, names: Collection[str]) -> dict[str, Any]:
    if not isinstance(body, dict) or set(body) != set(names):
        raise MalformedRequest(f"the members must be exactly {', '.join(sorted(names))}")
    return body


def _matching(pattern: re.Pattern[str], members: Mapping[str, Any], name: str) -> str:
    value = members[name]
    if not isinstance(value, str) or not pattern.fullmatch(value) or ".." in value:
        raise MalformedRequest(name)
    return value


def _prefix(value: object) -> str:
    """Return a prefix that stays below its bucket and ends with a slash, so that it names nobody else's files."""
    steps = value.split("/") if isinstance(value, str) else []
    if len(steps) < 2 or steps[-1] or any(step in ("", ".", "..") for step in steps[:-1]):  # noqa: PLR2004
        raise MalformedRequest("prefix")
    if not str(value).isprintable() or "\\" in str(value) or len(str(value).encode()) > _LONGEST_PREFIX:
        raise MalformedRequest("prefix")
    return str(value)


def _domains(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and _DOMAIN.fullmatch(one) for one in value):
        raise MalformedRequest("domains")
    return tuple(value)


def _kind(value: object) -> StorageKind:
    try:
        return StorageKind(value)  # type: ignore[arg-type]  # it says what it does not know
    except ValueError:
        raise MalformedRequest("kind") from None


async def _json_of(request: web.Request) -> object:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError):
        raise MalformedRequest("the body is not JSON") from None


def _turn_away(uid: int | None) -> web.Response:
    log.warning("a user without leave asked the storage process", extra={"uid": uid})
    return _refusal(HTTPStatus.FORBIDDEN, "StorageUnavailable", "This user may not ask.")


@web.middleware
async def _answering_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except StorageUnusable as error:
        return _refusal(HTTPStatus.CONFLICT, StorageUnusable.__name__, str(error))
    except MalformedRequest as error:
        return _refusal(HTTPStatus.BAD_REQUEST, "StorageUnavailable", f"Malformed: {error}.")
    except (OSError, TimeoutError) as error:
        text = f"The instance has no place for users' files, or their server did not start: {error!r}."
        return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "StorageUnavailable", text)
    except web.HTTPException as error:
        return _refusal(error.status, "StorageUnavailable", error.reason)
    except Exception:
        # A mistake of ours: the caller can only repeat, the log tells us.
        log.exception("request failed", extra={"path": request.path})
        return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "StorageUnavailable", "The storage process failed.")


def _refusal(status: int, error: str, text: str) -> web.Response:
    return web.json_response({"error": error, "text": text}, status=status)
