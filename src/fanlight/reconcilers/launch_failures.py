"""What keeps a fleet from its instances, written where the administrator sees it, and the back-off that follows."""

import logging
from dataclasses import replace

from fanlight.domain.errors import CapacityExhausted, DomainError, DriverUnavailable, ImageMissing
from fanlight.domain.fleets import Fleet, FleetError, FleetErrorCode
from fanlight.domain.ports import Clock, Transactions
from fanlight.reconcilers.settings import ReconcilerSettings

log = logging.getLogger(__name__)
_MAX_TEXT = 500


def fleet_error_of(error: DomainError) -> tuple[FleetErrorCode, str]:
    """Return the true cause in the service's codes and our words."""
    if isinstance(error, ImageMissing):
        return FleetErrorCode.IMAGE_NOT_FOUND, str(error)
    if isinstance(error, DriverUnavailable):
        return FleetErrorCode.INTERNAL_SERVICE_ERROR, f"The engine that runs instances does not answer: {error}"
    if isinstance(error, CapacityExhausted):
        return FleetErrorCode.FLEET_INSTANCE_PROVISIONING_FAILURE, f"No room for another instance: {error}"
    return FleetErrorCode.FLEET_INSTANCE_PROVISIONING_FAILURE, str(error)


class LaunchFailures:
    def __init__(self, transactions: Transactions, clock: Clock, settings: ReconcilerSettings) -> None:
        self._transactions, self._clock, self._settings = transactions, clock, settings

    async def record(self, fleet_id: str, code: FleetErrorCode, message: str) -> None:
        """Add the error and delay the next launch. Failures of launches that ran together count as one."""
        async with self._transactions.begin(write=True) as work:
            fleet = await work.fleets.find(fleet_id)
            if fleet is None or not fleet.is_provisioned:
                return
            now = self._clock.now()
            failures, retry_at = fleet.launch_failures, fleet.retry_at
            if retry_at is None or retry_at <= now:
                failures += 1
                retry_at = now + self._settings.backoff(failures)
            after = replace(
                with_error(fleet, FleetError(code, message[:_MAX_TEXT], now)),
                launch_failures=failures,
                retry_at=retry_at,
            )
            await work.fleets.save(after)
            await work.commit()
        log.warning("cannot launch", extra={"fleet": fleet.name, "code": code, "why": message, "retry_at": retry_at})


def with_error(fleet: Fleet, error: FleetError) -> Fleet:
    """Return the fleet with the error in place of an older one of the same code."""
    return replace(fleet, errors=(*(e for e in fleet.errors if e.code is not error.code), error))


def without_errors(fleet: Fleet) -> Fleet:
    return replace(fleet, errors=(), launch_failures=0, retry_at=None)
