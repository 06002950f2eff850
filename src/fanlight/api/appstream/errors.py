"""Which code clients see for what goes wrong: the whole mapping on one screen.

The model closes the list of errors of each operation. Where an operation lacks the natural code, the next one of its row
is taken; every row ends in a common error, which any AWS service may answer and every SDK knows.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from fanlight.api.protocol.errors import COMMON_STATUS
from fanlight.domain import errors as domain

WIRE_CODES: Mapping[type[domain.DomainError], tuple[str, ...]] = MappingProxyType(
    {
        domain.NotFound: ("ResourceNotFoundException", "ValidationException"),
        domain.AlreadyExists: ("ResourceAlreadyExistsException", "ValidationException"),
        domain.InUse: ("ResourceInUseException", "OperationNotPermittedException", "ValidationException"),
        domain.NotAvailable: (
            "ResourceNotAvailableException",
            "OperationNotPermittedException",
            "ResourceInUseException",
            "ValidationException",
        ),
        domain.NotPermitted: (
            "OperationNotPermittedException",
            "ResourceInUseException",
            "InvalidParameterCombinationException",
            "ValidationException",
        ),
        domain.TransitionRefused: (
            "OperationNotPermittedException",
            "ResourceInUseException",
            "ConcurrentModificationException",
            "ValidationException",
        ),
        domain.InvalidCombination: ("InvalidParameterCombinationException", "ValidationException"),
        domain.IncompatibleImage: (
            "IncompatibleImageException",
            "InvalidParameterCombinationException",
            "ValidationException",
        ),
        domain.LimitExceeded: ("LimitExceededException", "ValidationException"),
        # SDKs repeat ThrottlingException by themselves, and to repeat is right here.
        domain.ChangedMeanwhile: ("ConcurrentModificationException", "ThrottlingException"),
        domain.NotSupported: (
            "OperationNotPermittedException",
            "InvalidParameterCombinationException",
            "UnsupportedOperation",
        ),
        domain.UrlRefused: ("OperationNotPermittedException", "ValidationException"),
        domain.CapacityUnavailable: ("ResourceNotAvailableException", "ServiceUnavailable"),
        domain.ImageMissing: ("ResourceNotAvailableException", "ServiceUnavailable"),
        domain.DriverError: ("ServiceUnavailable",),
        domain.StoreUnavailable: ("ServiceUnavailable",),
        domain.StoreTooNew: ("ServiceUnavailable",),
    }
)

OUTAGES = (domain.DriverError, domain.StoreUnavailable, domain.StoreTooNew)
"""Something behind us is away. The reason is the operator's, in the log; the caller is told to try again."""

ALWAYS_ANSWERED = (domain.NotSupported, *OUTAGES)
"""A handler may raise these without listing them in `raises`."""


def wire_code(error: type[domain.DomainError], declared: Collection[str]) -> str:
    """Return the code for `error` in an operation that declares these codes; a common error where none of them fits."""
    for ancestor in error.__mro__:
        for code in WIRE_CODES.get(ancestor, ()):
            if code in declared or code in COMMON_STATUS:
                return code
    return "InternalFailure"
