"""Which code clients of Nimble Studio see for what goes wrong. Every operation declares these seven codes, no others."""

from collections.abc import Mapping
from types import MappingProxyType

from fanlight.api.errors import WireCodes
from fanlight.domain import errors as domain

_OURS = ("InternalServerErrorException",)  # SDKs repeat it by themselves

WIRE_CODES: WireCodes = MappingProxyType(
    {
        domain.DomainError: ("ValidationException",),
        domain.NotFound: ("ResourceNotFoundException", "ValidationException"),
        domain.AlreadyExists: ("ConflictException", "ValidationException"),
        domain.InUse: ("ConflictException", "ValidationException"),
        domain.NotAvailable: ("ConflictException", "ValidationException"),
        domain.TransitionRefused: ("ConflictException", "ValidationException"),
        domain.ChangedMeanwhile: ("ConflictException", "ValidationException"),
        domain.NotPermitted: ("AccessDeniedException",),
        # The two session backup reads do not declare it, and count nothing.
        domain.LimitExceeded: ("ServiceQuotaExceededException", "ValidationException"),
        domain.NotSupported: ("ValidationException",),
        domain.DriverError: _OURS,
        domain.StoreUnavailable: _OURS,
        domain.StoreTooNew: _OURS,
    }
)

# What every AWS service has under common names, this one has in its own list.
RESPELLED: Mapping[str, str] = MappingProxyType(
    {
        "InternalFailure": "InternalServerErrorException",
        "ServiceUnavailable": "InternalServerErrorException",
        "SerializationException": "ValidationException",
    }
)


def context_of(error: domain.DomainError) -> Mapping[str, str]:
    """Return the `context` of an error: which resource is missing or in the way."""
    if isinstance(
        error, domain.NotFound | domain.AlreadyExists | domain.InUse | domain.NotAvailable | domain.ChangedMeanwhile
    ):
        return {"resourceId": error.name}
    return {}
