"""What the wire answers when it must refuse, before or instead of an operation.

Every refusal has a code that AWS clients know and a text for a person. The common errors, which every AWS service may
answer, carry the status listed here; for codes of a service model the caller knows the status.
"""

from collections.abc import Mapping
from types import MappingProxyType

COMMON_STATUS: Mapping[str, int] = MappingProxyType(
    {
        "AccessDeniedException": 403,
        "ExpiredTokenException": 403,
        "IncompleteSignature": 403,
        "InternalFailure": 500,
        "InvalidSignatureException": 403,
        "MalformedHttpRequestException": 400,
        "MissingAuthenticationTokenException": 403,
        "RequestEntityTooLargeException": 413,
        "RequestTimeoutException": 408,
        "SerializationException": 400,
        "ServiceUnavailable": 503,
        "ThrottlingException": 400,
        "UnknownOperationException": 404,
        "UnrecognizedClientException": 403,
        "UnsupportedOperation": 400,
        "ValidationException": 400,
    }
)


class WireError(Exception):
    """A refusal on its way to the client. The text is shown as it is, so it holds no secret and no traceback."""

    def __init__(
        self, code: str, message: str, *, status: int | None = None, context: Mapping[str, str] | None = None
    ) -> None:
        """Take the status from the common errors unless the caller knows it.

        `context` is for protocols whose errors have more members than the text.
        """
        super().__init__(message)
        self.code, self.message, self.context = code, message, context or {}
        self.status = COMMON_STATUS[code] if status is None else status


def malformed(message: str) -> WireError:
    return WireError("MalformedHttpRequestException", message)


def not_serializable(message: str) -> WireError:
    """Return the refusal of bytes that are not what the model says: wrong type, bad syntax, bad encoding."""
    return WireError("SerializationException", message)
