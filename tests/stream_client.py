"""A viewer of a stream, over the instance's own socket: decodes the pictures and types keys, as a browser would."""

import asyncio
import contextlib
import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
from numpy.typing import NDArray

VIDEO, KEY_FRAME, HEADER_BYTES = 0x04, 1, 12
SOUND = 0x01
Picture = NDArray[np.uint8]


class StreamViewer:
    """`picture` is the newest decoded one, None before the first; `heard` counts sound packets."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._decoder: Any = av.CodecContext.create("h264", "r")
        self._changed = asyncio.Event()
        self.picture: Picture | None = None
        self.frames = 0
        self.heard = 0
        self.texts: list[str] = []

    async def type_keysym(self, keysym: int) -> None:
        await self._socket.send_str(f"kd,{keysym}")
        await self._socket.send_str(f"ku,{keysym}")

    async def type_text(self, text: str) -> None:
        for character in text:
            code = ord(character)
            await self.type_keysym(0xFF0D if character == "\n" else code if code < 0x100 else 0x0100_0000 + code)

    async def click(self, x: int, y: int) -> None:
        for buttons in (0, 1, 0):
            await self._socket.send_str(f"m,{x},{y},{buttons},0")
            await asyncio.sleep(0.05)

    async def send(self, text: str) -> None:
        await self._socket.send_str(text)

    async def until(self, is_so: Callable[[Picture], bool], *, what: str, timeout: float = 60.0) -> Picture:
        """Return the first picture of which it is so."""
        deadline = time.monotonic() + timeout
        while True:
            if self.picture is not None and is_so(self.picture):
                return self.picture
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 0.2)
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not seen within {timeout} s: {what}; {self.frames} frames, said {self.texts[-5:]}"
                )

    async def until_still(self, *, seconds: float = 0.7, timeout: float = 60.0) -> Picture:
        """Return the picture once it has not changed for a while."""
        deadline = time.monotonic() + timeout
        while True:
            before = self.picture
            await asyncio.sleep(seconds)
            if before is not None and self.picture is not None and not differs(before, self.picture, least_pixels=40):
                return self.picture
            if time.monotonic() > deadline:
                raise AssertionError("the picture never came to rest")

    async def watch(self) -> None:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.texts.append(message.data[:200])
            elif message.type is aiohttp.WSMsgType.BINARY:
                await self._take(message.data)

    async def _take(self, packet: bytes) -> None:
        if packet[0] == SOUND:
            self.heard += 1
        if packet[0] != VIDEO:
            return
        frame_id = struct.unpack_from(">H", packet, 2)[0]
        for frame in self._decoder.decode(av.Packet(packet[HEADER_BYTES:])):
            self.picture = frame.to_ndarray(format="rgb24")
            self.frames += 1
            self._changed.set()
        await self._socket.send_str(f"CLIENT_FRAME_ACK {frame_id} 0")


def differs(one: Picture, other: Picture, *, least_pixels: int) -> bool:
    """Return whether that many pixels differ visibly."""
    if one.shape != other.shape:
        return True
    return int((np.abs(one.astype(np.int16) - other).max(axis=2) > 40).sum()) >= least_pixels


@asynccontextmanager
async def viewing(stream_socket: Path, *, width: int = 1280, height: int = 800) -> AsyncIterator[StreamViewer]:
    """Watch the stream behind a socket."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(stream_socket))) as client,
        client.ws_connect("http://localhost/api/websockets", max_msg_size=2**24) as socket,
    ):
        viewer = StreamViewer(socket)
        watching = asyncio.create_task(viewer.watch())
        hello = {
            "initialClientWidth": width,
            "initialClientHeight": height,
            "displayId": "primary",
            "tabId": "test",
            "encoder": "h264enc",
        }
        await socket.send_str("SETTINGS," + json.dumps(hello))
        try:
            yield viewer
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
