"""May this person do this? Asked before every operation of a key that belongs to a member of studios."""

from dataclasses import dataclass

from fanlight.domain.nimble.personas import Standing, Wish, may
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions, UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The ids that a request names, None where it names none. Whether they belong together, the operation checks."""

    studio_id: str | None = None
    launch_profile_id: str | None = None
    session_id: str | None = None
    backup_id: str | None = None


class PersonaService:
    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def may(self, scope: Scope, person: str, wish: Wish, named: Named) -> bool:
        """Return whether memberships and ownership allow it. What is not there is nobody's."""
        async with self._transactions.begin() as work:
            standing = Standing(
                is_administrator=await _is_member(work, scope, named.studio_id, person),
                uses_profile=await _is_member(work, scope, named.launch_profile_id, person),
                is_owner=await _owns(work, scope, named, person),
            )
        return may(person, wish, standing)


async def _is_member(work: UnitOfWork, scope: Scope, owner_id: str | None, person: str) -> bool:
    return owner_id is not None and await work.nimble.memberships.find(scope, owner_id, person) is not None


async def _owns(work: UnitOfWork, scope: Scope, named: Named, person: str) -> bool:
    if named.session_id is not None:
        session = await work.studio_sessions.find(named.session_id)
        return session is not None and (session.scope, session.owned_by) == (scope, person)
    if named.backup_id is not None:
        backup = await work.session_backups.find(named.backup_id)
        return backup is not None and (backup.scope, backup.owned_by) == (scope, person)
    return False
