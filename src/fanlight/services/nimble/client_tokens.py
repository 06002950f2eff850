"""Do a call once: what its client token says is looked up and written in the same unit of work as its effect."""

from fanlight.domain.nimble.calls import TOKENS_KEPT, Call, RememberedCall, TokenReused
from fanlight.domain.ports import Clock, UnitOfWork


class ClientTokens:
    """Calls without a token are new calls, always. Tokens count for one account, region and operation, for 24 hours."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def recall(self, work: UnitOfWork, call: Call) -> str | None:
        """Return what this very call made or changed before, None when it is to be done now. Raises TokenReused."""
        if call.token is None:
            return None
        known = await work.nimble.calls.find(call.scope, call.operation, call.token)
        if known is None or known.called_at < self._clock.now() - TOKENS_KEPT:
            return None
        if known.fingerprint != call.fingerprint:
            raise TokenReused(call.token)
        return known.resource_id

    async def remember(self, work: UnitOfWork, call: Call, resource_id: str) -> None:
        """Take note that the call was done, in the unit that does it."""
        if call.token is not None:
            await work.nimble.calls.put(
                RememberedCall(
                    scope=call.scope,
                    operation=call.operation,
                    token=call.token,
                    fingerprint=call.fingerprint,
                    resource_id=resource_id,
                    called_at=self._clock.now(),
                )
            )
