"""EC2's dialect of the query protocol: flat lists, capitalised names, an envelope and error codes of its own."""

from collections.abc import Callable, Mapping
from typing import Any

from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.forms import FormDecoder
from fanlight.api.protocol.query import Scalars, response_headers
from fanlight.api.protocol.xml_answers import XmlWriter, element, text

__all__ = ["Scalars", "response_headers"]

NAME = "ec2"
SPELLED: Mapping[str, tuple[str, int]] = {
    "AccessDeniedException": ("UnauthorizedOperation", 403),
    "ExpiredTokenException": ("RequestExpired", 400),
    "IncompleteSignature": ("AuthFailure", 401),
    "InternalFailure": ("InternalError", 500),
    "InvalidSignatureException": ("AuthFailure", 401),
    "MalformedHttpRequestException": ("MalformedQueryString", 400),
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
    "RequestEntityTooLargeException": ("RequestEntityTooLarge", 413),
    "RequestTimeoutException": ("RequestTimeout", 408),
    "SerializationException": ("InvalidParameterValue", 400),
    "ServiceUnavailable": ("Unavailable", 503),
    "ThrottlingException": ("RequestLimitExceeded", 503),
    "UnknownOperationException": ("InvalidAction", 400),
    "UnrecognizedClientException": ("AuthFailure", 401),
    "ValidationException": ("InvalidParameterValue", 400),
}


def wire_name(shape: Any, member: str) -> str:
    """Return what a member is called in a form."""
    if (name := shape.serialization.get("queryName")) is not None:
        return str(name)
    name = str(shape.serialization.get("name", member))
    return name[:1].upper() + name[1:] if "name" in shape.serialization else name


def decoder(operation: Any) -> Callable[[bytes], Any]:
    return FormDecoder(operation, wire_name, lists_are_flat=True)


def encoder(operation: Any) -> Callable[[Any], bytes]:
    if operation.output_shape is None:
        return lambda _: b""
    write = XmlWriter().compile(operation.output_shape)
    return lambda tree: write(tree).encode()


def envelope(operation: Any, body: bytes, request_id: str) -> bytes:
    namespace = operation.service_model.metadata.get("xmlNamespace", "")
    inside = element("requestId", request_id) + body.decode()
    return element(f"{operation.name}Response", inside, namespace).encode()


def spelled(error: WireError) -> WireError:
    code, status = SPELLED.get(error.code, (error.code, error.status))
    return WireError(code, error.message, status=status)


def encode_error(error: WireError, shape_id: str, request_id: str) -> bytes:  # noqa: ARG001 - CBOR needs the shape id
    inside = element("Code", text(error.code)) + element("Message", text(error.message))
    errors = element("Errors", element("Error", inside))
    return element("Response", errors + element("RequestID", request_id)).encode()
