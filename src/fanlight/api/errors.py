"""Which code clients see for what goes wrong, in any service of the listener.

Each service has a table: domain error → codes, best first. The model closes the list of errors of each operation; where
an operation lacks the natural code, the next one of the row is taken; every row ends in a common error, which any AWS
service may answer and every SDK knows.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from fanlight.api.protocol.errors import COMMON_STATUS
from fanlight.domain import errors as domain

WireCodes = Mapping[type[domain.DomainError], tuple[str, ...]]

OUTAGES = (domain.DriverError, domain.StoreUnavailable, domain.StoreTooNew)
"""Something behind us is away. The reason is the operator's, in the log; the caller is told to try again."""

ALWAYS_ANSWERED = (domain.NotSupported, *OUTAGES)
"""A handler may raise these without listing them in `raises`."""

COMMON_CODES: WireCodes = MappingProxyType(
    {
        domain.DomainError: ("ValidationException",),
        # SDKs repeat ThrottlingException by themselves, and to repeat is right here.
        domain.ChangedMeanwhile: ("ThrottlingException",),
        domain.NotSupported: ("ValidationException",),
        **dict.fromkeys(OUTAGES, ("ServiceUnavailable",)),
    }
)
"""What a service answers that says nothing more exact."""


def wire_code(error: type[domain.DomainError], declared: Collection[str], codes: WireCodes) -> str:
    """Return the code for `error` in an operation that declares these; a common error where none of them fits."""
    for ancestor in error.__mro__:
        for code in codes.get(ancestor, ()):
            if code in declared or code in COMMON_STATUS:
                return code
    return "InternalFailure"
