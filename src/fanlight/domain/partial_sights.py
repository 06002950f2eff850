"""What is seen when some engines of an installation answer and others do not."""

from collections.abc import Sequence

from fanlight.domain.errors import DriverUnavailable
from fanlight.domain.ports import InstanceDriver, ObservedInstance


class PartlyUnavailable(DriverUnavailable):
    """Only some regions can be looked at: `seen` is all there is in `regions`, and says nothing of any other region.

    Whoever does not know this error takes it for an engine that is away, which is safe.
    """

    def __init__(self, text: str, *, seen: Sequence[ObservedInstance] = (), regions: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.seen, self.regions = tuple(seen), frozenset(regions)


async def observe_in(driver: InstanceDriver, region: str) -> Sequence[ObservedInstance]:
    """Return all that is in a region, and perhaps more, whatever becomes of other regions.

    Raises DriverUnavailable when the engine of this one is away.
    """
    try:
        return await driver.observe()
    except PartlyUnavailable as error:
        if region not in error.regions:
            raise
        return error.seen
