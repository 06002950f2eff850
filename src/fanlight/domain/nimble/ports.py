"""What Nimble Studio's services need of the store. See `domain.ports` for the rules of units and versions."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from fanlight.domain.nimble.calls import RememberedCall
from fanlight.domain.nimble.identifiers import ResourceKind
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


class NimbleStore(Protocol):
    """The part of a unit of work that is Nimble Studio's."""

    @property
    def resources(self) -> NimbleResources: ...
    @property
    def calls(self) -> RememberedCalls: ...
