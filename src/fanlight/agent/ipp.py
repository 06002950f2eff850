"""As much of the Internet Printing Protocol (RFC 8010, RFC 8011) as programs need to print: bytes ↔ attributes.

A message is version, operation (or status), request id, then groups of attributes and what follows them. Only the
kinds of values that a printer says of itself are written; what is read is kept as the bytes it is.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

_HEAD = struct.Struct(">HHI")
_LENGTH = struct.Struct(">H")
_END, _LARGEST_DELIMITER = 0x03, 0x0F
VERSION = 0x0101


class Group(IntEnum):
    OPERATION = 0x01
    JOB = 0x02
    PRINTER = 0x04


class Kind(IntEnum):
    INTEGER = 0x21
    BOOLEAN = 0x22
    ENUM = 0x23
    RESOLUTION = 0x32
    RANGE = 0x33
    TEXT = 0x41
    NAME = 0x42
    KEYWORD = 0x44
    URI = 0x45
    CHARSET = 0x47
    LANGUAGE = 0x48
    MIME = 0x49


Value = str | int | bool | tuple[int, ...]
Attribute = tuple[str, Kind, Iterable[Value]]


class MalformedMessage(ValueError):
    """The bytes are no message of this protocol."""


@dataclass(frozen=True, slots=True)
class Request:
    """`attributes` are the first value of each, of whatever group."""

    operation: int
    request_id: int
    attributes: Mapping[str, bytes] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.attributes.get(name, b"").decode("utf-8", "replace")


def read_request(message: bytes) -> tuple[Request, int]:
    """Return the request and where the document begins. Raises MalformedMessage, also for one that is cut off."""
    attributes: dict[str, bytes] = {}
    try:
        _, operation, request_id = _HEAD.unpack_from(message, 0)
        at = _HEAD.size
        while (tag := message[at]) != _END:
            at += 1
            if tag <= _LARGEST_DELIMITER:
                continue
            name, at = _counted(message, at)
            value, at = _counted(message, at)
            if name:
                attributes.setdefault(name.decode("ascii", "replace"), value)
    except (IndexError, struct.error) as error:
        raise MalformedMessage("the attributes are cut off") from error
    return Request(operation, request_id, attributes), at + 1


def write_answer(status: int, request_id: int, groups: Iterable[tuple[Group, Iterable[Attribute]]]) -> bytes:
    operation: list[Attribute] = [
        ("attributes-charset", Kind.CHARSET, ["utf-8"]),
        ("attributes-natural-language", Kind.LANGUAGE, ["en"]),
    ]
    parts = [_HEAD.pack(VERSION, status, request_id)]
    for group, attributes in ((Group.OPERATION, operation), *groups):
        parts.append(bytes([group]))
        parts += [_attribute(name, kind, values) for name, kind, values in attributes]
    return b"".join([*parts, bytes([_END])])


def _attribute(name: str, kind: Kind, values: Iterable[Value]) -> bytes:
    """More values of one attribute follow the first without its name."""
    parts = []
    for number, value in enumerate(values):
        shown = name.encode() if number == 0 else b""
        content = _content(kind, value)
        parts += [bytes([kind]), _LENGTH.pack(len(shown)), shown, _LENGTH.pack(len(content)), content]
    return b"".join(parts)


def _content(kind: Kind, value: Value) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, tuple):
        return struct.pack(">iiB" if kind is Kind.RESOLUTION else ">ii", *value)
    return struct.pack(">?" if kind is Kind.BOOLEAN else ">i", value)


def _counted(message: bytes, at: int) -> tuple[bytes, int]:
    (length,) = _LENGTH.unpack_from(message, at)
    begin = at + _LENGTH.size
    if begin + length > len(message):
        raise MalformedMessage("a value is cut off")
    return message[begin : begin + length], begin + length
