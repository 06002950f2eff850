"""Which error codes an operation may answer: those of its own closed list, and the errors that all AWS services share.

The common errors are those of AppStream's API reference, with the codes that they have on the JSON wire; what only an
operation that is not built answers, and an unsigned request, is not among them.
"""

from typing import Any

COMMON_ERRORS = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InternalFailure",
        "InvalidParameterValueException",
        "InvalidSignatureException",
        "MalformedHttpRequestException",
        "NotAuthorized",
        "OptInRequired",
        "RequestAbortedException",
        "RequestEntityTooLargeException",
        "RequestTimeoutException",
        "SerializationException",
        "ServiceUnavailable",
        "ThrottlingException",
        "UnknownOperationException",
        "UnrecognizedClientException",
        "ValidationException",
    }
)


def allowed_codes(service: Any, operation: str) -> frozenset[str]:
    """Return what the operation may answer, under the codes of its service."""
    if operation in service.registry.not_built:
        common = COMMON_ERRORS | {service.unbuilt_code(operation)}
    else:
        common = COMMON_ERRORS
    return service.declared(operation) | {service.respelled.get(code, code) for code in common}
