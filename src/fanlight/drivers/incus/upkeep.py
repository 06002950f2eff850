"""Make the surroundings of instances ready when the compute process starts, and keep the guard of the host loaded.

A reboot, `nft flush ruleset` and `systemctl reload nftables` take the guard away, and nobody tells us: so we look.
"""

import asyncio
import logging

from fanlight.config import Settings
from fanlight.domain.errors import DriverUnavailable
from fanlight.drivers.incus.driver import IncusDriver

log = logging.getLogger(__name__)

# How long the host may stand unguarded after somebody flushed its rules. A look takes 5 ms of one processor.
GUARD_CHECK_IN_SECONDS = 30.0
_FIRST_PAUSE_IN_SECONDS, _LONGEST_PAUSE_IN_SECONDS = 0.2, 10.0


async def keep_prepared(driver: IncusDriver, settings: Settings, guard_check_in_seconds: float) -> None:
    """Prepare, however long the engine takes to answer, then look after the guard until cancelled."""
    await _prepare(driver)
    await _remove_leftovers(driver)
    while True:
        await asyncio.sleep(guard_check_in_seconds)
        await _look_after_guard(driver, settings)


async def _prepare(driver: IncusDriver) -> None:
    pause, reported = _FIRST_PAUSE_IN_SECONDS, ""
    while True:
        try:
            await driver.prepare()
        except DriverUnavailable as error:
            if str(error) != reported:
                log.warning("the engine cannot be prepared yet", extra={"reason": str(error)})
            reported = str(error)
        else:
            log.info("the engine is prepared")
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_IN_SECONDS)


async def _remove_leftovers(driver: IncusDriver) -> None:
    try:
        await driver.remove_leftovers()
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
