"""A gateway for tests: the real process code, in front of a control plane and instances that a test can steer.

The control plane here speaks the control socket's contract and does what a test says; it is for what a real one does
rarely or never: going away, answering late, ending a session at the right moment.
"""

import asyncio
import base64
import json
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import aiohttp
import uvloop
from aiohttp import web

from fanlight.config import Settings
from fanlight.controlwire.messages import (
    Catalog,
    CatalogEntry,
    FolderView,
    Grant,
    Refusal,
    SessionView,
    StackRules,
    to_json,
)
from fanlight.gateway.process import run_gateway
from free_ports import free_port
from gateway_guests import PictureGuest

PAGE = {"X-Fanlight-Page": "1"}
ALL_FEATURES = (
    "CLIPBOARD_COPY_FROM_LOCAL_DEVICE",
    "CLIPBOARD_COPY_TO_LOCAL_DEVICE",
    "FILE_UPLOAD",
    "FILE_DOWNLOAD",
    "PRINTING_TO_LOCAL_DEVICE",
)


ICON = b"\x89PNG\r\n\x1a\n" + b"rest"


def a_grant(user: str = "ada", **changes: Any) -> Grant:
    grant = Grant(
        account_id="000000000000",
        region="us-east-1",
        stack_name="office",
        fleet_name="office-fleet",
        user_id=user,
        application_id=None,
        session_context=None,
        expires_at=time.time() + 3600,
    )
    return replace(grant, **changes)


def a_catalog(**changes: Any) -> Catalog:
    entries = tuple(
        CatalogEntry(application_id=name.lower(), display_name=name, description=words, icon=icon)
        for name, words, icon in (
            ("Editor", "Write plain text", "sample/editor.png?expires=1&signature=right"),
            ("Calculator", "Add and subtract", "sample/calculator.png?expires=1&signature=right"),
            ("Terminal", "A command line", "sample/terminal.png?expires=1&signature=right"),
            ("Firefox", "Browse the web", "sample/firefox.png?expires=1&signature=right"),
            ("Drawing", "Draw and paint", None),
        )
    )
    catalog = Catalog(
        stack_display_name="Office",
        fleet_display_name="Office fleet",
        stream_view="APP",
        image_name="sample",
        entries=entries,
        redirect_url=None,
        feedback_url=None,
    )
    return replace(catalog, **changes)


@dataclass
class SteerableControl:
    """`grants`: what each signature redeems to. `is_start_held`: a new session stays PENDING until it is activated."""

    stream_socket: str = "/nonexistent"
    stream_uid: int = field(default_factory=os.geteuid)
    grants: dict[str, Grant] = field(default_factory=dict)
    catalog: Catalog = field(default_factory=a_catalog)
    rules: StackRules = field(default_factory=StackRules)
    is_start_held: bool = False
    has_instance: bool = True  # a new session is given one at once
    sessions: dict[str, SessionView] = field(default_factory=dict)
    owners: dict[str, tuple[str, ...]] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)  # path → what to say instead
    connections: list[tuple[str, bool]] = field(default_factory=list)
    launches: list[tuple[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    refreshed: list[str] = field(default_factory=list)  # sessions whose instances were told to look anew
    features: tuple[str, ...] = ALL_FEATURES
    folders: tuple[FolderView, ...] = ()
    lifetime_in_seconds: float = 3 * 3600.0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    answer_delay_in_seconds: float = 0.0  # of a question for one session
    asked_at_once: int = 0  # the most such questions that were open together
    _asking: int = 0
    _listeners: set[asyncio.Queue[dict[str, str]]] = field(default_factory=set)
    _counter: int = 0

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._refuse])
        app.add_routes(
            [
                web.post("/v1/redeem", self._redeem),
                web.post("/v1/catalog", self._catalog),
                web.post("/v1/rules", self._rules),
                web.post("/v1/icons", self._icon),
                web.post("/v1/sessions", self._open),
                web.post("/v1/sessions/find", self._find),
                web.get("/v1/sessions/{id}", self._watch),
                web.post("/v1/sessions/{id}/applications", self._launch),
                web.post("/v1/sessions/{id}/connection", self._connection),
                web.post("/v1/sessions/{id}/refresh", self._refresh),
                web.post("/v1/sessions/{id}/end", self._end),
                web.get("/v1/ended", self._ended),
            ]
        )
        return app

    async def _icon(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if (asked["store_ref"], asked["signature"]) != ("sample", "right"):
            return web.json_response({"code": "NOT_FOUND", "message": "There is no such icon."}, status=404)
        return web.json_response({"picture": base64.b64encode(ICON).decode()})

    async def change(self, session_id: str, **changes: Any) -> None:
        """Make the session different, and tell whoever waits."""
        self.sessions[session_id] = replace(self.sessions[session_id], **changes)
        async with self._changed:
            self._changed.notify_all()
        if changes.get("state") == "EXPIRED":
            for listener in self._listeners:
                listener.put_nowait({"session_id": session_id})

    async def disconnect(self, session_id: str) -> None:
        """Have the session's streams cut, as for somebody who does nothing; the session goes on."""
        for listener in self._listeners:
            listener.put_nowait({"disconnect": session_id})

    async def expire(self, session_id: str, reason: str = "EXPIRED_BY_ADMINISTRATOR") -> None:
        await self.change(session_id, state="EXPIRED", end_reason=reason)

    def live_session(self, grant: Grant) -> SessionView | None:
        owner = _owner(grant)
        live = (s for s in self.sessions.values() if self.owners[s.session_id] == owner and s.state != "EXPIRED")
        return next(live, None)

    @web.middleware
    async def _refuse(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path}")
        if refusal := self.refusals.get(request.path):
            return web.json_response(to_json(refusal), status=403)
        return await handler(request)

    async def _redeem(self, request: web.Request) -> web.Response:
        signature = (await request.json())["signature"]
        if grant := self.grants.get(signature):
            return web.json_response(to_json(grant))
        return web.json_response(to_json(Refusal(code="ALTERED", message="The signature is wrong.")), status=403)

    async def _catalog(self, request: web.Request) -> web.Response:
        return web.json_response(to_json(self.catalog))

    async def _rules(self, request: web.Request) -> web.Response:
        Grant(**await request.json())
        return web.json_response(to_json(self.rules))

    async def _open(self, request: web.Request) -> web.Response:
        body = await request.json()
        grant = Grant(**body["grant"])
        session = self.live_session(grant)
        if session is None:
            self._counter += 1
            session = SessionView(
                session_id=f"session-{self._counter}",
                state="PENDING",
                progress="Claiming an instance…",
                stream_view=self.catalog.stream_view,
                application_id=body["application_id"],
                max_expires_at=time.time() + self.lifetime_in_seconds,
                idle_disconnect_in_seconds=0,
                disconnect_timeout_in_seconds=900,
                features=self.features,
                folders=self.folders,
                instance_id="instance-1" if self.has_instance else None,
            )
            self.sessions[session.session_id] = session
            self.owners[session.session_id] = _owner(grant)
            if not self.is_start_held:
                await self.activate(session.session_id)
        elif body["application_id"]:
            self.launches.append((session.session_id, body["application_id"]))
        return web.json_response(to_json(self.sessions[session.session_id]))

    async def activate(self, session_id: str) -> None:
        await self.change(
            session_id,
            state="ACTIVE",
            progress="",
            instance_id="instance-1",
            stream_socket=self.stream_socket,
            stream_uid=self.stream_uid,
        )

    async def _find(self, request: web.Request) -> web.Response:
        session = self.live_session(Grant(**(await request.json())["grant"]))
        return web.json_response({"session": to_json(session) if session else None})

    async def _watch(self, request: web.Request) -> web.Response:
        session_id = request.match_info["id"]
        if session_id not in self.sessions:
            return web.json_response(to_json(Refusal(code="NOT_FOUND", message="No such session.")), status=404)
        self._asking += 1
        self.asked_at_once = max(self.asked_at_once, self._asking)
        await asyncio.sleep(self.answer_delay_in_seconds)
        self._asking -= 1
        before = self.sessions[session_id]
        if request.query.get("wait_for_change_from") == before.state:
            with suppress(TimeoutError):
                async with asyncio.timeout(float(request.query["timeout"])), self._changed:
                    await self._changed.wait_for(lambda: self.sessions[session_id] != before)
        return web.json_response(to_json(self.sessions[session_id]))

    async def _launch(self, request: web.Request) -> web.Response:
        session_id = request.match_info["id"]
        self.launches.append((session_id, (await request.json())["application_id"]))
        return web.json_response(to_json(self.sessions[session_id]))

    async def _connection(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["source_address"] == "127.0.0.1"
        self.connections.append((request.match_info["id"], body["is_connected"]))
        return web.json_response({})

    async def _refresh(self, request: web.Request) -> web.Response:
        self.refreshed.append(request.match_info["id"])
        return web.json_response({})

    async def _end(self, request: web.Request) -> web.Response:
        await self.expire(request.match_info["id"], "USER")
        return web.json_response(to_json(self.sessions[request.match_info["id"]]))

    async def _ended(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        listener: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._listeners.add(listener)
        try:
            while True:
                await response.write(json.dumps(await listener.get()).encode() + b"\n")
        except ConnectionError:
            return response
        finally:
            self._listeners.discard(listener)


def _owner(grant: Grant) -> tuple[str, ...]:
    return (grant.account_id, grant.region, grant.stack_name, grant.fleet_name, grant.user_id)


@asynccontextmanager
async def serving_control(control: SteerableControl, run_dir: Path) -> AsyncIterator[None]:
    (run_dir / "control").mkdir(parents=True, exist_ok=True)
    runner = web.AppRunner(control.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(run_dir / "control" / "control.sock")).start()
    try:
        yield
    finally:
        await runner.cleanup()


class RunningGateway:
    """The gateway on a thread and uvloop of its own, as it runs in its process. Use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = settings.portal_url.replace("localhost", "127.0.0.1")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._thread.is_alive():
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.settings.portal_port), 1):
                return self
            time.sleep(0.02)
        raise RuntimeError("the gateway does not listen") from self._failure

    def __exit__(self, *_: object) -> None:
        if self._loop and self._stop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        if self._thread.is_alive():
            raise RuntimeError("the gateway does not stop")
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            self._ready.set()
            await run_gateway(self.settings, self._stop)

        try:
            uvloop.run(main())
        except BaseException as failure:  # noqa: BLE001 - handed to the test
            self._failure = failure


@dataclass
class Rig:
    settings: Settings
    control: SteerableControl
    guest: PictureGuest
    gateway: RunningGateway
    socket: Path

    @property
    def url(self) -> str:
        return self.gateway.url


def settings_for(directory: Path, **changes: Any) -> Settings:
    """Settings with short paths: a Unix socket's has at most 107 bytes."""
    values: dict[str, Any] = {
        "data_dir": directory,
        "run_dir": directory / "run",
        "portal_port": free_port(),
        "compute": "incus",
    }
    return Settings(**(values | changes))


async def sign_in(http: aiohttp.ClientSession, url: str, signature: str) -> str:
    """Follow a streaming URL; return the session page's address. The cookie stays in the client."""
    async with http.get(f"{url}/authenticate?parameters=e30%3D&signature={signature}") as answer:
        assert answer.status == 200, await answer.text()
        return str(answer.url)


async def state_of(http: aiohttp.ClientSession, page: str) -> dict[str, Any]:
    async with http.get(f"{page}api/state", headers=PAGE) as answer:
        assert answer.status == 200, await answer.text()
        return dict(await answer.json())


async def post(http: aiohttp.ClientSession, url: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
    origin = "/".join(url.split("/")[:3])
    async with http.post(url, json=body or {}, headers={**PAGE, "Origin": origin, **headers}) as answer:
        return answer.status, await answer.json()


async def until(condition: Callable[[], Any], *, timeout_in_seconds: float = 60) -> None:
    async with asyncio.timeout(timeout_in_seconds):
        while not condition():
            await asyncio.sleep(0.01)
