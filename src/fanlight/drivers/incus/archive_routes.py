"""Archives as the compute process takes them from the api process, and gives them: streams, with a line of JSON before.

The other side may be anybody who broke the api process: what it can do here is what an administrator can do with an
import, and no more. Only images that are made here (img-*) are replaced or given.
"""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from aiohttp import web

from fanlight.domain.image_archives import GivenCatalogue, ImageArchives
from fanlight.drivers.incus import wire

LONGEST_LINE = 8 * 2**20  # a catalogue of 50 applications with the longest paths
_MOST_APPLICATIONS = 50
_LONGEST_PATH = 32_767
_CHUNK = 2**20


def archive_routes(archives: ImageArchives, check_prepared: Callable[[], None]) -> Sequence[web.RouteDef]:
    """Return the routes; `check_prepared` raises DriverUnavailable while the engine is not prepared."""

    async def take(request: web.Request) -> web.StreamResponse:
        check_prepared()
        content = _Lines(request.content.iter_chunked(_CHUNK))
        asked = await content.first()
        report = await archives.take(
            asked["ref"], asked["region"], content.rest(), asked["catalogue"], asked["properties"]
        )
        return web.json_response(wire.write_archive_report(report))

    async def give(request: web.Request) -> web.StreamResponse:
        check_prepared()
        asked = wire.read_archive_place(dict(request.query))
        chunks = archives.give(asked["ref"], asked["region"])
        first = await anext(chunks, b"")  # what goes wrong, goes wrong before
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        await response.prepare(request)
        await response.write(first)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
        return response

    return [web.post("/v1/archives/take", take), web.get("/v1/archives/give", give)]


class _Lines:
    """A stream that begins with a line of JSON."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks, self._left = chunks, b""

    async def first(self) -> dict[str, Any]:
        """Raises MalformedRequest."""
        while b"\n" not in self._left:
            if len(self._left) > LONGEST_LINE:
                raise wire.MalformedRequest("The line before an archive is too long.")
            chunk = await anext(self._chunks, b"")
            if not chunk:
                raise wire.MalformedRequest("An archive begins with a line of JSON.")
            self._left += chunk
        line, _, self._left = self._left.partition(b"\n")
        try:
            body = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise wire.MalformedRequest("The line before an archive is not JSON.") from error
        return _read_take(body)

    async def rest(self) -> AsyncIterator[bytes]:
        if self._left:
            yield self._left
        async for chunk in self._chunks:
            yield chunk


def _read_take(body: Any) -> dict[str, Any]:
    """Raises MalformedRequest."""
    if not isinstance(body, dict):
        raise wire.MalformedRequest("The line before an archive is no JSON object.")
    catalogue = body.pop("catalogue", None)
    asked = wire.read_archive_taking(body)
    if catalogue is None:
        return {**asked, "catalogue": None}
    if not (
        isinstance(catalogue, dict)
        and set(catalogue) == {"programs", "icons"}
        and all(_are_paths(paths) for paths in catalogue.values())
    ):
        raise wire.MalformedRequest("The catalogue must name programs and icons by application.")
    return {**asked, "catalogue": GivenCatalogue(**catalogue)}


def _are_paths(paths: Any) -> bool:
    return (
        isinstance(paths, dict)
        and len(paths) <= _MOST_APPLICATIONS
        and all(isinstance(v, str) and len(v) <= _LONGEST_PATH for v in paths.values())
    )
