"""What all of Nimble's durable things have in common: one life, one way to say how far it is.

Handlers write what is wanted and an `…_IN_PROGRESS` state; the reconciler settles it. READY's status code tells what the
last change was, a `…_FAILED` one why it failed. What was deleted stays readable for a while, for waiters look for the
state DELETED and take an error for a failure.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, TypeVar

from fanlight.domain.errors import NotAvailable
from fanlight.domain.machine import Machine
from fanlight.domain.nimble.identifiers import ResourceKind, arn_of
from fanlight.domain.places import Scope


class ResourceState(StrEnum):
    CREATE_IN_PROGRESS = "CREATE_IN_PROGRESS"
    READY = "READY"
    UPDATE_IN_PROGRESS = "UPDATE_IN_PROGRESS"
    DELETE_IN_PROGRESS = "DELETE_IN_PROGRESS"
    DELETED = "DELETED"
    DELETE_FAILED = "DELETE_FAILED"
    CREATE_FAILED = "CREATE_FAILED"
    UPDATE_FAILED = "UPDATE_FAILED"


class ResourceEvent(StrEnum):
    UPDATE_REQUESTED = "UPDATE_REQUESTED"
    DELETE_REQUESTED = "DELETE_REQUESTED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    FAILURE_SHOWN = "FAILURE_SHOWN"


_S, _E = ResourceState, ResourceEvent
LIFE: Machine[ResourceState, ResourceEvent] = Machine(
    kind="resource",
    initial=_S.CREATE_IN_PROGRESS,
    table={
        (_S.CREATE_IN_PROGRESS, _E.SUCCEEDED): _S.READY,
        (_S.CREATE_IN_PROGRESS, _E.FAILED): _S.CREATE_FAILED,
        (_S.READY, _E.UPDATE_REQUESTED): _S.UPDATE_IN_PROGRESS,
        (_S.UPDATE_FAILED, _E.UPDATE_REQUESTED): _S.UPDATE_IN_PROGRESS,
        (_S.DELETE_FAILED, _E.UPDATE_REQUESTED): _S.UPDATE_IN_PROGRESS,
        (_S.UPDATE_IN_PROGRESS, _E.SUCCEEDED): _S.READY,
        (_S.UPDATE_IN_PROGRESS, _E.FAILED): _S.UPDATE_FAILED,
        (_S.READY, _E.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.CREATE_FAILED, _E.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.UPDATE_FAILED, _E.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.DELETE_FAILED, _E.DELETE_REQUESTED): _S.DELETE_IN_PROGRESS,
        (_S.DELETE_IN_PROGRESS, _E.SUCCEEDED): _S.DELETED,
        (_S.DELETE_IN_PROGRESS, _E.FAILED): _S.DELETE_FAILED,
        # A failed change leaves what was there before; clients have had time to see the failure.
        (_S.UPDATE_FAILED, _E.FAILURE_SHOWN): _S.READY,
        (_S.DELETE_FAILED, _E.FAILURE_SHOWN): _S.READY,
    },
)
IN_PROGRESS = frozenset({_S.CREATE_IN_PROGRESS, _S.UPDATE_IN_PROGRESS, _S.DELETE_IN_PROGRESS})
USABLE = frozenset({_S.READY, _S.UPDATE_IN_PROGRESS, _S.UPDATE_FAILED, _S.DELETE_FAILED})
"""States of something that is there and stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the wire says beside the state."""

    code: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """`state_since` is when the state was entered, `updated_at` when a caller last changed it or that was done."""

    KIND: ClassVar[ResourceKind]

    resource_id: str
    scope: Scope
    studio_id: str
    version: int = 0
    state: ResourceState = ResourceState.CREATE_IN_PROGRESS
    status: Status
    created_at: datetime
    created_by: str = ""
    updated_at: datetime
    updated_by: str = ""
    state_since: datetime

    @property
    def arn(self) -> str:
        return arn_of(self.scope, self.KIND, self.resource_id)

    @property
    def is_there(self) -> bool:
        """Whether it counts: what is deleted, or never came about, does not."""
        return self.state not in (ResourceState.DELETED, ResourceState.CREATE_FAILED)


ResourceT = TypeVar("ResourceT", bound=Resource)


def moved(resource: ResourceT, event: ResourceEvent, status: Status, now: datetime, by: str | None = None) -> ResourceT:
    """Return the resource after an event. Raises NotAvailable when its state does not allow that.

    `by` is who asked for it, None when nobody did.
    """
    if not LIFE.allows(resource.state, event):
        raise NotAvailable(
            resource.KIND,
            resource.resource_id,
            f"The {noun_of(resource.KIND)} {resource.resource_id} is {resource.state}: wait until it is READY.",
        )
    return replace(
        resource,
        state=LIFE.after(resource.state, event),
        status=status,
        updated_at=resource.updated_at if event is ResourceEvent.FAILURE_SHOWN else now,
        updated_by=resource.updated_by if by is None else by,
        state_since=now,
    )


def noun_of(kind: ResourceKind) -> str:
    """Return what texts call the kind: `launch profile`."""
    return kind.replace("-", " ")
