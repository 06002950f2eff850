"""What keeps a fleet from its instances, written where the administrator sees it, and the back-off that follows."""

import logging
from dataclasses import replace
from datetime import datetime

from fanlight.domain.fleet_errors import FleetError, Problem, is_answered_by_a_launch, is_standing
from fanlight.domain.fleets import Fleet
from fanlight.domain.ports import Clock, Transactions
from fanlight.reconcilers.settings import ReconcilerSettings

log = logging.getLogger(__name__)
_MAX_TEXT = 500


class LaunchFailures:
    def __init__(self, transactions: Transactions, clock: Clock, settings: ReconcilerSettings) -> None:
        self._transactions, self._clock, self._settings = transactions, clock, settings

    async def record(self, fleet_id: str, problem: Problem) -> None:
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
            error = FleetError(problem.cause, problem.message[:_MAX_TEXT], now)
            await work.fleets.save(replace(fleet.with_error(error), launch_failures=failures, retry_at=retry_at))
            await work.commit()
        log.warning(
            "cannot launch", extra={"fleet": fleet.name, "code": error.code, "why": error.message, "retry_at": retry_at}
        )

    async def note_accepted(self, fleet_id: str, accepted_at: datetime) -> None:
        """Forget what a launch that was accepted just now proves to be over."""
        async with self._transactions.begin(write=True) as work:
            fleet = await work.fleets.find(fleet_id)
            if fleet is not None and (after := settled(fleet, accepted_at, is_booted=False)) != fleet:
                await work.fleets.save(after)
                await work.commit()


def settled(fleet: Fleet, accepted_at: datetime, *, is_booted: bool) -> Fleet:
    """Return the fleet without the errors from before a launch that succeeded: it was accepted, perhaps `is_booted` too.

    Errors that came later, from other launches, stay: room for three of four instances is not room for four.
    """
    gone = {
        error.cause
        for error in fleet.errors
        if error.happened_at <= accepted_at
        and not is_standing(error.cause)
        and (is_booted or is_answered_by_a_launch(error.cause))
    }
    return fleet.without_errors(gone) if gone or (fleet.launch_failures and not fleet.errors) else fleet
