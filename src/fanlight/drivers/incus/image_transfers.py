"""Bring an image from one project to another, of the same Incus or of two.

Within one Incus the files are there already, and both projects refer to them: nothing is copied, and they stay until the
last project lets go. Between two Incus the bytes pass through this process, which looks at none of them: the name
of an image is the digest of its content, and the receiving Incus checks it. An upload that is cut off leaves nothing.
"""

from collections.abc import Mapping
from urllib.parse import urlencode

from fanlight.drivers.incus.client import IncusClient

TRANSFER_TIMEOUT_IN_SECONDS = 3600
_CHUNK_IN_BYTES = 1 << 20


async def transfer(source: IncusClient, target: IncusClient, fingerprint: str, properties: Mapping[str, str]) -> None:
    """Have the image in the target's project, with its own properties and these. Raises IncusRefused, DriverUnavailable."""
    known = (await source.get(f"images/{fingerprint}"))["properties"]
    wanted = {**known, **properties}
    if source.socket_path == target.socket_path:
        await _refer(source, target, fingerprint)
        await target.send("PATCH", f"images/{fingerprint}", {"properties": wanted})
    else:
        await _stream(source, target, fingerprint, wanted)


async def _refer(source: IncusClient, target: IncusClient, fingerprint: str) -> None:
    origin = {"type": "image", "mode": "pull", "protocol": "incus", "fingerprint": fingerprint}
    if operation := await target.send("POST", "images", {"source": {**origin, "project": source.project}}):
        await target.wait(operation, TRANSFER_TIMEOUT_IN_SECONDS)


async def _stream(source: IncusClient, target: IncusClient, fingerprint: str, properties: Mapping[str, str]) -> None:
    async with source.download(f"images/{fingerprint}/export") as exported:
        headers = {
            # One file, or the metadata and the root file system as two parts: passed on as it comes.
            "Content-Type": exported.headers["Content-Type"],
            "X-Incus-properties": urlencode(properties),
            "X-Incus-fingerprint": fingerprint,
        }
        operation = await target.upload("images", exported.content.iter_chunked(_CHUNK_IN_BYTES), headers)
    await target.wait(operation, TRANSFER_TIMEOUT_IN_SECONDS)
