"""Smithy rpc-v2-cbor: `POST /service/<Service>/operation/<Operation>` with CBOR bodies. The Go SDK, hence Terraform, speaks it."""

import io
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

import cbor2

from fanlight.api.protocol.errors import WireError, not_serializable

NAME = "rpc-v2-cbor"
CONTENT_TYPE = "application/cbor"
PROTOCOL_HEADER = "smithy-protocol"
MAX_DEPTH = 64  # the deepest shape of the model has seven levels
EPOCH_TAG = 1


class _ForeignTag(Exception):
    """Never leaves this module."""


def _refuse_tag(*_: Any) -> NoReturn:
    raise _ForeignTag


# What cbor2 would build by itself (regular expressions, networks, shared and circular values …) has no place in a request.
_FOREIGN_TAGS = (0, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
_TAGS: Mapping[int, Any] = dict.fromkeys(_FOREIGN_TAGS, _refuse_tag)


def decode(body: bytes) -> Any:
    """Return the value in `body`; an empty body is an empty map. Raises SerializationException."""
    if not body:
        return {}
    stream = io.BytesIO(body)
    decoder = cbor2.CBORDecoder(
        stream,
        tag_hook=_refuse_tag,
        semantic_decoders=_TAGS,
        max_depth=MAX_DEPTH,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    try:
        value = decoder.decode()
        rest = stream.read(1)
    except (cbor2.CBORDecodeError, _ForeignTag, ValueError, OverflowError, RecursionError):
        raise not_serializable("The request body is not the CBOR of a request of this operation.") from None
    if rest:
        raise not_serializable("The request body goes on after its CBOR value.")
    return value


def encode(tree: Any) -> bytes:
    encoded: bytes = cbor2.dumps(tree)
    return encoded


def decoder(operation: Any) -> Callable[[bytes], Any]:  # noqa: ARG001 - CBOR says itself what it holds
    return decode


def encoder(operation: Any) -> Callable[[Any], bytes]:  # noqa: ARG001
    return encode


def envelope(operation: Any, body: bytes, request_id: str) -> bytes:  # noqa: ARG001 - the header has the request id
    return body


def spelled(error: WireError) -> WireError:
    return error


def encode_error(error: WireError, shape_id: str, request_id: str = "") -> bytes:  # noqa: ARG001
    """Return the body of a refusal, named by its full shape id."""
    return encode({"__type": shape_id, "Message": error.message, "message": error.message})


class Scalars:
    """Timestamps are tag 1 with seconds since 1970; blobs are byte strings; floats may be infinite or NaN."""

    def read_timestamp(self, value: Any, timestamp_format: str | None) -> datetime:  # noqa: ARG002 - one form only
        if not isinstance(value, datetime):
            raise ValueError("not a tagged timestamp")  # noqa: TRY004 - the contract of Scalars
        return value

    def read_blob(self, value: Any) -> bytes:
        if type(value) is not bytes:
            raise ValueError("not a byte string")
        return value

    def read_float(self, value: Any) -> float:
        if type(value) not in (int, float):
            raise ValueError("not a number")
        return float(value)

    def write_timestamp(self, value: datetime, timestamp_format: str | None) -> Any:  # noqa: ARG002
        seconds = round(value.astimezone(UTC).timestamp(), 3)
        return cbor2.CBORTag(EPOCH_TAG, int(seconds) if math.floor(seconds) == seconds else seconds)

    def write_blob(self, value: bytes) -> Any:
        return value

    def write_float(self, value: float) -> Any:
        return value


def response_headers(error_code: str | None) -> dict[str, str]:  # noqa: ARG001 - the body names the error
    return {"Content-Type": CONTENT_TYPE, PROTOCOL_HEADER: NAME}
