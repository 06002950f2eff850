"""Which function answers which operation.

A handler is an async function of three arguments, marked with `operation`:

    from fanlight.api.registry import operation
    from fanlight.api.types import DeleteFleetRequest, DeleteFleetResult
    from fanlight.domain.access_keys import Caller
    from fanlight.domain.errors import ChangedMeanwhile, InUse, NotFound

    @operation("DeleteFleet", raises=(NotFound, InUse, ChangedMeanwhile))
    async def delete_fleet(request: DeleteFleetRequest, caller: Caller, services: AppStreamServices) -> DeleteFleetResult:
        await services.fleets.delete(caller, request.name)
        return DeleteFleetResult()

`request` has passed every constraint of the model; `None` means absent. `caller` is verified: account, region, request
id. `services` is the bundle that `bootstrap` builds; the registry does not look into it. The result is always named
`<Operation>Result`. `raises` lists the domain errors the handler lets through; an architecture test holds each of them
against the closed list of errors that the model declares for the operation. `NotSupported` and `DriverUnavailable`
always have an answer and need not be listed. `refuses` names the members that cannot be honoured, each with the reason:
a request that gives one of them never reaches the handler, and the coverage page lists them.

Importing a module registers nothing: a `Registry` is made from modules, once, by `bootstrap` or a test.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Generic, TypeVar

from fanlight.api.members import refuse, value_at
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import DomainError

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")
ServicesT = TypeVar("ServicesT")

Handler = Callable[[RequestT, Caller, ServicesT], Awaitable[ResultT]]


@dataclass(frozen=True, slots=True)
class Operation(Generic[RequestT, ServicesT, ResultT]):
    """A built operation. Calling it calls the handler."""

    name: str
    handler: Handler[RequestT, ServicesT, ResultT]
    raises: tuple[type[DomainError], ...]
    note: str = ""
    is_pure_read: bool = False
    refuses: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    without_effect: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, request: RequestT, caller: Caller, services: ServicesT) -> ResultT:
        """Raises NotSupported for a member that is refused, and what the handler raises."""
        refuse(*((member, value_at(request, member), because) for member, because in self.refuses.items()))
        return await self.handler(request, caller, services)


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """An operation that answers with an error its clients know; `because` is one sentence, shown to the caller."""

    name: str
    because: str


def operation(
    name: str,
    *,
    raises: tuple[type[DomainError], ...] = (),
    note: str = "",
    is_pure_read: bool = False,
    refuses: Mapping[str, str] | None = None,
    limits: Mapping[str, str] | None = None,
    without_effect: Mapping[str, str] | None = None,
) -> Callable[[Handler[RequestT, ServicesT, ResultT]], Operation[RequestT, ServicesT, ResultT]]:
    """Mark a handler.

    `note` goes into the coverage page: say there which unverified behaviour was chosen. `is_pure_read` promises that the
    result depends on request, account, region and the store alone (no clock, no random, no file) and that nothing is
    written: its answer may then be given again for as long as the store does not change. `refuses` maps wire names of
    members (`ComputeCapacity.DesiredSessions` for one inside a structure) to the reason, the end of a sentence.

    Two more tables are for the coverage page alone: `limits` names members of which the handler itself refuses some values,
    and says which and why; `without_effect` names members that may be given and change nothing, and says why that is right.
    """

    def mark(handler: Handler[RequestT, ServicesT, ResultT]) -> Operation[RequestT, ServicesT, ResultT]:
        return Operation(name, handler, raises, note, is_pure_read, refuses or {}, limits or {}, without_effect or {})

    return mark


def not_supported(name: str, *, because: str) -> NotBuilt:
    return NotBuilt(name, because)


class RegistryIncomplete(Exception):
    """Operations of the model have no entry, or entries have no operation, or one has two."""


class Registry(Generic[ServicesT]):
    """Operation name → how it is answered. Immutable once made."""

    def __init__(self, operations: tuple[Operation[Any, ServicesT, Any], ...], not_built: tuple[NotBuilt, ...]) -> None:
        """Raise RegistryIncomplete when a name occurs twice."""
        names = [*(entry.name for entry in operations), *(entry.name for entry in not_built)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise RegistryIncomplete(f"Registered more than once: {', '.join(twice)}.")
        self.built = {entry.name: entry for entry in operations}
        self.not_built = {entry.name: entry for entry in not_built}

    @classmethod
    def of_modules(cls, *modules: ModuleType) -> "Registry[ServicesT]":
        """Collect every `Operation` that a module defines, and every tuple `NOT_BUILT` of `NotBuilt`."""
        operations = tuple(
            value for module in modules for value in vars(module).values() if isinstance(value, Operation)
        )
        not_built = tuple(entry for module in modules for entry in getattr(module, "NOT_BUILT", ()))
        return cls(operations, not_built)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted((*self.built, *self.not_built)))

    def __len__(self) -> int:
        return len(self.built) + len(self.not_built)

    def verify_complete(self, operation_names: frozenset[str]) -> None:
        """Raise RegistryIncomplete unless the entries are exactly the operations of the model."""
        present = frozenset(self)
        complaints = []
        if missing := operation_names - present:
            complaints.append(f"no handler for {', '.join(sorted(missing))}")
        if strange := present - operation_names:
            complaints.append(f"not in the model: {', '.join(sorted(strange))}")
        if complaints:
            raise RegistryIncomplete(f"The registry does not match the service model: {'; '.join(complaints)}.")
