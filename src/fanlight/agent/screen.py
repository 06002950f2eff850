"""What the agent itself wants of the X server: how long nobody has touched keyboard or pointer, and a background.

A few requests of the X protocol by hand, because the standard library has no X client and the agent takes nothing from
the image. https://www.x.org/releases/X11R7.7/doc/xproto/x11protocol.html
"""

import asyncio
import contextlib
import struct

UNKNOWN = -1.0
LIMIT_IN_SECONDS = 1.0
PAINT_LIMIT_IN_SECONDS = 20.0  # a display that comes up on a busy host may take its time
EXTENSION = b"MIT-SCREEN-SAVER"
COOKIE_NAME = b"MIT-MAGIC-COOKIE-1"
ANY_FAMILY = 0xFFFF
CHANGE_WINDOW_ATTRIBUTES, CLEAR_AREA, QUERY_EXTENSION, QUERY_INFO = 2, 61, 98, 1
INTERN_ATOM, GET_PROPERTY = 16, 20
CLIENT_LIST = b"_NET_CLIENT_LIST"  # what the window manager says that there is
MOST_WINDOWS = 1024
BACKGROUND_PIXEL = 2
REPLY_BYTES = 32


class Screen:
    """Keeps one connection to the X server; a lost one is made again at the next question."""

    def __init__(self, path: str) -> None:
        self.cookie = b""  # the secret that opens the display
        self._path = path
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._opcode = 0
        self._turn = asyncio.Lock()  # one question at a time: the answers come in the order of the questions
        self._root = 0

    async def idle_seconds(self) -> float:
        """Return seconds since the last input, or UNKNOWN."""
        try:
            async with self._turn, asyncio.timeout(LIMIT_IN_SECONDS):
                if self._writer is None:
                    await self._connect()
                reply = await self._ask(struct.pack("<BBHI", self._opcode, QUERY_INFO, 2, self._root))
                return float(struct.unpack_from("<I", reply, 16)[0]) / 1000.0
        except (OSError, TimeoutError, asyncio.IncompleteReadError, struct.error):
            self._forget()
            return UNKNOWN

    async def client_windows(self) -> frozenset[int] | None:
        """Return the ids of the windows that applications have, None while there is no window manager to know them.

        Raises OSError when the display cannot be asked.
        """
        try:
            async with self._turn, asyncio.timeout(LIMIT_IN_SECONDS):
                if self._writer is None:
                    await self._connect()
                name = _padded(CLIENT_LIST)
                request = struct.pack("<BxHHxx", INTERN_ATOM, 2 + len(name) // 4, len(CLIENT_LIST)) + name
                atom = struct.unpack_from("<I", await self._ask(request), 8)[0]
                asked = struct.pack("<BxHIIIII", GET_PROPERTY, 6, self._root, atom, 0, 0, MOST_WINDOWS)
                reply = await self._ask(asked)
                kind, count = struct.unpack_from("<I", reply, 8)[0], struct.unpack_from("<I", reply, 16)[0]
                if kind == 0:
                    return None
                return frozenset(struct.unpack_from(f"<{min(count, MOST_WINDOWS)}I", reply, 32))
        except (TimeoutError, asyncio.IncompleteReadError, struct.error) as error:
            self._forget()
            raise OSError("the display does not tell its windows") from error

    async def paint_background(self, colour: int) -> None:
        """Show 0xRRGGBB where there is no window. Raises OSError, TimeoutError."""
        async with self._turn, asyncio.timeout(PAINT_LIMIT_IN_SECONDS):
            if self._writer is None:
                await self._connect()
            assert self._writer is not None  # noqa: S101 - connected
            attributes = struct.pack("<BxHIII", CHANGE_WINDOW_ATTRIBUTES, 4, self._root, BACKGROUND_PIXEL, colour)
            self._writer.write(attributes + struct.pack("<BxHI8x", CLEAR_AREA, 4, self._root))
            await self._writer.drain()

    async def _connect(self) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(self._path)
        name = COOKIE_NAME if self.cookie else b""
        greeting = struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(name), len(self.cookie))
        self._writer.write(greeting + _padded(name) + _padded(self.cookie))
        accepted, length = struct.unpack("<B5xH", await self._reader.readexactly(8))
        setup = await self._reader.readexactly(length * 4)
        if accepted != 1:
            raise OSError("the X server refused the connection")
        vendor_length, formats = struct.unpack_from("<H", setup, 16)[0], setup[21]
        self._root = struct.unpack_from("<I", setup, 32 + (vendor_length + 3) // 4 * 4 + formats * 8)[0]
        name = _padded(EXTENSION)
        reply = await self._ask(struct.pack("<BxHHxx", QUERY_EXTENSION, 2 + len(name) // 4, len(EXTENSION)) + name)
        is_present, self._opcode = reply[8], reply[9]
        if not is_present:
            raise OSError("the X server has no MIT-SCREEN-SAVER extension")

    async def _ask(self, request: bytes) -> bytes:
        """Send a request and return its reply; events are passed over."""
        assert self._writer is not None  # noqa: S101 - connected
        self._writer.write(request)
        while True:
            packet = await self._reader.readexactly(REPLY_BYTES)
            if packet[0] == 0:
                raise OSError(f"X error {packet[1]}")
            if packet[0] == 1:
                extra = struct.unpack_from("<I", packet, 4)[0]
                return packet + await self._reader.readexactly(extra * 4)

    def _forget(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
        self._writer = None


def x_authority(display_number: int, cookie: bytes) -> bytes:
    """Return the file that lets X clients in who may read it, in the format of libXau."""
    parts = (b"", str(display_number).encode(), COOKIE_NAME, cookie)
    return struct.pack(">H", ANY_FAMILY) + b"".join(struct.pack(">H", len(part)) + part for part in parts)


def _padded(text: bytes) -> bytes:
    return text.ljust((len(text) + 3) // 4 * 4, b"\0")
