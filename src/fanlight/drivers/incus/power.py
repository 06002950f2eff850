"""Start, stop and destroy one instance in Incus, whatever it is doing."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from fanlight.drivers.incus.client import IncusClient, IncusRefused

STOP_TIMEOUT_IN_SECONDS = 30
# How long process 1 may take to end what runs, so that files are whole: it needs less than a second.
SHUTDOWN_IN_SECONDS = 10
BUSY_TIMEOUT_IN_SECONDS = 60.0  # Must exceed the start of an instance on a loaded host.
_PAUSE_IN_SECONDS = 0.1


async def destroy(client: IncusClient, name: str) -> None:
    """Stop it by force and delete it. Already gone is success. Raises IncusRefused, DriverUnavailable."""

    async def destroy_it() -> None:
        await _stop(client, name, is_forced=True)
        await client.run("DELETE", f"instances/{name}")

    try:
        await _once_free(destroy_it)
    except IncusRefused as refused:
        if not refused.is_missing:
            raise


async def stop(client: IncusClient, name: str) -> None:
    """Shut it down, by force if it does not obey; its disk stays. Raises IncusRefused, DriverUnavailable."""

    async def stop_it() -> None:
        try:
            await _stop(client, name, is_forced=False)
        except IncusRefused as refused:
            if refused.is_missing or refused.says("busy"):
                raise
            await _stop(client, name, is_forced=True)

    try:
        await _once_free(stop_it)
    except IncusRefused as refused:
        if not refused.is_missing:
            raise


async def start(client: IncusClient, name: str) -> None:
    """Start it on its own disk; running already is success. Raises IncusRefused, DriverUnavailable."""

    async def start_it() -> None:
        try:
            await client.run("PUT", f"instances/{name}/state", {"action": "start", "timeout": STOP_TIMEOUT_IN_SECONDS})
        except IncusRefused as refused:
            if not refused.says("already running"):
                raise

    await _once_free(start_it)


async def _once_free(act: Callable[[], Awaitable[None]]) -> None:
    """Incus lets nobody start, stop or delete an instance that it is still creating, starting or stopping."""
    deadline = time.monotonic() + BUSY_TIMEOUT_IN_SECONDS
    while True:
        try:
            await act()
        except IncusRefused as refused:
            if not refused.says("busy", "is running") or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_PAUSE_IN_SECONDS)
        else:
            return


async def _stop(client: IncusClient, name: str, *, is_forced: bool) -> None:
    if (await client.get(f"instances/{name}"))["status"] == "Stopped":
        return
    try:
        timeout = STOP_TIMEOUT_IN_SECONDS if is_forced else SHUTDOWN_IN_SECONDS
        await client.run("PUT", f"instances/{name}/state", {"action": "stop", "force": is_forced, "timeout": timeout})
    except IncusRefused as refused:
        if not refused.says("already stopped"):
            raise
