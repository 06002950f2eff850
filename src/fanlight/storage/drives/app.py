"""What the storage process does for the gateway about drives, over the same socket as for My Files."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from fanlight.domain.user_storage import StorageKind
from fanlight.storage.drives.consents import ConsentRefused, Consents
from fanlight.storage.drives.doors import DRIVES, DriveDoors

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LONGEST = 4096  # a code of a provider, an address of ours


def add_drive_routes(app: web.Application, doors: DriveDoors, consents: Consents) -> None:
    handlers = _Handlers(doors, consents)
    session = "/v1/sessions/{session_id}"
    app.router.add_get(f"{session}/drives", handlers.list, allow_head=False)
    app.router.add_post(f"{session}/drives/{{kind}}/connect", _saying_refusals(handlers.connect))
    app.router.add_post(f"{session}/drives/{{kind}}/disconnect", _saying_refusals(handlers.disconnect))
    app.router.add_post("/v1/drives/connected", _saying_refusals(handlers.connected))


class _Handlers:
    def __init__(self, doors: DriveDoors, consents: Consents) -> None:
        self._doors, self._consents = doors, consents

    async def list(self, request: web.Request) -> web.StreamResponse:
        drives = self._doors.of(request.match_info["session_id"])
        said = [{"kind": one.door.kind, "state": one.state, "account": one.account} for one in drives]
        return web.json_response({"drives": sorted(said, key=lambda one: str(one["kind"]))})

    async def connect(self, request: web.Request) -> web.StreamResponse:
        url = self._consents.begin(
            request.match_info["session_id"],
            _kind(request),
            redirect_uri=_text(request, "redirect_uri"),
            browser=_text(request, "browser"),
        )
        return web.json_response({"url": url})

    async def connected(self, request: web.Request) -> web.StreamResponse:
        kind, account = await self._consents.finish(
            state=_text(request, "state"),
            code=_text(request, "code", may_be_empty=True),
            browser=_text(request, "browser"),
        )
        return web.json_response({"kind": kind, "account": account})

    async def disconnect(self, request: web.Request) -> web.StreamResponse:
        is_revoked = await self._consents.disconnect(request.match_info["session_id"], _kind(request))
        return web.json_response({"is_revoked": is_revoked})


def _kind(request: web.Request) -> StorageKind:
    named = request.match_info["kind"]
    for kind in DRIVES:
        if kind == named:
            return kind
    raise ConsentRefused("NO_DRIVE", "Your session has no such drive.")


def _text(request: web.Request, name: str, *, may_be_empty: bool = False) -> str:
    value = request.query.get(name, "")
    if len(value) > _LONGEST or not (value or may_be_empty):
        raise ConsentRefused("STALE", "This address is not whole. Connect the drive once more.")
    return value


def _saying_refusals(handler: _Handler) -> _Handler:
    async def say(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ConsentRefused as refusal:
            body = {"code": refusal.code, "message": refusal.message}
            return web.json_response(body, status=HTTPStatus.CONFLICT)

    return say
