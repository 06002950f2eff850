"""What can go wrong, in the words of the domain.

An error states facts and what to do next: what, which name, what now. It knows no HTTP status and no wire code;
`api.appstream.errors` maps each class to the code its clients know.
"""

from datetime import datetime


class DomainError(Exception):
    """Base of everything a service or driver raises on purpose. The text may be shown to the caller as it is."""


class NotFound(DomainError):
    """The named resource does not exist for this account and region."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"The {kind} {name} does not exist.")
        self.kind, self.name = kind, name


class AlreadyExists(DomainError):
    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"The {kind} {name} already exists. Choose another name, or delete it first.")
        self.kind, self.name = kind, name


class InUse(DomainError):
    """Something refers to the resource, or its state forbids the change. `why` is a whole sentence."""

    def __init__(self, kind: str, name: str, why: str) -> None:
        super().__init__(why)
        self.kind, self.name, self.why = kind, name, why


class NotAvailable(DomainError):
    """The resource exists and is not in use, but cannot serve now (an image that is not AVAILABLE)."""

    def __init__(self, kind: str, name: str, why: str) -> None:
        super().__init__(why)
        self.kind, self.name, self.why = kind, name, why


class NotPermitted(DomainError):
    """The operation is not allowed in this state or on this kind of resource. The text says why and what to do."""


class InvalidCombination(DomainError):
    """Parameters exclude each other, one is missing, or a value is outside its documented range."""


class InvalidPageToken(InvalidCombination):
    """A NextToken that was altered, or given out by another operation, account, region or filter."""

    def __init__(self) -> None:
        super().__init__("The NextToken was not given out for this request. Start again without it.")


class RoleRefused(DomainError):
    """The IAM role of a request is not one of the account. Clients look for "encountered an error because your IAM role"."""


class DryRunPassed(DomainError):
    """Not an error but the service's way of saying that a dry run found nothing wrong: nothing was made."""


class IncompatibleImage(DomainError):
    """The image cannot be used for what was asked."""


class LimitExceeded(DomainError):
    """A quota or a cardinality of the model would be exceeded."""


class ChangedMeanwhile(DomainError):
    """Somebody else changed the row between read and write. Read again and repeat."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"The {kind} {name} was changed by another request at the same time. Try again.")
        self.kind, self.name = kind, name


class TransitionRefused(DomainError):
    """The state table has no such transition; services turn this into the error that fits their operation."""

    def __init__(self, kind: str, state: str, event: str) -> None:
        super().__init__(f"A {kind} that is {state} does not accept {event}.")
        self.kind, self.state, self.event = kind, state, event


class NotSupported(DomainError):
    """Fanlight cannot do this (yet). Raised instead of accepting a member and ignoring it."""


class UrlRefused(DomainError):
    """A streaming URL that is altered, expired or for something that is gone. `code` is for the page to choose its text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class CapacityUnavailable(DomainError):
    """No instance is free for a user now. The text is shown to the user."""


class StoreUnavailable(DomainError):
    """The database is away, locked for too long or full. Nothing was changed: repeat the request later."""

    def __init__(self, reason: str) -> None:
        super().__init__("The store of this installation does not answer now. Nothing was changed: try again.")
        self.reason = reason  # the database's words, for the log and for `doctor`; never for the caller


class StoreTooNew(DomainError):
    """The database was written by a newer Fanlight, so this one must not touch it."""


# What drivers raise. Vendor exceptions never leave a driver; they are chained as the cause.


class DriverError(DomainError):
    """Base of the errors a driver may raise."""


class DriverUnavailable(DriverError):
    """The engine does not answer. Nothing is known about the effect of the call: repeat it."""


class CapacityExhausted(DriverError):
    """The engine answered that it has no room (disk, memory, addresses). Retry later, with back-off."""


class ImageMissing(DriverError):
    def __init__(self, image: str) -> None:
        super().__init__(f"The image {image} is not in the store of this engine.")
        self.image = image


class PublishRefused(DriverError):
    """The instance cannot become an image: it runs, or is not there. A repetition does not mend it."""


class NetworkUnusable(DriverError):
    """The network that the fleet names cannot be used: base of the causes. Waits for the operator or the administrator."""


class SubnetMissing(NetworkUnusable):
    """The operator offers no such subnet."""


class SecurityGroupMissing(NetworkUnusable):
    """The operator offers no such security group."""


class SubnetUnusable(NetworkUnusable):
    """The operator offers the subnet, and this host could not make it."""


class SubnetExhausted(CapacityExhausted):
    """All addresses of the fleet's subnets are in use."""


class InstanceMissing(DriverError):
    """The engine does not have the instance that was to be started: whatever was on its disk is gone."""


class SnapshotMissing(DriverError):
    """The engine does not have the snapshot that was to be restored."""


class SnapshotRefused(DriverError):
    """The engine makes or restores no snapshot of this instance now: it runs, or the engine says why not."""


class LaunchRefused(DriverError):
    """The engine refused the instance for a reason that a repetition does not mend."""


class AgentUnreachable(DriverError):
    """No agent is connected for this instance now. It may be booting, restarting, or gone."""

    def __init__(self, instance_id: str, last_seen_at: datetime | None = None) -> None:
        seen = f"; last heard of at {last_seen_at:%H:%M:%S} UTC" if last_seen_at else ""
        super().__init__(f"The agent of instance {instance_id} is not connected{seen}.")
        self.instance_id = instance_id


class StorageUnusable(Exception):
    """The endpoint of S3 is away, refuses the bucket, or has no room. The text says which, for administrators."""


class StorageUnavailable(Exception):
    """The storage process does not answer, or the instance has no place for users' files any more."""
