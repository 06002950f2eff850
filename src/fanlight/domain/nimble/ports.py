"""What Nimble Studio's services need of the store. See `domain.ports` for the rules of units and versions."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from fanlight.domain.nimble.calls import RememberedCall
from fanlight.domain.nimble.eulas import EulaAcceptance
from fanlight.domain.nimble.identifiers import ResourceKind
from fanlight.domain.nimble.memberships import Membership
from fanlight.domain.nimble.resources import Resource, ResourceState, ResourceT
from fanlight.domain.places import Scope


class NimbleResources(Protocol):
    """Studios, studio components, launch profiles and streaming images: rows of one table, told by their kind."""

    async def add(self, resource: ResourceT) -> ResourceT:
        """Raises AlreadyExists."""
        ...

    async def get(
        self, kind: type[ResourceT], scope: Scope, resource_id: str, studio_id: str | None = None
    ) -> ResourceT:
        """Raises NotFound, also for one in another studio than `studio_id`. A deleted one is found until it is pruned."""
        ...

    async def find(self, resource_id: str) -> Resource | None: ...

    async def page(
        self,
        kind: type[ResourceT],
        scope: Scope,
        studio_id: str | None = None,
        *,
        states: Collection[ResourceState],
        after: str = "",
        limit: int,
    ) -> Sequence[ResourceT]:
        """Return resources in these states by id."""
        ...

    async def count(self, scope: Scope, studio_id: str) -> Mapping[ResourceKind, int]:
        """Return how many of each kind are in the studio, without what is DELETED or CREATE_FAILED."""
        ...

    async def unsettled(self) -> Sequence[str]:
        """Return the ids of all that are not READY, of all scopes, for the reconciler."""
        ...

    async def save(self, resource: ResourceT) -> ResourceT:
        """Raises ChangedMeanwhile."""
        ...

    async def remove(self, resource: Resource) -> None: ...


class RememberedCalls(Protocol):
    async def find(self, scope: Scope, operation: str, token: str) -> RememberedCall | None: ...
    async def put(self, call: RememberedCall) -> None:
        """Add it, or replace an older one with that token."""

    async def prune(self, called_before: datetime) -> int:
        """Forget what was called before; return how many."""
        ...


class Memberships(Protocol):
    async def put(self, membership: Membership) -> None:
        """Add it, or replace what that principal had with that owner."""

    async def find(self, scope: Scope, owner_id: str, principal_id: str) -> Membership | None: ...

    async def page(self, scope: Scope, owner_id: str, *, after: str = "", limit: int) -> Sequence[Membership]:
        """Return memberships by principal."""
        ...

    async def owners_of(self, scope: Scope, principal_id: str) -> frozenset[str]:
        """Return the ids of the studios and launch profiles that a principal is a member of."""
        ...

    async def remove(self, membership: Membership) -> None: ...
    async def drop(self, owner_id: str) -> None:
        """Forget all members of what is gone."""


class EulaAcceptances(Protocol):
    async def add(self, acceptance: EulaAcceptance) -> EulaAcceptance:
        """Add it, or return the one that the studio has for that EULA."""
        ...

    async def of_studio(self, scope: Scope, studio_id: str) -> Sequence[EulaAcceptance]:
        """Return them by EULA."""
        ...

    async def drop(self, studio_id: str) -> None:
        """Forget all acceptances of what is gone."""


class NimbleStore(Protocol):
    """The part of a unit of work that is Nimble Studio's."""

    @property
    def resources(self) -> NimbleResources: ...
    @property
    def calls(self) -> RememberedCalls: ...
    @property
    def memberships(self) -> Memberships: ...
    @property
    def acceptances(self) -> EulaAcceptances: ...
