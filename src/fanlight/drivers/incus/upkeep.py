"""Make the surroundings of instances ready when the compute process starts, and keep the guard of the host loaded.

A reboot, `nft flush ruleset` and `systemctl reload nftables` take the guard away, and nobody tells us: so we look.
"""

import asyncio
import logging

from fanlight.config import Settings
from fanlight.domain.errors import DriverUnavailable
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.engines import IncusEngines
from fanlight.region_engines import Engine

log = logging.getLogger(__name__)

# How long the host may stand unguarded after somebody flushed its rules. A look takes 5 ms of one processor.
GUARD_CHECK_IN_SECONDS = 30.0
_FIRST_PAUSE_IN_SECONDS, _LONGEST_PAUSE_IN_SECONDS = 0.2, 10.0


async def keep_prepared(engines: IncusEngines, guard_check_in_seconds: float) -> None:
    """Prepare each engine, however long it takes to answer, then look after its guard until cancelled."""
    unprepared = {engine.name for engine, _ in engines.drivers}

    async def keep(engine: Engine, driver: IncusDriver) -> None:
        await _prepare(driver)
        unprepared.remove(engine.name)
        if not unprepared:  # directories of instances look left over as long as their engine cannot be asked
            await _remove_leftovers(engines)
        while True:
            await asyncio.sleep(guard_check_in_seconds)
            await _look_after_guard(driver, engine.settings)

    async with asyncio.TaskGroup() as group:
        for engine, driver in engines.drivers:
            group.create_task(keep(engine, driver), name=f"upkeep of {engine.name or 'the engine'}")


async def _prepare(driver: IncusDriver) -> None:
    pause, reported = _FIRST_PAUSE_IN_SECONDS, ""
    while True:
        try:
            await driver.prepare()
        except DriverUnavailable as error:
            if str(error) != reported:
                log.warning(
                    "the engine cannot be prepared yet", extra={"project": driver.project, "reason": str(error)}
                )
            reported = str(error)
        else:
            log.info("the engine is prepared", extra={"project": driver.project})
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_IN_SECONDS)


async def _remove_leftovers(engines: IncusEngines) -> None:
    try:
        await engines.remove_leftovers()
    except DriverUnavailable as error:
        # They do no harm but take some memory, and the guard must not wait for them.
        log.warning("left-over socket directories stay until the next start", extra={"reason": str(error)})


async def _look_after_guard(driver: IncusDriver, settings: Settings) -> None:
    try:
        was_gone = await driver.restore_guard()
    except DriverUnavailable as error:
        log.warning("the host is not guarded from instances", extra={"reason": str(error)})
        return
    if was_gone:
        log.warning(
            "the guard of the host was gone or changed and is loaded again; if the firewall was flushed, Incus's own "
            "rules are gone too, and come back when Incus is restarted",
            extra={"network": settings.incus_network},
        )
