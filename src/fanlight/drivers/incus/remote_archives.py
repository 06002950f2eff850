"""Archives as the unprivileged api process sees them: the same port, served by the compute process."""

import json
from collections.abc import AsyncIterator, Mapping

from fanlight.domain.image_archives import ArchiveReport, GivenCatalogue
from fanlight.drivers.incus import wire
from fanlight.drivers.incus.remote import ComputeConnection

# Reading and packing an archive of the largest size on a slow disk.
_TIMEOUT_IN_SECONDS = 4 * 3600.0


class RemoteImageArchives:
    """See `domain.image_archives.ImageArchives`. All calls raise DriverUnavailable besides what the port says."""

    def __init__(self, connection: ComputeConnection) -> None:
        self._connection = connection

    async def take(
        self,
        ref: str,
        region: str,
        archive: AsyncIterator[bytes],
        catalogue: GivenCatalogue | None,
        properties: Mapping[str, str],
    ) -> ArchiveReport:
        asked = {
            "ref": ref,
            "region": region,
            "properties": dict(properties),
            "catalogue": None
            if catalogue is None
            else {"programs": dict(catalogue.programs), "icons": dict(catalogue.icons)},
        }
        failure: list[BaseException] = []
        line = json.dumps(asked).encode() + b"\n"
        stream = _stream(line, archive, failure)
        try:
            answer = await self._connection.upload("archives/take", stream, timeout_in_seconds=_TIMEOUT_IN_SECONDS)
        except Exception:
            if failure:  # what the archive's own source says is the cause
                raise failure[0] from None
            raise
        return wire.read_archive_report(answer)

    async def give(self, ref: str, region: str) -> AsyncIterator[bytes]:
        path = f"archives/give?ref={ref}&region={region}"
        async for chunk in self._connection.download(path, timeout_in_seconds=_TIMEOUT_IN_SECONDS):
            yield chunk


async def _stream(line: bytes, archive: AsyncIterator[bytes], failure: list[BaseException]) -> AsyncIterator[bytes]:
    yield line
    try:
        async for chunk in archive:
            yield chunk
    except Exception as error:
        failure.append(error)
        raise
