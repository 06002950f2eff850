"""Destroy one instance in Incus, whatever it is doing."""

import asyncio
import time

from fanlight.drivers.incus.client import IncusClient, IncusRefused

STOP_TIMEOUT_IN_SECONDS = 30
BUSY_TIMEOUT_IN_SECONDS = 60.0  # Must exceed the start of an instance on a loaded host.
_PAUSE_IN_SECONDS = 0.1


async def destroy(client: IncusClient, name: str) -> None:
    """Stop it by force and delete it. Already gone is success. Raises IncusRefused, DriverUnavailable."""
    deadline = time.monotonic() + BUSY_TIMEOUT_IN_SECONDS
    while True:
        try:
            await _stop(client, name)
            await client.run("DELETE", f"instances/{name}")
        except IncusRefused as refused:
            if refused.is_missing:
                return
            # Incus lets nobody stop or delete an instance that it is still creating, starting or stopping.
            if not refused.says("busy", "is running") or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_PAUSE_IN_SECONDS)
        else:
            return


async def _stop(client: IncusClient, name: str) -> None:
    if (await client.get(f"instances/{name}"))["status"] == "Stopped":
        return
    try:
        body = {"action": "stop", "force": True, "timeout": STOP_TIMEOUT_IN_SECONDS}
        await client.run("PUT", f"instances/{name}/state", body)
    except IncusRefused as refused:
        if not refused.says("already stopped"):
            raise
