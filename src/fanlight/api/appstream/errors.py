"""Which code clients of AppStream see for what goes wrong: the whole mapping on one screen.

The model closes the list of errors of each operation. Where an operation lacks the natural code, the next one of its row
is taken; every row ends in a common error, which any AWS service may answer and every SDK knows.
"""

from types import MappingProxyType

from fanlight.api.errors import WireCodes
from fanlight.domain import errors as domain

WIRE_CODES: WireCodes = MappingProxyType(
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
        domain.RoleRefused: ("InvalidRoleException", "OperationNotPermittedException", "ValidationException"),
        domain.DryRunPassed: ("DryRunOperationException", "ValidationException"),
        domain.LimitExceeded: ("LimitExceededException", "ValidationException"),
        # SDKs repeat ThrottlingException by themselves, and to repeat is right here.
        domain.ChangedMeanwhile: ("ConcurrentModificationException", "ThrottlingException"),
        domain.NotSupported: (
            "OperationNotPermittedException",
            "InvalidParameterCombinationException",
            "ValidationException",
        ),
        domain.UrlRefused: ("OperationNotPermittedException", "ValidationException"),
        domain.CapacityUnavailable: ("ResourceNotAvailableException", "ServiceUnavailable"),
        domain.ImageMissing: ("ResourceNotAvailableException", "ServiceUnavailable"),
        domain.DriverError: ("ServiceUnavailable",),
        domain.StoreUnavailable: ("ServiceUnavailable",),
        domain.StoreTooNew: ("ServiceUnavailable",),
    }
)
