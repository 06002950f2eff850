"""awsJson1.0: as 1.1, under another media type. CloudWatch speaks it."""

from fanlight.api.protocol.json_1_1 import Scalars, decode, decoder, encode, encode_error, encoder, envelope, spelled

__all__ = ["Scalars", "decode", "decoder", "encode", "encode_error", "encoder", "envelope", "spelled"]

NAME = "json-1.0"
CONTENT_TYPE = "application/x-amz-json-1.0"


def response_headers(error_code: str | None) -> dict[str, str]:
    headers = {"Content-Type": CONTENT_TYPE}
    return headers if error_code is None else {**headers, "x-amzn-ErrorType": error_code}
