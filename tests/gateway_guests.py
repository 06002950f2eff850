"""Instances for gateway tests: one that streams pictures as a stream server does, and several that mean harm."""

import asyncio
import io
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import WSMsgType, web
from PIL import Image, ImageDraw

INDEX = b"""<html><script>alert(1)</script><table><tbody>
<tr><td><a href="../">../</a></td><td></td><td></td></tr>
<tr><td><a href="reports/">reports/</a></td><td>2026-11-21 06:00</td><td>-</td></tr>
<tr><td><a href="a%20%26%20b.txt">a &amp; b.txt</a></td><td>2026-11-21 06:00</td><td>1.5 KiB</td></tr>
<tr><td><a href="..%2f..%2fetc%2fpasswd">sneaky</a></td><td></td><td></td></tr>
<tr><td><a href="javascript:alert(1)//x">worse</a></td><td></td><td></td></tr>
</tbody></table></html>"""


class PictureGuest:
    """A well-behaved stream server: JPEG pictures, the newest socket has the display, plain files."""

    def __init__(self) -> None:
        self.sockets: set[web.WebSocketResponse] = set()
        self.heads: list[dict[str, str]] = []
        self.messages: list[str] = []
        self.uploads: dict[str, int] = {}
        self.frame = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**30)
        app.add_routes(
            [
                web.get("/api/websockets", self.stream),
                web.post("/api/upload", self.upload),
                web.get("/api/files/{path:.*}", self.files),
                web.get("/api/print/{name}", self.print),
            ]
        )
        return app

    async def stream(self, request: web.Request) -> web.StreamResponse:
        self.heads.append(dict(request.headers))
        socket = web.WebSocketResponse(max_msg_size=2**26)
        await socket.prepare(request)
        for older in tuple(self.sockets):
            with suppress(ConnectionError):
                await older.send_str("KILL a new primary client connected")
            await older.close()
        self.sockets.add(socket)
        painter = asyncio.create_task(self._paint(socket))
        try:
            await socket.send_str("MODE websockets")
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    await socket.send_bytes(message.data)  # an echo, for measuring
                elif message.type is WSMsgType.TEXT and not message.data.startswith("CLIENT_FRAME_ACK"):
                    self.messages.append(message.data)
        except ConnectionError:
            pass
        finally:
            self.sockets.discard(socket)
            painter.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await painter
        return socket

    async def _paint(self, socket: web.WebSocketResponse) -> None:
        while not socket.closed:
            self.frame = (self.frame + 1) & 0xFFFF
            await socket.send_bytes(struct.pack(">BBHH", 3, 0, self.frame, 0) + a_picture(self.frame))
            await asyncio.sleep(0.1)

    async def upload(self, request: web.Request) -> web.Response:
        size = 0
        async for piece in request.content.iter_any():
            size += len(piece)
        self.uploads[request.headers["X-Upload-Path"]] = size
        return web.json_response({"status": "success", "bytes": size})

    async def files(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        if path in ("", "reports/"):
            return web.Response(body=INDEX, content_type="text/html")
        if path == "page.html":
            return web.Response(
                body=b"<script>alert(document.domain)</script>",
                content_type="text/html",
                headers={"Set-Cookie": "evil=1", "Content-Disposition": "inline", "Access-Control-Allow-Origin": "*"},
            )
        return web.Response(status=404)

    async def print(self, request: web.Request) -> web.Response:
        return web.Response(body=b"%PDF-1.4 ...", content_type="text/html")


def a_picture(frame: int) -> bytes:
    picture = Image.new("RGB", (1280, 720), "#2a3a52")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((120, 90, 900, 560), fill="#f7f7f4")
    draw.rectangle((120, 90, 900, 120), fill="#5b7aa8")
    draw.text((140, 150), f"Dear reader, this is picture {frame}.", fill="#222222", font_size=28)
    output = io.BytesIO()
    picture.save(output, "JPEG", quality=70)
    return output.getvalue()


@asynccontextmanager
async def serving_guest(app: web.Application, path: Path) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield
    finally:
        await runner.cleanup()
        path.unlink(missing_ok=True)


@asynccontextmanager
async def speaking(
    path: Path, conversation: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[None]:
    """A guest that says whatever `conversation` says, on a real socket."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await conversation(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
        path.unlink(missing_ok=True)
