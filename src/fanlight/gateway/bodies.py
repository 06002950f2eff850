"""Bodies that browsers send: read piece by piece, with patience that ends."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from fanlight.gateway.control_client import Refused

PIECE_IN_BYTES = 64 * 1024
MAX_UPLOAD_PIECE_IN_BYTES = 64 * 1024 * 1024  # The stream client cuts files into pieces of this size.
SILENCE_IN_SECONDS = 30.0  # Longest pause of a browser within a body; a phone may change its network in that time.


def piece_length(request: web.Request) -> int:
    """Return the bytes of the piece of a file that is uploaded. Raises Refused: it must be said, and has a limit."""
    length = request.content_length
    if length is None:
        raise Refused("LENGTH_REQUIRED", "The size of the piece must be said.", 411)
    if length > MAX_UPLOAD_PIECE_IN_BYTES:
        raise Refused("TOO_LARGE", f"A piece has at most {MAX_UPLOAD_PIECE_IN_BYTES} bytes.", 413)
    return length


async def body_pieces(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body. Raises HTTPRequestTimeout when the browser falls silent in the middle of it."""
    while True:
        try:
            async with asyncio.timeout(SILENCE_IN_SECONDS):
                piece = await request.content.read(PIECE_IN_BYTES)
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        if not piece:
            return
        yield piece
