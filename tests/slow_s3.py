"""An S3 endpoint that lists one folder page by page, each page only when the test says so. It knows nothing else."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from aiohttp import web

PAGE = 1_000


@dataclass
class SlowS3:
    """`files` are keys below the prefix that is listed. A listing of `slow` waits before its second page for `go_on`."""

    prefix: str
    files: Collection[str]
    slow: str
    endpoint: str = ""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    pages: list[tuple[str, int]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # what else was asked

    async def answer(self, request: web.Request) -> web.Response:
        if request.method != "GET" or "prefix" not in request.query:
            self.others.append(f"{request.method} {request.path}")
            return web.Response(status=404)
        asked = request.query["prefix"]
        begin = int(request.query.get("continuation-token") or request.query.get("marker") or 0)
        self.pages.append((asked.removeprefix(self.prefix), begin))
        if begin and asked == f"{self.prefix}{self.slow}/":
            await self.go_on.wait()
        return web.Response(text=self._page(asked, begin), content_type="application/xml")

    def _page(self, asked: str, begin: int) -> str:
        below = [name for key in self.files if (name := f"{self.prefix}{key}").startswith(asked)]
        keys = [key for key in below if "/" not in key[len(asked) :]]
        folders = sorted({asked + key[len(asked) :].partition("/")[0] + "/" for key in below if key not in keys})
        shown = keys[begin : begin + PAGE]
        is_last = begin + PAGE >= len(keys)
        said = [f"<IsTruncated>{str(not is_last).lower()}</IsTruncated>"]
        if not is_last:
            said += [f"<{name}>{begin + PAGE}</{name}>" for name in ("NextContinuationToken", "NextMarker")]
        said += [
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
            '<ETag>"d41d8cd98f00b204e9800998ecf8427e"</ETag><Size>7</Size></Contents>'
            for key in shown
        ]
        said += [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders]
        return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(said)}</ListBucketResult>'


@asynccontextmanager
async def serving(s3: SlowS3) -> AsyncIterator[SlowS3]:
    """Serve it on a port of its own, in this loop."""
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", s3.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    s3.endpoint = f"http://{host}:{port}"
    try:
        yield s3
    finally:
        s3.go_on.set()
        await runner.cleanup()
