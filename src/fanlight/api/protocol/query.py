"""AWS query: `POST /` with a form that names its Action; XML comes back. STS speaks it, CloudWatch too.

`ec2_query` is the dialect of EC2. Both have codes of their own for the errors that all services share.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fanlight.api.protocol import json_1_1
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.forms import FormDecoder
from fanlight.api.protocol.xml_answers import XmlWriter, element, text

NAME = "query"
CONTENT_TYPE = "text/xml"
FORM = "application/x-www-form-urlencoded"
# The code on this wire and its status, for each common error that is called otherwise here.
SPELLED: Mapping[str, tuple[str, int]] = {
    "AccessDeniedException": ("AccessDenied", 403),
    "ExpiredTokenException": ("ExpiredToken", 403),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "MalformedHttpRequestException": ("MalformedQueryString", 400),
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
    "RequestEntityTooLargeException": ("RequestEntityTooLarge", 413),
    "RequestTimeoutException": ("RequestTimeout", 408),
    "SerializationException": ("MalformedInput", 400),
    "ThrottlingException": ("Throttling", 400),
    "UnknownOperationException": ("InvalidAction", 400),
    "UnrecognizedClientException": ("InvalidClientTokenId", 403),
    "ValidationException": ("ValidationError", 400),
}


class Scalars(json_1_1.Scalars):
    """As in JSON, but that times are ISO 8601 unless the model says otherwise."""

    def read_timestamp(self, value: Any, timestamp_format: str | None) -> datetime:
        if timestamp_format in (None, "iso8601"):
            return super().read_timestamp(value, "iso8601")
        if timestamp_format == "unixTimestamp":
            return super().read_timestamp(float(value), timestamp_format)
        return super().read_timestamp(value, timestamp_format)

    def write_timestamp(self, value: datetime, timestamp_format: str | None) -> Any:
        if timestamp_format in (None, "iso8601"):
            shown = value.astimezone(UTC).isoformat(timespec="milliseconds")
            return shown.replace("+00:00", "Z").replace(".000Z", "Z")
        return super().write_timestamp(value, timestamp_format)

    def write_float(self, value: float) -> Any:
        return value


def wire_name(shape: Any, member: str) -> str:
    """Return what a member is called in a form."""
    return str(shape.serialization.get("name", member))


def decoder(operation: Any) -> Callable[[bytes], Any]:
    return FormDecoder(operation, wire_name, lists_are_flat=False)


def encoder(operation: Any) -> Callable[[Any], bytes]:
    """Return what writes the element around the result; `envelope` adds what differs from answer to answer."""
    if operation.output_shape is None:
        return lambda _: b""
    write = XmlWriter().compile(operation.output_shape)
    wrapper = operation.output_shape.serialization.get("resultWrapper")
    if wrapper is None:
        return lambda tree: write(tree).encode()
    return lambda tree: element(wrapper, write(tree)).encode()


def envelope(operation: Any, body: bytes, request_id: str) -> bytes:
    metadata = element("ResponseMetadata", element("RequestId", request_id))
    namespace = operation.service_model.metadata.get("xmlNamespace", "")
    return element(f"{operation.name}Response", body.decode() + metadata, namespace).encode()


def spelled(error: WireError) -> WireError:
    """Return the error with the code that this protocol has for it."""
    code, status = SPELLED.get(error.code, (error.code, error.status))
    return WireError(code, error.message, status=status)


def encode_error(error: WireError, shape_id: str, request_id: str) -> bytes:  # noqa: ARG001 - CBOR needs the shape id
    fault = "Receiver" if error.status >= 500 else "Sender"  # noqa: PLR2004 - the server's fault
    inside = element("Type", fault) + element("Code", text(error.code)) + element("Message", text(error.message))
    return element("ErrorResponse", element("Error", inside) + element("RequestId", request_id)).encode()


def response_headers(error_code: str | None) -> dict[str, str]:  # noqa: ARG001 - the body names the error
    return {"Content-Type": CONTENT_TYPE}
