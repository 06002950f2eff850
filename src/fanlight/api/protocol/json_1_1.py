"""awsJson1.1: `POST /` with the operation in X-Amz-Target and a JSON object as body. boto3, the CLI and JavaScript speak it."""

import base64
import binascii
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from fanlight.api.protocol.errors import WireError, not_serializable

NAME = "json-1.1"
CONTENT_TYPE = "application/x-amz-json-1.1"
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def decode(body: bytes) -> Any:
    """Return the value in `body`; an empty body is an empty object. Raises SerializationException."""
    if not body:
        return {}
    try:
        return _decoder.decode(body.decode())
    except UnicodeDecodeError:
        raise not_serializable("The request body is not valid UTF-8.") from None
    except RecursionError:
        raise not_serializable("The request body is nested too deeply.") from None
    except ValueError as error:  # also integers of thousands of digits
        raise not_serializable(f"The request body is not valid JSON: {_reason(error)}") from None


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}."
    return str(error) if isinstance(error, _Unwanted) else "a number is too long."


class _Unwanted(ValueError):
    """JSON that Python would take, but no AWS service does. The text echoes nothing of the body."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unwanted("a name occurs twice in one object.")
    return found


def _no_constant(name: str) -> Any:
    raise _Unwanted(f"{name} is not JSON.")


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
encode_text: Callable[[Any], str] = json.JSONEncoder(
    separators=(",", ":"), allow_nan=False, check_circular=False
).encode


def encode(tree: Any) -> bytes:
    return encode_text(tree).encode()


def decoder(operation: Any) -> Callable[[bytes], Any]:  # noqa: ARG001 - JSON says itself what it holds
    return decode


def encoder(operation: Any) -> Callable[[Any], bytes]:  # noqa: ARG001
    return encode


def envelope(operation: Any, body: bytes, request_id: str) -> bytes:  # noqa: ARG001 - the header has the request id
    return body


def spelled(error: WireError) -> WireError:
    return error


def encode_error(error: WireError, shape_id: str, request_id: str = "") -> bytes:  # noqa: ARG001 - CBOR needs the full shape id
    """Return the body of a refusal. Clients differ in the spelling of the text's member, so both are there."""
    return encode({"__type": error.code, "Message": error.message, "message": error.message})


class Scalars:
    """Timestamps are seconds since 1970 with milliseconds unless the model says otherwise; blobs are base64."""

    def read_timestamp(self, value: Any, timestamp_format: str | None) -> datetime:
        if timestamp_format == "iso8601" and type(value) is str:
            return _aware(datetime.fromisoformat(value))
        if timestamp_format == "rfc822" and type(value) is str:
            return _aware(parsedate_to_datetime(value))
        if timestamp_format in (None, "unixTimestamp") and type(value) in (int, float):
            try:
                return datetime.fromtimestamp(value, UTC)
            except OSError as error:
                raise ValueError("no such time") from error
        raise ValueError("not a timestamp")

    def read_blob(self, value: Any) -> bytes:
        if type(value) is not str:
            raise ValueError("not a string")
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError("not base64") from error

    def read_float(self, value: Any) -> float:
        if type(value) is str and value in NOT_FINITE:
            return NOT_FINITE[value]
        if type(value) not in (int, float):
            raise ValueError("not a number")
        return float(value)

    def write_timestamp(self, value: datetime, timestamp_format: str | None) -> Any:
        if timestamp_format == "iso8601":
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        if timestamp_format == "rfc822":
            return format_datetime(value.astimezone(UTC), usegmt=True)
        return round(value.timestamp(), 3)

    def write_blob(self, value: bytes) -> Any:
        return base64.b64encode(value).decode()

    def write_float(self, value: float) -> Any:
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return value


def _aware(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def response_headers(error_code: str | None) -> dict[str, str]:
    """Return what every answer of this protocol carries; a refusal also names itself in a header."""
    headers = {"Content-Type": CONTENT_TYPE}
    return headers if error_code is None else {**headers, "x-amzn-ErrorType": error_code}
