"""Bodies that browsers send: read piece by piece, with patience that ends."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

PIECE_IN_BYTES = 64 * 1024
SILENCE_IN_SECONDS = 30.0  # Longest pause of a browser within a body; a phone may change its network in that time.


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
