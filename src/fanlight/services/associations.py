"""Associations: which fleet stands behind which stack. A stack has at most one fleet; a fleet may have several stacks."""

from fanlight.domain.errors import InUse, LimitExceeded, NotFound
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.storage_connectors import check_drives

PAGE_SIZE = 100


class AssociationService:
    def __init__(self, transactions: Transactions, tokens: PageTokens) -> None:
        self._transactions, self._tokens = transactions, tokens

    async def associate(self, scope: Scope, stack_name: str, fleet_name: str) -> None:
        """Put the fleet, in any state, behind the stack. The same pair again is success.

        Raises NotFound (stack, fleet), LimitExceeded (the stack has another fleet), NotSupported (see `check_drives`).
        """
        async with self._transactions.begin(write=True) as work:
            stack = await work.stacks.get(scope, stack_name)
            check_drives(stack, await work.fleets.get(scope, fleet_name))
            others = [name for name in await work.associations.fleets_of(scope, stack_name) if name != fleet_name]
            if others:
                raise LimitExceeded(
                    f"The stack {stack_name} is associated with the fleet {others[0]}, and a stack has one fleet. "
                    "Disassociate that fleet first."
                )
            await work.associations.add(scope, stack_name, fleet_name)
            await work.commit()

    async def disassociate(self, scope: Scope, stack_name: str, fleet_name: str) -> None:
        """Raises NotFound (stack, fleet, or the two are not associated), InUse (users stream through this pair)."""
        async with self._transactions.begin(write=True) as work:
            await work.stacks.get(scope, stack_name)
            fleet = await work.fleets.get(scope, fleet_name)
            live = await work.sessions.live(fleet.fleet_id)
            if any(session.scope == scope and session.stack_name == stack_name for session in live):
                raise InUse(
                    "stack",
                    stack_name,
                    f"Users stream from the fleet {fleet_name} through the stack {stack_name}. End their sessions first.",
                )
            if not await work.associations.remove(scope, stack_name, fleet_name):
                raise NotFound("association of stack and fleet", f"{stack_name}/{fleet_name}")
            await work.commit()

    async def fleets_of(
        self, scope: Scope, stack_name: str, next_token: str | None = None
    ) -> tuple[tuple[str, ...], str | None]:
        """Return one page of names and the token of the next; nothing for an unknown stack. Raises InvalidPageToken."""
        asked = ["fleets of stack", stack_name]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            found = await work.associations.fleets_of(scope, stack_name, after=after, limit=PAGE_SIZE + 1)
        page, has_more = cut(found, PAGE_SIZE)
        return tuple(page), self._tokens.issue(scope, asked, page[-1]) if has_more else None

    async def stacks_of(
        self, scope: Scope, fleet_name: str, next_token: str | None = None
    ) -> tuple[tuple[str, ...], str | None]:
        """Return one page of names and the token of the next; nothing for an unknown fleet. Raises InvalidPageToken."""
        asked = ["stacks of fleet", fleet_name]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            found = await work.associations.stacks_of(scope, fleet_name, after=after, limit=PAGE_SIZE + 1)
        page, has_more = cut(found, PAGE_SIZE)
        return tuple(page), self._tokens.issue(scope, asked, page[-1]) if has_more else None
