"""The requests of `docs/architecture.md`, "Gateway and control plane"."""

import asyncio
import base64
import json
import math
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

from aiohttp import web

from fanlight.agentwire import FIRST_PROTOCOL_WITH_STORAGE
from fanlight.agentwire.messages import ApplicationToLaunch, LaunchApplication, RefreshStorage
from fanlight.control.answers import refusal, refusing
from fanlight.control.bodies import MalformedBody, grant_to_wire, read_body, read_grant
from fanlight.control.changes import SessionChanges
from fanlight.control.views import SessionViews, catalog_view
from fanlight.controlwire.messages import TIME_ZONE, SessionView, to_json
from fanlight.domain.errors import NotFound, UrlRefused
from fanlight.domain.ports import AgentChannel, Clock, Transactions
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingGrant, StreamingSession
from fanlight.services.icon_urls import IconUrls
from fanlight.services.streaming_sessions import StreamingSessionService
from fanlight.unix_sockets import listen_in

MAX_BODY_BYTES = 64 * 1024
LONGEST_POLL_IN_SECONDS = 60.0
ENDED_SILENCE_IN_SECONDS = 15.0
_MAX_LAUNCH_ID = 128
_BACKLOG = 512
ConnectionChanged: TypeAlias = Callable[[StreamingSession, str], None]


def make_control_app(
    *,
    sessions: StreamingSessionService,
    transactions: Transactions,
    agents: AgentChannel,
    changes: SessionChanges,
    run_dir: Path,
    stream_uid_of: Callable[[str, int], int | None],
    heard: Callable[[str], None],
    allowed_uids: Collection[int],
    clock: Clock,
    icons: IconUrls,
    connection_changed: ConnectionChanged = lambda _session, _source_address: None,
) -> web.Application:
    """Return the app. `heard` and `stream_uid_of` are the Reconcilers' methods, `changes` has their callbacks.

    `connection_changed` is called once for each stream that begins or ends, with the browser's address: for the audit.
    """
    views = SessionViews(transactions, agents, clock, run_dir, stream_uid_of)
    handlers = _Handlers(sessions, transactions, agents, changes, views, heard, connection_changed, icons)
    app = web.Application(middlewares=[refusing(frozenset(allowed_uids))], client_max_size=MAX_BODY_BYTES)
    app.router.add_post("/v1/redeem", handlers.redeem)
    app.router.add_post("/v1/rules", handlers.rules)
    app.router.add_post("/v1/catalog", handlers.catalog)
    app.router.add_post("/v1/icons", handlers.icon)
    app.router.add_post("/v1/sessions", handlers.open)
    app.router.add_post("/v1/sessions/find", handlers.find)
    app.router.add_get("/v1/sessions/{id}", handlers.show)
    app.router.add_post("/v1/sessions/{id}/applications", handlers.launch)
    app.router.add_post("/v1/sessions/{id}/connection", handlers.connection)
    app.router.add_post("/v1/sessions/{id}/refresh", handlers.refresh)
    app.router.add_post("/v1/sessions/{id}/end", handlers.end)
    app.router.add_get("/v1/ended", handlers.ended)
    return app


async def serve_control(app: web.Application, path: Path) -> web.AppRunner:
    """Listen at `path` in place of a stale socket; the caller cleans the runner up. Raises OSError."""
    listener = listen_in(path.parent, path.name, mode=0o660, backlog=_BACKLOG)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=_BACKLOG).start()
    return runner


class _Handlers:
    def __init__(  # noqa: PLR0917 - called once, above
        self,
        sessions: StreamingSessionService,
        transactions: Transactions,
        agents: AgentChannel,
        changes: SessionChanges,
        views: SessionViews,
        heard: Callable[[str], None],
        connection_changed: ConnectionChanged,
        icons: IconUrls,
    ) -> None:
        self._sessions, self._transactions, self._agents = sessions, transactions, agents
        self._changes, self._views, self._heard = changes, views, heard
        self._connection_changed, self._icons = connection_changed, icons

    async def redeem(self, request: web.Request) -> web.Response:
        body = read_body(await _json(request), {"parameters": "text", "signature": "text"})
        try:
            grant = await self._sessions.redeem(**body)
        except UrlRefused as refused:
            issued = self._sessions.issued(**body)
            domains = (await self._views.rules_of(issued)).embed_host_domains if issued else ()
            return refusal(403, refused.code, str(refused), domains)
        return web.json_response(to_json(grant_to_wire(grant)))

    async def rules(self, request: web.Request) -> web.Response:
        return web.json_response(to_json(await self._views.rules_of(read_grant(await _json(request)))))

    async def catalog(self, request: web.Request) -> web.Response:
        catalog = await self._sessions.catalog(read_grant(await _json(request)))
        return web.json_response(to_json(catalog_view(catalog, self._icons)))

    async def icon(self, request: web.Request) -> web.Response:
        members = {"store_ref": "text", "name": "text", "expires": "text", "signature": "text"}
        picture = await asyncio.to_thread(self._icons.read, **read_body(await _json(request), members))
        if picture is None:
            return refusal(404, "NOT_FOUND", "There is no such icon, or its address is not valid any more.")
        return web.json_response({"picture": base64.b64encode(picture).decode()})

    async def open(self, request: web.Request) -> web.Response:
        members = {"grant": "object", "application_id": "text or null", "time_zone": "text or null"}
        body = read_body(await _json(request), members)
        if body["time_zone"] and not TIME_ZONE.fullmatch(body["time_zone"]):
            raise MalformedBody("time_zone must be the name of a time zone.")
        grant = read_grant(body["grant"])
        session = await self._sessions.open_session(grant, body["application_id"], body["time_zone"])
        if session.state is SessionState.ACTIVE:
            await self._launch_again(session, grant, body["application_id"])
        return await self._answer(session)

    async def _launch_again(self, session: StreamingSession, grant: StreamingGrant, chosen: str | None) -> None:
        """Launch what a returning user asked for: each choice anew, but what a URL says only once for each URL."""
        wanted = chosen or grant.application_id
        is_wish_of_url = chosen is None or chosen == grant.application_id
        if wanted is None or (is_wish_of_url and wanted == session.application_id):
            return
        launch_id = f"url-{grant.expires_at.timestamp():.0f}-{wanted}" if is_wish_of_url else uuid.uuid4().hex
        with suppress(NotFound):  # "Desktop" is nothing to launch
            await self._launch(session, wanted, launch_id)

    async def find(self, request: web.Request) -> web.Response:
        body = read_body(await _json(request), {"grant": "object"})
        session = await self._sessions.find_live(read_grant(body["grant"]))
        view = to_json(await self._views.of(session)) if session else None
        return web.json_response({"session": view})

    async def show(self, request: web.Request) -> web.Response:
        session_id = request.match_info["id"]
        state, timeout = request.query.get("wait_for_change_from"), _seconds(request.query.get("timeout", "0"))
        with self._changes.watching(session_id) as changed:
            session = await self._sessions.find(session_id)
            if state == session.state and timeout > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await changed.wait()
                session = await self._sessions.find(session_id)
        return await self._answer(session)

    async def launch(self, request: web.Request) -> web.Response:
        body = read_body(await _json(request), {"application_id": "text", "launch_id": "text"})
        if not 0 < len(body["launch_id"]) <= _MAX_LAUNCH_ID:
            raise MalformedBody(f"launch_id must have 1 to {_MAX_LAUNCH_ID} characters.")
        session = await self._sessions.find(request.match_info["id"])
        if session.state is not SessionState.ACTIVE:
            return refusal(409, "NOT_ACTIVE", f"The session is {session.state}; applications start in ACTIVE ones.")
        await self._launch(session, body["application_id"], body["launch_id"])
        return await self._answer(session)

    async def _launch(self, session: StreamingSession, application_id: str, launch_id: str) -> None:
        """Raises NotFound (application), AgentUnreachable."""
        async with self._transactions.begin() as work:
            fleet = await work.fleets.find(session.fleet_id)
            image = await work.images.find(fleet.scope, arn=fleet.image_arn) if fleet else None
        found = [a for a in (image.applications if image else ()) if a.name == application_id and a.enabled]
        if not found or session.instance_id is None:
            raise NotFound("application", application_id)
        application = ApplicationToLaunch(
            name=found[0].name,
            launch_path=found[0].launch_path,
            launch_parameters=found[0].launch_parameters,
            working_directory=found[0].working_directory,
        )
        message = LaunchApplication(session_id=session.session_id, launch_id=launch_id, application=application)
        await self._agents.send(session.instance_id, {"type": LaunchApplication.TYPE, **asdict(message)})

    async def connection(self, request: web.Request) -> web.Response:
        session_id = request.match_info["id"]
        body = read_body(await _json(request), {"is_connected": "true or false", "source_address": "text"})
        is_connected = body["is_connected"]
        before = await self._sessions.find(session_id)
        if is_connected and before.is_live:
            if self._changes.is_being_cut(session_id):
                return web.json_response({})
            self._heard(session_id)
        session = await self._sessions.record_connection(session_id, is_connected=is_connected)
        is_cut = not is_connected and self._changes.confirm_cut(session_id)
        if is_cut or session.connection_state is not before.connection_state:
            self._connection_changed(session, body["source_address"])
        if is_connected and not session.is_live:
            self._changes.notify(session)  # The gateway missed the end, or it would not say this.
        return web.json_response({})

    async def refresh(self, request: web.Request) -> web.Response:
        read_body(await _json(request), {})
        session = await self._sessions.find(request.match_info["id"])
        agent = self._agents.status(session.instance_id) if session.instance_id else None
        if agent and session.state is SessionState.ACTIVE and agent.protocol >= FIRST_PROTOCOL_WITH_STORAGE:
            message = RefreshStorage(session_id=session.session_id)
            await self._agents.send(agent.instance_id, {"type": RefreshStorage.TYPE, **asdict(message)})
        return web.json_response({})

    async def end(self, request: web.Request) -> web.Response:
        read_body(await _json(request), {})
        return await self._answer(await self._sessions.request_end(request.match_info["id"], EndReason.USER))

    async def ended(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        with self._changes.listening() as listener, suppress(ConnectionError):
            await response.prepare(request)
            await response.write(b"{}\n")  # the head alone might wait for a body
            while not listener.is_behind:
                line = await listener.next(ENDED_SILENCE_IN_SECONDS)
                await response.write(json.dumps(line).encode() + b"\n")
        return response

    async def _answer(self, session: StreamingSession) -> web.Response:
        view: SessionView = await self._views.of(session)
        return web.json_response(to_json(view))


async def _json(request: web.Request) -> object:
    """Return the body. Raises MalformedBody."""
    try:
        return json.loads(await request.text())
    except (ValueError, RecursionError, LookupError):
        raise MalformedBody("The body must be JSON in UTF-8.") from None


def _seconds(text: str) -> float:
    """Return a time-out within our limits. Raises MalformedBody."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_POLL_IN_SECONDS:
        raise MalformedBody(f"timeout must be 0 to {LONGEST_POLL_IN_SECONDS:g} seconds.")
    return seconds
