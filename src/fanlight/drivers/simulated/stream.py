"""The guest's stream socket: as much of Selkies' WebSocket protocol as a client needs to see a picture and type.

One client at a time: a new one takes the display and the old one is told, as Selkies does when sharing is off.
"""

import asyncio
import contextlib
import json
import re
import struct
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from fanlight.agentwire import stream_socket_name
from fanlight.drivers.simulated.keys import typed_after
from fanlight.drivers.simulated.picture import Scene, draw
from fanlight.drivers.simulated.records import SessionRecord
from fanlight.unix_sockets import listen_in

_JPEG_STRIPE = 0x03
_SMALLEST, _LARGEST_WIDTH, _LARGEST_HEIGHT = 64, 1920, 1080
_DEFAULT_SIZE = (1280, 720)
_CLOCK_IN_SECONDS = 1.0
_SPAN = re.compile(r"(\d{1,9}),(\d{1,9})-(\d{1,9})")
_MAX_MESSAGE_BYTES = 8 * 1024 * 1024


class PictureStream:
    """Serves one session at its seat's socket in `directory`. `on_changed` is called after each change of the record."""

    def __init__(self, record: SessionRecord, directory: Path, on_changed: Callable[[], None]) -> None:
        self._record, self._directory, self._on_changed = record, directory, on_changed
        self._socket_name = stream_socket_name(record.seat)
        self._runner: web.AppRunner | None = None
        self._viewer: web.WebSocketResponse | None = None
        self._is_stale = asyncio.Event()
        self._size = _DEFAULT_SIZE
        self._frame = 0
        self.last_input_at = time.monotonic()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/api/websockets", self._stream)
        app.router.add_get("/api/health", self._health)
        app.router.add_get("/api/status", self._status)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        listener = listen_in(self._directory, self._socket_name, mode=0o666, backlog=16)
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        if self._viewer is not None:
            await self._viewer.close()
        if self._runner is not None:
            await self._runner.cleanup()
        (self._directory / self._socket_name).unlink(missing_ok=True)

    def redraw(self) -> None:
        self._is_stale.set()

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response({"mode": "websockets", "clients": int(self._viewer is not None)})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=30, max_msg_size=_MAX_MESSAGE_BYTES, compress=False)
        if not socket.can_prepare(request).ok:
            return web.json_response({"error": "a WebSocket is expected here"}, status=426)
        await socket.prepare(request)
        older, self._viewer = self._viewer, socket
        if older is not None:
            with contextlib.suppress(ConnectionError):
                await older.send_str("KILL a new primary client connected")
            await older.close()
        painter: asyncio.Task[None] | None = None
        try:
            for greeting in _greetings(self._settings()):
                await socket.send_str(greeting)
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                if message.data.startswith("SETTINGS,"):
                    await self._resize(socket, message.data)
                    painter = painter or asyncio.create_task(self._paint(socket))
                else:
                    self._take_input(message.data)
        except ConnectionError:
            pass
        finally:
            if painter is not None:
                painter.cancel()
                await asyncio.gather(painter, return_exceptions=True)
            if self._viewer is socket:
                self._viewer = None
        return socket

    def _settings(self) -> Mapping[str, str]:
        settings = self._record.begun.get("stream_settings")
        return settings if isinstance(settings, dict) else {}

    async def _resize(self, socket: web.WebSocketResponse, message: str) -> None:
        width, height = _wished_size(message.removeprefix("SETTINGS,"))
        self._size = (
            min(max(width, _SMALLEST), _LARGEST_WIDTH),
            min(max(height, _SMALLEST), _LARGEST_HEIGHT),
        )
        members = {"type": "stream_resolution", "width": self._size[0], "height": self._size[1], "displayId": "primary"}
        await socket.send_str(json.dumps(members))
        self.redraw()

    def _take_input(self, message: str) -> None:
        verb, _, rest = message.partition(",")
        if verb in ("kd", "co", "m", "m2"):
            self.last_input_at = time.monotonic()
        before = self._record.typed
        if verb == "kd" and rest.isascii() and rest.isdigit() and len(rest) <= 10:  # noqa: PLR2004 - 32 bits
            self._record.typed = typed_after(before, int(rest))
        elif verb == "co":
            for character in rest.removeprefix("end,")[:200]:
                self._record.typed = typed_after(self._record.typed, 0x01000000 + ord(character))
        if self._record.typed != before:
            self._on_changed()
        if self._record.typed != before or verb in ("REQUEST_KEYFRAME", "START_VIDEO"):
            self.redraw()

    async def _paint(self, socket: web.WebSocketResponse) -> None:
        """Send a picture after every change, and once a second for the clock."""
        while not socket.closed:
            self._is_stale.clear()
            self._frame = (self._frame + 1) & 0xFFFF
            jpeg = await asyncio.to_thread(draw, self._scene(), *self._size)
            await socket.send_bytes(struct.pack(">BBHH", _JPEG_STRIPE, 0, self._frame, 0) + jpeg)
            # Not wait_for: in Python 3.11 it may swallow a cancellation, and this loop would never end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOCK_IN_SECONDS):
                    await self._is_stale.wait()

    def _scene(self) -> Scene:
        return Scene(
            session_id=self._record.session_id,
            user_id=str(self._record.begun.get("user_id", "")),
            applications=tuple(self._record.launched),
            typed=self._record.typed,
            frame=self._frame,
            shown_at=datetime.now(UTC),
        )


def _wished_size(text: str) -> tuple[int, int]:
    """Return the size a client asks for; anything odd means the default."""
    try:
        members = json.loads(text)
    except ValueError:
        return _DEFAULT_SIZE
    if not isinstance(members, dict):
        return _DEFAULT_SIZE
    width, height = members.get("initialClientWidth"), members.get("initialClientHeight")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else _DEFAULT_SIZE


def _greetings(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return what Selkies says first. The encoder is JPEG whatever was asked: that is all this engine can draw."""
    published = {name: _published(value) for name, value in settings.items()}
    clipboard = settings.get("enable_clipboard", "false")
    published["clipboard_enabled"] = {"value": clipboard != "false"}
    published["clipboard_in_enabled"] = {"value": clipboard in ("true", "in")}
    published["clipboard_out_enabled"] = {"value": clipboard in ("true", "out")}
    published["encoder"] = {"value": "jpeg", "allowed": ["jpeg"], "overridden": True}
    published["framerate"] = {"value": 30, "min": 5, "max": 60, "default": 30, "overridden": True}
    published["ws_max_message_bytes"] = {"value": _MAX_MESSAGE_BYTES}
    displays = {"type": "display_config_update", "displays": ["primary"], "wayland": False, "finger_scroll": False}
    return (
        "MODE websockets",
        f"DISPLAY_CONFIG_UPDATE,{json.dumps(displays)}",
        json.dumps({"type": "server_settings", "settings": published}),
    )


def _published(value: str) -> dict[str, Any]:
    """Return a setting as Selkies publishes it: a span with its start value, a switch, or a word."""
    if span := _SPAN.fullmatch(value):
        start, lowest, highest = (int(number) for number in span.groups())
        return {"value": [lowest, highest], "min": lowest, "max": highest, "default": start, "overridden": True}
    word = value.removesuffix("|locked")
    plain = word == "true" if word in ("true", "false") else word
    return {"value": plain, "locked": word != value, "overridden": True}
