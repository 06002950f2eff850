"""All engines of an installation as one InstanceDriver: an instance lives in the engine of its region.

What is asked of one engine does not depend on the others. Where an instance is, is known from launching or seeing it, and
asked of all engines when it is not: an engine that is away may have it. Neighbour: `engine_images` does so for images.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Self, TypeVar

from fanlight.config import Settings
from fanlight.domain.errors import DriverUnavailable
from fanlight.domain.partial_sights import PartlyUnavailable
from fanlight.domain.ports import Capabilities, InstanceSpec, ObservedInstance
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.shares import Shares
from fanlight.region_engines import Engine

log = logging.getLogger(__name__)

REGION_LABEL = "region"
LISTEN_AGAIN_AFTER_SECONDS = 1.0
PATIENCE_IN_SECONDS = 5.0  # An engine that hangs must not keep what the others have from being seen.
AnswerT = TypeVar("AnswerT")


class IncusEngines:
    """InstanceDriver over one IncusDriver for each engine. `close` when done."""

    def __init__(self, drivers: Sequence[tuple[Engine, IncusDriver]]) -> None:
        """The first engine is the one of regions that have none of their own."""
        self.drivers = drivers
        self._of_region = {region: driver for engine, driver in self.drivers for region in engine.regions}
        self._places: dict[str, IncusDriver] = {}  # by instance id

    @classmethod
    def of(cls, settings: Settings) -> Self:
        shares = Shares(list(dict.fromkeys(engine.settings.incus_socket for engine in settings.engines)))
        return cls([(engine, IncusDriver(engine.settings, shares)) for engine in settings.engines])

    @property
    def common(self) -> IncusDriver:
        """The driver of regions that have no engine of their own."""
        return self.drivers[0][1]

    async def close(self) -> None:
        """Let go of the connections. Launches under way go on inside Incus."""
        for _, driver in self.drivers:
            await driver.close()

    @property
    def capabilities(self) -> Capabilities:
        """What all engines can that are prepared. Raises DriverUnavailable while none is."""
        found: list[Capabilities] = []
        for _, driver in self.drivers:
            with suppress(DriverUnavailable):
                found.append(driver.capabilities)
        if not found:
            return self.common.capabilities
        return Capabilities(
            isolates_network=all(one.isolates_network for one in found),
            enforces_disk_quota=all(one.enforces_disk_quota for one in found),
            streams_pixels=all(one.streams_pixels for one in found),
            separates_users=all(one.separates_users for one in found),
        )

    async def prepare(self) -> None:
        """Make all ready that answer. Raises DriverUnavailable, with what to do, when none does."""
        answers = await self._ask_all(lambda driver: driver.prepare())
        away = [(engine, answer) for engine, _, answer in answers if isinstance(answer, DriverUnavailable)]
        if len(away) == len(self.drivers):
            raise _why(away)

    async def remove_leftovers(self) -> None:
        """Remove socket directories that no engine has an instance for. Raises DriverUnavailable."""
        await self.common.remove_leftovers([driver for _, driver in self.drivers[1:]])

    async def launch(self, spec: InstanceSpec) -> None:
        """Raises CapacityExhausted, ImageMissing, NetworkUnusable, LaunchRefused, DriverUnavailable."""
        driver = self._of_region.get(spec.labels.get(REGION_LABEL, ""), self.common)
        _check_prepared(driver)
        await driver.launch(spec)
        self._places[spec.instance_id] = driver

    async def start(self, instance_id: str, runtime_version: str | None = None) -> None:
        """Raises InstanceMissing, CapacityExhausted, LaunchRefused, DriverUnavailable."""
        driver = await self.driver_of(instance_id)
        _check_prepared(driver)
        await driver.start(instance_id, runtime_version)

    async def stop(self, instance_id: str) -> None:
        """Raises DriverUnavailable."""
        driver = await self.driver_of(instance_id)
        _check_prepared(driver)
        await driver.stop(instance_id)

    async def terminate(self, instance_id: str) -> None:
        """Unknown or already gone is success. Raises DriverUnavailable."""
        driver = await self.driver_of(instance_id)
        _check_prepared(driver)
        await driver.terminate(instance_id)
        self._places.pop(instance_id, None)

    async def observe(self) -> Sequence[ObservedInstance]:
        """Raises DriverUnavailable when no engine answers, PartlyUnavailable when some do."""
        seen: list[ObservedInstance] = []
        away: list[tuple[Engine, DriverUnavailable]] = []
        regions: list[str] = []
        patience = None if len(self.drivers) == 1 else PATIENCE_IN_SECONDS
        for engine, driver, answer in await self._ask_all(lambda driver: _observe(driver, patience)):
            if isinstance(answer, DriverUnavailable):
                away.append((engine, answer))
            else:
                seen += answer
                regions += engine.regions
                self._places |= {one.instance_id: driver for one in answer}
        if len(away) == len(self.drivers):
            raise _why(away)
        if away:
            raise PartlyUnavailable(str(_why(away)), seen=seen, regions=regions)
        return seen

    async def changes(self) -> AsyncIterator[str]:
        """Yield instance ids to look at again, of all engines; an engine that is away is listened to once it is back."""
        hints: asyncio.Queue[str] = asyncio.Queue()
        listeners = [asyncio.create_task(_listen(driver, hints)) for _, driver in self.drivers]
        try:
            while True:
                yield await hints.get()
        finally:
            for listener in listeners:
                listener.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)

    async def runtimes_in_use(self) -> set[str]:
        """Return the versions of the runtime that instances of any engine have mounted. Raises DriverUnavailable."""
        return set().union(*[await driver.runtimes_in_use() for _, driver in self.drivers])

    async def prepare_store(self) -> None:
        """Make every engine ready for images, and not for launching. Raises DriverUnavailable."""
        for _, driver in self.drivers:
            await driver.prepare_store()

    async def driver_of(self, instance_id: str) -> IncusDriver:
        """Return the driver that has the instance; the common one when none has. Raises DriverUnavailable."""
        if known := self._places.get(instance_id):
            return known
        if len(self.drivers) == 1:
            return self.common
        away: list[tuple[Engine, DriverUnavailable]] = []
        for engine, driver, answer in await self._ask_all(lambda driver: driver.has(instance_id)):
            if isinstance(answer, DriverUnavailable):
                away.append((engine, answer))
            elif answer:
                return driver
        if away:
            raise _why(away)
        return self.common

    async def _ask_all(
        self, question: Callable[[IncusDriver], Awaitable[AnswerT]]
    ) -> Sequence[tuple[Engine, IncusDriver, AnswerT | DriverUnavailable]]:
        async def ask(driver: IncusDriver) -> AnswerT | DriverUnavailable:
            try:
                return await question(driver)
            except DriverUnavailable as error:
                return error

        answers = await asyncio.gather(*(ask(driver) for _, driver in self.drivers))
        return [(engine, driver, answer) for (engine, driver), answer in zip(self.drivers, answers, strict=True)]


async def _observe(driver: IncusDriver, patience_in_seconds: float | None) -> Sequence[ObservedInstance]:
    _check_prepared(driver)
    try:
        async with asyncio.timeout(patience_in_seconds):
            return await driver.observe()
    except TimeoutError:
        raise DriverUnavailable(f"Incus does not list its instances within {patience_in_seconds} s.") from None


async def _listen(driver: IncusDriver, hints: "asyncio.Queue[str]") -> None:
    while True:
        try:
            async for instance_id in driver.changes():
                hints.put_nowait(instance_id)
        except DriverUnavailable as error:
            log.debug("no changes from an engine", extra={"reason": str(error)})
        await asyncio.sleep(LISTEN_AGAIN_AFTER_SECONDS)


def _check_prepared(driver: IncusDriver) -> None:
    """Raises DriverUnavailable: nothing is launched in an engine that is not guarded yet."""
    _ = driver.capabilities


def _why(away: Sequence[tuple[Engine, DriverUnavailable]]) -> DriverUnavailable:
    return DriverUnavailable(" ".join(f"{_name_of(engine)}{error}" for engine, error in away))


def _name_of(engine: Engine) -> str:
    return f"The engine of {', '.join(engine.regions)}: " if engine.name else ""
